"""Every image is decoded once; afterwards an epoch reads rows of one array.

A small set stays in memory. A larger one becomes a file under `home`, mapped into memory and shared by
all runs and processes that want the same pixels: the rows, then a JSON record with their checksums, then the record's
own checksum in four bytes and its length in eight. Being one file, it is whole or not there, whoever else writes it at
the same moment; it is checked whenever it is opened, and made again when anything is off.
"""

from __future__ import annotations

import errno
import hashlib
import json
import os
import re
import shutil
import struct
import time
import zlib
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from PIL import __version__ as pillow_version
from PIL import features

from resnets.data import blocks
from resnets.data.bounds import SPARE_DISK
from resnets.data.preprocess import Preprocessing
from resnets.data.threads import attempt, in_order
from resnets.errors import DataError, ImageError, UnreadableError
from resnets.machine import cores, home, open_kept
from resnets.progress import say, track
from resnets.store import limit, make_room, mark, own, size
from resnets.text import printable
from resnets.whole import sweep, whole

if TYPE_CHECKING:
    from resnets.data.sample import Sample
    from resnets.data.source import Source

FORMAT = 2  # of the file; counts up when its layout changes
REFUSES = 2  # what is refused; counts up when less is. Files that were left out are then tried again
MAPPED = 0.5  # share of the free memory from which on a file is mapped instead of read
IN_MEMORY = 64 * 2**20  # bytes of pixels; smaller sets are not worth a file
SPARE_MEMORY = 0.3  # share of the free memory that the pixels may not take

# Threads, not processes. Measured on two idle cores, photos of 10 KB to 128 x 128 (imagenette.zip), images/s:
# one thread 1,110 to 1,140, two threads 1,580 to 1,710, two forked processes 1,420 to 1,460. Pillow's codecs
# release the GIL, and forking beside torch's threads is not safe. In tiny files (CIFAR-10's of 1 KB) Python's
# share is so large that two threads, 4,800, hinder each other: one alone reaches 5,500.
TINY = 4096  # bytes of the average file


@dataclass(frozen=True, eq=False)
class Cache:
    """Decoded images, and what became of each sample.

    Attributes:
        images: (N, S, S, 3) uint8, RGB, an array of its own or a mapped file. Writing to it changes this process's view
            only, never the file.
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

    Broken files are left out and listed, nothing takes their place. When the disk is full or the cache
    folder cannot be written, the pixels are kept in memory if they fit.

    workers  threads; None for one per core, or one alone where the files are tiny
    what     the word in the progress display

    Raises DataError: no file is a usable image, or the pixels fit neither on disk nor in memory.
    """
    start = time.perf_counter()
    job = _Job(source, tuple(samples), preprocessing, workers or _workers(samples), what)
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


Result = tuple[np.ndarray, tuple[tuple[str, str], ...]]  # images and skipped, as in `Cache`


@dataclass(frozen=True)
class _Job:
    source: Source
    samples: tuple[Sample, ...]
    preprocessing: Preprocessing
    workers: int
    what: str
    unreadable: list[str] = field(default_factory=list)  # keys that may be readable another time

    @property
    def row(self) -> int:
        """Bytes of one decoded image."""
        return 3 * self.preprocessing.image_size**2

    @property
    def most(self) -> int:
        """Bytes of all, if none is broken."""
        return len(self.samples) * self.row

    def fingerprint(self) -> str:
        """Hex SHA-256 of everything that decides the pixels and their order: where the files lie does not."""
        codecs = [(name, features.version(name)) for name in ("libjpeg_turbo", "zlib", "webp")]
        with suppress(PackageNotFoundError):  # where it is installed, what was skipped may be readable
            codecs.append(("heif", version("pillow-heif")))
        made_by = [FORMAT, self.preprocessing.geometry(), pillow_version, codecs]
        digest = hashlib.sha256(json.dumps(made_by).encode())
        contents = self.source.contents_of(self.samples)
        for sample in self.samples:
            digest.update(contents[sample.key])
        return digest.hexdigest()

    def in_memory(self) -> Result:
        size = self.preprocessing.image_size
        images = np.empty((len(self.samples), size, size, 3), np.uint8)
        skipped: list[tuple[str, str]] = []
        kept = 0
        for pixels in self.decoded(skipped):
            images[kept] = pixels
            kept += 1
        return images[:kept], tuple(skipped)

    def decoded(self, skipped: list[tuple[str, str]]) -> Iterator[np.ndarray]:
        """The pixels of every usable sample in order; the others are added to ``skipped``."""

        def decode(sample: Sample) -> np.ndarray | ImageError:
            return attempt(lambda: self.preprocessing.read(self.source.read(sample.key)))

        with (
            track(self.what, len(self.samples)) as advance,
            in_order(decode, self.samples, self.workers) as done,
        ):
            for block, results in done:
                for sample, result in zip(block, results, strict=True):
                    if isinstance(result, ImageError):
                        skipped.append((sample.key, str(result)))
                        if isinstance(result, UnreadableError):
                            self.unreadable.append(sample.key)
                    else:
                        yield result
                advance(len(block))
        if len(skipped) == len(self.samples):
            key, why = skipped[0]
            raise DataError(
                f"None of the {len(skipped):,} files of {self.source.name} is a usable image; the first, "
                f"{printable(key)}: {why}. Check that this is the right data."
            )


def _workers(samples: Sequence[Sample]) -> int:
    if sum(sample.size for sample in samples) < TINY * len(samples):
        return 1
    return cores()


def _open(path: Path, job: _Job) -> Result | None:
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
            fits = rows < _free_memory() * MAPPED
            images = blocks.read(file, (count, size, size, 3), record["checksums"], fits=fits)
            if images is None:
                return None
            mark(path)
            return images, skipped
    except (OSError, ValueError, LookupError, TypeError, OverflowError, RecursionError, struct.error):
        return None


def _build(path: Path, job: _Job) -> Result:
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
    if job.most > _free_memory() * (1 - SPARE_MEMORY):
        raise DataError(
            f"The decoded images need {size(job.most + SPARE_DISK)} of disk in {path.parent} "
            f"({problem}) and do not fit into memory: free some space, or set RESNETS_HOME to a folder "
            f"that has it."
        )
    return job.in_memory()


def _write(path: Path, job: _Job) -> None:
    folder = path.parent
    folder.mkdir(parents=True, exist_ok=True)
    sweep(folder)  # what killed writers have left takes room
    if freed := make_room(job.most):
        say(f"the cache had no room left: {size(freed)} of older pictures and features removed")
    if job.most > limit():
        say(f"these pictures, decoded, take {size(job.most)}: more than the cache's limit of {size(limit())}")
    if shutil.disk_usage(folder).free < job.most + SPARE_DISK:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    with whole(path) as file:  # two that build the same cache do not meet, and the last one wins
        skipped: list[tuple[str, str]] = []
        checksums = blocks.Checksums()
        for pixels in job.decoded(skipped):
            file.write(pixels.data)
            checksums.add(pixels.reshape(-1))
        rows = {sample.key: row for row, sample in enumerate(job.samples)}
        record = {
            "fingerprint": path.name.partition(".")[0],
            "source": job.source.name,
            "geometry": job.preprocessing.geometry(),
            "skipped": [(rows[key], why) for key, why in skipped],
            "refuses": REFUSES,
            "checksums": checksums.all(),
        }
        text = json.dumps(record).encode()
        file.write(text + struct.pack("<LQ", zlib.crc32(text), len(text)))


def _free_memory() -> int:
    """Bytes that this process could still take, as far as the system tells; else half of all memory."""
    free = []
    try:
        free += [1024 * int(n) for n in re.findall(r"MemAvailable: +(\d+)", Path("/proc/meminfo").read_text())]
        limit, used = (Path(f"/sys/fs/cgroup/memory.{name}").read_text() for name in ("max", "current"))
        free += [int(limit) - int(used)]  # a container's limit; "max" is none
    except (OSError, ValueError):
        pass
    if not free and hasattr(os, "sysconf"):
        free = [os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") // 2]
    return min(free, default=2**31)
