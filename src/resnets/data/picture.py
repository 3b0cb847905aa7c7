"""A picture that is open and not decoded yet -> an upright RGB picture, in bounded memory.

What decoding will take is known from the size and the mode before it begins. Afterwards the colours are made in strips,
and the file's own pixels go as soon as they are not needed any more.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, nullcontext
from threading import RLock
from typing import Self

import numpy as np
from PIL import Image

from resnets.data import exif
from resnets.data.bounds import HEAVY, MAX_BYTES, MAX_PIXELS, MAX_READER, STRIP, check_pixels, heavy
from resnets.data.headers import Header
from resnets.errors import ImageError

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

# Bytes for each pixel that these readers hold beside the picture: libwebp's two canvases, the decoder's own planes, and
# the string in which the pixels come. Measured by benchmarks/hostile.py.
_READERS = {"WEBP": 12, "AVIF": 12, "HEIF": 12}
# Pictures of somebody else: one may be given twice, and Pillow's loading is not for two threads. Others go on.
_OTHERS = tuple(RLock() for _ in range(64))
_BYTE = ("1", "L", "P")  # the modes of one byte a pixel; RGB has four


class Picture:
    """A Pillow picture, and what its file's header says; a context, in which of several heavy ones one is decoded.

    image   of any mode; with a header it is ours, and gone when its pixels have been taken
    header  None for a picture of somebody else
    """

    def __init__(self, image: Image.Image, header: Header | None) -> None:
        self.image, self.header = image, header
        self._turn = ExitStack()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._turn.close()

    @property
    def turn(self) -> int:
        """The EXIF orientation, 1 to 8 (see `TURNS`); 1 where there is none."""
        if self.header is not None and self.header.turn is not None:
            return self.header.turn
        return orientation(self.image)

    @property
    def frames(self) -> int:
        """Frames or pages, of which the first counts."""
        return self.header.frames if self.header else 1

    def shrink(self, side: int) -> None:
        """Let a JPEG be decoded at 1/2, 1/4 or 1/8 of its size, with both sides at least at `side` pixels."""
        if self.image.format == "JPEG":  # HEIC would give a thumbnail instead, which is another picture
            self.image.draft(None, (side, side))

    def load(self) -> None:
        """Decode it. Raises ImageError before too much memory is taken."""
        with nullcontext() if self.header is not None else _OTHERS[id(self.image) // 16 % len(_OTHERS)]:
            self._load()

    def _load(self) -> None:
        if self.header is not None or getattr(self.image, "tile", None):
            self._fit()
        check_pixels(*self.image.size)
        if self.bytes() > HEAVY:
            self._turn.enter_context(heavy)
        self.image.load()

    def rgb(self, full: float | None = None) -> Image.Image:
        """An upright RGB picture of its own; see `decode.as_rgb`. Raises ImageError like `load`."""
        # Loading comes first: some formats keep their EXIF behind the pixels, and TIFF is turned in loading.
        self.load()
        turn = TURNS.get(self.turn)
        made = self.image
        if turn is not None and made.mode in _BYTE:
            made, turn = self._next(made.transpose(turn)), None
        made = self._next(_flat(made, full))
        if turn is not None:
            made = made.transpose(turn)
        if made.mode != "RGB":
            made = made.convert("RGB")
        if made is self.image:  # its pixels without the file that they came from
            made = made.copy() if self.header is None else made._new(made.im)
        made.info = {}  # the orientation among it, which a later reader would apply once more
        return made

    def _next(self, made: Image.Image) -> Image.Image:
        """`made`, and our own pixels that it was made of are let go."""
        if made is not self.image and self.header is not None:
            self.image.close()
        return made

    def _fit(self) -> None:
        """Raise ImageError for too many pixels or too many bytes of memory. A JPEG is decoded smaller instead."""
        image, (width, height) = self.image, self.image.size
        jpeg = image.format == "JPEG"
        most = MAX_READER if image.format in _READERS else MAX_BYTES
        if not jpeg:
            check_pixels(width, height)
        for reduced in (1, 2, 4, 8) if jpeg else (1,):
            needed, pixels = self.bytes(reduced), width * height // reduced**2
            # It is told once: what a JPEG is decoded at cannot be changed any more.
            if max(needed / most, pixels / MAX_PIXELS) <= 1 and (
                reduced == 1 or image.draft(None, (width // reduced, height // reduced))
            ):
                return
        raise ImageError(
            f"{width:,} x {height:,} pixels of this kind take {needed // 10**6:,} MB of memory; more than "
            f"{most // 10**6} are refused"
        )

    def bytes(self, reduced: int = 1) -> int:
        """Bytes of memory that decoding takes at the most, with the file; at 1 / `reduced` of the sides."""
        image = self.image
        stored = 1 if image.mode in _BYTE else 2 if image.mode.startswith("I;16") else 4
        if image.mode[0] in "IF":
            most = max(stored + 1, 5)
        elif image.mode == "RGB" and "transparency" not in image.info:
            most = 4 if self.turn == 1 else 8
        else:
            most = 6 if image.mode in _BYTE else stored + 4
        most += _READERS.get(image.format or "", 0)
        pixels = -(-image.width // reduced) * -(-image.height // reduced)
        return pixels * most + (self.header.extra if self.header else 0)


def orientation(image: Image.Image) -> int:
    """The EXIF orientation, 1 to 8 (see `TURNS`); 1 where there is none."""
    try:
        block, xmp = image.info.get("exif"), image.info.get("XML:com.adobe.xmp") or image.info.get("xmp") or b""
        if block is None and "Raw profile type exif" in image.info:  # as ImageMagick writes it into PNG
            block = bytes.fromhex("".join(image.info["Raw profile type exif"].split("\n")[3:]))
        if block is None and image.format == "TIFF":
            return int(image.getexif().get(exif.ORIENTATION, 1))
        return exif.orientation(block or b"", xmp.encode() if isinstance(xmp, str) else xmp)
    except Exception:  # whatever is wrong with the EXIF block, the picture itself is good
        return 1


def _flat(image: Image.Image, full: float | None) -> Image.Image:
    """RGB, or grey, without transparency."""
    if image.mode in ("RGB", "L") and "transparency" not in image.info:
        return image
    if image.mode[0] in "IF":
        return _scaled(image, full)
    if image.has_transparency_data:
        return _strips(image, _on_white)
    return image.convert("RGB")


def _on_white(strip: Image.Image) -> Image.Image:
    if strip.mode == "La":  # premultiplied grey converts to its plain form only
        strip = strip.convert("LA")
    strip = strip.convert("RGBA")
    white = Image.new("RGB", strip.size, "white")
    white.paste(strip, mask=strip)
    return white


def _strips(image: Image.Image, work: Callable[[Image.Image], Image.Image]) -> Image.Image:
    """What `work` makes of each strip, as one RGB picture."""
    if image.width * image.height <= STRIP:
        return work(image)
    made = Image.new("RGB", image.size)
    for top, strip in _cut(image):
        made.paste(work(strip), (0, top))
    return made


def _cut(image: Image.Image) -> Iterator[tuple[int, Image.Image]]:
    """The picture from top to bottom, in strips."""
    rows = max(1, STRIP // image.width)
    if rows >= image.height:
        yield 0, image
        return
    for top in range(0, image.height, rows):
        yield top, image.crop((0, top, image.width, min(top + rows, image.height)))


def _scaled(image: Image.Image, full: float | None = None) -> Image.Image:
    """The modes of more than eight bits (I;16, I, F) as eight-bit grey; the rules stand in `decode.as_rgb`.

    full    the value that becomes white, where it is known
    """
    short = image.mode.startswith("I;16")
    # Both formats say that white is 65535, and Pillow scales PNM files of fewer bits up to it.
    known = short or (image.mode == "I" and image.format in ("PNG", "PPM"))
    low, high = 0.0, 65535.0 if full is None else full
    if not short and (full is not None or not known):
        ends = [(float(part.min()), float(part.max())) for part in (_values(strip) for _, strip in _cut(image))]
        low, most = min(0.0, *(least for least, _ in ends)), max(most for _, most in ends)
        if full is None:
            scales = (255.0, 65535.0) if image.mode == "I" else (1.0, 255.0, 65535.0)
            high = next((scale for scale in scales if most <= scale), most) if low == 0 else most
    # Of sixteen bits there are so few values that a look-up is several times as fast.
    table = _grey(np.arange(2.0**16), low, high) if short else None
    clear = image.info.get("transparency")
    grey = np.empty((image.height, image.width), np.uint8)
    for top, strip in _cut(image):
        values = np.asarray(strip) if short else _values(strip)
        part = _grey(values.astype(np.float64), low, high) if table is None else table[values]
        if isinstance(clear, int):
            part[values == clear] = 255
        grey[top : top + len(part)] = part
    return Image.fromarray(grey)


def _values(strip: Image.Image) -> np.ndarray:
    values = np.asarray(strip)
    return values if np.isfinite(values).all() else np.nan_to_num(values, nan=0.0, posinf=0.0, neginf=0.0)


def _grey(values: np.ndarray, low: float, high: float) -> np.ndarray:
    """0 to 255 for `low` to `high`, uint8; `values`, float64, are used up."""
    values -= low
    values *= 255
    values /= (high - low) or 1
    values += 0.5
    return np.clip(values, 0, 255, out=values).astype(np.uint8)
