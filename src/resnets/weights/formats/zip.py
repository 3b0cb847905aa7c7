"""The members of a zip archive, as views into the file's bytes: the one place where archives of weights are parsed.

A member is found through the archive's directory, is checked to lie within the file, and costs no memory until it is
unpacked, which never gives more than its reader allows. Checkpoints of torch and of Keras keep their members as they
are. Format: APPNOTE.TXT of PKWARE, sections 4.3.7 (member), 4.3.12 (directory), 4.3.14 (zip64).
"""

from __future__ import annotations

import struct
import zlib
from dataclasses import dataclass, field
from typing import Any

from resnets.weights.formats.stored import MAX_TENSORS

START = b"PK\x03\x04"  # of an archive whose first member begins where the file does
MAX_MEMBERS = MAX_TENSORS + 1000  # a storage for each tensor, and what torch writes beside them
MAX_RATIO = 16  # how much larger a member may become when it is unpacked; weights hardly shrink

_END = struct.Struct("<4s4H2LH")  # mark, disk, directory's disk, entries here, entries, bytes, offset, comment's length
_LOCATOR = struct.Struct("<4sLQL")  # mark, disk, offset of the zip64 end, disks
_END64 = struct.Struct("<4sQ2H2L4Q")  # ..., entries here, entries, bytes, offset
_ENTRY = struct.Struct("<4s6H3L5H2L")  # mark, versions, flags, method, time, date, crc, 2 sizes, 3 lengths, ..., offset
_MEMBER = struct.Struct("<4s5H3L2H")  # ..., name's length, extra field's length

_ENCRYPTED = 1
_DEFLATED = 8


@dataclass(eq=False, slots=True)
class Member:
    """A member's bytes as they lie in the file, and the checksum of what they hold; 0 if its writer left it out.

    method      how they are packed: 0 not at all, 8 deflated, another number in a way that is not read here
    size        how many bytes they hold; by default as many as they are
    """

    content: memoryview
    checksum: int = 0
    method: int = 0
    size: int | None = None
    verified: bool = field(default=False, init=False)

    @property
    def packed(self) -> bool:
        """Whether the bytes in the file are others than those that the member holds."""
        return bool(self.method) or self.size not in (None, len(self.content))

    def verify(self) -> None:
        """Compare the bytes with their checksum, the first time. Raises ValueError for damaged ones."""
        if not self.verified and self.checksum not in (0, zlib.crc32(self.content)):
            raise ValueError("it is damaged (a checksum differs); copy it again")
        self.verified = True

    def unpacked(self, most: int) -> memoryview:
        """What the member holds, at most `most` bytes, verified: a view of the file where nothing is packed.

        Raises ValueError for more, for damaged bytes, and for another way of packing than zip's usual one.
        """
        size = len(self.content) if self.size is None else self.size
        if size > min(most, MAX_RATIO * len(self.content) + 2**16):
            raise ValueError("a member of its archive is larger than that of any network")
        if not self.packed:
            self.verify()
            return self.content
        if self.method != _DEFLATED:
            raise ValueError("its archive is packed in an unusual way; unpack it, and pack it without compression")
        try:
            content = zlib.decompressobj(-zlib.MAX_WBITS).decompress(self.content, size + 1)
        except zlib.error as problem:
            raise ValueError("its archive is damaged; copy it again") from problem
        if len(content) != size or zlib.crc32(content) != self.checksum:
            raise ValueError("it is damaged (a checksum differs); copy it again")
        return memoryview(content)


def members(data: memoryview, most: int = MAX_MEMBERS) -> dict[str, Member]:
    """All members by name. Raises ValueError for a damaged archive, and for one with more members than `most`."""
    entries, length, start = _directory(data)
    if entries > most:
        raise ValueError(
            f"it is an archive of more members than any checkpoint has: more than {most} entries in its directory"
        )
    directory = data[start : start + length]
    found: dict[str, Member] = {}
    total = at = 0
    for _ in range(entries):
        entry = _unpack(_ENTRY, directory, at, b"PK\x01\x02")
        flags, method, _, _, checksum, size, full, names, extras, comments = entry[3:13]
        at += _ENTRY.size
        name = str(directory[at : at + names], "utf-8", "replace")
        at += names
        full, size, offset = _large((full, size, entry[-1]), directory[at : at + extras])
        at += extras + comments
        total += size
        if name in found or total > len(data):
            raise ValueError("its directory names the same bytes twice; copy it again")
        found[name] = Member(_content(data, offset, size), checksum, -1 if flags & _ENCRYPTED else method, full)
    return found


def _directory(data: memoryview) -> tuple[int, int, int]:
    """(number of entries, size, offset) of the directory, which the archive's last bytes tell."""
    tail = max(len(data) - _END.size - 2**16, 0)
    at = tail + bytes(data[tail:]).rfind(b"PK\x05\x06")
    if at < tail:
        raise ValueError("it is cut off; copy it again")
    *_, entries, size, start, _ = _unpack(_END, data, at, b"PK\x05\x06")
    if bytes(data[max(at - _LOCATOR.size, 0) : at][:4]) == b"PK\x06\x07":
        _, _, end, _ = _unpack(_LOCATOR, data, at - _LOCATOR.size, b"PK\x06\x07")
        *_, entries, size, start = _unpack(_END64, data, end, b"PK\x06\x06")
    if start + size > at:
        raise ValueError("its directory lies outside of it; copy it again")
    return entries, size, start


def _large(values: tuple[int, ...], extra: memoryview) -> tuple[int, ...]:
    """Sizes and offset of an entry; those that do not fit into 32 bits stand in its zip64 field, in this order."""
    large = sum(value == 2**32 - 1 for value in values)
    while large and len(extra) >= 4:
        kind, length = struct.unpack("<2H", extra[:4])
        if kind == 1 and min(length, len(extra) - 4) >= 8 * large:
            wide = iter(struct.unpack(f"<{large}Q", extra[4 : 4 + 8 * large]))
            return tuple(next(wide) if value == 2**32 - 1 else value for value in values)
        extra = extra[4 + length :]
    return values


def _content(data: memoryview, offset: int, length: int) -> memoryview:
    *_, names, extras = _unpack(_MEMBER, data, offset, START)
    start = offset + _MEMBER.size + names + extras
    if start + length > len(data):
        raise ValueError("a member lies outside of it; copy it again")
    return data[start : start + length]


def _unpack(layout: struct.Struct, data: memoryview, at: int, mark: bytes) -> tuple[Any, ...]:
    """The values of a record, which must lie within the data and begin with its mark. Raises ValueError."""
    if not 0 <= at <= len(data) - layout.size or bytes(data[at : at + 4]) != mark:
        raise ValueError("its directory is damaged; copy it again")
    return layout.unpack_from(data, at)
