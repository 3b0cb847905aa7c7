"""Pictures that fit neither into the cache nor into memory: read and decoded again each time that they are asked for.

They look like the array that they would be: rows by number, by slice or by an array of numbers, and parts of rows. All
of them are decoded once before, since what is no usable picture has to be known before the first epoch.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, cast

import numpy as np

from resnets.data.decoding import REFUSES, Job, Result, Skipped
from resnets.data.sample import Sample
from resnets.data.threads import attempt, in_order
from resnets.errors import DataError, ImageError
from resnets.machine import open_kept
from resnets.store import RECORD, mark
from resnets.text import printable
from resnets.whole import write_json


class Streamed:
    """(N, S, S, 3) uint8, decoded when a part of it is asked for.

    samples     the N of them, all of which were usable when they were last looked at
    read        a sample -> its pixels (S, S, 3); raises ImageError
    size        S
    workers     threads that decode what is asked for
    """

    dtype = np.dtype(np.uint8)
    ndim = 4

    def __init__(
        self, samples: Sequence[Sample], read: Callable[[Sample], np.ndarray], size: int, workers: int
    ) -> None:
        self.samples, self.read, self.workers = samples, read, workers
        self.shape = (len(samples), size, size, 3)

    @property
    def nbytes(self) -> int:
        """Bytes of all pixels."""
        return math.prod(self.shape)

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, index: Any) -> np.ndarray:
        """As of an array, by rows, and by slices of each. Raises DataError for a file that can no longer be read."""
        rows, parts = (index[0], index[1:]) if isinstance(index, tuple) else (index, ())
        if rows is None or rows is Ellipsis or not all(isinstance(part, slice) for part in parts):
            raise TypeError("pictures that are decoded anew are taken by rows, and slices of each")
        numbers = np.arange(len(self))[rows]
        found = self._decoded(np.atleast_1d(numbers))
        found = found if numbers.ndim else found[0]
        return found[(slice(None),) * numbers.ndim + parts]

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        return self[:] if dtype is None else self[:].astype(dtype)

    def __iter__(self) -> Iterator[np.ndarray]:
        """Row by row, a few of them ahead."""
        for first in range(0, len(self), 64):
            yield from self[first : first + 64]

    def _decoded(self, numbers: np.ndarray) -> np.ndarray:
        chosen = [self.samples[number] for number in numbers]
        pixels = np.empty((len(chosen), *self.shape[1:]), np.uint8)
        row = 0
        with in_order(lambda sample: attempt(lambda: self.read(sample)), chosen, self.workers) as done:
            for block, results in done:
                for sample, result in zip(block, results, strict=True):
                    if isinstance(result, ImageError):
                        raise DataError(
                            f"{printable(sample.key)} can no longer be read ({result}): mend that, and go on."
                        )
                    pixels[row] = result
                    row += 1
        return pixels


def stream(path: Path, job: Job) -> Result:
    """Pictures that are decoded when they are asked for; which of them are usable was found out once."""
    skipped = _known(path, job)
    if skipped is None:
        found: list[tuple[str, str]] = []
        for _ in job.decoded(found):
            pass
        skipped = tuple(found)
        if not job.unreadable:
            with suppress(OSError):  # then all of them are looked at again the next time
                path.parent.mkdir(parents=True, exist_ok=True)
                skipping = {"fingerprint": path.stem.partition(".")[0], "skipped": job.rows(found)}
                write_json(path, {**skipping, "images": len(job.samples), "refuses": REFUSES})
    left_out = {key for key, _ in skipped}
    kept = [sample for sample in job.samples if sample.key not in left_out]
    images = Streamed(kept, job.read, job.preprocessing.image_size, job.workers)
    return cast(np.ndarray, images), skipped  # an array to all who take rows of it


def _known(path: Path, job: Job) -> Skipped | None:
    """What was found to be unusable; None: it is not known."""
    try:
        with open_kept(path) as file:
            record = json.loads(file.read(RECORD))
        rows = [row for row, _ in record["skipped"]]
        good = (
            record["fingerprint"] == path.stem.partition(".")[0]
            and record["images"] == len(job.samples) > len(rows)
            and record["refuses"] >= REFUSES
            and all(type(row) is int and 0 <= row < len(job.samples) for row in rows)
            and len(set(rows)) == len(rows)
        )
        if not good:
            return None
        mark(path)
        return tuple((job.samples[row].key, str(why)) for row, why in record["skipped"])
    except (OSError, ValueError, LookupError, TypeError, RecursionError, OverflowError):
        return None
