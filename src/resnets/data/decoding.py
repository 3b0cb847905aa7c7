"""What is to be decoded, in which form, and how: in threads, in order; nothing takes a broken file's place."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from importlib.metadata import PackageNotFoundError, version

import numpy as np
from PIL import __version__ as pillow_version
from PIL import features

from resnets.data.preprocess import Preprocessing
from resnets.data.sample import Sample
from resnets.data.source import Source
from resnets.data.threads import attempt, in_order
from resnets.errors import DataError, ImageError, UnreadableError
from resnets.machine import cores
from resnets.progress import track
from resnets.text import printable

FORMAT = 2  # of the file; counts up when its layout changes
REFUSES = 2  # what is refused; counts up when less is. Files that were left out are then tried again

# Threads, not processes. Measured on two idle cores, photos of 10 KB to 128 x 128 (imagenette.zip), images/s:
# one thread 1,110 to 1,140, two threads 1,580 to 1,710, two forked processes 1,420 to 1,460. Pillow's codecs
# release the GIL, and forking beside torch's threads is not safe. In tiny files (CIFAR-10's of 1 KB) Python's
# share is so large that two threads, 4,800, hinder each other: one alone reaches 5,500.
TINY = 4096  # bytes of the average file


Skipped = tuple[tuple[str, str], ...]
Result = tuple[np.ndarray, Skipped]  # images and skipped, as in `Cache`


@dataclass(frozen=True)
class Job:
    """Samples of a source to be decoded.

    workers     threads
    what        the words in the progress display
    unreadable  keys of what cannot be read now, and may be another time
    """

    source: Source
    samples: tuple[Sample, ...]
    preprocessing: Preprocessing
    workers: int
    what: str
    unreadable: list[str] = field(default_factory=list)

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

    def read(self, sample: Sample) -> np.ndarray:
        """(S, S, 3). Raises ImageError."""
        return self.preprocessing.read(self.source.read(sample.key))

    def rows(self, skipped: Sequence[tuple[str, str]]) -> list[tuple[int, str]]:
        """What was skipped by its number: names may change."""
        rows = {sample.key: row for row, sample in enumerate(self.samples)}
        return [(rows[key], why) for key, why in skipped]

    def in_memory(self) -> Result:
        """All of it, in an array."""
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
            return attempt(lambda: self.read(sample))

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


def workers_for(samples: Sequence[Sample]) -> int:
    """Threads that decode these fastest."""
    if sum(sample.size for sample in samples) < TINY * len(samples):
        return 1
    return cores()
