"""The state of a training, which is what a checkpoint holds: weights, momentum, average, and how far it has come.

Everything else (order, augmentation, rate, image size) is a function of the step, and no random number is drawn that
would have to be saved: see `data/batches.py`. That is what makes a resume exact.
"""

from __future__ import annotations

import copy
import json
import math
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from resnets.architecture import Plan
from resnets.errors import TrainingError
from resnets.network import ResNet
from resnets.regular import check_regular
from resnets.training.optim import Average, optimiser
from resnets.training.recipe import Recipe
from resnets.weights.formats.safetensors_file import header, put
from resnets.weights.run import CHECKPOINT
from resnets.whole import whole


def memory_format(plan: Plan) -> torch.memory_format:
    """channels_last, which is 1.2 to 1.4 times as fast on a processor, except where it is not safe.

    Measured with torch 2.13.0 on AVX-512, float32: the backward pass of a strided 1x1 convolution from fewer than 16
    channels writes outside its memory when the batch is odd. No network of the catalog has one.
    """
    narrow = any(r.kind == "conv" and r.kernel == 1 and r.stride > 1 and r.in_channels < 16 for r in plan.rows)
    return torch.contiguous_format if narrow else torch.channels_last


class State:
    """What a step of training changes.

    network     trained in place, on `device`
    optimiser   with its momentum
    average     of the weights, which is what is judged and saved; None where the recipe has none
    step        the steps made, which is the number of the next one
    seconds     of training so far, earlier parts of a resumed run included, as of the last checkpoint
    log         bytes of the run's log that belong to these steps
    layout      the memory layout that training uses
    """

    def __init__(self, network: ResNet, recipe: Recipe, device: str = "cpu") -> None:
        self.layout = memory_format(network.plan)
        self.device = device
        self.network = network.to(device, memory_format=self.layout)  # type: ignore[call-overload]
        self.optimiser = optimiser(network, recipe)
        self.average = Average(network, recipe.ema) if recipe.ema else None
        self.step, self.seconds, self.log = 0, 0.0, 0
        self._judge: ResNet | None = None

    def train(self, head_alone: bool) -> None:
        """Let the head train alone (the body's norms keep their statistics too), or everything."""
        self.network.train(not head_alone)
        self.network.head.train()
        for name, parameter in self.network.named_parameters():
            parameter.requires_grad_(not head_alone or name.startswith("head."))

    def trained(self) -> ResNet:
        """The network as it stands, to be judged or saved: the average where there is one, in evaluation mode.

        It is a copy, made anew at each call in the same place; the training goes on undisturbed.
        """
        if self._judge is None:
            self._judge = copy.deepcopy(self.network)
        self._judge.load_state_dict(self.network.state_dict() if self.average is None else self.average.state)
        return self._judge.eval()

    def save(self, folder: Path) -> None:
        """Write the checkpoint of a run: whole, or the one before it stays.

        Raises WriteError (an OSError) when the system does not take it.
        """
        # Row-major copies: the file does not depend on the memory layout that training happens to use.
        plain = {name: tensor.detach().cpu().contiguous() for name, tensor in self._tensors().items()}
        state = {"step": self.step, "seconds": self.seconds, "log": self.log}
        head = header({"state": json.dumps(state)}, plain)
        with whole(folder / CHECKPOINT) as file:
            put(file, head + b" " * (-len(head) % 8), plain)

    def load(self, folder: Path) -> None:
        """Put the checkpoint of a run back, in place.

        Raises TrainingError for one that cannot be read, or that is of another network or recipe.
        """
        path = folder / CHECKPOINT
        try:
            check_regular(path)
            with safe_open(path, framework="pt") as file:
                state: dict[str, Any] = json.loads(file.metadata()["state"])
                step, seconds, log = int(state["step"]), float(state["seconds"]), int(state["log"])
                if min(step, log) < 0 or not 0 <= seconds < math.inf:
                    raise ValueError("its numbers make no sense")
                parts: dict[str, dict[str, Tensor]] = {"network": {}, "average": {}, "momentum": {}}
                for key in file.keys():  # noqa: SIM118  (a file handle, not a dictionary)
                    part, _, name = key.partition(".")
                    parts[part][name] = file.get_tensor(key)
        except (SafetensorError, OSError, KeyError, TypeError, ValueError, OverflowError) as problem:
            raise TrainingError(
                f"{path} cannot be read ({problem}): start the run anew in another folder."
            ) from problem
        try:
            self._put_back(parts)
        except (RuntimeError, KeyError, IndexError, ValueError) as problem:
            raise TrainingError(
                f"{path} is of another network or recipe than the run: start the run anew."
            ) from problem
        self.step, self.seconds, self.log = step, seconds, log

    def _tensors(self) -> dict[str, Tensor]:
        """Everything that a checkpoint holds, under its names there."""
        tensors = {f"network.{name}": tensor for name, tensor in self.network.state_dict().items()}
        if self.average is not None:
            tensors |= {f"average.{name}": tensor for name, tensor in self.average.state.items()}
        for index, values in self.optimiser.state_dict()["state"].items():
            if values.get("momentum_buffer") is not None:
                tensors[f"momentum.{index}"] = values["momentum_buffer"]
        return tensors

    def _put_back(self, parts: dict[str, dict[str, Tensor]]) -> None:
        self.network.load_state_dict(parts["network"])
        if self.average is not None:
            for name, tensor in self.average.state.items():
                tensor.copy_(parts["average"][name])
        parameters = [parameter for group in self.optimiser.param_groups for parameter in group["params"]]
        for index, buffer in parts["momentum"].items():
            parameter = parameters[int(index)]
            self.optimiser.state[parameter]["momentum_buffer"] = torch.empty_like(parameter).copy_(buffer)
