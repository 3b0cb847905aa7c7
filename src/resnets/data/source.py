"""Where images come from: a folder, a .zip, a plain .tar, or a named data set.

A source lists its files once and then reads any of them at random, in place. It holds no open file,
so threads, forked processes and unpickled copies read at once. Archives are never unpacked: the names
inside are only names.

Layouts: ``train/`` with ``val/`` or ``test/``, each with one folder per class; or class folders alone.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import cached_property
from typing import BinaryIO

from resnets.data import identity
from resnets.data.sample import Sample
from resnets.errors import DataError, ImageError, UnreadableError
from resnets.text import printable

LARGEST = 256 * 2**20  # bytes of one image file; more is a mistake or an attack

SPLITS = {
    "train": "train",
    "training": "train",
    "val": "val",
    "valid": "val",
    "validation": "val",
    "test": "test",
    "testing": "test",
}


CLUTTER = frozenset({"__macosx", "thumbs.db", "desktop.ini"})  # what systems leave behind, in lower case


class Source:
    """Files in class folders, listed once and read at random.

    Attributes:
        name: as the user gave it.
        samples: every file in a class folder, sorted by key; hidden files and clutter are left out.
        place: the folder or the archive, absolute; None for what lies in no file.
        fingerprint_before: what earlier versions knew the data by: hex SHA-256 over each sample's key, size and
            checksum (or time of change).
    """

    def __init__(
        self, name: str, sizes: Mapping[str, int], stamp: Callable[[str], object], place: str | None = None
    ) -> None:
        """List ``sizes`` (key to bytes); ``stamp`` of a key changes whenever its content does."""
        self.name = name
        self.place = place and os.path.abspath(place)
        self.samples = _arrange(name, sizes)
        self._contents: dict[str, bytes] = {}
        digest = hashlib.sha256()
        for sample in self.samples:
            line = f"{sample.key}\0{sample.size}\0{stamp(sample.key)}\n"
            digest.update(line.encode("utf-8", "surrogateescape"))
        self.fingerprint_before = digest.hexdigest()

    @cached_property
    def contents(self) -> Mapping[str, bytes]:
        """What is in each file, by its key: see `resnets.data.identity`. Reads all files, unless they are known."""
        return self.contents_of(self.samples)

    def contents_of(self, samples: Sequence[Sample]) -> Mapping[str, bytes]:
        """The same of some files at least; no others are read."""
        if missing := [sample for sample in samples if sample.key not in self._contents]:
            everything = len(missing) == len(self.samples)
            self._contents = self._contents | identity.contents(self, missing, everything=everything)
        return self._contents

    @cached_property
    def fingerprint(self) -> str:
        """Hex SHA-256 over each sample's split, class and content, whatever it is called and wherever it lies."""
        lines = sorted(
            f"{sample.split}\0{sample.label}\0".encode("utf-8", "surrogateescape") + self.contents[sample.key]
            for sample in self.samples
        )
        digest = hashlib.sha256()
        for line in lines:
            digest.update(len(line).to_bytes(8, "little") + line)
        return digest.hexdigest()

    def holder(self, key: str) -> str:
        """The path of the file on the disk that holds ``key``, of a source that has a place."""
        return self.place or ""

    def read(self, key: str) -> bytes:
        """The bytes of the file ``key``. Safe from any thread or process.

        Raises ImageError: the file has vanished, is cut off, fails its checksum, or is over 256 MiB.
        """
        raise NotImplementedError  # each kind of source reads in its own way


def hidden(part: str) -> bool:
    """True for the names of files and folders that no user put there on purpose."""
    return part[:1] == "." or part.lower() in CLUTTER


def _arrange(name: str, sizes: Mapping[str, int]) -> tuple[Sample, ...]:
    """Find the layout in the keys of ``sizes`` and give each file its class and split."""
    shown = printable(name)
    if not sizes:
        raise DataError(f"{shown} holds no files: put photos into one folder per class, as in photos/cat/1.jpg.")
    folders = {folder: folder.split("/") for folder in {_folder(key) for key in sizes} if folder}
    depth = 0
    while True:
        top = {parts[depth] for parts in folders.values() if len(parts) > depth}
        if len(top) != 1 or not any(len(parts) > depth + 1 for parts in folders.values()):
            break
        depth += 1  # one folder around everything else
    roles = {folder: SPLITS[folder.lower()] for folder in top if folder.lower() in SPLITS}
    # "train" beside other folders without a "val" or "test" is a class: somebody sorts vehicles.
    if "train" in roles.values() and len(set(roles.values())) > 1:
        _check_roles(shown, roles)
        places = {
            folder: (parts[depth + 1], roles[parts[depth]])
            for folder, parts in folders.items()
            if len(parts) > depth + 1 and parts[depth] in roles
        }
        found = {split for _, split in places.values()}
        if places and "train" not in found:
            raise DataError(f"{shown} has no class folders in train/: photos must lie in train/cat/1.jpg.")
        if found == {"train"}:  # the other split has no class folders, so no labels
            places = {folder: (label, "") for folder, (label, _) in places.items()}
    else:
        places = {folder: (parts[depth], "") for folder, parts in folders.items() if len(parts) > depth}
    samples = tuple(
        Sample(key, *places[folder], sizes[key]) for key in sorted(sizes) if (folder := _folder(key)) in places
    )
    if not samples:
        raise DataError(f"{shown} has no class folders: photos must lie in one folder per class: photos/cat/1.jpg.")
    return samples


def _folder(key: str) -> str:
    return key.rpartition("/")[0]


def _check_roles(shown: str, roles: Mapping[str, str]) -> None:
    for role in sorted(set(roles.values())):
        same = sorted(folder for folder, its_role in roles.items() if its_role == role)
        if len(same) > 1:
            raise DataError(f"{shown} has both {same[0]}/ and {same[1]}/ for one split: merge or rename them.")


@contextmanager
def opened(path: str, stamp: tuple[int, int] | None) -> Iterator[BinaryIO]:
    """Open ``path`` for one read; an archive must still be what it was when its entries were listed."""
    try:
        with open(path, "rb") as file:
            info = os.fstat(file.fileno())
            if stamp is not None and stamp != (info.st_size, info.st_mtime_ns):
                raise DataError(f"{printable(path)} was changed while it was in use: begin again.")
            yield file
    except OSError as error:
        raise UnreadableError(f"cannot be read: {error.strerror}") from error


def check_size(size: int) -> None:
    """Raise ``ImageError`` for a file of more than ``LARGEST`` bytes."""
    if size > LARGEST:
        raise ImageError(f"larger than {LARGEST // 2**20} MiB")
