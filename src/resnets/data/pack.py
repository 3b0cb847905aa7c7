"""Writes a data set as shards: .tar files as WebDataset has them, and an index by which any picture is found at once.

    NAME-000000.tar    picture by picture KEY.jpg (the very bytes of the file) and KEY.cls (the class's number)
    NAME-000000.json   the shard's index: of each picture name, class, offset, size and digest
    index.json         the shards in their order with sizes and checksums, and the names of the classes
    classes.txt        a class a line, by number

NAME is the split, or "all" where the data has none. Equal data gives equal bytes.
"""

from __future__ import annotations

import hashlib
import json
import tarfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import Any, BinaryIO

from resnets.data.folder import Folder
from resnets.data.identity import digest_of
from resnets.data.labels import class_names
from resnets.data.layout import PICTURES
from resnets.data.sample import Sample
from resnets.data.source import Source
from resnets.data.titles import titles_of
from resnets.errors import DataError, ImageError
from resnets.progress import track
from resnets.regular import read_regular
from resnets.text import printable
from resnets.whole import whole as whole_file
from resnets.whole import write_json, write_text

FORMAT = 1  # of the index; counts up when its layout changes
INDEX = "index.json"
MOST_INDEX = 2**31  # bytes of an index that is read
SHARD_SIZE = 256 * 2**20  # bytes of a shard, about
LEAST, LARGEST = 2**16, 2**32  # bytes of a shard that is worth a file, and of one that can be fetched
BLOCK = tarfile.BLOCKSIZE


@dataclass(frozen=True)
class PackResult:
    """What was written.

    folder      where
    shards      how many
    images      pictures in them
    bytes       of the shards
    skipped     (key, why) of files that could not be read
    """

    folder: str
    shards: int
    images: int
    bytes: int
    skipped: tuple[tuple[str, str], ...]

    def document(self) -> dict[str, Any]:
        """What a program reads, ready for JSON."""
        skipped = [{"path": key, "why": why} for key, why in self.skipped]
        return {**vars(self), "skipped": skipped}


def pack(source: Source, out: Path, shard_size: int = SHARD_SIZE) -> PackResult:
    """Write a source as shards into a folder, which is made, and must hold no shards yet.

    Pictures come in a random order that their contents alone decide, so that any part of a shard is a fair sample. What
    stands in the folder counts only when `index.json` is there, which comes last. Raises DataError, and WriteError.
    """
    if not LEAST <= shard_size <= LARGEST:
        raise DataError(f"A shard has from {LEAST} to {LARGEST} bytes, not {shard_size}.")
    walked = isinstance(source, Folder) and source.place  # what is written into it would be found there
    if walked and out.resolve().is_relative_to(Path(walked).resolve()):
        raise DataError(f"{printable(str(out))} would become a part of the data: name another place.")
    _check_empty(out)
    classes = class_names(source.samples)
    titles, _ = titles_of(source, classes)
    skipped: list[tuple[str, str]] = []
    shards: list[dict[str, Any]] = []
    contents = source.contents
    ordered = sorted(source.samples, key=lambda sample: (sample.split, contents[sample.key], sample.key))
    with track("packing", len(ordered)) as advance:
        for split, group in groupby(ordered, key=lambda sample: sample.split):
            pictures = _read(source, list(group), skipped, advance)
            for number in range(10**6):
                shard = _shard(out, split, number, pictures, classes, shard_size)
                if shard is None:
                    break
                shards.append(shard)
    if not shards:
        raise DataError(f"{printable(source.name)} has no picture to pack.")
    write_text(out / "classes.txt", "".join(f"{printable(name)}\n" for name in classes))
    write_json(out / INDEX, {"format": FORMAT, "classes": list(classes), "titles": titles, "shards": shards})
    images, size = (sum(shard[key] for shard in shards) for key in ("images", "bytes"))
    return PackResult(str(out), len(shards), images, size, tuple(skipped))


def _check_empty(out: Path) -> None:
    """Make the folder; raise for one in which something lies: nothing of it shall be replaced, or mixed up."""
    try:
        if out.exists() and not out.is_dir():
            raise DataError(f"{printable(str(out))} is a file: name a folder.")
        out.mkdir(parents=True, exist_ok=True)
        if any(out.iterdir()):
            raise DataError(f"{printable(str(out))} is not empty: name a new folder.")
    except OSError as problem:
        raise DataError(f"{printable(str(out))} cannot be a folder: {problem.strerror}.") from problem


_Picture = tuple[Sample, bytes]


def _read(
    source: Source, samples: Sequence[Sample], skipped: list[tuple[str, str]], advance: Any
) -> Iterator[_Picture]:
    for sample in samples:
        try:
            yield sample, source.read(sample.key)
        except ImageError as problem:
            skipped.append((sample.key, str(problem)))
        advance(1)


def _shard(
    out: Path, split: str, number: int, pictures: Iterator[_Picture], classes: Sequence[str], most: int
) -> dict[str, Any] | None:
    """Write one shard and its index; what stands of it in `index.json`, or None when there is no picture left."""
    first = next(pictures, None)
    if first is None:
        return None
    name = f"{split or 'all'}-{number:06d}"
    numbers = {label: place for place, label in enumerate(classes)}
    rows: dict[str, list[Any]] = {"names": [], "labels": [], "offsets": [], "sizes": [], "digests": []}
    with whole_file(out / f"{name}.tar") as file:
        summed = _Summed(file)
        sample, data = first
        while True:
            label = numbers[sample.label]
            key = f"{number:06d}{len(rows['names']):06d}"
            offset = summed.add(f"{key}{_ending(sample.key)}", data)
            summed.add(f"{key}.cls", str(label).encode())
            for column, value in zip(rows, (sample.key, label, offset, len(data), digest_of(data).hex()), strict=True):
                rows[column].append(value)
            if summed.bytes >= most or (following := next(pictures, None)) is None:
                break
            sample, data = following
        summed.end()
    text = json.dumps(rows, separators=(",", ":"))
    write_text(out / f"{name}.json", text)
    return {
        "name": f"{name}.tar",
        "split": split,
        "images": len(rows["names"]),
        "bytes": summed.bytes,
        "sha256": summed.digest.hexdigest(),
        "index": f"{name}.json",
        "index_sha256": hashlib.sha256(text.encode()).hexdigest(),
    }


class _Summed:
    """A tar that is written entry by entry, with its checksum; every entry has the same owner, mode and time."""

    def __init__(self, file: BinaryIO) -> None:
        self._file, self.digest, self.bytes = file, hashlib.sha256(), 0

    def add(self, name: str, data: bytes) -> int:
        """Write an entry; returns the offset of its bytes."""
        info = tarfile.TarInfo(name)
        info.size, info.mode = len(data), 0o644
        self._put(info.tobuf(tarfile.USTAR_FORMAT))
        offset = self.bytes
        self._put(data + b"\0" * (-len(data) % BLOCK))
        return offset

    def end(self) -> None:
        """Two empty blocks, and as many more as make whole records."""
        self._put(b"\0" * 2 * BLOCK)
        self._put(b"\0" * (-self.bytes % tarfile.RECORDSIZE))

    def _put(self, data: bytes) -> None:
        self._file.write(data)
        self.digest.update(data)
        self.bytes += len(data)


def _ending(key: str) -> str:
    """The ending that a picture keeps; one without any of those that are known is called .img."""
    ending = f".{key.rpartition('.')[2].lower()}"
    return ending if ending in PICTURES else ".img"


def is_index(path: Path) -> bool:
    """Whether it looks like one: a page that asks for a password, say, does not."""
    try:
        found = json.loads(read_regular(path, MOST_INDEX))
    except (OSError, ValueError, RecursionError):
        return False
    return isinstance(found, dict) and isinstance(found.get("shards"), list)
