"""Bytes of an image file -> an upright RGB picture, or an `ImageError` that says in a few words why not.

Nothing that a file contains can do more than that: no crash, no warning, no half-read picture, no
memory taken for a bomb, and no format whose reader starts another program.
"""

from __future__ import annotations

import io
import re
import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np

# TIFF and WebP are imported because `Image.open` loads only the commonest readers by itself.
from PIL import ExifTags, Image, TiffImagePlugin, UnidentifiedImageError, WebPImagePlugin  # noqa: F401

from resnets.errors import ImageError, UnreadableError
from resnets.text import printable

VERSION = 2
"""Counts up when the same bytes begin to give other pixels. Caches and model files record it.

2: tall pictures are resampled columns first, as all others (before, it depended on Pillow).
"""

MAX_PIXELS = 64_000_000
"""Larger pictures are refused by their header: decoded, one would take more than 256 MB."""

# A file is opened by the one reader that its first bytes call for, never by its name. Only these readers
# are ever tried; Pillow's EPS reader, for one, would run Ghostscript on the file.
_READ = (
    ("JPEG", rb"\xff\xd8\xff"),
    ("PNG", rb"\x89PNG\r\n\x1a\n"),
    ("GIF", rb"GIF8[79]a"),
    ("WEBP", rb"RIFF....WEBP"),
    ("TIFF", rb"II[*+]\0|MM\0[*+]"),
    ("BMP", rb"BM"),
    ("PPM", rb"P[1-6f]\s"),
    ("AVIF", rb"....ftypavi[fs]"),
)
_REFUSED = (
    ("a HEIC picture", rb"....ftyp(hei|hev|mif1|msf1)"),
    ("a video", rb"....ftyp|\x1aE\xdf\xa3|RIFF....AVI "),
    ("a JPEG 2000 picture", rb"\0\0\0\x0cjP  |\xff\x4f\xff\x51"),
    ("a Photoshop file", rb"8BPS"),
    ("an icon", rb"\0\0[\x01\x02]\0"),
    ("PostScript", rb"%!PS|\xc5\xd0\xd3\xc6"),
    ("a PDF", rb"%PDF"),
    ("an SVG drawing", rb"\s*(<\?xml[^>]*>\s*)?<svg"),
    ("a web page", rb"(?i)\s*<(!doctype html|html)"),
    ("an archive", rb"PK\x03\x04|\x1f\x8b|7z\xbc\xaf|Rar!"),
)
_READ_NAMES = "JPEG, PNG, WebP, GIF, TIFF, BMP, PNM and AVIF"

# EXIF 2.32, section 4.6.4 A, tag 274: where row 0 and column 0 of the stored picture are when it is upright.
TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}

try:
    from PIL import AvifImagePlugin  # since Pillow 11.3

    _HAS_AVIF = bool(AvifImagePlugin.SUPPORTED)
except ImportError:
    _HAS_AVIF = False


def decode(data: bytes, full: float | None = None) -> Image.Image:
    """The picture in ``data``: upright, RGB, eight bits, and nothing of the file attached to it.

    full    the value of white in pictures of more than eight bits, where the set tells it

    The first frame of an animation or of several pages; see `as_rgb` for the colours.

    Raises ImageError: empty, not an image, of a format that is not read, damaged, truncated, or of more than
    `MAX_PIXELS` pixels. The message is the reason alone.
    """
    kind = _kind(data)
    with guarded(kind, len(data)), Image.open(io.BytesIO(data), formats=(kind,)) as image:
        return _rgb(image, full)


def size(data: bytes) -> tuple[int, int]:
    """(width, height) by the header alone, before an EXIF orientation is applied. Raises `ImageError`."""
    kind = _kind(data)
    with guarded(kind, len(data)), Image.open(io.BytesIO(data), formats=(kind,)) as image:
        return image.size


def is_picture(data: bytes) -> bool:
    """Whether ``data`` begins like a file of a format that is read."""
    return any(re.match(pattern, data[:256], re.DOTALL) for _, pattern in _READ)


def as_rgb(image: Image.Image, full: float | None = None) -> Image.Image:
    """An upright RGB copy of any Pillow picture.

    - EXIF orientation is applied; a broken EXIF block is ignored.
    - Transparency of any kind is flattened on white.
    - CMYK and YCCK are converted without a profile; embedded colour profiles are ignored throughout.
    - 16-bit grey is scaled to 0..255 (Pillow's own conversion would clip it); with `full`, that is white.
    - 32-bit integers and floats have no full scale of their own: it is `full`, or the first of 1 (floats only), 255
      and 65535 that holds the largest value, else that value; with negative values, least to largest.

    Raises ImageError: the picture cannot be loaded, is too large, or has a colour mode without conversion.
    """
    with guarded(image.format or "picture", 0):
        return _rgb(image, full)


def _kind(data: bytes) -> str:
    """Pillow's name of the reader for ``data``; raises `ImageError` when there is none."""
    if not data:
        raise ImageError("empty file")
    head = data[:256]
    for kind, pattern in _READ:
        if re.match(pattern, head, re.DOTALL):
            if kind == "AVIF" and not _HAS_AVIF:
                raise ImageError("AVIF, which this installation of Pillow cannot read")
            return kind
    for what, pattern in _REFUSED:
        if re.match(pattern, head, re.DOTALL):
            raise ImageError(f"{what}; only {_READ_NAMES} files are read")
    start = head[:12].decode("latin-1") if re.match(rb"[ -~\s]{1,12}", head[:12]) else head[:8]
    raise ImageError(f"not an image (starts with {start!r})")


def _rgb(image: Image.Image, full: float | None) -> Image.Image:
    width, height = image.size
    if width * height > MAX_PIXELS:
        raise ImageError(f"{width:,} x {height:,} pixels; more than {MAX_PIXELS // 1_000_000} million are refused")
    if width * height == 0:
        raise ImageError(f"no pixels ({width} x {height})")
    # Loading comes first: some formats keep their EXIF behind the pixels, and TIFF is turned in loading.
    image.load()
    turn = TURNS.get(orientation(image))
    flat = _flat(image, full)
    upright = flat if turn is None else flat.transpose(turn)
    if upright is image:
        upright = image.copy()
    upright.info = {}  # the orientation among it, which a later reader would apply once more
    return upright


def orientation(image: Image.Image) -> int:
    """The EXIF orientation, 1 to 8 (see `TURNS`); 1 where there is none."""
    try:
        return int(image.getexif().get(ExifTags.Base.Orientation, 1))
    except Exception:  # whatever is wrong with the EXIF block, the picture itself is good
        return 1


def _flat(image: Image.Image, full: float | None) -> Image.Image:
    """RGB without transparency."""
    if image.mode == "RGB" and "transparency" not in image.info:
        return image
    if image.mode[0] in "IF":
        return _scaled(image, full).convert("RGB")
    if image.has_transparency_data:
        if image.mode == "La":  # premultiplied grey converts to its plain form only
            image = image.convert("LA")
        image = image.convert("RGBA")
        white = Image.new("RGB", image.size, "white")
        white.paste(image, mask=image)
        return white
    return image.convert("RGB")


def _scaled(image: Image.Image, full: float | None) -> Image.Image:
    """The modes of more than eight bits (I;16, I, F) as eight-bit grey; the rules stand in `as_rgb`."""
    values = np.nan_to_num(np.asarray(image, dtype=np.float64), nan=0.0, posinf=0.0, neginf=0.0)
    low, high = min(float(values.min()), 0.0), float(values.max())
    if full is not None:
        high = full
    elif image.mode.startswith("I;16") or (image.mode == "I" and image.format in ("PNG", "PPM")):
        high = 65535.0  # both formats say so, and Pillow scales PNM files of fewer bits up to it
    elif low == 0:
        scales = (255.0, 65535.0) if image.mode == "I" else (1.0, 255.0, 65535.0)
        high = next((full for full in scales if high <= full), high)
    grey = ((values - low) * 255 / ((high - low) or 1) + 0.5).clip(0, 255).astype(np.uint8)
    clear = image.info.get("transparency")
    if isinstance(clear, int):
        grey[values == clear] = 255
    return Image.fromarray(grey)


@contextmanager
def guarded(kind: str, size: int) -> Iterator[None]:
    """Turn whatever reading does into silence or an `ImageError`. ``size``: bytes of the file, 0 unknown."""
    try:
        with _silence:
            yield
    except ImageError:
        raise
    except Image.DecompressionBombError as error:
        raise ImageError(f"more than {MAX_PIXELS // 1_000_000} million pixels are refused") from error
    except UnidentifiedImageError as error:
        raise ImageError(f"damaged or truncated {kind}: its header cannot be read") from error
    except MemoryError as error:
        raise UnreadableError(f"not enough memory to decode this {kind}") from error
    except Exception as error:  # Pillow lets OSError, SyntaxError, ValueError, struct.error and others out
        reason = printable(" ".join(str(error).split()))[:120] or type(error).__name__
        if isinstance(error, EOFError) or "truncated" in reason.lower():
            ends = f": the file ends after {size:,} bytes" if size else ""
            raise ImageError(f"truncated {kind}{ends}") from error
        raise ImageError(f"damaged {kind}: {reason}") from error


class _Silence(threading.local):
    """``with _silence:`` hides the warnings of this thread, and of no other.

    Pillow warns of odd but readable files, and a user can turn warnings into errors. `catch_warnings`
    would swap the filters of the whole process, so that two decoding threads restore each other's. This
    adds one filter for good instead, which matches only in a thread that is inside the block: a filter's
    fourth field is anything with a ``match`` method, in the C and in the Python implementation alike.
    """

    depth = 0

    def match(self, module: str) -> bool:
        return self.depth > 0

    def __enter__(self) -> None:
        filters: Any = warnings.filters
        if not filters or filters[0] is not _FILTER:  # catch_warnings of somebody else may have dropped it
            filters.insert(0, _FILTER)
        self.depth += 1

    def __exit__(self, *exc: object) -> None:
        self.depth -= 1


_silence = _Silence()
_FILTER = ("ignore", None, Warning, _silence, 0)
