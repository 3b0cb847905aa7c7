"""The bytes of an HDF5 file and a cursor over them, so that nothing reads further than they reach, or for ever.

Format: "HDF5 File Format Specification Version 3.0" (The HDF Group).
"""

from __future__ import annotations

from collections.abc import Iterator

MAX_STEPS = 150_000  # structures looked at in one file, which take a second; a ResNet-152 in Keras has 18,000
MAX_LEVELS = 8  # of a B-tree; one of four levels holds a million entries
PACKED_FACTOR = 4  # how much larger than the file its compressed tensors may be together; weights hardly shrink
PACKED_SLACK = 64 * 2**20  # bytes that they may take in any case, as zeros shrink a thousandfold


class Hdf5Error(ValueError):
    """Why a file cannot be read, as a clause that names the mend."""


def damaged(what: str) -> Hdf5Error:
    """The error for bytes that are not what they should be."""
    return Hdf5Error(f"it is damaged or cut off ({what}); copy or download it again")


def unsupported(what: str) -> Hdf5Error:
    """The error for what HDF5 can do but Keras does not use."""
    return Hdf5Error(f"it uses {what}, which is not read here; load it in Keras and save it again")


class Bytes:
    """The bytes of an HDF5 file, and how much may still be taken from them."""

    def __init__(
        self, data: memoryview, base: int = 0, offset_size: int = 8, length_size: int = 8, steps: int = MAX_STEPS
    ) -> None:
        self.data, self.base, self.offset_size, self.length_size = data, base, offset_size, length_size
        self._steps = steps
        self._plain, self._packed = len(data), len(data) * PACKED_FACTOR + PACKED_SLACK
        self._text = len(data)
        self._heaps: dict[int | None, dict[int, memoryview]] = {}

    def again(self, steps: int) -> Bytes:
        """The same bytes, for looking at so many structures."""
        return Bytes(self.data, self.base, self.offset_size, self.length_size, steps)

    def step(self, count: int = 1) -> None:
        """Count further structures. Raises Hdf5Error when there are too many, as in a file that goes in circles."""
        self._steps -= count
        if self._steps < 0:
            raise Hdf5Error("it has more parts than any network; it is damaged or was made to be slow")

    def at(self, address: int | None, size: int | None = None) -> Cursor:
        """A cursor over `size` bytes (default: up to the end) from an address of the file."""
        self.step()
        if address is None:
            raise damaged("an address is missing")
        start = self.base + address
        end = len(self.data) if size is None else start + size
        if end > len(self.data) or start > end:
            raise damaged("an address lies behind its end")
        return Cursor(self, self.data[start:end])

    def promise(self, size: int, *, packed: bool) -> None:
        """Count the bytes of a tensor: what overlaps or unpacks to far more than the file holds is refused."""
        if packed:
            self._packed -= size
        else:
            self._plain -= size
        if min(self._plain, self._packed) < 0:
            raise Hdf5Error("its tensors are larger than the file can hold; it is damaged or was made to fill memory")

    def decoded(self, data: memoryview) -> str:
        """UTF-8 text up to its first zero byte."""
        self._text -= len(data)
        if self._text < 0:
            raise damaged("texts overlap")
        try:
            return bytes(data).partition(b"\0")[0].decode()
        except UnicodeDecodeError as problem:
            raise damaged("a name is not UTF-8") from problem

    def heap(self, address: int | None) -> dict[int, memoryview]:
        """The objects of a global heap collection, by number: what a text of variable length points at."""
        if address not in self._heaps:
            cursor = self.at(address)
            cursor.expect(b"GCOL", "a heap")
            cursor.take(4)
            size = cursor.length()
            cursor = self.at(address, size)
            cursor.take(8 + self.length_size)
            objects: dict[int, memoryview] = {}
            while cursor.left >= 8 + self.length_size and (number := cursor.number(2)):
                self.step()
                cursor.take(6)
                objects[number] = cursor.take(cursor.length())
                cursor.take(min(-cursor.position % 8, cursor.left))
            self._heaps[address] = objects
        return self._heaps[address]


class Cursor:
    """A place in some bytes that moves on with every value read; never beyond their end."""

    def __init__(self, file: Bytes, data: memoryview) -> None:
        self.file, self.data, self.position = file, data, 0
        self._end = len(data)

    @property
    def left(self) -> int:
        """Bytes not yet read."""
        return self._end - self.position

    def take(self, size: int) -> memoryview:
        """The next bytes. Raises Hdf5Error if there are fewer."""
        start = self.position
        self.position = end = start + size
        if end > self._end:
            raise damaged("a structure is cut off")
        return self.data[start:end]

    def number(self, size: int = 1) -> int:
        """The next unsigned integer."""
        return int.from_bytes(self.take(size), "little")

    def length(self) -> int:
        """The next size, as wide as the file has them."""
        return self.number(self.file.length_size)

    def address(self) -> int | None:
        """The next address; None where there is none (all bits set)."""
        size = self.file.offset_size
        value = self.number(size)
        return None if value == 2 ** (8 * size) - 1 else value

    def expect(self, signature: bytes, what: str) -> None:
        """Raises Hdf5Error unless these bytes come next."""
        if bytes(self.take(len(signature))) != signature:
            raise damaged(f"{what} is not where it should be")


def tree(
    file: Bytes, address: int | None, kind: int, above: int, key_size: int
) -> Iterator[tuple[Cursor, int | None, int]]:
    """(key, child's address, node's level) of one node of a B-tree; `above` is the level of the node over it."""
    cursor = file.at(address)
    cursor.expect(b"TREE", "a B-tree")
    node, level, entries = cursor.number(), cursor.number(), cursor.number(2)
    if node != kind or level >= above:
        raise damaged("a B-tree has the wrong kind or goes in circles")
    cursor.address(), cursor.address()  # its neighbours
    for _ in range(entries):
        file.step()
        key = Cursor(file, cursor.take(key_size))
        yield key, cursor.address(), level
