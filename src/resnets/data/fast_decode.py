"""JPEG files -> the network's pixels, faster than `Preprocessing.read` and not quite equal to it: opt-in.

A turbo JPEG reader decodes straight into an array, at 1/2, 1/4 or 1/8 of the size where that is still at least what
the network wants, and torch's vectorised antialiased resampling does the rest. Every other file (another format, CMYK,
anything that the reader complains about) goes the exact way, which also decides what is broken; so do padded pictures.

How far that is from the exact pixels stands in `TOLERANCE`.
"""

from __future__ import annotations

import math
from contextlib import ExitStack

import numpy as np
from PIL import Image

from resnets.data import decode
from resnets.data.bounds import HEAVY, MAX_BYTES, MAX_PIXELS, heavy
from resnets.data.picture import TURNS
from resnets.data.preprocess import Preprocessing
from resnets.machine import needs

TOLERANCE = (1.0, 3.0)
"""How far the pixels of photographs lie from the exact ones on the average, of 255: decoded at full size, and reduced.

Measured on Imagenette: 0.00 to 0.57 and 0.9 to 2.4, with 1.2 and 6.0 for the worst photo.
A ResNet-20 trained on it at 32 pixels (58 % right) names the same class for 96.7 % of 1,309 photos decoded at a quarter
of their size, with 0.4 points less top-1, and for 99.9 % of them saved at 60 pixels and decoded at full size.
"""

_BYTES = 6  # a pixel: three where it is decoded, three where the part that is kept is cut out
_SHIFTS = 16  # how many places of the output grid are tried for a start near a whole pixel of the source


def read(preprocessing: Preprocessing, data: bytes) -> np.ndarray:
    """The file ``data`` as `Preprocessing.read` gives it, within `TOLERANCE`: (S, S, 3) uint8, RGB.

    Raises ImageError for exactly the files for which `Preprocessing.read` does, and ResnetsError with the command that
    installs it where the turbo reader is missing.
    """
    with ExitStack() as turn:
        pixels = _fast(preprocessing, data, turn) if data.startswith(b"\xff\xd8\xff") else None
    return preprocessing.read(data) if pixels is None else pixels


def _fast(preprocessing: Preprocessing, data: bytes, turn_taken: ExitStack) -> np.ndarray | None:
    """The pixels, or None for a file that has to go the exact way. A heavy one waits for its turn, and takes it."""
    turbo = needs("simplejpeg", extra="fast")
    wanted = preprocessing.resize_to
    with decode.opened(data) as picture:
        image, header = picture.image, picture.header
        width, height = image.size
        sides = image.size if preprocessing.resize == "stretch" else (min(image.size),) * 2
        padded = preprocessing.resize == "longer"
        if image.mode not in ("RGB", "L") or padded or sides == (wanted, wanted) or header is None:
            return None
        turn = TURNS.get(picture.turn)
        reduced = max(k for k in (1, 2, 4, 8) if k == 1 or min(sides) >= k * wanted)
        needed = _BYTES * width * height // reduced**2 + header.extra
        if needed > MAX_BYTES or width * height // reduced**2 > MAX_PIXELS:
            return None
        if needed > HEAVY:
            turn_taken.enter_context(heavy)
        try:
            # Of its factors n/8 the reader takes the smallest that gives these sides; warnings are errors to it.
            pixels = turbo.decode_jpeg(
                header.data, "RGB", min_width=-(-width // reduced), min_height=-(-height // reduced)
            )
        except ValueError:
            return None
    across, down = (side * preprocessing.image_size / wanted for side in sides)
    x, y = (width - across) / 2, (height - down) / 2
    box = (x / reduced, y / reduced, across / reduced, down / reduced)
    square = _resample(pixels, *box, preprocessing.image_size, preprocessing.interpolation)
    # Cut from the middle, a square can be turned after the resampling as well as before.
    return square if turn is None else np.array(Image.fromarray(square).transpose(turn))


def _resample(
    pixels: np.ndarray, x: float, y: float, across: float, down: float, size: int, interpolation: str
) -> np.ndarray:
    """The box of (H, W, 3) uint8 that begins at (x, y), in source pixels, as (size, size, 3)."""
    import torch

    x0, left = _start(x, across / size)
    y0, above = _start(y, down / size)
    x1 = x0 + math.ceil((left + size + 2) * across / size + 2)  # two source and two output pixels for the filter
    y1 = y0 + math.ceil((above + size + 2) * down / size + 2)
    # Dense channels_last memory is what the vectorised kernels want, in and out.
    source = torch.from_numpy(np.ascontiguousarray(pixels[None, y0:y1, x0:x1])).permute(0, 3, 1, 2)
    kernels = {"bilinear": torch.ops.aten._upsample_bilinear2d_aa, "bicubic": torch.ops.aten._upsample_bicubic2d_aa}
    out = kernels[interpolation](source, [above + size, left + size], False, size / down, size / across)
    return np.ascontiguousarray(out[0, :, above:, left:].permute(1, 2, 0).numpy())


def _start(place: float, scale: float) -> tuple[int, int]:
    """(first source pixel, output pixels to drop): torch resamples from a whole pixel on, and ``place`` may be none.

    So it begins as many output pixels (``scale`` source pixels each) before it as bring it nearest to a whole one.
    """
    earlier = [place - shift * scale for shift in range(_SHIFTS) if place - shift * scale > -0.5]
    shift = min(range(len(earlier)), key=lambda i: abs(earlier[i] - round(earlier[i])))
    return round(earlier[shift]), shift
