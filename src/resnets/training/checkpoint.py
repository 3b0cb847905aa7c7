"""Checkpoints: one safetensors file with all that a step depends on, replaced in one move.

A kill or a full disk at any moment leaves the previous file whole: the new one is written beside it, forced
to the disk, then renamed. There is no random state in it because training has none: see `data/batches.py`.
"""

from __future__ import annotations

import contextlib
import json
import os
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from resnets.errors import TrainingError
from resnets.network import ResNet
from resnets.training.optim import Average

NAME = "checkpoint.safetensors"


def save_checkpoint(
    folder: Path, network: ResNet, optimiser: torch.optim.Optimizer, average: Average | None, state: dict[str, Any]
) -> None:
    """Write the checkpoint of a run. Raises OSError when the disk does not take it; the old one then stays."""
    tensors = {f"network.{name}": tensor for name, tensor in network.state_dict().items()}
    if average is not None:
        tensors |= {f"average.{name}": tensor for name, tensor in average.state.items()}
    for index, values in optimiser.state_dict()["state"].items():
        if values.get("momentum_buffer") is not None:
            tensors[f"momentum.{index}"] = values["momentum_buffer"]
    for left in folder.glob(f".{NAME}.*"):  # of a writer that was killed
        left.unlink(missing_ok=True)
    temporary = folder / f".{NAME}.{os.getpid()}"
    try:
        # Row-major copies: the file does not depend on the memory layout that training happens to use.
        plain = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
        try:
            save_file(plain, temporary, metadata={"state": json.dumps(state)})
        except SafetensorError as problem:
            raise OSError(str(problem)) from problem
        with temporary.open("rb+") as file:
            os.fsync(file.fileno())
        temporary.replace(folder / NAME)
        with contextlib.suppress(OSError):  # not every system can open a folder
            directory = os.open(folder, os.O_RDONLY)
            try:
                os.fsync(directory)
            finally:
                os.close(directory)
    finally:
        temporary.unlink(missing_ok=True)


def load_checkpoint(
    folder: Path, network: ResNet, optimiser: torch.optim.Optimizer, average: Average | None
) -> dict[str, Any]:
    """Put a checkpoint back, in place, and return the state that was saved with it."""
    path = folder / NAME
    try:
        with safe_open(path, framework="pt") as file:
            state: dict[str, Any] = json.loads(file.metadata()["state"])
            parts: dict[str, dict[str, Tensor]] = {"network": {}, "average": {}, "momentum": {}}
            for key in file.keys():  # noqa: SIM118  (a file handle, not a dictionary)
                part, _, name = key.partition(".")
                parts[part][name] = file.get_tensor(key)
    except (SafetensorError, OSError, KeyError, TypeError, ValueError) as problem:
        raise TrainingError(f"{path} cannot be read ({problem}): start the run anew in another folder.") from problem
    parameters = [parameter for group in optimiser.param_groups for parameter in group["params"]]
    try:
        network.load_state_dict(parts["network"])
        if average is not None:
            for name, tensor in average.state.items():
                tensor.copy_(parts["average"][name])
        for index, buffer in parts["momentum"].items():
            parameter = parameters[int(index)]
            optimiser.state[parameter]["momentum_buffer"] = torch.empty_like(parameter).copy_(buffer)
    except (RuntimeError, KeyError, IndexError, ValueError) as problem:
        raise TrainingError(f"{path} is of another network or recipe than the run: start the run anew.") from problem
    return state
