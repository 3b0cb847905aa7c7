"""What the objects of an HDF5 file hold: datatypes, shapes, texts, and arrays in the ways they may lie.

Format: "HDF5 File Format Specification Version 3.0" (The HDF Group).
"""

from __future__ import annotations

import math
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from resnets.weights.formats.hdf5_bytes import (
    MAX_LEVELS,
    PACKED_SLACK,
    Bytes,
    Cursor,
    Hdf5Error,
    damaged,
    tree,
    unsupported,
)
from resnets.weights.formats.stored import MAX_DIMENSIONS, MAX_TENSOR_BYTES

MAX_TEXT_BYTES = 8 * 2**20  # of one attribute; the longest is a configuration, of a few hundred kB

_DATASPACE, _DATATYPE, _EXTERNAL, _LAYOUT, _FILTERS = 0x1, 0x3, 0x7, 0x8, 0xB
_COMPACT, _CONTIGUOUS, _CHUNKED = 0, 1, 2
_GZIP, _SHUFFLE = 1, 2
_IEEE = {  # bytes -> precision, where exponent and mantissa lie, their sizes, and the exponent's bias
    2: (16, 10, 5, 0, 10, 15),
    4: (32, 23, 8, 0, 23, 127),
    8: (64, 52, 11, 0, 52, 1023),
}


@dataclass(frozen=True)
class Type:
    """A datatype: `numeric` for integers and floats, else text, of one size or (`variable`) in the heap."""

    size: int
    numeric: np.dtype[Any] | None = None
    variable: bool = False


def datatype(cursor: Cursor) -> Type:
    """Read a datatype. Raises Hdf5Error for those that neither weights nor names have."""
    kind, bits, size = cursor.number(), cursor.number(3), cursor.number(4)
    kind &= 15
    order = ">" if bits & 1 else "<"
    if kind == 0 and size in (1, 2, 4, 8):
        return Type(size, np.dtype(f"{order}{'i' if bits & 8 else 'u'}{size}"))
    if kind == 1 and size in _IEEE:
        offset, precision = cursor.number(2), cursor.number(2)
        layout = (precision, *cursor.take(4), cursor.number(4))
        if offset == 0 and layout == _IEEE[size] and not bits & 64:
            return Type(size, np.dtype(f"{order}f{size}"))
        raise unsupported("floating point numbers that are not of IEEE 754")
    if kind == 3 and size > 0:
        return Type(size)
    if kind == 9 and bits & 15 == 1:
        return Type(8 + cursor.file.offset_size, variable=True)
    raise unsupported(f"values of HDF5's kind {kind} with {size} bytes")


def dataspace(cursor: Cursor) -> tuple[int, ...]:
    """Read a shape; () for a scalar. Raises Hdf5Error for more than 8 dimensions and for none at all."""
    version, rank, _ = cursor.number(), cursor.number(), cursor.number()
    rest = cursor.take(1 if version == 2 else 5)
    if version not in (1, 2) or rank > MAX_DIMENSIONS:
        raise damaged(f"a shape of version {version} with {rank} dimensions")
    if version == 2 and rest[0] == 2:
        raise unsupported("an empty value")
    return tuple(cursor.length() for _ in range(rank))


def texts(kind: Type, shape: tuple[int, ...], data: Cursor) -> list[str]:
    """The elements of an attribute that holds text; no text at all may be typed as numbers."""
    count = math.prod(shape)
    if count == 0:
        return []
    if kind.numeric is not None:
        raise damaged("a name is a number")
    if count * kind.size > data.left:
        raise damaged("an attribute is cut off")
    result, size = [], 0
    for _ in range(count):
        data.file.step()
        if kind.variable:
            length, address, number = data.number(4), data.address(), data.number(4)
            element = data.file.heap(address).get(number) if length else memoryview(b"")
            if element is None or length > len(element):
                raise damaged("a text is missing")
            element = element[:length]
        else:
            element = data.take(kind.size)
        size += len(element)
        if size > MAX_TEXT_BYTES:
            raise Hdf5Error(f"an attribute has more than {MAX_TEXT_BYTES:,} bytes, which no configuration has")
        result.append(data.file.decoded(element))
    return result


@dataclass(frozen=True)
class Dataset:
    """An array of the file. `read()` gives it in memory of its own, in this machine's byte order."""

    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    read: Callable[[], np.ndarray[Any, Any]] = field(repr=False)


def dataset(file: Bytes, messages: dict[int, memoryview]) -> Dataset:
    """The array that an object's messages (type -> bytes) describe; its numbers are read later."""
    if _LAYOUT not in messages or _DATATYPE not in messages or _DATASPACE not in messages:
        raise damaged("a dataset has no layout, type or shape")
    if _EXTERNAL in messages:
        raise unsupported("numbers that lie in another file")
    kind = datatype(Cursor(file, messages[_DATATYPE]))
    if kind.numeric is None:
        raise unsupported("text where weights should be")
    shape, dtype = dataspace(Cursor(file, messages[_DATASPACE])), kind.numeric
    size = math.prod(shape) * dtype.itemsize
    if size > MAX_TENSOR_BYTES or max(shape, default=0) > MAX_TENSOR_BYTES:
        raise Hdf5Error(f"a tensor has the shape {shape}, which no network has")
    layout = Cursor(file, messages[_LAYOUT])
    version, where = layout.number(), layout.number()
    if version not in (3, 4) or (version == 4 and where == _CHUNKED):
        raise unsupported(f"the layout {where} in its version {version} of HDF5")

    def whole(data: memoryview) -> np.ndarray[Any, Any]:
        return np.frombuffer(data, dtype).reshape(shape).astype(dtype.newbyteorder("="))

    if where == _CHUNKED:
        return Dataset(shape, dtype, _Chunks(file, layout, shape, dtype, messages.get(_FILTERS)).read)
    file.promise(size, packed=False)
    if size == 0:
        return Dataset(shape, dtype, lambda: whole(memoryview(b"")))
    if where == _COMPACT:
        data = layout.take(layout.number(2))
    elif where == _CONTIGUOUS:
        address = layout.address()
        if address is None:
            raise damaged("a tensor was never written")
        data = file.at(address, layout.length()).data
    else:
        raise unsupported("a virtual dataset")
    if len(data) != size:
        raise damaged(f"a tensor of {size} bytes has {len(data)}")
    return Dataset(shape, dtype, lambda: whole(data))


class _Chunks:
    """An array in equal blocks, each perhaps compressed, that a B-tree of version 1 lists."""

    def __init__(
        self, file: Bytes, layout: Cursor, shape: tuple[int, ...], dtype: np.dtype[Any], filters: memoryview | None
    ) -> None:
        rank, self.root = layout.number() - 1, layout.address()
        self.chunk = tuple(layout.number(4) for _ in range(min(rank, MAX_DIMENSIONS)))
        self.file, self.shape, self.dtype = file, shape, dtype
        self.filters = [] if filters is None else list(_filters(Cursor(file, filters)))
        self.size = math.prod(self.chunk) * dtype.itemsize
        if len(self.chunk) != len(shape) or not 0 < self.size <= max(math.prod(shape) * dtype.itemsize, PACKED_SLACK):
            raise damaged(f"chunks of {self.chunk} in a tensor of {shape}")
        self.count = math.prod(-(-whole // part) for whole, part in zip(shape, self.chunk, strict=True))
        file.step(self.count)
        file.promise(self.count * self.size, packed=bool(self.filters))

    def read(self) -> np.ndarray[Any, Any]:
        """The whole array. Raises Hdf5Error when a chunk is missing, doubled or damaged."""
        out = np.empty(self.shape, self.dtype.newbyteorder("="))
        seen: set[tuple[int, ...]] = set()
        file = self.file.again(steps=4 * self.count + 64)  # each chunk, its entry, and the nodes of the tree
        for origin, mask, data in self._stored(file, self.root, MAX_LEVELS) if self.count else ():
            inside = all(o % c == 0 and o < s for o, c, s in zip(origin, self.chunk, self.shape, strict=True))
            if not inside or origin in seen:
                raise damaged("a chunk is not where it should be")
            seen.add(origin)
            block = np.frombuffer(self._unpacked(data, mask), self.dtype).reshape(self.chunk)
            place = tuple(slice(o, o + c) for o, c in zip(origin, self.chunk, strict=True))
            inner = out[place]
            inner[...] = block[tuple(slice(n) for n in inner.shape)]
        if len(seen) != self.count:
            raise damaged(f"{self.count - len(seen)} chunks of a tensor were never written")
        return out

    def _stored(
        self, file: Bytes, address: int | None, above: int
    ) -> Iterator[tuple[tuple[int, ...], int, memoryview]]:
        """(origin, filters left out, bytes) of the chunks under a node."""
        for key, child, level in tree(file, address, 1, above, key_size=8 + 8 * (len(self.shape) + 1)):
            if level:
                yield from self._stored(file, child, level)
                continue
            size, mask, *origin = key.number(4), key.number(4), *(key.number(8) for _ in self.shape)
            yield tuple(origin), mask, file.at(child, size).data

    def _unpacked(self, data: memoryview, mask: int) -> bytes | memoryview:
        block: bytes | memoryview = data
        for number, (kind, item) in reversed(list(enumerate(self.filters))):
            if mask >> number & 1:
                continue
            if kind == _GZIP:
                try:
                    block = zlib.decompressobj().decompress(block, self.size + 1)
                except zlib.error as problem:
                    raise damaged("a chunk does not decompress") from problem
            elif len(block) == self.size and item == self.dtype.itemsize:  # all first bytes, then all second ones
                block = np.frombuffer(block, np.uint8).reshape(item, -1).T.tobytes()
            else:
                raise damaged("a chunk is shuffled in another way")
        if len(block) != self.size:
            raise damaged(f"a chunk of {self.size} bytes has {len(block)}")
        return block


def _filters(cursor: Cursor) -> Iterator[tuple[int, int]]:
    """(filter, its first setting) in the order in which they were applied."""
    version, count = cursor.number(), cursor.number()
    if count > 2:
        raise unsupported(f"{count} of HDF5's filters in a row")
    if version == 1:
        cursor.take(6)
    for _ in range(count):
        kind = cursor.number(2)
        name = cursor.number(2) if version == 1 or kind >= 256 else 0
        cursor.take(2)
        settings = cursor.number(2)
        cursor.take(name)
        values = [cursor.number(4) for _ in range(settings)]
        if version == 1 and settings % 2:
            cursor.take(4)
        if kind not in (_GZIP, _SHUFFLE) or not values:
            raise unsupported(f"HDF5's filter {kind}")
        yield kind, values[0]
