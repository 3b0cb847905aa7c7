"""Every image is decoded once; afterwards an epoch reads rows of one array.

A small set stays in memory, and one that has room nowhere is decoded when it is asked for (`streamed`). A larger one
becomes a file under `home`, mapped into memory and shared by all runs and processes that want the same pixels: the
rows, then a JSON record with their checksums, then the record's own checksum in four bytes and its length in eight.
Being one file, it is whole or not there, whoever else writes it at the same moment; it is checked whenever it is
opened, and made again when anything is off.
"""

from __future__ import annotations

import errno
import json
import os
import shutil
import struct
import time
import zlib
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from resnets import machine
from resnets.data import blocks
from resnets.data.bounds import SPARE_DISK
from resnets.data.decoding import REFUSES, Job, Result, workers_for
from resnets.data.preprocess import Preprocessing
from resnets.data.streamed import stream
from resnets.errors import DataError
from resnets.machine import home, open_kept
from resnets.progress import say
from resnets.store import limit, make_room, mark, own, size
from resnets.text import printable
from resnets.whole import sweep, whole

if TYPE_CHECKING:
    from resnets.data.sample import Sample
    from resnets.data.source import Source

MAPPED = 0.5  # share of the free memory from which on a file is mapped instead of read
IN_MEMORY = 64 * 2**20  # bytes of pixels; smaller sets are not worth a file
SPARE_MEMORY = 0.3  # share of the free memory that the pixels may not take


@dataclass(frozen=True, eq=False)
class Cache:
    """Decoded images, and what became of each sample.

    Attributes:
        images: (N, S, S, 3) uint8, RGB, an array of its own or a mapped file, or what looks like one (`streamed`).
            Writing to it changes this process's view only, never the file.
        samples: the N samples kept, in the order asked for.
        skipped: key and reason of every file that is no usable image, in the same order.
        seconds: that it took.
        reused: True when an earlier run had decoded them.
    """

    images: np.ndarray
    samples: tuple[Sample, ...]
    skipped: tuple[tuple[str, str], ...]
    seconds: float
    reused: bool


def cached(
    source: Source,
    samples: Sequence[Sample],
    preprocessing: Preprocessing,
    *,
    workers: int | None = None,
    what: str = "decoding",
) -> Cache:
    """Decode, resize and crop ``samples`` of ``source``, or find the result of an earlier run.

    Broken files are left out and listed, nothing takes their place. When the disk is full, the cache folder cannot be
    written, or its limit is smaller, the pixels are kept in memory if they fit; else they are decoded anew each time.

    workers  threads; None for one per core, or one alone where the files are tiny
    what     the word in the progress display

    Raises DataError: no file is a usable image.
    """
    start = time.perf_counter()
    job = Job(source, tuple(samples), preprocessing, workers or workers_for(samples), what)
    if not job.samples:
        raise DataError(f"{source.name} has no files to decode here.")
    reused = False
    if job.most < IN_MEMORY:
        images, skipped = job.in_memory()
    else:
        path = own(home() / "cache" / f"{job.fingerprint()}.u8")
        found = _open(path, job)
        reused = found is not None
        images, skipped = found or _build(path, job)
    left_out = {key for key, _ in skipped}
    kept = tuple(sample for sample in job.samples if sample.key not in left_out)
    return Cache(images, kept, skipped, time.perf_counter() - start, reused)


def middle(images: np.ndarray, size: int, rows: slice | np.ndarray = slice(None)) -> np.ndarray:
    """(N, size, size, 3): these rows of (N, S, S, 3) as they are judged, without the margin that crops need."""
    edge = (images.shape[1] - size) // 2
    return images[rows, edge : edge + size, edge : edge + size]


def _open(path: Path, job: Job) -> Result | None:
    """The finished file, or None when there is none, or anything about it is off."""
    try:
        with open_kept(path) as file:
            end = file.seek(-12, os.SEEK_END)
            checksum, length = struct.unpack("<LQ", file.read(12))
            rows = end - length
            file.seek(rows)
            text = file.read(length)
            record = json.loads(text)
            skipped = tuple((job.samples[int(row)].key, str(why)) for row, why in record["skipped"])
            if skipped and record.get("refuses", 1) < REFUSES:
                return None
            count, size = len(job.samples) - len(skipped), job.preprocessing.image_size
            good = (
                zlib.crc32(text) == checksum
                and record["fingerprint"] == path.name.partition(".")[0]
                and rows == count * job.row
            )
            if not good:
                return None
            fits = rows < machine.free_memory() * MAPPED
            images = blocks.read(file, (count, size, size, 3), record["checksums"], fits=fits)
            if images is None:
                return None
            mark(path)
            return images, skipped
    except (OSError, ValueError, LookupError, TypeError, OverflowError, RecursionError, struct.error):
        return None


def _build(path: Path, job: Job) -> Result:
    """Decode into the file, or into memory where the file cannot be written."""
    try:
        _write(path, job)
        if (found := _open(path, job)) is not None:
            if job.unreadable:  # the next run shall try them again; what is mapped outlives its name
                with suppress(OSError):
                    path.unlink()
            return found
        problem = "the file was gone at once"
    except OSError as error:
        problem = error.strerror or str(error)
    if job.most <= machine.free_memory() * (1 - SPARE_MEMORY):
        say(f"{len(job.samples):,} decoded pictures are kept in memory for this time, since {problem}")
        return job.in_memory()
    say(
        f"{len(job.samples):,} pictures, decoded, take {size(job.most)}, which fit neither into memory nor into "
        f"{printable(str(path.parent))} ({problem}): they are decoded again in every epoch, which is slower. Room, "
        "another RESNETS_HOME or RESNETS_CACHE_LIMIT mends it."
    )
    return stream(own(path.with_suffix(".json")), job)


def _write(path: Path, job: Job) -> None:
    folder = path.parent
    folder.mkdir(parents=True, exist_ok=True)
    sweep(folder)  # what killed writers have left takes room
    if freed := make_room(job.most):
        say(f"the cache had no room left: {size(freed)} of older pictures and features removed")
    if job.most > limit():
        raise OSError(errno.EFBIG, f"more than the cache's limit of {size(limit())}")
    if shutil.disk_usage(folder).free < job.most + SPARE_DISK:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    with whole(path) as file:  # two that build the same cache do not meet, and the last one wins
        skipped: list[tuple[str, str]] = []
        checksums = blocks.Checksums()
        for pixels in job.decoded(skipped):
            file.write(pixels.data)
            checksums.add(pixels.reshape(-1))
        record = {
            "fingerprint": path.name.partition(".")[0],
            "source": job.source.name,
            "geometry": job.preprocessing.geometry(),
            "skipped": job.rows(skipped),
            "refuses": REFUSES,
            "checksums": checksums.all(),
        }
        text = json.dumps(record).encode()
        file.write(text + struct.pack("<LQ", zlib.crc32(text), len(text)))
