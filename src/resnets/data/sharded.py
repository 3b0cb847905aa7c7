"""Shards: .tar files of pictures and their labels side by side, as WebDataset has them, in a folder or on a server.

With the index that `resnets pack` writes, any picture is found at once and is compared with its digest. Without one
shards are listed, header by header: KEY.jpg belongs to KEY.cls (a number or a name), .txt or .json. Shards on a server
need the index; each is fetched once, verified, and kept within the cache's limit.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import secrets
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from resnets.data.archives import members
from resnets.data.fetch import LARGEST as LARGEST_FILE
from resnets.data.fetch import fetch, verified
from resnets.data.identity import SIZE, digest_of
from resnets.data.labels import class_name
from resnets.data.layout import Layout
from resnets.data.pack import FORMAT, INDEX, MOST_INDEX, is_index
from resnets.data.reading import USUAL, Reading
from resnets.data.sample import Sample
from resnets.data.source import Source, check_size, opened
from resnets.data.splitnames import parted, roles, stranger
from resnets.data.webdataset import LABELS, class_list, labels_of, pictures_of, stem_of, tars
from resnets.errors import DataError, FetchError, ImageError, UnreadableError
from resnets.machine import home
from resnets.progress import warn
from resnets.regular import open_regular
from resnets.store import make_room, mark, own
from resnets.text import printable, some

TITLES = "classes.json"  # what the classes are called, as other sources have it lying beside them
_SUM = re.compile(r"[0-9a-f]{64}")
_NAME = re.compile(r"[\w][\w.+-]*")


@dataclass(frozen=True, slots=True)
class _Shard:
    """A shard. sha256: "" without an index; stamp: what it was when it was listed, as `opened` compares it."""

    name: str
    sha256: str
    bytes: int
    stamp: tuple[int, int] | None


@dataclass(frozen=True, slots=True)
class _Place:
    """Where a picture lies. digest: "" where no index says it."""

    shard: int
    offset: int
    size: int
    digest: str


class Sharded(Source):
    """Shards as a source; a key is the shard's name and the picture's.

    place       the folder, or the address of the folder that `index.json` lies in
    only        of shards without an index, the names of those that count; all of them
    reading     which of the pictures count
    """

    def __init__(self, name: str, place: str, only: Sequence[str] = (), reading: Reading = USUAL) -> None:
        self._place, self._only = place, only
        self._remote = place.startswith(("http://", "https://"))
        self._places: dict[str, _Place] = {}
        self._shards: list[_Shard] = []
        self._titles: dict[str, str] = {}
        remarks: list[str] = []
        if self._remote or (not only and is_packed(place)):
            samples = list(self._indexed(name))
        else:
            samples = list(self._listed(name, remarks))
        if not samples:
            raise DataError(f"{printable(name)} holds no picture with a label.")
        kept, said = reading.sifted(printable(name), [sample.key for sample in samples])
        if len(kept) < len(samples):
            chosen = set(kept)
            samples = [sample for sample in samples if sample.key in chosen]
        remarks += said
        beside = (TITLES,) if self._titles else ()
        layout = Layout(tuple(sorted(samples, key=lambda sample: sample.key)), beside, tuple(remarks), tabled=True)
        super().__init__(name, layout, lambda _: 0, None if self._remote else place)

    def contents_of(self, samples: Sequence[Sample]) -> Mapping[str, bytes]:
        """As `Source.contents_of`: an index knows it."""
        if all(self._places[sample.key].digest for sample in self.samples):
            if len(self._contents) < len(self.samples):
                self._contents = {sample.key: bytes.fromhex(self._places[sample.key].digest) for sample in self.samples}
            return self._contents
        return super().contents_of(samples)

    def holder(self, key: str) -> str:
        """As ``Source.holder``."""
        return str(self._file(self._places[key].shard))

    def read(self, key: str) -> bytes:
        """As ``Source.read``."""
        if key == TITLES and self._titles:
            return json.dumps(self._titles).encode()
        found = self._places.get(key)
        if found is None:
            raise ImageError("not in the shards")
        check_size(found.size)
        for last in (False, True):  # what was fetched may have been removed, or cut off, and is fetched once more
            try:
                return self._read(found)
            except UnreadableError:
                if last or not self._remote:
                    raise
        raise AssertionError

    def _read(self, found: _Place) -> bytes:
        shard, path = self._shards[found.shard], self._file(found.shard)
        with opened(str(path), shard.stamp) as file:
            file.seek(found.offset)
            data = file.read(found.size)
        if len(data) != found.size or (found.digest and digest_of(data).hex() != found.digest):
            if self._remote:
                path.unlink(missing_ok=True)
            raise UnreadableError("damaged: its bytes are not those that the index knows")
        return data

    def _file(self, number: int) -> Path:
        """The shard on this disk, fetched if it lies on a server. Raises FetchError."""
        shard = self._shards[number]
        if not self._remote:
            return Path(self._place, shard.name)
        path = own(home() / "cache" / f"{shard.sha256}.tar")
        with suppress(OSError):
            if path.stat().st_size == shard.bytes:
                mark(path)
                return path
            path.unlink()
        make_room(shard.bytes)
        return fetch(f"{self._place}{shard.name}", path, sha256=shard.sha256, size=shard.bytes)

    def _indexed(self, name: str) -> Iterator[Sample]:
        """By the index, which is checked: it is a stranger's."""
        try:
            index = json.loads(self._text(INDEX, None))
            if index["format"] > FORMAT:
                raise DataError(f"The index of {printable(name)} is of a newer version: update resnets.")
            classes = [class_name(_text(label)) for label in index["classes"]]
            self._titles = {_text(label): _text(title) for label, title in index.get("titles", {}).items()}
            names = [entry["name"] for entry in index["shards"]]
            if len(set(names)) < len(names):
                raise ValueError("two shards have one name")
            for number, entry in enumerate(index["shards"]):
                _check(entry)
                self._shards.append(_Shard(entry["name"], entry["sha256"], entry["bytes"], None))
                yield from self._rows(
                    entry, number, json.loads(self._text(entry["index"], entry["index_sha256"])), classes
                )
        except DataError:  # which is a ValueError too, and says already what is wrong
            raise
        except (KeyError, TypeError, ValueError, IndexError, AttributeError, RecursionError) as problem:
            why = printable(str(problem))
            raise DataError(f"The index of {printable(name)} is damaged ({why}): pack it again.") from problem

    def _rows(
        self, entry: Mapping[str, Any], number: int, rows: Mapping[str, Any], classes: Sequence[str]
    ) -> Iterator[Sample]:
        columns = [rows[key] for key in ("names", "labels", "offsets", "sizes", "digests")]
        if entry["images"] != len(columns[0]):
            raise ValueError(f"{entry['index']} has {len(columns[0])} pictures")
        digits = len(str(entry["images"]))
        for row, (_, label, offset, size, digest) in enumerate(zip(*columns, strict=True), start=1):
            whole = all(type(value) is int and value >= 0 for value in (label, offset, size))
            if not whole or offset + size > entry["bytes"] or len(bytes.fromhex(digest)) != SIZE:
                raise ValueError(f"row {row} of {entry['index']}")
            key = f"{entry['name']}/{row:0{digits}}"
            self._places[key] = _Place(number, offset, size, digest)
            yield Sample(key, sys.intern(classes[label]), entry["split"], size)

    def _text(self, name: str, sha256: str | None) -> str:
        """A file of the index. Raises DataError and FetchError, ValueError for one that is not what it should be."""
        path = self._fetched(name, sha256) if self._remote else Path(self._place, name)
        try:
            with open_regular(path) as file:
                data = file.read(MOST_INDEX + 1)
        except OSError as problem:
            raise ValueError(f"{name} cannot be read: {problem.strerror}") from problem
        if len(data) > MOST_INDEX or (sha256 and hashlib.sha256(data).hexdigest() != sha256):
            raise ValueError(f"{name} is not what it was")
        return data.decode("utf-8")

    def _fetched(self, name: str, sha256: str | None) -> Path:
        digest = hashlib.sha256(f"{self._place}{name}".encode()).hexdigest()[:32]
        path = own(home() / "downloads" / f"{digest}.json")
        if sha256 is not None:
            if path.is_file() and not verified(path, {"sha256": sha256}):  # of the set as it was before
                path.unlink()
            return fetch(f"{self._place}{name}", path, sha256=sha256)
        # Whether the index is still the same, only the server knows; where it does not answer, the one before counts.
        new = path.with_name(f"{digest}.{secrets.token_hex(4)}.json")
        try:
            fetch(f"{self._place}{name}", new, unchecked=True)
            if path.exists() and not is_index(new):
                warn(f"{printable(f'{self._place}{name}')} is no index at present; the one fetched before is used.")
            else:
                os.replace(new, path)
        except FetchError as problem:
            if not path.exists():
                raise FetchError(str(problem).replace(str(new), str(path))) from problem
        finally:
            new.unlink(missing_ok=True)
            new.with_name(f".{new.name}.lock").unlink(missing_ok=True)
        return path

    def _listed(self, name: str, remarks: list[str]) -> Iterator[Sample]:
        """By the shards themselves."""
        names = self._only or tars(self._place)
        stems = [stem_of(one) for one in names]
        parts = roles(stems) if parted(stems) else {}
        numbered, without, more = class_list(self._place), 0, 0
        others: list[str] = []
        for number, shard in enumerate(names):
            path = os.path.join(self._place, shard)
            info = os.stat(path)
            self._shards.append(_Shard(shard, "", info.st_size, (info.st_size, info.st_mtime_ns)))
            if parts and stem_of(shard) not in parts:
                others.append(shard)
                continue
            found = members(f"{name}/{shard}", path)
            labels, pictures = labels_of(path, found), pictures_of(found)
            more += sum(len(keys) - 1 for keys in pictures.values())
            for stem, (key, *_) in pictures.items():
                offset, size = found[key]
                label = labels.get(stem)
                if label is None:
                    without += 1
                    continue
                whole, label = f"{shard}/{key}", class_name(numbered.get(label, label))
                self._places[whole] = _Place(number, offset, size, "")
                yield Sample(whole, sys.intern(label), parts.get(stem_of(shard), ""), size)
        if others:
            remarks.append(stranger(some(others), "shards of splits"))
        if without:
            beside = ", ".join(LABELS)
            remarks.append(f"{without:,} pictures in {printable(name)} have no label beside them ({beside}): left out.")
        if more:
            remarks.append(f"{more:,} more pictures in {printable(name)} lie beside others under one name: left out.")


def is_packed(folder: str) -> bool:
    """Whether `resnets pack` has written a folder. Raises DataError where it was stopped before the end."""
    names = tars(folder)
    ours = any(os.path.exists(os.path.join(folder, f"{name[:-4]}.json")) for name in names)
    if os.path.exists(os.path.join(folder, INDEX)):
        return bool(names) and (ours or _is_ours(os.path.join(folder, INDEX)))
    if ours:
        raise DataError(f"{printable(folder)} has shards and no {INDEX}: it was not packed to the end, pack it again.")
    return False


def _is_ours(path: str) -> bool:
    """Whether an index is one of ours: others call theirs the same."""
    try:
        with open_regular(path) as file:
            index = json.loads(file.read(MOST_INDEX))
    except (OSError, ValueError, RecursionError):
        return False
    return isinstance(index, dict) and {"format", "classes", "shards"} <= index.keys()


def _check(entry: Mapping[str, Any]) -> None:
    """Raise unless an entry of the index can be used: its names lead nowhere else."""
    for key in ("name", "index"):
        if not _NAME.fullmatch(_text(entry[key])):
            raise ValueError(f"the name {entry[key]!r}")
    for key in ("sha256", "index_sha256"):
        if not _SUM.fullmatch(_text(entry[key])):
            raise ValueError(f"the checksum of {entry['name']}")
    counts = all(type(entry[key]) is int and entry[key] >= 0 for key in ("bytes", "images"))
    if not counts or entry["bytes"] > LARGEST_FILE or entry["split"] not in ("", "train", "val", "test"):
        raise ValueError(f"the entry of {entry['name']}")


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise ValueError("a name is no text")
    return value
