"""Every file read once: is it a picture, of what kind, and what does it look like when it is small?

All that the doctor knows of a data set's pixels is decided here; the files are not opened again, except those whose
pictures are shown.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from PIL import Image

from resnets.data import decode
from resnets.data.sample import Sample
from resnets.data.source import Source
from resnets.data.threads import attempt, in_order
from resnets.errors import DataError, ImageError
from resnets.machine import cores, free_memory
from resnets.progress import track
from resnets.store import size

THUMB = 64  # pixels, of the thumbnails; enough to learn classes from, and 12 kB an image


@dataclass(frozen=True, slots=True)
class Look:
    """What one file is."""

    digest: bytes  # SHA-256 of the file
    width: int  # pixels, upright
    height: int
    mode: str  # Pillow's: "RGB", "L", "CMYK", "P", "I;16", ...
    frames: int
    orientation: int  # EXIF, 1 to 8


@dataclass(frozen=True, eq=False)
class Looks:
    """All files of a data set.

    samples     the N that are pictures, in the source's order
    looks       the same N
    thumbs      (N, THUMB, THUMB, 3) uint8 RGB: the whole pictures, stretched to squares
    broken      (sample, reason) of the others
    """

    samples: tuple[Sample, ...]
    looks: tuple[Look, ...]
    thumbs: np.ndarray
    broken: tuple[tuple[Sample, str], ...]

    def only(self, rows: np.ndarray) -> Looks:
        """Some of the pictures: `rows` are places among the N."""
        if len(rows) == len(self.samples):
            return self  # all of them: no second copy of the thumbnails
        chosen = rows.tolist()
        samples, looks = (tuple(of[i] for i in chosen) for of in (self.samples, self.looks))
        return Looks(samples, looks, self.thumbs[rows], self.broken)


def look_at(data: bytes, full: float | None = None) -> tuple[Look, np.ndarray]:
    """See what the file `data` is, and its thumbnail; `full` and ImageErrors are those of `decode.decode`.

    A JPEG much larger than the thumbnail is decoded at 1/2, 1/4 or 1/8 of its size: all its bytes are read all the
    same, so that damage is seen.
    """
    with decode.opened(data) as picture:
        image, turn, frames = picture.image, picture.turn, picture.frames
        mode, (width, height) = image.mode, image.size
        picture.shrink(2 * THUMB)
        small = picture.rgb(full)
    if turn >= 5:
        width, height = height, width
    thumb = np.asarray(small.resize((THUMB, THUMB), Image.Resampling.BILINEAR))
    return Look(hashlib.sha256(data).digest(), width, height, mode, frames, turn), thumb


def look_through(source: Source, samples: Sequence[Sample], full: float | None = None) -> Looks:
    """Read all `samples` once, with one thread for each core. full: as in `decode.decode`."""

    def look(sample: Sample) -> tuple[Look, np.ndarray] | ImageError:
        return attempt(lambda: look_at(source.read(sample.key), full))

    wanted, free = len(samples) * THUMB * THUMB * 3, free_memory()
    if wanted > free:
        raise DataError(
            f"The thumbnails of {len(samples):,} images take {size(wanted)}, and {size(free)} of memory are free: look "
            "at a part of them, a folder of some classes say."
        )
    thumbs = np.empty((len(samples), THUMB, THUMB, 3), np.uint8)
    good: list[tuple[Sample, Look]] = []
    broken: list[tuple[Sample, str]] = []
    with (
        track("looking at files", len(samples), "files") as advance,
        in_order(look, samples, cores()) as blocks,
    ):
        for block, results in blocks:
            for sample, result in zip(block, results, strict=True):
                if isinstance(result, ImageError):
                    broken.append((sample, str(result)))
                else:
                    thumbs[len(good)] = result[1]
                    good.append((sample, result[0]))
            advance(len(block))
    return Looks(tuple(s for s, _ in good), tuple(look for _, look in good), thumbs[: len(good)], tuple(broken))
