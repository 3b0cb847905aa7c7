"""Labelled images -> batches, epoch by epoch: what training asks of them, and how decoded images give it.

Nothing here has a state that a checkpoint would have to save: a batch is a function of (seed, epoch, step),
and the random numbers of an image are a function of (seed, epoch, index). So a resumed run, and a run with
more workers, sees the same batches with the same augmentation.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import torch
from torch import Tensor

from resnets.data.augment import DICE
from resnets.errors import DataError

# Two independent streams of one epoch: numpy's Philox is keyed by (seed, epoch), its counter tells them apart.
_ORDER, _DICE = 0, 1


def _stream(seed: int, epoch: int, which: int) -> np.random.Generator:
    return np.random.Generator(np.random.Philox(key=[seed, epoch], counter=[0, 0, 0, which]))


@dataclass(frozen=True, slots=True)
class Batch:
    """Images (B, S, S, 3) uint8 and labels (B,) int64, with what is needed to augment and to trace them.

    indices are positions in the training samples; dice (B, DICE) are uniform numbers of [0, 1), a row an image;
    waited is how long, in seconds, the training had to wait for this batch.
    """

    step: int
    indices: np.ndarray
    images: Tensor
    labels: Tensor
    dice: Tensor
    waited: float


class Batches(Protocol):
    """What the loop of training asks of images, wherever they come from.

    A batch is the same however often it is asked for: a run that was stopped begins again in the middle of an epoch,
    and must see what it would have seen.
    """

    @property
    def steps(self) -> int:
        """Batches of an epoch."""

    @property
    def batch_size(self) -> int:
        """Images of a batch."""

    def epoch(self, epoch: int, start: int = 0) -> Iterator[Batch]:
        """The batches of an epoch, 0 the first, from `start` on (0: all of them)."""

    def names(self, epoch: int, step: int) -> list[str]:
        """The images of one batch, as messages name them."""


class CachedBatches:
    """Batches of decoded images, in an order that only (seed, epoch) decide.

    images      (N, S, S, 3) uint8, an array or a memory map
    labels      (N,) class indices
    keys        the N names, for messages
    batch_size  a smaller rest at the end of an epoch is left out of it (another shuffle, other images), since
                a norm over a handful of images harms more than they help
    workers     threads that read ahead; the batches do not depend on their number
    part        of each batch, which of its images come: of several processes each takes its own
    balanced    every class is drawn equally often: the images of small ones several times in an epoch, each time
                augmented otherwise, and of large ones a part

    Raises DataError unless there are images, and as many labels and names.
    """

    def __init__(
        self,
        images: np.ndarray,
        labels: np.ndarray,
        keys: Sequence[str],
        batch_size: int,
        seed: int,
        workers: int = 1,
        *,
        balanced: bool = False,
        part: slice = slice(None),
    ) -> None:
        if not len(images) == len(labels) == len(keys) or not len(images):
            raise DataError(
                f"There are {len(images)} images but {len(labels)} labels and {len(keys)} names to train on."
            )
        self.images = images
        self.labels = torch.from_numpy(np.asarray(labels, dtype=np.int64))
        self.keys = keys
        self.batch_size = min(batch_size, len(images))
        self.steps = len(images) // self.batch_size
        self.seed = seed
        self.workers = max(1, workers)
        self.balanced = balanced
        self.part = part

    def order(self, epoch: int) -> np.ndarray:
        """(N,) the epoch's shuffle: row s of the first steps * batch_size entries is batch s."""
        stream = _stream(self.seed, epoch, _ORDER)
        return _even(self.labels.numpy(), stream) if self.balanced else stream.permutation(len(self.images))

    def indices(self, epoch: int, step: int) -> np.ndarray:
        """(B,) the images of one batch."""
        return self.order(epoch)[step * self.batch_size : (step + 1) * self.batch_size]

    def names(self, epoch: int, step: int) -> list[str]:
        """The images of one batch, as messages name them."""
        return [self.keys[index] for index in self.indices(epoch, step)]

    def epoch(self, epoch: int, start: int = 0) -> Iterator[Batch]:
        """The batches of an epoch from `start` on (0: the whole epoch)."""
        order = self.order(epoch)
        dice = _stream(self.seed, epoch, _DICE).random((len(self.images), DICE), dtype=np.float32)

        def make(step: int) -> tuple[np.ndarray, Tensor, Tensor, Tensor]:
            chosen = order[step * self.batch_size : (step + 1) * self.batch_size][self.part]
            images = torch.from_numpy(self.images[chosen])
            # An image that comes twice is not augmented alike: its dice are then those of its place.
            thrown = dice[step * self.batch_size : (step + 1) * self.batch_size] if self.balanced else dice[chosen]
            return chosen, images, self.labels[chosen], torch.from_numpy(thrown[self.part] if self.balanced else thrown)

        pool = ThreadPoolExecutor(self.workers, thread_name_prefix="batches")
        try:
            ahead: deque[Future[tuple[np.ndarray, Tensor, Tensor, Tensor]]] = deque()
            submitted = start
            for step in range(start, self.steps):
                while submitted < min(self.steps, step + 1 + 2 * self.workers):
                    ahead.append(pool.submit(make, submitted))
                    submitted += 1
                began = time.perf_counter()
                parts = ahead.popleft().result()
                yield Batch(step, *parts, waited=time.perf_counter() - began)
        finally:
            pool.shutdown(cancel_futures=True)


def _even(labels: np.ndarray, stream: np.random.Generator) -> np.ndarray:
    """(N,) indices in which every class comes equally often (but for one), and its images as often as each other."""
    present = stream.permutation(np.unique(labels))
    drawn = []
    for place, label in enumerate(present):
        own = np.flatnonzero(labels == label)
        wanted = len(labels) // len(present) + (place < len(labels) % len(present))
        rounds = [stream.permutation(own) for _ in range(-(-wanted // len(own)))]
        drawn.append(np.concatenate([np.empty(0, np.int64), *rounds])[:wanted])
    return stream.permutation(np.concatenate(drawn))
