"""How good is the network by now? A look between epochs, at the held-out images and at as many that it is taught."""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from resnets.data import cache
from resnets.data.preprocess import Preprocessing
from resnets.evaluation.answers import BATCH, answers, top1
from resnets.evaluation.calibration import halves
from resnets.training.observer import EpochRecord, Observer, Training
from resnets.training.prepared import Prepared
from resnets.training.setup import label_indices
from resnets.training.state import State
from resnets.weights.model import at_once

LOOKED_AT = 200  # training images that the network is asked about again, at most
LOSS_ROWS = 128  # rows whose losses are added up in float32; the sums of these in double

Labelled = tuple[np.ndarray, np.ndarray]  # images (N, S, S, 3) uint8 and their classes (N,) int64


class Glance(Observer):
    """A quick look between epochs, in the training's precision, each image once and without augmentation.

    held_out    gives "top1" and "held_out_loss"
    learnt      training images, which give "train_top1"; None: none
    classes     how many there are
    first       (N,) bool, the held-out images of the half that may choose among epochs, whose loss is then told, too
                ("first_half_loss"); None: nobody chooses
    """

    def __init__(
        self,
        held_out: Labelled,
        learnt: Labelled | None,
        classes: int,
        preprocessing: Preprocessing,
        precision: str,
        first: np.ndarray | None = None,
    ) -> None:
        self.held_out, self.learnt, self.classes = held_out, learnt, classes
        self.preprocessing, self.precision, self.first = preprocessing, precision, first

    @classmethod
    def of(cls, prepared: Prepared, images: int | None = None) -> Glance:
        """That of a run. images: look at the first held-out images alone, so many of them; None: at all that count."""
        record, recipe, decoded = prepared.record, prepared.recipe, prepared.held_out
        few = decoded.images if images is None else decoded.images[:images]
        held_out = few, label_indices(decoded, record.classes)[:images]
        first = halves(held_out[0]) == 0 if recipe.patience or recipe.keep == "best" else None
        learnt = None if images is not None else taught(prepared, min(LOOKED_AT, len(decoded.images)))
        return cls(held_out, learnt, len(record.classes), prepared.preprocessing, record.precision, first)

    def epoch_ended(self, training: Training, epoch: EpochRecord) -> None:
        """Judge where the schedule says so."""
        if training.schedule.glances(training.recipe, epoch.epoch):
            epoch.figures.update(self.look(training.state))

    @torch.no_grad()
    def look(self, state: State) -> dict[str, float]:
        """Fractions and nats."""
        network, device = state.trained(), state.device

        def run(images: np.ndarray) -> Tensor:
            with torch.autocast(device, torch.bfloat16, enabled=self.precision == "bfloat16"):
                pixels = torch.from_numpy(np.array(images)).to(device)
                return network(self.preprocessing.normalise(pixels))  # type: ignore[no-any-return]

        images, labels = self.held_out
        few = at_once(network, self.preprocessing.image_size, BATCH)
        logits = answers(run, images, self.classes, what="", at_once=few)
        found = {"top1": top1(logits, labels), "held_out_loss": loss(logits, labels)}
        if self.learnt is not None:
            known = answers(run, self.learnt[0], self.classes, what="", at_once=few)
            found["train_top1"] = top1(known, self.learnt[1])
        if self.first is not None and self.first.any():
            found["first_half_loss"] = loss(logits[self.first], labels[self.first])
        return found


def loss(logits: np.ndarray, labels: np.ndarray) -> float:
    """The mean cross entropy of (N, classes) float32 with (N,) classes, in nats."""
    total = 0.0
    for first in range(0, len(logits), LOSS_ROWS):
        rows = slice(first, first + LOSS_ROWS)
        total += float(F.cross_entropy(torch.from_numpy(logits[rows]), torch.from_numpy(labels[rows]), reduction="sum"))
    return total / len(logits)


def taught(prepared: Prepared, count: int) -> Labelled:
    """So many training images, spread over all of them, as they are judged."""
    labels = label_indices(prepared.train, prepared.record.classes)
    rows = np.unique(np.linspace(0, len(labels) - 1, min(count, len(labels))).astype(int))
    return middle(prepared, rows), labels[rows]


def middle(prepared: Prepared, rows: np.ndarray) -> np.ndarray:
    """(N, S, S, 3) uint8: these training images as they are judged, without the margin that crops need."""
    return np.array(cache.middle(prepared.train.images, prepared.preprocessing.image_size, rows))
