"""Is there room on the disk for what a run will write? Asked before the work, and not after it."""

from __future__ import annotations

import shutil
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

from torch import Tensor

from resnets.errors import TrainingError
from resnets.progress import warn
from resnets.text import printable
from resnets.training.state import State
from resnets.weights.run import CHECKPOINT

PAGES = 4 * 2**20  # bytes of report, curves, log and run.json, about


def check(folder: Path, state: State, *, keeps_best: bool = False) -> None:
    """Raise TrainingError where no checkpoint after the first would fit; warn where the end may not.

    keeps_best      whether checkpoints hold the weights of the best look, too

    A new checkpoint is written beside the old one, which stays until it is whole.
    """
    weights = _bytes(state.network.state_dict().values())
    stands = weights + (_bytes(state.average.state.values()) if state.average is not None else 0)
    momentum = any(group["momentum"] for group in state.optimiser.param_groups)
    aside = weights if keeps_best else 0
    checkpoint = aside + 2 * stands + (_bytes(state.network.parameters()) if momentum else 0)  # with a good state
    first = 0 if (folder / CHECKPOINT).exists() else stands
    with suppress(OSError):  # a disk that does not say
        free = shutil.disk_usage(folder).free
        shown = f"{printable(str(folder))} lies on a disk with {_mega(free)} free"
        if free < first + checkpoint:
            least = _mega(first + checkpoint)
            raise TrainingError(f"{shown}, and this run's checkpoints take {least}: make room, or give another `out`.")
        need = (2 * checkpoint if first else checkpoint) + weights + PAGES
        if free < need:
            warn(f"{shown}, and this run may take {_mega(need)}: make room, or its end may find none.")


def _bytes(tensors: Iterable[Tensor]) -> int:
    return sum(tensor.nbytes for tensor in tensors)


def _mega(size: int) -> str:
    return f"{size / 1e6:,.1f} MB"
