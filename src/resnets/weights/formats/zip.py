"""The members of a zip archive, as views into the file's bytes.

A member is found through the archive's directory, is checked to lie within the file, and costs no memory. Nothing is
unpacked: torch's checkpoints are archives whose members are stored as they are. Format: APPNOTE.TXT of PKWARE,
sections 4.3.7 (member), 4.3.12 (directory), 4.3.14 (zip64).
"""

from __future__ import annotations

import struct
import zlib
from dataclasses import dataclass, field
from typing import Any

from resnets.weights.formats.stored import MAX_TENSORS

MAX_MEMBERS = MAX_TENSORS + 1000  # a storage for each tensor, and what torch writes beside them

_END = struct.Struct("<4s4H2LH")  # mark, disk, directory's disk, entries here, entries, bytes, offset, comment's length
_LOCATOR = struct.Struct("<4sLQL")  # mark, disk, offset of the zip64 end, disks
_END64 = struct.Struct("<4sQ2H2L4Q")  # ..., entries here, entries, bytes, offset
_ENTRY = struct.Struct("<4s6H3L5H2L")  # mark, versions, flags, method, time, date, crc, 2 sizes, 3 lengths, ..., offset
_MEMBER = struct.Struct("<4s5H3L2H")  # ..., name's length, extra field's length

_ENCRYPTED = 1


@dataclass(eq=False, slots=True)
class Member:
    """A member's bytes as they lie in the file, and the checksum of what they hold; 0 if its writer left it out."""

    content: memoryview
    checksum: int = 0
    packed: bool = False  # compressed or encrypted
    verified: bool = field(default=False, init=False)

    def verify(self) -> None:
        """Compare the bytes with their checksum, the first time. Raises ValueError for damaged ones."""
        if not self.verified and self.checksum not in (0, zlib.crc32(self.content)):
            raise ValueError("it is damaged (a checksum differs); copy it again")
        self.verified = True


def members(data: memoryview) -> dict[str, Member]:
    """All members by name. Raises ValueError for a damaged archive."""
    entries, length, start = _directory(data)
    if entries > MAX_MEMBERS:
        raise ValueError(f"it is an archive of {entries:,} members, more than any checkpoint has")
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
        found[name] = Member(_content(data, offset, size), checksum, bool(method or size != full or flags & _ENCRYPTED))
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
    *_, names, extras = _unpack(_MEMBER, data, offset, b"PK\x03\x04")
    start = offset + _MEMBER.size + names + extras
    if start + length > len(data):
        raise ValueError("a member lies outside of it; copy it again")
    return data[start : start + length]


def _unpack(layout: struct.Struct, data: memoryview, at: int, mark: bytes) -> tuple[Any, ...]:
    """The values of a record, which must lie within the data and begin with its mark. Raises ValueError."""
    if not 0 <= at <= len(data) - layout.size or bytes(data[at : at + 4]) != mark:
        raise ValueError("its directory is damaged; copy it again")
    return layout.unpack_from(data, at)
