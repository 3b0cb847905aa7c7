"""What a certificate needs of whoever executes the source."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from torch import Tensor

# How far two right computations may lie apart, as a share of an activation's spread (zero included). Measured on the
# catalog's networks of up to 152 layers with variances down to 1e-5, in every role: 2e-15 and 3e-6 at most. Trained
# networks may be less kind, so both leave room; a wrong rule shows by more (an epsilon off by a thousandth: 1e-4).
EXACT = 1e-9  # both in float64: the order of the additions alone differs
SINGLE = 1e-4  # one of them in float32


@dataclass(frozen=True)
class Reference:
    """Something that executes a foreign file.

    name        as a certificate names it: "torchvision 0.28.0"
    run         (N, C, H, W) float64, preprocessed -> "stem", "stageS.unitU" and "logits", as the emulations give
                them; a framework that shows less gives the logits at least
    versions    of the packages that took part
    tolerance   what is allowed between it and our network in float64, relative to each activation's spread
    """

    name: str
    run: Callable[[Tensor], Mapping[str, Tensor]]
    versions: Mapping[str, str]
    tolerance: float = EXACT


class UnfitError(Exception):
    """Why a framework cannot execute a file: a clause. Never leaves this room."""
