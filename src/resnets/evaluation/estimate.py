"""What a network is worth by the answers to its own training images, each by a head that has not seen that image.

Where few images are held out, the training images tell far more; with a trained body a head is made in seconds, so that
each of them can be answered by one that was fitted on the other folds alone.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from resnets.errors import ParameterError
from resnets.evaluation.metrics import measure
from resnets.evaluation.significance import shown
from resnets.weights.result import TrainResult

HOW = "out of fold"


@dataclass(frozen=True)
class Estimate:
    """What out-of-fold answers come to. Fractions of 0..1.

    top1, interval  the share of right answers, and its 95 % interval
    images          how many were answered
    how             in words
    """

    top1: float
    interval: tuple[float, float]
    images: int
    how: str = HOW

    def document(self) -> dict[str, Any]:
        """What a program reads, ready for JSON."""
        return {"top1": self.top1, "interval": list(self.interval), "images": self.images, "how": self.how}


def out_of_fold(logits: np.ndarray, labels: np.ndarray, classes: Sequence[str]) -> Estimate:
    """The estimate by the answers to training images.

    logits      (N, classes), finite, N > 0: of each image by a head that was fitted without it, and without its copies
    labels      (N,) the true classes, as places in `classes`

    What it assumes: a head that sees 80 % of the images is as good as the one of all, which is slightly
    pessimistic; and the body has seen none of them: for one that was tuned on these images it would be far too good.

    Raises ParameterError for other shapes, and for what is not finite.
    """
    if logits.shape != (len(labels), len(classes)) or not len(labels) or not np.isfinite(logits).all():
        raise ParameterError(
            f"Out-of-fold answers are finite, (images, classes), not {logits.shape} for {len(labels)} images of "
            f"{len(classes)} classes."
        )
    figures = measure(logits, labels, classes)
    return Estimate(figures["top1"], tuple(figures["top1_interval"]), len(labels))


def told(result: TrainResult) -> str:
    """What a run came to: "top-1 93.3 % (82 to 98) on 45 held-out images; 92.1 % (88 to 95) out of fold on 250"."""
    images, estimate = result.held_out_images, result.estimate
    on = "the" if images is None else f"{images:,}"  # older versions did not write it down
    line = f"top-1 {shown(result.top1, result.top1_interval)} on {on} held-out image{'' if images == 1 else 's'}"
    if estimate is not None:
        own = shown(estimate["top1"], estimate["interval"])
        line += f"; {own} {estimate['how']} on {estimate['images']:,}"
    return line
