"""HDF5 as far as Keras uses it: groups, attributes of text, and arrays, found without HDF5's own library.

That library is C code in which damaged files have found crashes again and again, and no file, whatever its
bytes, may end the process; so the index is read here in plain Python, every step within bounds. Both versions
of object headers and of groups are read; what Keras never writes is refused by name. `hdf5_data.py` reads what
the objects hold. Format: "HDF5 File Format Specification Version 3.0" (The HDF Group).
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cached_property
from typing import NamedTuple

from resnets.weights.formats.hdf5_bytes import MAX_LEVELS, Bytes, Cursor, Hdf5Error, damaged, tree, unsupported
from resnets.weights.formats.hdf5_data import Dataset, dataset, dataspace, datatype, texts

__all__ = ["Dataset", "Hdf5Error", "Node", "damaged", "open_hdf5", "unsupported"]

SIGNATURE = b"\x89HDF\r\n\x1a\n"
MAX_NAME = 1024  # bytes of a member's name in an old group

_DATASPACE, _LINK_INFO, _DATATYPE, _LINK, _LAYOUT, _ATTRIBUTE = 0x1, 0x2, 0x3, 0x6, 0x8, 0xC
_CONTINUATION, _SYMBOL_TABLE, _ATTRIBUTE_INFO = 0x10, 0x11, 0x15
_SHARED = 2  # a message's flag: its content lies elsewhere


def open_hdf5(data: memoryview) -> Node:
    """The root of a file. Raises Hdf5Error, here and in all that follows from it, with a clause that says why."""
    cursor = Cursor(Bytes(data), data)
    cursor.expect(SIGNATURE, "the signature of HDF5")
    version = cursor.number()
    if version > 3:
        raise unsupported(f"version {version} of HDF5's superblock")
    if version < 2:
        cursor.take(4)
    offset_size, length_size = cursor.number(), cursor.number()
    if {offset_size, length_size} - {2, 4, 8}:
        raise damaged(f"addresses of {offset_size} bytes")
    cursor.take({0: 9, 1: 13, 2: 1, 3: 1}[version])
    cursor.file = Bytes(data, 0, offset_size, length_size)
    base = cursor.address() or 0
    for _ in range(4 if version < 2 else 2):  # free space, end, driver, the root's name; or extension and end
        cursor.address()
    return Node(Bytes(data, base, offset_size, length_size), cursor.address())


class _Message(NamedTuple):
    kind: int
    flags: int
    data: memoryview


class _Attribute(NamedTuple):
    shared: int
    datatype: memoryview
    dataspace: memoryview
    value: memoryview


class Node:
    """An object of the file: a group, which has members, or an array; both have attributes."""

    def __init__(self, file: Bytes, address: int | None) -> None:
        self.file, self.address = file, address
        self._messages = _messages(file, address)
        self._found: dict[str, Node] = {}

    @property
    def is_array(self) -> bool:
        """Whether it is an array and not a group."""
        return any(message.kind == _LAYOUT for message in self._messages)

    @cached_property
    def members(self) -> dict[str, int | None]:
        """The names of a group's members with their addresses (None: a link by name); empty for an array."""
        found: dict[str, int | None] = {}
        for message in self._messages:
            cursor = Cursor(self.file, message.data)
            if message.kind == _SYMBOL_TABLE:
                root, heap = cursor.address(), cursor.address()
                _old_members(self.file, root, MAX_LEVELS, _names(self.file, heap), found)
            elif message.kind == _LINK:
                name, address = _link(cursor)
                found[name] = address
            elif message.kind == _LINK_INFO and _is_dense(cursor, index_size=8):
                raise unsupported("dense groups of HDF5")
        return found

    def __contains__(self, name: str) -> bool:
        return name in self.members

    def __getitem__(self, name: str) -> Node:
        if name not in self.members:
            raise damaged(f"there is no {name[:80]!r} where its index says so")
        if self.members[name] is None:
            raise unsupported(f"a link by name ({name[:80]!r})")
        if name not in self._found:
            self._found[name] = Node(self.file, self.members[name])
        return self._found[name]

    def text(self, name: str) -> list[str] | None:
        """The elements of an attribute of text (one for a scalar); None if there is no such attribute."""
        if name not in self._attributes:
            return None
        shared, kind, shape, value = self._attributes[name]
        if shared:
            raise unsupported("shared datatypes of HDF5")
        return texts(datatype(Cursor(self.file, kind)), dataspace(Cursor(self.file, shape)), Cursor(self.file, value))

    def array(self) -> Dataset:
        """The array; its numbers are not read yet."""
        if any(message.flags & _SHARED for message in self._messages if message.kind in (_DATASPACE, _DATATYPE)):
            raise unsupported("shared datatypes of HDF5")
        return dataset(self.file, {message.kind: message.data for message in self._messages})

    @cached_property
    def _attributes(self) -> dict[str, _Attribute]:
        found: dict[str, _Attribute] = {}
        for message in self._messages:
            cursor = Cursor(self.file, message.data)
            if message.kind == _ATTRIBUTE_INFO and _is_dense(cursor, index_size=2):
                raise unsupported("dense attributes of HDF5")
            if message.kind != _ATTRIBUTE:
                continue
            version, flags = cursor.number(), cursor.number()
            if version not in (1, 2, 3) or message.flags & _SHARED:
                raise unsupported(f"attributes of version {version} or shared ones")
            sizes = [cursor.number(2) for _ in range(3)]
            if version == 3:
                cursor.take(1)  # the name's character set: ASCII or UTF-8, which is ASCII too
            parts = []
            for size in sizes:
                parts.append(cursor.take(size))
                if version == 1:
                    cursor.take(-size % 8)
            name, kind, shape = parts
            shared = flags if version > 1 else 0
            found[self.file.decoded(name)] = _Attribute(shared, kind, shape, cursor.take(cursor.left))
        return found


def _messages(file: Bytes, address: int | None) -> list[_Message]:
    """An object's header, whose messages may go on in further blocks."""
    start = file.at(address)
    new = bytes(start.data[:4]) == b"OHDR"
    if new:
        start.take(5)
        flags = start.number()
        start.take(16 * bool(flags & 32) + 4 * bool(flags & 16))  # times, limits of compact attributes
        size = start.number(1 << (flags & 3))
        kind_size, rest = 1, 2 * bool(flags & 4)  # the order of creation
    else:
        if start.number() != 1:
            raise damaged("an object has no header")
        start.take(7)
        size = start.number(4)
        start.take(4)
        kind_size, rest = 2, 3
    messages: list[_Message] = []
    blocks = [Cursor(file, start.take(size))]
    for block in blocks:  # which grows meanwhile
        while block.left >= kind_size + 3 + rest:
            file.step()
            kind, size, flags = block.number(kind_size), block.number(2), block.number()
            block.take(rest)
            data = block.take(size)
            if kind != _CONTINUATION:
                messages.append(_Message(kind, flags, data))
                continue
            place = Cursor(file, data)
            further = file.at(place.address(), place.length())
            if new:
                further.expect(b"OCHK", "the rest of an object's header")
                further = Cursor(file, further.take(max(further.left - 4, 0)))  # less its checksum
            blocks.append(further)
    return messages


def _old_members(
    file: Bytes, address: int | None, above: int, name_at: Callable[[int], str], found: dict[str, int | None]
) -> None:
    """Fill in the members under one node of a group's B-tree."""
    for _, child, level in tree(file, address, 0, above, key_size=file.length_size):
        if level:
            _old_members(file, child, level, name_at, found)
            continue
        cursor = file.at(child)
        cursor.expect(b"SNOD", "a group's list of members")
        cursor.take(2)
        for _ in range(cursor.number(2)):
            file.step()
            name = name_at(cursor.length())
            found[name] = cursor.address()  # there is none in a link by name
            cursor.take(24)


def _names(file: Bytes, address: int | None) -> Callable[[int], str]:
    """The name at an offset of a group's local heap."""
    cursor = file.at(address)
    cursor.expect(b"HEAP", "a group's heap of names")
    cursor.take(4)
    size, _ = cursor.length(), cursor.length()
    data = file.at(cursor.address(), size).data

    def name_at(offset: int) -> str:
        name, end, _ = bytes(data[offset : offset + MAX_NAME]).partition(b"\0")
        if not end:
            raise damaged("a name has no end")
        return file.decoded(memoryview(name))

    return name_at


def _link(cursor: Cursor) -> tuple[str, int | None]:
    """(name, address) of one member of a new group; None for what is no hard link."""
    cursor.take(1)
    flags = cursor.number()
    hard = cursor.number() == 0 if flags & 8 else True
    cursor.take(8 * bool(flags & 4) + bool(flags & 16))  # order of creation, character set
    name = cursor.file.decoded(cursor.take(cursor.number(1 << (flags & 3))))
    return name, cursor.address() if hard else None


def _is_dense(cursor: Cursor, index_size: int) -> bool:
    """Whether an info message says that links or attributes lie in a heap of their own."""
    _, flags = cursor.number(), cursor.number()
    cursor.take(index_size * (flags & 1))
    return cursor.address() is not None
