"""Every file is measured before it is decoded: its size, its pieces, and the memory that its reader will take.

Headers are read here by a few lines for each format, so that a file that would take minutes or gigabytes is refused in
a sentence, and Pillow is not given what it would warn of.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np

from resnets.data import jpeg_file, tiff_file
from resnets.data.bounds import FRAMES, MAX_BYTES, PIECES, SLOW, STRIP, check_count, check_pixels
from resnets.errors import ImageError


@dataclass(frozen=True, slots=True)
class Header:
    """What is known of a file before it is decoded.

    data        what the reader gets: the file, without what it would stumble over
    turn        EXIF orientation, 1 to 8; None where the reader has to be asked
    extra       bytes that decoding takes beside the picture
    frames      frames or pages, counted up to FRAMES
    """

    data: bytes
    turn: int | None = None
    extra: int = 0
    frames: int = 1


def measure(kind: str, data: bytes) -> Header:
    """The header of a file of Pillow's format `kind`. Raises ImageError for one that must not be decoded."""
    found = _MEASURES[kind](data)
    copied = 0 if found.data is data else len(found.data)
    return Header(found.data, found.turn, found.extra + len(data) + copied, min(found.frames, FRAMES))


def _jpeg(data: bytes) -> Header:
    jpeg = jpeg_file.measure(data)
    return Header(jpeg.data, jpeg.turn, jpeg.coefficients, jpeg.frames)


def _tiff(data: bytes) -> Header:
    tiff = tiff_file.measure(data)
    return Header(tiff.data, None, tiff.extra, tiff_file.pages(data))


def _png(data: bytes) -> Header:
    """Chunks (PNG, section 5): those of text and profiles unpack to more than they are, and are bounded by Pillow."""
    at, pieces, frames, odd = 8, 0, 1, 0
    text = profiles = 0
    while at + 8 <= len(data):
        length, name = struct.unpack_from(">L4s", data, at)
        pieces += 1
        check_count(pieces, 10 * PIECES, "PNG chunks")
        if name == b"IHDR" and at + 16 <= len(data):
            check_pixels(*struct.unpack_from(">LL", data, at + 8))
        elif name == b"acTL" and length >= 8:
            (frames,) = struct.unpack_from(">L", data.ljust(at + 12, b"\0"), at + 8)
            odd += 1 if 0 < frames <= 2**31 else 2
        elif name in (b"tEXt", b"zTXt", b"iTXt", b"iCCP", b"eXIf"):
            text += length
            profiles += name == b"iCCP"
        elif name == b"IEND":
            break
        at += 12 + length
    check_count(profiles, 10, "PNG profiles")
    if odd > 1:
        data, frames = _without_animation(data), 1
    return Header(data, None, text, frames)


def _without_animation(data: bytes) -> bytes:
    """A PNG whose animation is said wrongly: the picture alone is left."""
    kept, at = [data[:8]], 8
    while at + 8 <= len(data):
        length, name = struct.unpack_from(">L4s", data, at)
        if name not in (b"acTL", b"fcTL", b"fdAT"):
            kept.append(data[at : at + 12 + length])
        at += 12 + length
    return b"".join(kept)


def _gif(data: bytes) -> Header:
    """Blocks (GIF89a, section 15) up to the first frame, and whether another follows."""
    if len(data) < 13:
        return Header(data)
    width, height, flags = struct.unpack_from("<HHB", data, 6)
    at = 13 + (3 << (flags & 7) + 1 if flags & 128 else 0)
    blocks = frames = 0
    while at < len(data) and frames < 2:
        kind = data[at]
        if kind == 0x2C and at + 10 <= len(data):
            x, y, across, down, flags = struct.unpack_from("<HHHHB", data, at + 1)
            frames += 1
            if frames == 1:  # a frame may reach over the edge, and the picture grows
                width, height = max(width, x + across), max(height, y + down)
                check_pixels(width, height)
            at += 11 + (3 << (flags & 7) + 1 if flags & 128 else 0)
        elif kind == 0x21:
            at += 2
        else:
            at += 1
            if kind == 0x3B:
                break
            blocks += 1
            if not frames:
                check_count(blocks, PIECES, "GIF blocks")
            continue
        while at < len(data) and data[at]:  # the sub-blocks
            at += data[at] + 1
            blocks += 1
            if not frames:
                check_count(blocks, PIECES, "GIF blocks")
        at += 1
    check_pixels(width, height)
    return Header(data, None, 0, max(frames, 1))


def _webp(data: bytes) -> Header:
    """Chunks (RFC 9649): the canvas is taken from memory as soon as the reader is made."""
    frames = 0
    for pieces, (name, at) in enumerate(_riff(data), 1):
        check_count(pieces, PIECES, "WebP chunks")
        frames += name == b"ANMF"
        if name == b"VP8X" and at + 10 <= len(data):
            width, height = (int.from_bytes(data[at + i : at + i + 3], "little") + 1 for i in (4, 7))
            check_pixels(width, height)
        elif name == b"VP8 " and data[at + 3 : at + 6] == b"\x9d\x01\x2a":
            width, height = struct.unpack_from("<HH", data.ljust(at + 10, b"\0"), at + 6)
            check_pixels(width & 0x3FFF, height & 0x3FFF)
        elif name == b"VP8L" and data[at : at + 1] == b"\x2f":
            bits = int.from_bytes(data[at + 1 : at + 5], "little")
            check_pixels((bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1)
    return Header(data, None, len(data), max(frames, 1))  # the reader keeps a copy


def _riff(data: bytes) -> Iterator[tuple[bytes, int]]:
    """Name and place of each chunk."""
    at = 12
    while at + 8 <= len(data):
        name, length = struct.unpack_from("<4sL", data, at)
        yield name, at + 8
        at += 8 + length + length % 2


def _avif(data: bytes) -> Header:
    """The sizes of items (`ispe`) and tracks (`tkhd`), wherever they stand (ISO/IEC 23008-12 and 14496-12)."""
    for found in re.finditer(rb"ispe\0\0\0\0(.{8})", data, re.DOTALL):
        check_pixels(*struct.unpack(">LL", found[1]))
    for found in re.finditer(rb"tkhd(?:\0.{75}|\x01.{87})(.{8})", data, re.DOTALL):
        sides = [side >> 16 for side in struct.unpack(">LL", found[1])]
        if any(sides):  # of sound, none
            check_pixels(*sides)
    if b"Exif" in data:
        data = _TIFF.sub(_emptied, data)
    return Header(data, None, len(data))


def _heif(data: bytes) -> Header:
    """As of an AVIF; its reader turns the picture by what the container says, and an EXIF orientation is another's."""
    return replace(_avif(data), turn=1)


# An EXIF item begins with the place of its header, or has the prefix that JPEG's has.
_TIFF = re.compile(rb"(\0\0\0[\0\x06]|Exif\0\0)(MM\0\*|II\*\0).{6}", re.DOTALL)


def _emptied(found: re.Match[bytes]) -> bytes:
    """An EXIF block without entries: an AVIF has its orientation elsewhere, and Pillow would warn of what is odd."""
    return found[1] + found[2] + (b"\0\0\0\x08" if found[2][:1] == b"M" else b"\x08\0\0\0") + b"\0\0"


def _bmp(data: bytes) -> Header:
    """BITMAPINFOHEADER or its ancestor; run lengths are unpacked in Python."""
    if len(data) < 34:
        return Header(data)
    (size,) = struct.unpack_from("<L", data, 14)
    width, height = struct.unpack_from("<HH" if size == 12 else "<ll", data, 18)
    check_pixels(width, abs(height))
    if size >= 40 and struct.unpack_from("<L", data, 30)[0] in (1, 2):
        check_count(width * abs(height) + len(data), SLOW, "pixels and bytes of a run-length BMP")
    return Header(data)


def _pnm(data: bytes) -> Header:
    """Plain files are unpacked in Python, and those of an unusual depth would be."""
    plain = data[1:2] in b"123"
    values: list[bytes] = []
    end = 0
    head, wanted = data[2 : 2**16], 2 if data[1:2] in b"14" else 3
    for found in re.finditer(rb"#[^\r\n]*(?:[\r\n]|$)|[^\s#]+", head):
        if not found[0].startswith(b"#"):
            values.append(found[0])
            end = 2 + found.end()
        if len(values) == wanted:
            break
    if len(values) < wanted and len(data) > 2**16:
        raise ImageError("damaged PPM: its header does not end")
    try:
        width, height = (int(value) for value in values[:2])
    except ValueError:
        return Header(data)  # which the reader says in its words
    check_pixels(width, height)
    samples = width * height * (3 if data[1:2] in b"36" else 1)
    raw = data[1:2] in b"4f" or values[2:] == [b"255"] or (data[1:2] == b"5" and values[2:] == [b"65535"])
    if plain:
        check_count(len(data), SLOW // 2, "bytes of a plain PNM")
        check_count(data.count(b"#"), PIECES // 10, "comments of a PNM")
    if not plain and not raw and data[end : end + 1].isspace() and values[2].isdigit() and 0 < int(values[2]) < 2**16:
        return Header(_whole_bits(data, end + 1, data[1:2], width, height, int(values[2])))
    if plain or not raw:
        check_count(samples, SLOW, "samples of a PNM that has to be scaled")
    return Header(data, None, 0 if raw else 12 * samples)


def _whole_bits(data: bytes, start: int, kind: bytes, width: int, height: int, white: int) -> bytes:
    """The same picture with a white of eight or sixteen bits, as Pillow would scale it sample by sample.

    start   where the samples begin, two bytes each if `white` takes two
    """
    stored, full = np.dtype("u1" if white < 256 else ">u2"), 65535 if kind == b"5" and white > 255 else 255
    samples = width * height * (3 if kind == b"6" else 1)
    made = np.dtype("u1" if full == 255 else ">u2")
    check_count(len(data) + samples * made.itemsize, MAX_BYTES, "bytes of a PNM that has to be scaled")
    there = min(samples, (len(data) - start) // stored.itemsize)
    scaled = np.minimum(full, np.rint(np.arange(256**stored.itemsize) / white * full)).astype(made)
    head = b"P%c\n%d %d\n%d\n" % (kind, width, height, full)
    found = np.frombuffer(data, stored, there, start)
    return head + b"".join(scaled[found[at : at + STRIP]].tobytes() for at in range(0, there, STRIP))


_MEASURES = {
    "JPEG": _jpeg,
    "PNG": _png,
    "GIF": _gif,
    "WEBP": _webp,
    "TIFF": _tiff,
    "BMP": _bmp,
    "PPM": _pnm,
    "AVIF": _avif,
    "HEIF": _heif,
}
