"""Every file read once: is it a picture, of what kind, and what does it look like when it is small?

All that the doctor knows of a data set's pixels is decided here; the files are not opened again, except those whose
pictures are shown.
"""

from __future__ import annotations

import hashlib
import io
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
from PIL import Image

from resnets.data import decode
from resnets.data.sample import Sample
from resnets.data.source import Source
from resnets.errors import ImageError
from resnets.machine import cores
from resnets.progress import track

THUMB = 64  # pixels, of the thumbnails; enough to learn classes from, and 12 kB an image
FORMATS = ("JPEG", "PNG", "GIF", "WEBP", "TIFF", "BMP", "PPM", "AVIF")
BLOCK = 16  # files for each task


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
        chosen = rows.tolist()
        samples, looks = (tuple(of[i] for i in chosen) for of in (self.samples, self.looks))
        return Looks(samples, looks, self.thumbs[rows], self.broken)


def look_at(data: bytes, full: float | None = None) -> tuple[Look, np.ndarray]:
    """See what the file `data` is, and its thumbnail; `full` and ImageErrors are those of `decode.decode`.

    A JPEG much larger than the thumbnail is decoded at 1/2, 1/4 or 1/8 of its size: all its bytes are read all the
    same, so that damage is seen.
    """
    if not decode.is_picture(data):
        decode.decode(data)  # which says why not
    try:
        with decode.guarded("picture", len(data)), Image.open(io.BytesIO(data), formats=FORMATS) as image:
            mode, turn, (width, height) = image.mode, decode.orientation(image), image.size
            if width * height <= decode.MAX_PIXELS:
                image.draft(None, (2 * THUMB, 2 * THUMB))
            small = decode.as_rgb(image, full)
            frames = getattr(image, "n_frames", 1)
    except ImageError:
        small = decode.decode(data, full)  # which says it in the words that training uses, or can read it after all
        (width, height), mode, turn, frames = small.size, "RGB", 1, 1
    if turn >= 5:
        width, height = height, width
    thumb = np.asarray(small.resize((THUMB, THUMB), Image.Resampling.BILINEAR))
    return Look(hashlib.sha256(data).digest(), width, height, mode, frames, turn), thumb


def look_through(source: Source, samples: Sequence[Sample], full: float | None = None) -> Looks:
    """Read all `samples` once, with one thread for each core. full: as in `decode.decode`."""

    def look(block: Sequence[Sample]) -> list[tuple[Look, np.ndarray] | str]:
        found: list[tuple[Look, np.ndarray] | str] = []
        for sample in block:
            try:
                found.append(look_at(source.read(sample.key), full))
            except ImageError as error:
                found.append(str(error))
        return found

    thumbs = np.empty((len(samples), THUMB, THUMB, 3), np.uint8)
    good: list[tuple[Sample, Look]] = []
    broken: list[tuple[Sample, str]] = []
    blocks = [samples[i : i + BLOCK] for i in range(0, len(samples), BLOCK)]
    with track("looking at files", len(samples), "files") as advance, ThreadPoolExecutor(cores()) as pool:
        for block, results in zip(blocks, pool.map(look, blocks), strict=True):
            for sample, result in zip(block, results, strict=True):
                if isinstance(result, str):
                    broken.append((sample, result))
                else:
                    thumbs[len(good)] = result[1]
                    good.append((sample, result[0]))
            advance(len(block))
    return Looks(tuple(s for s, _ in good), tuple(look for _, look in good), thumbs[: len(good)], tuple(broken))
