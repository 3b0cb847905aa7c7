"""The directories of TIFF, which EXIF blocks are too: their entries, and which way up a picture is.

Pillow reads all that a block holds, and warns of what is odd in it; the pixels depend on one number alone.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Iterator
from dataclasses import dataclass

ORIENTATION = 274
SIZES = {1: 1, 2: 1, 3: 2, 4: 4, 5: 8, 6: 1, 7: 1, 8: 2, 9: 4, 10: 8, 11: 4, 12: 8, 13: 4, 16: 8, 17: 8, 18: 8}
"""Bytes of one value of each type (TIFF 6.0 section 2, BigTIFF)."""
_WHOLE = {1: "B", 3: "H", 4: "L", 13: "L", 16: "Q"}
_PREFIX = re.compile(rb"(?:Exif\0\0)+")
_XMP = re.compile(rb'tiff:Orientation(?:="|>)([0-9])')


@dataclass(frozen=True, slots=True)
class Entry:
    """One entry of a directory: `size` bytes of values begin at `place`, which may lie behind the end."""

    tag: int
    type: int
    count: int
    size: int
    place: int


@dataclass(frozen=True, slots=True)
class Block:
    """A TIFF file, or an EXIF block, and where its first directory begins."""

    data: bytes
    order: str
    big: bool
    first: int

    @classmethod
    def of(cls, data: bytes) -> Block | None:
        """None where the eight or sixteen bytes at the beginning are none of TIFF."""
        order = {b"II": "<", b"MM": ">"}.get(data[:2])
        if order is None or len(data) < 16:
            return None
        (version,) = struct.unpack_from(order + "H", data, 2)
        if version not in (42, 43):
            return None
        big = version == 43
        return cls(data, order, big, struct.unpack_from(order + ("Q" if big else "L"), data, 8 if big else 4)[0])

    @property
    def head(self) -> struct.Struct:
        """How many entries a directory has."""
        return struct.Struct(self.order + ("Q" if self.big else "H"))

    @property
    def entry(self) -> struct.Struct:
        """Tag, type, count, and the values themselves where they are few, else their place."""
        return struct.Struct(self.order + ("HHQ8s" if self.big else "HHL4s"))

    @property
    def link(self) -> struct.Struct:
        """The place of a directory or of values."""
        return struct.Struct(self.order + ("Q" if self.big else "L"))

    def count(self, place: int) -> int:
        """Entries of the directory at `place`. Raises struct.error where none can be."""
        if place > len(self.data):
            raise struct.error("behind the end")
        return int(self.head.unpack_from(self.data, place)[0])

    def entries(self, place: int) -> Iterator[Entry]:
        """Those of the directory at `place`, as long as they lie in the data. Raises struct.error at its end."""
        start = place + self.head.size
        for number in range(self.count(place)):
            at = start + number * self.entry.size
            tag, kind, count, inside = self.entry.unpack_from(self.data, at)
            size = SIZES.get(kind, 0) * count
            few = size <= len(inside)
            yield Entry(tag, kind, count, size, at + self.entry.size - len(inside) if few else self._place(inside))

    def _place(self, inside: bytes) -> int:
        return int(self.link.unpack(inside)[0])

    def after(self, place: int) -> int:
        """The place of the directory after the one at `place`, 0 for none. Raises struct.error where none can be."""
        return int(self.link.unpack_from(self.data, place + self.head.size + self.count(place) * self.entry.size)[0])

    def values(self, entry: Entry) -> tuple[int, ...]:
        """The whole numbers of an entry; none for other types, and for values that are not all there."""
        code = _WHOLE.get(entry.type)
        if code is None or entry.place + entry.size > len(self.data):
            return ()
        return struct.unpack_from(f"{self.order}{entry.count}{code}", self.data, entry.place)


def orientation(block: bytes, xmp: bytes = b"") -> int:
    """What an EXIF block, and else an XMP document, says of the orientation: 1 to 8, or 1 where neither does."""
    prefix = _PREFIX.match(block)
    block = block[prefix.end() :] if prefix else block
    found = Block.of(block + bytes(8))
    if found is not None:
        total = 0
        try:
            for number, entry in enumerate(found.entries(found.first)):
                if entry.tag == ORIENTATION and 0 < entry.count <= 8:
                    return (found.values(entry) or (1,))[0]
                outside = entry.place + entry.size > len(block)
                total += entry.size if outside or entry.size > (8 if found.big else 4) else 0
                # As in Pillow: what is too much is passed over, and where values lie behind the end nothing follows.
                if number > 1000 or (outside and total <= len(block)):
                    break
        except struct.error:  # whatever is wrong with the block, the picture itself is good
            return 1
    match = _XMP.search(xmp)
    return int(match[1]) if match else 1
