"""What a file is: its content, wherever it lies and whatever it is called.

A file is read once for its digest. That is remembered under `home`, by what the system says of the file (size, times of
change, number), so that the same data opened again is not read again. A file that was changed within the last seconds
is not remembered: a second change might not move its times.
"""

from __future__ import annotations

import hashlib
import os
import threading
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import Protocol

from resnets.data.sample import Sample
from resnets.errors import DataError, ImageError
from resnets.machine import cores, home, open_kept
from resnets.progress import track
from resnets.store import own
from resnets.whole import whole

SIZE = 16  # bytes of a digest, and of what is known of a file
SETTLED = 2_000_000_000  # nanoseconds without a change, after which times of change tell a file from a later one
LARGE = 16 * 2**20  # bytes of a file; of larger ones, one at a time is in memory
MOST = 2**22  # files that an index is read for
BLOCK = 64  # files a task
_SUM = hashlib.sha256().digest_size


class Files(Protocol):
    """What is asked of a source: how its files are read, and which file on the disk holds each of them."""

    place: str | None

    def read(self, key: str) -> bytes:
        """As `Source.read`."""

    def holder(self, key: str) -> str:
        """As `Source.holder`."""


def contents(files: Files, samples: Sequence[Sample], *, everything: bool = True) -> dict[str, bytes]:
    """The digest of each sample's content by its key: SIZE bytes of BLAKE2b; equal for equal bytes alone.

    everything  whether these are all files at that place, so that what else was known of it is of no use any more

    A file that cannot be read has a digest of its own, that of no content: nobody knows what is in it.
    """
    index = _Index(files.place)
    states = {sample.key: state for sample in samples if index.path and (state := _state(files, sample.key))}
    known = index.read() if states else {}
    found = {key: known[state] for key, (state, _) in states.items() if state in known}
    read = _read(files, [sample for sample in samples if sample.key not in found])
    found |= {key: digest or _of_nothing(key) for key, digest in read.items()}
    lasting = {state: found[key] for key, (state, settled) in states.items() if settled and read.get(key, True)}
    if not lasting.keys() <= known.keys():
        index.write(lasting if everything else known | lasting)
    return found


def _read(files: Files, samples: Sequence[Sample]) -> dict[str, bytes | None]:
    """Key to digest, or None where the file cannot be read."""
    if not samples:
        return {}
    alone = threading.Lock()

    def digest(block: Sequence[Sample]) -> list[tuple[str, bytes | None]]:
        return [(sample.key, one(sample)) for sample in block]

    def one(sample: Sample) -> bytes | None:
        try:
            if sample.size <= LARGE:
                return digest_of(files.read(sample.key))
            with alone:
                return digest_of(files.read(sample.key))
        except ImageError:
            return None

    found: dict[str, bytes | None] = {}
    pool = ThreadPoolExecutor(cores(), thread_name_prefix="identity")
    with track("reading", len(samples), "files") as advance:
        try:
            blocks = [samples[first : first + BLOCK] for first in range(0, len(samples), BLOCK)]
            for pairs in pool.map(digest, blocks):
                found.update(pairs)
                advance(len(pairs))
        finally:  # Ctrl-C does not wait for what is left
            pool.shutdown(cancel_futures=True)
    return found


def digest_of(data: bytes) -> bytes:
    """The digest of a content."""
    return hashlib.blake2b(data, digest_size=SIZE).digest()


def _of_nothing(key: str) -> bytes:
    return hashlib.blake2b(key.encode("utf-8", "surrogateescape"), digest_size=SIZE, person=b"unreadable").digest()


def _state(files: Files, key: str) -> tuple[bytes, bool] | None:
    """What the system says of a file, as SIZE bytes, and whether it is settled; None where it says nothing."""
    try:
        info, now = os.stat(files.holder(key)), time.time_ns()
    except (OSError, ValueError):
        return None
    state = (info.st_size, info.st_mtime_ns, info.st_ctime_ns, info.st_ino, info.st_dev)
    said = repr(state).encode() + b"\0" + key.encode("utf-8", "surrogateescape")
    settled = now - max(info.st_mtime_ns, info.st_ctime_ns) > SETTLED
    return hashlib.blake2b(said, digest_size=SIZE).digest(), settled


class _Index:
    """What is remembered of the files at a place: pairs of state and digest, and the hash of them all."""

    def __init__(self, place: str | None) -> None:
        self.path: Path | None = None
        if place is not None:
            with suppress(DataError):  # no home: nothing is remembered
                name = hashlib.sha256(place.encode("utf-8", "surrogateescape")).hexdigest()[:32]
                self.path = own(home() / "contents" / f"{name}.index")

    def read(self) -> dict[bytes, bytes]:
        """State to digest; empty where there is no index that is whole."""
        try:
            if self.path is None or not self.path.is_file() or self.path.stat().st_size > 2 * SIZE * MOST + _SUM:
                return {}
            with open_kept(self.path) as file:
                data = file.read()
        except OSError:
            return {}
        pairs, told = data[:-_SUM], data[-_SUM:]
        if hashlib.sha256(pairs).digest() != told or len(pairs) % (2 * SIZE):
            return {}
        return {pairs[at : at + SIZE]: pairs[at + SIZE : at + 2 * SIZE] for at in range(0, len(pairs), 2 * SIZE)}

    def write(self, known: dict[bytes, bytes]) -> None:
        """Remember; where nothing can be written, the files are read again the next time."""
        if self.path is None or len(known) > MOST:
            return
        pairs = b"".join(state + digest for state, digest in known.items())
        with suppress(OSError):
            self.path.parent.mkdir(parents=True, exist_ok=True)
            with whole(self.path) as file:
                file.write(pairs + hashlib.sha256(pairs).digest())
