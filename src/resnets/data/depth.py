"""What is white in the pictures of a set that have more than eight bits.

A file of sixteen bits often holds ten or twelve: read at its full scale it is nearly black. One file cannot tell, for
it may be dark. The set can, and its answer travels with the model's preprocessing.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from contextlib import suppress

from resnets.data import decode
from resnets.data.sample import Sample
from resnets.data.source import Source
from resnets.errors import ImageError
from resnets.progress import track

LOOKED_AT = 500  # files, evenly spread; those of formats that never have more than eight bits do not count
MOST_BYTES = 2**30  # of these files together
ENDINGS = ("png", "tif", "tiff", "pgm", "pnm", "ppm")
SIXTEEN = 2.0**16 - 1  # what is white in PNG and PNM files unless a set says otherwise
_BEGINNINGS = (b"\x89PNG", b"II*\0", b"MM\0*", b"II+\0", b"MM\0+", b"P")


def full_scale(source: Source, samples: Sequence[Sample]) -> float | None:
    """The value of white in a set's pictures of more than eight bits: their largest, rounded up to 2^k - 1.

    source, samples     the files that train

    None where no picture has more than eight bits, and where each file's own scale says the same.
    """
    deep = [sample for sample in samples if sample.key.rpartition(".")[2].lower() in ENDINGS]
    step = max(1, -(-len(deep) // LOOKED_AT), -(-sum(sample.size for sample in deep) // MOST_BYTES))
    most, told = 0.0, True
    with track("looking at bits", len(deep[::step]), "files") as advance:
        for sample in deep[::step]:
            with suppress(ImageError):  # decoding names it
                value, by_format = _most(source.read(sample.key))
                most, told = max(most, value), told and by_format
            advance(1)
    if most <= 0:
        return None
    full = 2.0 ** math.ceil(math.log2(most + 1)) - 1
    return None if full == SIXTEEN and told else full


def _most(data: bytes) -> tuple[float, bool]:
    """(largest value, whether its format says what is white) of a picture of more than eight bits; else (0, True)."""
    if not data.startswith(_BEGINNINGS) or (data.startswith(b"\x89PNG") and data[24:25] != b"\x10"):
        return 0.0, True
    with decode.opened(data) as picture:
        image = picture.image
        if image.mode[0] not in "IF":
            return 0.0, True
        known = image.mode.startswith("I;16") or image.format in ("PNG", "PPM")
        picture.load()
        high = image.getextrema()[1]
    return (float(high) if isinstance(high, int | float) and math.isfinite(high) else 0.0), known
