"""Tables that hold the pictures themselves: .parquet with a column of bytes, one file or many in a folder.

A parquet cannot be read at random, so its pictures are unpacked once into one file under `home`, and read from there.
Each has its digest, which is compared whenever it is read: a file that was changed there is made again.
"""

from __future__ import annotations

import hashlib
import os
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from resnets.data.columns import Columns, label_of
from resnets.data.fetch import locked
from resnets.data.identity import SIZE, digest_of
from resnets.data.labelled import split_column
from resnets.data.labels import class_name
from resnets.data.layout import Layout
from resnets.data.reading import USUAL, Reading
from resnets.data.remarks import Left
from resnets.data.rows import Table, open_table
from resnets.data.sample import Sample
from resnets.data.source import Source, check_size, opened
from resnets.data.splitnames import parted, roles, stranger
from resnets.data.unpack import Room
from resnets.data.walk import walk
from resnets.errors import DataError, UnreadableError
from resnets.machine import home, open_kept
from resnets.progress import track
from resnets.regular import open_regular
from resnets.text import printable
from resnets.whole import whole

FORMAT = 1  # of the unpacked file; counts up when its layout changes
_MAGIC = b"resnets pictures"


@dataclass(frozen=True)
class _Store:
    """The unpacked pictures of one table: those of row r lie from `ends[r]` to `ends[r + 1]`."""

    path: Path
    ends: np.ndarray  # (rows + 1,) int64, the places in the file
    digests: np.ndarray  # (rows, SIZE) uint8

    def read(self, row: int) -> bytes:
        begin, end = map(int, self.ends[row : row + 2])
        check_size(end - begin)
        with opened(str(self.path), None) as file:
            file.seek(begin)
            data = file.read(end - begin)
        if digest_of(data) != self.digests[row].tobytes():
            raise UnreadableError(f"damaged in the cache: remove {printable(str(self.path))}")
        return data


class Packed(Source):
    """Parquet files whose pictures are in them; keys are the file's name and the row's number.

    place       a file, or a folder of them
    files       paths below the place, with "/"; "" for the place itself

    Raises DataError for tables that cannot be used, or where there is no room to unpack them.
    """

    def __init__(self, name: str, place: str, files: Sequence[str], reading: Reading = USUAL) -> None:
        stems = [_stem(file) for file in files]
        parts = roles(stems) if parted(stems) else {}
        self._stores: dict[str, _Store] = {}
        samples: list[Sample] = []
        remarks: list[str] = []
        for file in files:
            path = os.path.join(place, file) if file else place
            key = file or os.path.basename(path)
            shown = printable(os.path.join(name, file) if file else name)
            table = open_table(shown, path, lambda path=path: open_regular(path))  # type: ignore[misc]
            columns = Columns.of(table, reading.columns)
            columns, meanings, said = split_column(table, columns)
            if parts and _stem(file) not in parts and columns.split is None:
                remarks += [*said, stranger(shown, "files of splits")]
                continue
            store = self._stores[key] = _unpacked(table, columns, path)
            found, left = _samples(table, columns, key, store, meanings, parts.get(_stem(file), ""))
            samples += found
            remarks += [*said, *left]
        if not samples:
            raise DataError(f"{printable(name)} holds no picture with a label.")
        layout = Layout(tuple(sorted(samples, key=lambda sample: sample.key)), (), tuple(remarks), tabled=True)
        super().__init__(name, layout, lambda _: 0, place)  # no earlier version knew tables

    def contents_of(self, samples: Sequence[Sample]) -> Mapping[str, bytes]:
        """As `Source.contents_of`: it is known since they were unpacked."""
        if len(self._contents) < len(self.samples):
            self._contents = {sample.key: self._digest(sample.key) for sample in self.samples}
        return self._contents

    def holder(self, key: str) -> str:
        """As ``Source.holder``."""
        return str(self._at(key)[0].path)

    def read(self, key: str) -> bytes:
        """As ``Source.read``."""
        store, row = self._at(key)
        return store.read(row)

    def _at(self, key: str) -> tuple[_Store, int]:
        file, _, row = key.rpartition("/")
        return self._stores[file], int(row) - 1

    def _digest(self, key: str) -> bytes:
        store, row = self._at(key)
        return bytes(store.digests[row].tobytes())


def holds_pictures(path: str, reading: Reading = USUAL) -> bool:
    """Whether a parquet file has a column of pictures as bytes, and one of labels. Raises DataError."""
    table = open_table(printable(path), path, lambda: open_regular(path))
    try:
        return table.kinds.get(Columns.of(table, reading.columns).picture) in ("bytes", "struct")
    except DataError:
        return False


def shards(root: str, reading: Reading = USUAL) -> list[str]:
    """The parquet files of pictures in a folder, and below."""
    found = [one.key for one in walk(root) if one.kind == "file" and one.key.lower().endswith(".parquet")]
    return [key for key in found if not reading.ignores(key) and holds_pictures(os.path.join(root, key), reading)]


def _stem(file: str) -> str:
    return file.rpartition(".")[0]


def _samples(
    table: Table, columns: Columns, key: str, store: _Store, meanings: Mapping[str, str], split: str
) -> tuple[list[Sample], Iterator[str]]:
    left, sizes = Left(), np.diff(store.ends)
    digits = len(str(len(sizes)))
    found = []
    wanted = [columns.label, *([columns.split] if columns.split else [])]
    for first, rows in table.blocks(wanted):
        for number, (cell, *part) in enumerate(rows, start=first):
            label = label_of(table, columns.label, cell, number)
            role = meanings.get(str(part[0]), "") if part else split
            if not sizes[number - 1]:
                left.out("without a picture", number, None)
            elif label is None:
                left.out("without a label", number, None)
            elif part and not role:
                left.out("without a split", number, None)
            else:
                name = f"{key}/{number:0{digits}}"
                found.append(Sample(name, sys.intern(class_name(label)), role, int(sizes[number - 1])))
    return found, left.remarks(table.shown)


def _unpacked(table: Table, columns: Columns, path: str) -> _Store:
    """The pictures of a table, unpacked unless that was done before."""
    info = os.stat(path)
    what = (FORMAT, os.path.abspath(path), info.st_size, info.st_mtime_ns, columns.picture)
    name = hashlib.sha256(repr(what).encode("utf-8", "surrogateescape")).hexdigest()[:32]
    place = home() / "unpacked" / f"{name}.pictures"
    try:
        place.parent.mkdir(parents=True, exist_ok=True)
        if (store := _read(place)) is not None:
            return store
        with locked(place):
            if (store := _read(place)) is not None:  # another process may have made it meanwhile
                return store
            with whole(place) as file:
                _write(file, table, columns.picture, Room(table.shown, info.st_size, place.parent))
    except OSError as problem:
        raise DataError(
            f"{table.shown} cannot be unpacked: {problem.strerror or problem}; free some space, or set RESNETS_HOME to "
            "a folder that can be written."
        ) from problem
    store = _read(place)
    if store is None:
        raise DataError(f"{table.shown} cannot be unpacked: what was written to {place} is not there any more.")
    return store


def _write(file: BinaryIO, table: Table, column: str, room: Room) -> None:
    """The pictures, then where each ends, the digests, a sum of those, the number of rows and the magic."""
    ends, digests = [0], bytearray()
    with track("unpacking", table.rows, "pictures") as advance:
        for _, rows in table.blocks([column]):
            for (cell,) in rows:
                data = _bytes(cell)
                room.take(len(data))
                file.write(data)
                ends.append(ends[-1] + len(data))
                digests += digest_of(data)
            advance(len(rows))
    tail = np.array(ends, "<i8").tobytes() + bytes(digests)
    file.write(tail + hashlib.sha256(tail).digest() + (len(ends) - 1).to_bytes(8, "little") + _MAGIC)


def _bytes(cell: Any) -> bytes:
    """Of Hugging Face's {"bytes", "path"}, or plain; empty for none."""
    data = cell.get("bytes") if isinstance(cell, dict) else cell
    return data if isinstance(data, bytes) else b""


def _read(path: Path) -> _Store | None:
    """The store in a file; None where there is none that is whole."""
    end = 32 + 8 + len(_MAGIC)
    try:
        with open_kept(path) as file:
            size = file.seek(0, os.SEEK_END)
            file.seek(max(0, size - end))
            told, rows, magic = (part := file.read(end))[:32], part[32:40], part[40:]
            count = int.from_bytes(rows, "little")
            length = 8 * (count + 1) + SIZE * count
            if magic != _MAGIC or length + end > size:
                return None
            file.seek(size - end - length)
            tail = file.read(length)
    except OSError:
        return None
    if hashlib.sha256(tail).digest() != told:
        return None
    ends = np.frombuffer(tail, "<i8", count + 1)
    digests = np.frombuffer(tail, np.uint8, offset=8 * (count + 1)).reshape(count, SIZE)
    return _Store(path, ends, digests)
