"""Bytes of an image file -> an upright RGB picture, or an `ImageError` that says in a few words why not.

Nothing that a file contains can do more than that: no crash, no warning, no half-read picture, no
memory taken for a bomb, and no format whose reader starts another program.
"""

from __future__ import annotations

import io
import re
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec

# TIFF and WebP are imported because `Image.open` loads only the commonest readers by itself.
from PIL import Image, JpegImagePlugin, TiffImagePlugin, UnidentifiedImageError, WebPImagePlugin  # noqa: F401

from resnets.data import headers
from resnets.data.bounds import MAX_PIXELS
from resnets.data.picture import Picture
from resnets.errors import ImageError, NoReaderError, UnreadableError
from resnets.machine import needs
from resnets.text import printable

VERSION = 2
"""Counts up when the same bytes begin to give other pixels. Caches and model files record it.

2: tall pictures are resampled columns first, as all others (before, it depended on Pillow).
"""

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
_HEIF = rb"....ftyp(hei|hev|mif1|msf1)"  # phones' pictures; read by pillow-heif, where it is installed
_REFUSED = (
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
_READ_NAMES = "JPEG, PNG, WebP, GIF, TIFF, BMP, PNM, AVIF and HEIC"

try:
    from PIL import AvifImagePlugin  # since Pillow 11.3

    _HAS_AVIF = bool(AvifImagePlugin.SUPPORTED)
except ImportError:
    _HAS_AVIF = False


@contextmanager
def opened(data: bytes) -> Iterator[Picture]:
    """The picture in ``data``, measured and not decoded yet. What goes wrong inside is raised as an `ImageError`."""
    kind = _kind(data)
    with guarded(kind, len(data)):
        header = headers.measure(kind, data)
        with _reader(kind, header.data) as image, Picture(image, header) as picture:
            yield picture


def _reader(kind: str, data: bytes) -> Image.Image:
    """Pillow's picture, not decoded yet. Readers that are called by their names:

    that of HEIC, which others do not find in Pillow then; and that of JPEG, since `Image.open` refuses, or warns of,
    pictures that are decoded much smaller here.
    """
    if kind == "JPEG":
        try:
            return JpegImagePlugin.JpegImageFile(io.BytesIO(data))
        except (SyntaxError, IndexError, TypeError, struct.error) as error:  # what `Image.open` takes for another kind
            raise UnidentifiedImageError from error
    if kind == "HEIF":
        image: Image.Image = needs("pillow_heif.as_plugin", extra="heic").HeifImageFile(io.BytesIO(data))
        return image
    return Image.open(io.BytesIO(data), formats=(kind,))


def decode(data: bytes, full: float | None = None) -> Image.Image:
    """The picture in ``data``: upright, RGB, eight bits, and nothing of the file attached to it.

    full    the value of white in pictures of more than eight bits, where the set tells it

    The first frame of an animation or of several pages; see `as_rgb` for the colours. A JPEG of more than `MAX_PIXELS`,
    or that would take more than `MAX_BYTES`, is decoded at 1/2, 1/4 or 1/8 of its sides.

    Raises ImageError: empty, not an image, of a format that is not read, damaged, truncated, of more than `MAX_PIXELS`
    pixels (a JPEG: `MAX_REDUCED`), or one that would take more memory or time than a picture may (see `bounds`). The
    message is the reason alone.
    """
    with opened(data) as picture:
        return picture.rgb(full)


def size(data: bytes) -> tuple[int, int]:
    """(width, height) by the header alone, before an EXIF orientation is applied. Raises `ImageError`."""
    with opened(data) as picture:
        return picture.image.size


def is_picture(data: bytes) -> bool:
    """Whether ``data`` begins like a file of a format that is read."""
    return any(re.match(pattern, data[:256], re.DOTALL) for pattern in (*(one for _, one in _READ), _HEIF))


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
    with guarded(image.format or "picture", 0), Picture(image, None) as picture:
        return picture.rgb(full)


def _kind(data: bytes) -> str:
    """Pillow's name of the reader for ``data``; raises `ImageError` when there is none."""
    if not data:
        raise ImageError("empty file")
    head = data[:256]
    for kind, pattern in _READ:
        if re.match(pattern, head, re.DOTALL):
            if kind == "AVIF" and not _HAS_AVIF:
                raise NoReaderError("AVIF, which this installation of Pillow cannot read")
            return kind
    if re.match(_HEIF, head, re.DOTALL):
        if find_spec("pillow_heif") is None:
            raise NoReaderError("a HEIC picture, which pillow-heif reads: pip install 'resnets[heic]'")
        return "HEIF"
    for what, pattern in _REFUSED:
        if re.match(pattern, head, re.DOTALL):
            raise ImageError(f"{what}; only {_READ_NAMES} files are read")
    start = head[:12].decode("latin-1") if re.match(rb"[ -~\s]{1,12}", head[:12]) else head[:8]
    raise ImageError(f"not an image (starts with {start!r})")


@contextmanager
def guarded(kind: str, size: int) -> Iterator[None]:
    """Turn whatever reading does into silence or an `ImageError`. ``size``: bytes of the file, 0 unknown."""
    try:
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
