"""The best look at the held-out images so far: when that was, how long ago, and the weights, where they are kept."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Self

from torch import Tensor

from resnets.training import checkpoint


@dataclass(frozen=True)
class Best:
    """A look after so many steps, and as many looks since as found nothing better.

    loss        on the first half of the held-out images, in nats, as training's own precision has it
    weights     of the network that was looked at, on the CPU; {}: not kept
    """

    step: int
    loss: float
    since: int = 0
    weights: Mapping[str, Tensor] = field(default_factory=dict)

    def document(self) -> dict[str, Any]:
        """As a checkpoint holds it, beside the weights."""
        return {"step": self.step, "loss": self.loss, "since": self.since}

    @classmethod
    def of(cls, table: Mapping[str, Any], weights: Mapping[str, Tensor], network: Mapping[str, Tensor]) -> Self:
        """The reverse; `network` is what the weights must fit. Raises ValueError, KeyError or TypeError."""
        loss = float(table["loss"])
        if not math.isfinite(loss):
            raise ValueError("its best loss is no number")
        if weights and weights.keys() != network.keys():
            raise ValueError("its best weights are of another network")
        for name, tensor in weights.items():
            checkpoint.check(name, tensor, network[name])
        return cls(checkpoint.number(table, "step"), loss, checkpoint.number(table, "since"), weights)
