"""How well a network knows the images that it is taught: what a paper draws as training error."""

from __future__ import annotations

import time

import numpy as np
import torch
from torch import Tensor

from resnets.data.batches import CachedBatches
from resnets.data.cache import middle
from resnets.evaluation.answers import BATCH, answers, top1
from resnets.training import EpochRecord, Observer, StepRecord, Training
from resnets.weights.model import at_once

BETWEEN = 1000  # images that are asked about after an epoch; after the last one, all of them


TAUGHT, OF = "taught_top1", "taught_images"  # figures of the log, which no training has that a study has not made


class Taught(Observer):
    """Judges training images after each epoch, without augmentation, in float32."""

    def epoch_ended(self, training: Training, epoch: EpochRecord) -> None:
        """A share, and of how many images."""
        images, labels = examples(training, None if training.state.step >= training.total else BETWEEN)
        network, preprocessing = training.state.trained(), training.preprocessing

        def run(pixels: np.ndarray) -> Tensor:
            with torch.inference_mode():
                seen = torch.from_numpy(np.array(middle(pixels, training.image_size)))
                return network(preprocessing.normalise(seen.to(training.state.device)))  # type: ignore[no-any-return]

        few = at_once(network, training.image_size, BATCH)
        logits = answers(run, images, network.plan.num_classes, what="", at_once=few)
        epoch.figures.update({TAUGHT: top1(logits, labels), OF: len(labels)})


class TimeUp(Exception):
    """The time of a call is over; the run goes on from its checkpoint in the next one."""


class Until(Observer):
    """Ends a training between two steps when the clock (`time.perf_counter`) says so, by raising TimeUp."""

    def __init__(self, ends: float) -> None:
        self.ends = ends

    def stepped(self, training: Training, step: StepRecord) -> None:
        """Look at the clock."""
        if time.perf_counter() > self.ends:
            raise TimeUp


def examples(training: Training, count: int | None) -> tuple[np.ndarray, np.ndarray]:
    """(images (N, S, S, 3) uint8, labels (N,)): so many of the training images, spread over all; None: all of them.

    They have the margin that crops need: see `data.cache.middle`.
    """
    batches = training.batches
    assert isinstance(batches, CachedBatches)  # of decoded images, as every run's are
    total = len(batches.images)
    rows = np.unique(np.linspace(0, total - 1, min(count or total, total)).astype(int))
    return batches.images[rows] if len(rows) < total else batches.images, batches.labels.numpy()[rows]
