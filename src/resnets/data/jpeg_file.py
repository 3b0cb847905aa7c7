"""A JPEG file before it is decoded: how large, how many scans, which way up; and without what no pixel depends on.

Pillow joins EXIF segments, reads pages and previews out of others and warns of them. It gets the segments that the
decoder needs: JFIF, Adobe, tables, frame and scans.
"""

from __future__ import annotations

import re
import struct
from typing import NamedTuple

from resnets.data import exif
from resnets.data.bounds import MAX_REDUCED, PIECES, SCANNED, SCANS, check_count, check_pixels
from resnets.errors import ImageError

_MARKER = re.compile(rb"\xff[^\x00\xff]", re.DOTALL)
_BETWEEN = re.compile(rb"\xff[^\x00\x01\xd0-\xd8\xff]", re.DOTALL)  # those that scans are not full of
_SCAN = 0xDA
_END = 0xD9
_FRAMES = frozenset({*range(0xC0, 0xD0)} - {0xC4, 0xC8, 0xCC})
_PROGRESSIVE = frozenset({0xC2, 0xC6, 0xCA, 0xCE})
_ALONE = frozenset({0x01, *range(0xD0, 0xD9)})  # markers without a length
_UNUSED = frozenset({*range(0xE1, 0xEE), 0xEF, 0xFE})  # applications' segments but JFIF and Adobe, and comments
_EXIF, _XMP = b"Exif\0\0", b"http://ns.adobe.com/xap/1.0/\0"
ARITHMETIC = 4  # times as long as by Huffman's code


class Jpeg(NamedTuple):
    """What a reader gets, its size, its orientation (1 to 8), and the bytes that the coefficients of all scans take."""

    data: bytes
    size: tuple[int, int] | None
    turn: int
    coefficients: int
    frames: int


def measure(data: bytes) -> Jpeg:
    """Go through the markers of `data`. Raises ImageError for what would take too long or too much memory."""
    kept: list[bytes] = []
    since = 0  # of the data that is kept as it stands
    frame: tuple[int, bytes] | None = None
    blocks: list[bytes] = []
    xmp = b""
    pages = b""
    pieces, at = 0, 2
    while (match := _MARKER.search(data, at)) is not None:
        start, marker = match.start(), data[match.start() + 1]
        if start > at:  # filling; Pillow goes through it byte by byte
            kept.append(data[since:at])
            since = start
        at = match.end()
        if marker in (_SCAN, _END):
            at = start
            break
        pieces += 1
        check_count(pieces, PIECES, "JPEG segments")
        if marker in _ALONE:
            continue
        end = at + int.from_bytes(data[at : at + 2], "big")
        if end < at + 2 or end > len(data):
            break
        if marker in _FRAMES and frame is None:
            frame = marker, data[at + 2 : end]
        elif marker in _UNUSED:
            body = data[at + 2 : at + 2 + len(_XMP)]
            if marker == 0xE1 and body.startswith(_EXIF):
                blocks.append(data[at + 2 + (len(_EXIF) if blocks else 0) : end] if len(blocks) < 16 else b"")
            elif marker == 0xE1 and body == _XMP:
                xmp = data[at + 2 + len(_XMP) : end]
            elif marker == 0xE2 and body.startswith(b"MPF\0"):
                pages = data[at + 6 : end]
            kept.append(data[since:start])
            since = end
        at = end
    turn = exif.orientation(b"".join(blocks), xmp)
    size, coefficients = _frame(frame, data, at) if frame else (None, 0)
    return Jpeg(b"".join([*kept, data[since:]]) if kept else data, size, turn, coefficients, _pages(pages, xmp))


def _frame(frame: tuple[int, bytes], data: bytes, at: int) -> tuple[tuple[int, int] | None, int]:
    """Size, and bytes of coefficients; the scans that begin at `at` are counted."""
    marker, body = frame
    try:
        height, width, count = struct.unpack_from(">HHB", body, 1)
        sampling = [body[7 + 3 * number] for number in range(count)]
    except (struct.error, IndexError):
        return None, 0
    if not width or not height:
        return None, 0
    check_pixels(width, height, MAX_REDUCED)
    scans = data.count(b"\xff\xda", at)  # and perhaps those of previews behind the picture
    if scans > 1 and (scans > SCANS or scans * width * height > SCANNED):
        scans = _scans(data, at)
    slowness = ARITHMETIC if marker >= 0xC9 else 1
    check_count(scans, SCANS, "JPEG scans")
    if scans * width * height * slowness > SCANNED:
        raise ImageError(f"{scans:,} JPEG scans of {width:,} x {height:,} pixels; it would take too long")
    if marker not in _PROGRESSIVE and data[at + 4 : at + 5] == bytes([count]):  # all of it in the first scan
        return (width, height), 0
    shares = [(byte >> 4) * (byte & 15) for byte in sampling]
    most = max((byte >> 4 for byte in sampling), default=1) * max((byte & 15 for byte in sampling), default=1)
    return (width, height), 2 * width * height * sum(shares) // max(most, 1)


def _pages(block: bytes, xmp: bytes) -> int:
    """How many pictures the file says it has (CIPA DC-007, tag 0xB001); a map of brightnesses (Ultra HDR) is none."""
    found = exif.Block.of(block + bytes(8))
    if found is None or b' hdrgm:Version="' in xmp:
        return 1
    try:
        counts = [found.values(entry) for entry in found.entries(found.first) if entry.tag == 0xB001]
    except struct.error:
        return 1
    return counts[0][0] if counts and counts[0] else 1


def _scans(data: bytes, at: int) -> int:
    """Scans up to the end of the picture that begins at `at`; at most one more than are allowed."""
    found = pieces = 0
    while found <= SCANS * 10 and (match := _BETWEEN.search(data, at)) is not None:
        marker, at = data[match.start() + 1], match.end()
        if marker == _END:
            break
        pieces += 1
        check_count(pieces, PIECES, "JPEG segments")
        found += marker == _SCAN
        if marker >= 0xC0:
            at += int.from_bytes(data[at : at + 2], "big")
    return found
