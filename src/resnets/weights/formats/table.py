"""LevelDB's sorted table, in which TensorFlow keeps its checkpoints: keys and values in checksummed blocks.

From the end: a footer of 48 bytes (where two blocks are, and a magic number), the index block (the last key
of each data block, and where that is), the data blocks. Behind each block stand its compression and its
checksum; within a block a key says how many bytes it shares with the one before.
Format: github.com/google/leveldb/blob/main/doc/table_format.md.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterator
from pathlib import Path

from resnets.errors import ModelFileError
from resnets.regular import open_regular
from resnets.weights.formats.protobuf import varint
from resnets.weights.formats.snappy import decompress

MAGIC = (0xDB4775248B80FB57).to_bytes(8, "little")
FOOTER_BYTES = 48
TRAILER_BYTES = 5  # compression, checksum
UNCOMPRESSED, SNAPPY = 0, 1
MAX_BLOCK_BYTES = 2**29  # the old checkpoints have a whole tensor in a block
MAX_DIRECTORY_BYTES = 2 * 2**20  # of index blocks, and of the blocks that `items` reads; a ResNet-152 has 0.1 MB
MAX_ENTRIES = 50_000  # of a block
MAX_KEY_BYTES = 1024

_CHUNK = 2**20


class Table:
    """An opened table. Its methods raise ValueError for what is damaged, OSError for what cannot be read."""

    def __init__(self, path: Path) -> None:
        self._path = path
        size = path.stat().st_size
        with open_regular(path) as file:
            file.seek(max(size - FOOTER_BYTES, 0))
            footer = memoryview(file.read(FOOTER_BYTES))
        if len(footer) < FOOTER_BYTES or footer[-len(MAGIC) :] != MAGIC:
            raise ValueError(
                f"{path.name} does not end as a TensorFlow checkpoint does; it is cut off, or something else"
            )
        self._end = size - FOOTER_BYTES
        _, position = varint(footer, 0)
        _, position = varint(footer, position)
        start, position = varint(footer, position)
        length, _ = varint(footer, position)
        if length > MAX_DIRECTORY_BYTES:
            raise self._damaged()
        self._keys: list[bytes] = []
        self._handles: list[tuple[int, int]] = []
        free = 0
        for key, value in _entries(self._block(start, length)):
            handle, position = varint(value, 0)
            length, _ = varint(value, position)
            if handle < free:  # blocks that overlap would let a small file hold a lot
                raise self._damaged()
            free = handle + length + TRAILER_BYTES
            self._keys.append(key)
            self._handles.append((handle, length))
        self._cached: tuple[int, dict[bytes, memoryview]] = (-1, {})

    def first(self) -> memoryview:
        """The value of the empty key, which sorts before all others. Raises ValueError if there is none."""
        return self.value(b"")

    def value(self, key: bytes) -> memoryview:
        """The value of a key. Raises ValueError if there is none."""
        number = bisect_left(self._keys, key)
        if number < len(self._handles):
            if self._cached[0] != number:
                self._cached = (number, dict(_entries(self._block(*self._handles[number]))))
            if key in self._cached[1]:
                return self._cached[1][key]
        raise ValueError(f"{self._path.name} has no entry {key[:80]!r}, though it should")

    def items(self) -> Iterator[tuple[bytes, memoryview]]:
        """All keys and values of a table that is but a directory."""
        left = MAX_DIRECTORY_BYTES
        for start, length in self._handles:
            block = self._block(start, length)
            left -= len(block)
            if left < 0:
                raise ValueError(
                    f"{self._path.name} has more than {MAX_DIRECTORY_BYTES:,} bytes, which no network needs"
                )
            yield from _entries(block)

    def _block(self, start: int, length: int) -> memoryview:
        if length > MAX_BLOCK_BYTES or start + length + TRAILER_BYTES > self._end:
            raise self._damaged()
        with open_regular(self._path) as file:
            file.seek(start)
            data = memoryview(file.read(length + 1))
            stored = file.read(TRAILER_BYTES - 1)
        if checksum(data) != int.from_bytes(stored, "little"):
            raise self._damaged()
        content, compression = data[:-1], data[-1]
        if compression == SNAPPY:
            return memoryview(decompress(content, MAX_BLOCK_BYTES))
        if compression != UNCOMPRESSED:
            raise ValueError(
                f"{self._path.name} is compressed in a way (number {compression}) that TensorFlow does not use"
            )
        return content

    def _damaged(self) -> ValueError:
        return ValueError(f"{self._path.name} is damaged or cut off; copy it again")


def checksum(data: bytes | memoryview) -> int:
    """CRC-32C, masked as LevelDB stores it. Raises ModelFileError where the library for it is not installed."""
    try:
        from google_crc32c import extend
    except ImportError as problem:
        raise ModelFileError(
            'TensorFlow checkpoints need the package google-crc32c: pip install "resnets[convert]".'
        ) from problem
    crc = 0
    for start in range(0, len(data), _CHUNK):
        crc = extend(crc, bytes(data[start : start + _CHUNK]))
    return ((crc >> 15 | crc << 17) + 0xA282EAD8) & 0xFFFFFFFF


def _entries(block: memoryview) -> Iterator[tuple[bytes, memoryview]]:
    """Keys and values of a block, which ends in the places where keys are whole and the number of those."""
    end = len(block) - 4 * (int.from_bytes(block[-4:], "little") + 1)
    key, position, count = b"", 0, 0
    if end < 0:
        raise ValueError("a block of it is cut off")
    while position < end:
        shared, position = varint(block, position)
        own, position = varint(block, position)
        length, position = varint(block, position)
        start = position + own
        count += 1
        if shared > len(key) or shared + own > MAX_KEY_BYTES or start + length > end or count > MAX_ENTRIES:
            raise ValueError("a block of it is damaged")
        key = key[:shared] + bytes(block[position:start])
        position = start + length
        yield key, block[start:position]
