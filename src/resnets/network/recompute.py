"""Less memory in training: the units of a stage are computed once more in the backward pass, instead of being kept.

Chen 2016, "Training deep nets with sublinear memory cost": of n units in a row only every sqrt(n)th one's input is
kept, and the units between two of them come into being again when their gradients are asked for. Weights, gradients
and statistics are the same to the bit; a step takes longer, since its forward pass is made twice.
`benchmarks/step_memory.py` measures both.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from functools import partial

from torch import Tensor, nn


def chunks(units: int) -> list[slice]:
    """Which units of a stage, of so many, are computed again together."""
    size = max(1, round(math.sqrt(units)))
    return [slice(first, first + size) for first in range(0, units, size)]


def recomputed(stage: nn.Sequential, x: Tensor, again: AbstractContextManager[object]) -> Tensor:
    """(N, C, H, W) through a stage, of which little is kept for the backward pass.

    again   what the second time happens in: what the first one does, it must do
    """
    from torch.utils.checkpoint import checkpoint  # which brings much that nobody else needs

    for chunk in chunks(len(stage)):
        units = stage[chunk]
        x = checkpoint(
            units,
            x,
            use_reentrant=False,
            preserve_rng_state=False,  # nothing in here is random
            context_fn=partial(_contexts, units, again),
        )
    return x


def _contexts(
    units: nn.Module, again: AbstractContextManager[object]
) -> tuple[AbstractContextManager[None], AbstractContextManager[None]]:
    """Around the first time that units are computed, and around the second."""
    return nullcontext(), _second(units, again)


@contextmanager
def _second(units: nn.Module, again: AbstractContextManager[object]) -> Iterator[None]:
    """What a batch says of its statistics was taken down the first time: now they move on copies."""
    norms = [norm for norm in units.modules() if isinstance(norm, nn.BatchNorm2d) and norm.training]
    kept = [norm._buffers for norm in norms]
    for norm in norms:
        norm._buffers = {name: None if one is None else one.clone() for name, one in norm._buffers.items()}
    try:
        with again:
            yield
    finally:
        for norm, buffers in zip(norms, kept, strict=True):
            norm._buffers = buffers
