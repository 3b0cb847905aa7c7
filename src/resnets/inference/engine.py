"""What an engine is: batches in, logits out."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from torch import Tensor

    from resnets.inference.quantize import Quantisation


class Engine(Protocol):
    """Runs one network in one precision; called from one thread at a time (`inference.session` sees to that).

    engine(x): x (N, C, H, W) float32, already normalised, in any memory layout, which is left as it is; any N >= 1.
    Returns logits (N, classes) float32 on the processor, before softmax, not divided by a temperature.
    """

    @property
    def name(self) -> str:
        """As `inference.engines` lists it."""

    @property
    def precision(self) -> str:
        """ "float32", "bfloat16" or "int8"."""

    @property
    def quantisation(self) -> Quantisation | None:
        """Of int8."""

    def __call__(self, x: Tensor) -> Tensor:
        """The logits of one batch."""
