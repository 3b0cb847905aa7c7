"""A TIFF file before it is decoded: what its first directory says, and a directory of what the pixels depend on alone.

The entries of a directory may overlap, be of any length and lie behind the end. Pillow reads them all, and warns. Where
one is odd, it gets the file with another directory, which holds what decides the pixels.
"""

from __future__ import annotations

import struct
from typing import NamedTuple

from resnets.data.bounds import FRAMES, PIECES, SCANNED, STRIPS, check_count, check_pixels
from resnets.data.exif import Block, Entry
from resnets.errors import ImageError

WIDTH, HEIGHT, BITS, COMPRESSION, OFFSETS, SAMPLES, ROWS, COUNTS = 256, 257, 258, 259, 273, 277, 278, 279
TILE_WIDTH, TILE_HEIGHT, TILE_OFFSETS, TILE_COUNTS = 322, 323, 324, 325
_LISTS = {OFFSETS, COUNTS, TILE_OFFSETS, TILE_COUNTS}
_PALETTE, _TABLES = 320, 347
# Photometric, fill order, orientation, planes, T4 and T6 options, predictor, ink, extra samples, sample format, JPEG's
# tables, and those of YCbCr: what Pillow or libtiff reads to find the pixels (TIFF 6.0).
_OTHERS = {262, 266, 274, 284, 292, 293, 317, 332, 338, 339, _TABLES, 529, 530, 531, 532}
_NEEDED = _OTHERS | _LISTS | {WIDTH, HEIGHT, BITS, COMPRESSION, SAMPLES, ROWS, TILE_WIDTH, TILE_HEIGHT, _PALETTE}
_SINGLE = {WIDTH, HEIGHT, COMPRESSION, SAMPLES, ROWS, TILE_WIDTH, TILE_HEIGHT, 262, 266, 274, 284, 317}
_RAW, _JPEGS = 1, (6, 7)
_BYTES = (1, 2, 6, 7)  # types of which a million values are a string and no million numbers
FEW = 4096  # values of any other entry


class Tiff(NamedTuple):
    """What a reader gets, its size, and bytes that the decoder takes beside the pixels."""

    data: bytes
    size: tuple[int, int] | None
    extra: int


def measure(data: bytes) -> Tiff:
    """Go through the first directory. Raises ImageError for what would take too long or too much memory."""
    block = Block.of(data)
    if block is None:
        return Tiff(data, None, 0)
    try:
        check_count(block.count(block.first), PIECES, "TIFF entries")
        entries = list(block.entries(block.first))
        block.after(block.first)
    except struct.error as error:
        raise ImageError(f"truncated TIFF: the file ends after {len(data):,} bytes") from error
    known: dict[int, Entry] = {}
    odd, total = False, 0
    for entry in entries:
        total += entry.size
        if entry.tag in known or not _plain(entry, len(data)):
            odd = odd or entry.tag not in known
            continue
        known[entry.tag] = entry
    if odd or total > len(data):
        known = {tag: entry for tag, entry in known.items() if tag in _NEEDED}
        data = _rebuilt(block, known)
        block = Block.of(data) or block
    facts = {tag: block.values(entry) for tag, entry in known.items() if tag in _NEEDED and entry.type in (1, 3, 4, 16)}
    single = {tag: found[0] for tag, found in facts.items() if found}
    width, height = single.get(WIDTH, 0), single.get(HEIGHT, 0)
    check_pixels(width, height)
    return Tiff(data, (width, height), _buffers(data, facts, single))


def _plain(entry: Entry, end: int) -> bool:
    """Whether the entry can be read without a word."""
    if not entry.size or entry.place + entry.size > end:
        return False
    most = STRIPS if entry.tag in _LISTS else 3 * 2**16 if entry.tag == _PALETTE else FEW
    check_count(entry.count if entry.tag in _LISTS else 0, STRIPS, "TIFF strips")
    return (entry.type in _BYTES or entry.count <= most) and (entry.tag not in _SINGLE or entry.count == 1)


def _rebuilt(block: Block, known: dict[int, Entry]) -> bytes:
    """The file with a new directory of these entries behind it."""
    first = len(block.data) + len(block.data) % 2
    inside = block.link.size
    made = [block.head.pack(len(known))]
    for tag, entry in sorted(known.items()):
        value = block.data[entry.place : entry.place + entry.size]
        what = value.ljust(inside, b"\0") if entry.size <= inside else block.link.pack(entry.place)
        made.append(block.entry.pack(tag, entry.type, entry.count, what))
    start = 8 if block.big else 4
    header = block.data[:start] + block.link.pack(first)
    return b"".join([header, block.data[len(header) :].ljust(first - len(header), b"\0"), *made, block.link.pack(0)])


def _buffers(data: bytes, facts: dict[int, tuple[int, ...]], single: dict[int, int]) -> int:
    """Bytes of the largest strip or tile, which a decoder holds as a whole; what strips of JPEG take is checked."""
    tiled = TILE_OFFSETS in facts and OFFSETS not in facts
    width = single.get(TILE_WIDTH, 0) if tiled else single[WIDTH]
    rows = single.get(TILE_HEIGHT, 0) if tiled else min(single.get(ROWS, single[HEIGHT]), single[HEIGHT])
    kind = single.get(COMPRESSION, _RAW)
    if kind == _RAW:
        return 0
    if kind in _JPEGS:
        _check_scans(data, facts, single[WIDTH] * single[HEIGHT])
    bits = max(facts.get(BITS, ()) or (1,))
    samples = max(single.get(SAMPLES, 1), len(facts.get(BITS, ())))
    return width * rows * max(-(-bits * samples // 8), 4 if kind in _JPEGS else 1)


def _check_scans(data: bytes, facts: dict[int, tuple[int, ...]], pixels: int) -> None:
    """Strips of JPEG have a scan each, or a few; one stream that stands for many strips would be decoded for each."""
    offsets = facts.get(OFFSETS) or facts.get(TILE_OFFSETS) or ()
    counts = facts.get(COUNTS) or facts.get(TILE_COUNTS) or ()
    if len(set(offsets)) < len(offsets) or sum(counts) > len(data):
        raise ImageError("TIFF strips of JPEG that share their bytes")
    ends = (offset + count for offset, count in zip(offsets, counts, strict=False))
    scans = sum(data.count(b"\xff\xda", offset, end) for offset, end in zip(offsets, ends, strict=False))
    if scans > 2 * len(offsets) and scans * pixels > SCANNED * max(len(offsets), 1):
        raise ImageError(f"{scans:,} JPEG scans in {len(offsets):,} TIFF strips; it would take too long")


def pages(data: bytes) -> int:
    """How many directories the file has, counted up to FRAMES."""
    block = Block.of(data)
    seen: set[int] = set()
    place = block.first if block else 0
    try:
        while block and place and place not in seen and len(seen) < FRAMES:
            seen.add(place)
            place = block.after(place)
    except struct.error:
        pass
    return max(len(seen), 1)
