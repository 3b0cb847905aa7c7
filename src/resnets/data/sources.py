"""Where images come from: a folder, a .zip, a plain .tar, or a named data set.

A source lists its files once and then reads any of them at random, in place. It holds no open file,
so threads, forked processes and unpickled copies read at once. Archives are never unpacked: the names
inside are only names.

Layouts: ``train/`` with ``val/`` or ``test/``, each with one folder per class; or class folders alone.
"""

from __future__ import annotations

import errno
import hashlib
import os
import stat
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from resnets.data.labels import check_count, class_names, printable
from resnets.errors import DataError, ImageError, UnreadableError, nearest

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


@dataclass(frozen=True, slots=True)
class Sample:
    """One file of a class folder: perhaps an image, which only decoding can tell."""

    key: str  # its path inside the source, with "/": "train/cat/1.jpg"
    label: str  # the class folder's name: "cat"
    split: str  # "train", "val" or "test"; "" if the source has no splits
    size: int  # bytes


class Source:
    """Files in class folders, listed once and read at random.

    Attributes:
        name: as the user gave it.
        samples: every file in a class folder, sorted by key; hidden files and clutter are left out.
        fingerprint: hex SHA-256 over each sample's key, size and checksum (or time of change).
    """

    def __init__(self, name: str, sizes: Mapping[str, int], stamp: Callable[[str], object]) -> None:
        """List ``sizes`` (key to bytes); ``stamp`` of a key changes whenever its content does."""
        self.name = name
        self.samples = _arrange(name, sizes)
        digest = hashlib.sha256()
        for sample in self.samples:
            line = f"{sample.key}\0{sample.size}\0{stamp(sample.key)}\n"
            digest.update(line.encode("utf-8", "surrogateescape"))
        self.fingerprint = digest.hexdigest()

    def read(self, key: str) -> bytes:
        """The bytes of the file ``key``. Safe from any thread or process.

        Raises:
            ImageError: the file has vanished, is cut off, fails its checksum, or is over 256 MiB.
        """
        raise NotImplementedError  # each kind of source reads in its own way


def open_source(data: str | Path) -> Source:
    """Open a folder, a .zip, a plain .tar, or the name of a data set.

    The names are ``digits``, ``cifar10``, ``cifar100``, ``fashion-mnist`` and ``imagenette``; a folder
    that bears one of them is reached as ``./digits``. A single folder around the layout is looked
    through (``imagenette2/train/...``), and sub-folders of a class folder belong to that class. Two
    entries of an archive under one name are an error, so that no file silently replaces another.

    Raises:
        DataError: there is no such data, or it cannot be used; the message says what to do.
        FetchError: a named data set could not be downloaded.
    """
    from resnets.data.archives import open_archive
    from resnets.data.named import NAMES, open_named

    name = os.fspath(data)
    if data in NAMES:
        return open_named(name)
    path = os.path.expanduser(name)
    shown = printable(name)
    try:
        if os.path.isdir(path):
            return _Folder(name, path)
        if not os.path.isfile(path):
            raise DataError(f"There is no folder, archive or data set {shown!r}.{nearest(name, NAMES)}")
        return open_archive(name, path)
    except OSError as error:
        raise DataError(f"{shown} cannot be read: {error.strerror}; check its permissions.") from error


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
    check_count(class_names(samples), name)
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


class _Folder(Source):
    def __init__(self, name: str, root: str) -> None:
        found = _walk(name, root)
        super().__init__(name, {key: size for key, (size, _) in found.items()}, lambda key: found[key][1])
        self._root = os.path.abspath(root)

    def read(self, key: str) -> bytes:
        with opened(os.path.join(self._root, key), None) as file:
            data = file.read(LARGEST + 1)
        check_size(len(data))
        return data


def _walk(name: str, root: str) -> dict[str, tuple[int, int]]:
    """Every regular file under ``root``: key to (bytes, time of change in ns). Links are followed."""
    found: dict[str, tuple[int, int]] = {}
    todo: list[tuple[str, frozenset[tuple[int, int]]]] = [("", frozenset())]
    while todo:
        prefix, above = todo.pop()
        folder = os.path.join(root, prefix)
        try:
            info = os.stat(folder)
            with os.scandir(folder) as scan:
                entries = [entry for entry in scan if not hidden(entry.name)]
        except OSError as error:
            raise DataError(
                f"The folder {printable(folder)} cannot be read: {error.strerror}; check its permissions."
            ) from error
        identity = (info.st_dev, info.st_ino)
        loop = f"{printable(folder)} leads back to a folder that it lies in: remove that symbolic link."
        if identity in above:
            raise DataError(loop)
        for entry in entries:
            key = prefix + entry.name
            try:
                info = entry.stat()
            except OSError as error:
                if error.errno == errno.ELOOP:
                    raise DataError(f"{printable(entry.path)} is a symbolic link to itself: remove it.") from error
                found[key] = (0, 0)  # a link to nowhere is named when it is read
                continue
            if stat.S_ISDIR(info.st_mode):
                todo.append((key + "/", above | {identity}))
            elif stat.S_ISREG(info.st_mode):  # a pipe or a device would hang the reader
                found[key] = (info.st_size, info.st_mtime_ns)
    return found
