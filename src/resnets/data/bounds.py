"""What one picture may cost: pixels, bytes of memory, and pieces that a reader would have to go through.

Every file is measured by its headers against these before anything of it is decoded.
"""

from __future__ import annotations

import threading

from resnets.errors import ImageError

MAX_PIXELS = 64_000_000
"""Larger pictures are refused by their header, but for JPEG: decoded, one would take more than 256 MB."""

MAX_REDUCED = 1_000_000_000
"""Pixels of a JPEG, which may have more: it is decoded at 1/2, 1/4 or 1/8 of its sides then. All of its code has to be
read all the same, at 1.5 ns for a pixel and more."""

MAX_SIDE = 2**20
"""Pixels. A resampling filter keeps as many weights as the longer side has pixels, times some ten bytes."""

MAX_BYTES = 392_000_000
"""Memory that one picture may take while it is decoded, its file included."""

MAX_READER = 850_000_000
"""The same for HEIC, AVIF and WebP, whose readers hold a picture several times: a phone's 48 megapixels take 790 MB."""

HEAVY = 150_000_000
"""Bytes from which on a picture waits for its turn: others are decoded beside it, but no second one like it."""

heavy = threading.RLock()

STRIP = 2**17
"""Pixels or samples that are converted at once: they fit into a processor's cache."""

SCANS = 200
"""Of a JPEG. Its encoders make ten, and the most elaborate scripts a few dozen."""

SCANNED = 1_000_000_000
"""Pixels times scans of a JPEG: every scan goes through all pixels again, which takes 1.5 ns for each at least."""

PIECES = 10_000
"""Segments, chunks, blocks, directory entries: no camera and no program writes as many before the pixels."""

STRIPS = 2**16
"""Strips or tiles of a TIFF."""

FRAMES = 1000
"""Frames or pages are counted up to here, as only the first is decoded."""

SLOW = 8_000_000
"""Samples and bytes of the formats that Pillow reads sample by sample in Python, at some 0.2 microseconds each."""

RATIO, ROOM = 200, 2**28
"""Bytes that come out of an archive or a table, at most: so many times what was read, and beside those."""

SPARE_DISK = 2**28
"""Bytes left free on the disk, for the checkpoints of a run."""


def check_pixels(width: int, height: int, most: int = MAX_PIXELS) -> None:
    """Raise ImageError unless a picture of this size, of `most` pixels, may be decoded."""
    if width <= 0 or height <= 0:
        raise ImageError(f"no pixels ({width} x {height})")
    if width * height > most:
        raise ImageError(f"{width:,} x {height:,} pixels; more than {most // 1_000_000:,} million are refused")
    if max(width, height) > MAX_SIDE:
        raise ImageError(f"{width:,} x {height:,} pixels; sides of more than {MAX_SIDE:,} are refused")


def check_count(count: int, most: int, what: str) -> None:
    """Raise ImageError for more than `most` of `what`."""
    if count > most:
        raise ImageError(f"{count:,} {what}; more than {most:,} are refused")
