"""Pictures in batches -> logits -> top-1: one way, shared by training's glance, evaluate, the gate and the probe."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from torch import Tensor

from resnets.progress import track

BATCH = 64  # images that a network sees at once; throughput is flat from 8

Run = Callable[[np.ndarray], Tensor]  # (N, S, S, 3) uint8, as the network sees them -> logits (N, classes)


def answers(run: Run, images: np.ndarray, classes: int, what: str = "evaluating", at_once: int = BATCH) -> np.ndarray:
    """What `run` says of every image, each asked once: (N, classes) float32.

    images      (N, S, S, 3) uint8, an array or a memory map
    what        the words in the progress display; "" shows none
    at_once     images that `run` is given together
    """
    # NaN until the network has answered: an image that nobody asked about cannot pass as judged.
    logits = np.full((len(images), classes), np.nan, np.float32)
    if not what:
        for rows in _batches(len(images), at_once):
            logits[rows] = run(images[rows]).float().cpu()
        return logits
    with track(what, len(logits)) as advance:
        for rows in _batches(len(images), at_once):
            logits[rows] = run(images[rows]).float().cpu()
            advance(len(logits[rows]))
    return logits


def top1(logits: np.ndarray, labels: np.ndarray) -> float:
    """The share of images, 0 to 1, whose largest logit is that of their class; what is no number names no class."""
    named = np.where(np.isfinite(logits).all(axis=1), logits.argmax(axis=1), -1)
    return float((named == labels).mean())


def _batches(count: int, size: int) -> list[slice]:
    return [slice(first, first + size) for first in range(0, count, size)]
