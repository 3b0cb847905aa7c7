"""Compressed archives, .tar.gz and its like: made into a plain .tar under `home` once, which can be read at random.

How much comes out of one is bounded before it is written, by what was put in and by the room on the disk; what came out
is compared with its sum before it is used again.
"""

from __future__ import annotations

import bz2
import errno
import gzip
import hashlib
import json
import lzma
import os
import shutil
import zlib
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any, BinaryIO

from resnets.data.bounds import RATIO, ROOM, SPARE_DISK
from resnets.data.fetch import locked
from resnets.errors import DataError
from resnets.machine import home, open_kept
from resnets.progress import track
from resnets.regular import open_regular
from resnets.store import own
from resnets.text import printable
from resnets.whole import whole, write_json

READERS: dict[bytes, Callable[[BinaryIO], Any]] = {
    b"\x1f\x8b": gzip.open,
    b"BZh": bz2.open,
    b"\xfd7zXZ": lzma.open,
}
DAMAGED = (OSError, lzma.LZMAError, zlib.error, EOFError)
BLOCK = 2**20
HEADER = 512  # bytes of a tar's


def reader(head: bytes) -> Callable[[BinaryIO], Any] | None:
    """What unpacks a file that begins like this; None: it is not compressed, or in a way that is not known here."""
    return next((opened for magic, opened in READERS.items() if head.startswith(magic)), None)


def unpacked(shown: str, path: str) -> Path:
    """The plain .tar of a compressed one at ``path``, made now if it was not before.

    Raises DataError: it is damaged, holds no tar, would grow too large, or finds no room.
    """
    info = os.stat(path)
    what = repr((os.path.abspath(path), info.st_size, info.st_mtime_ns)).encode("utf-8", "surrogateescape")
    place = own(home() / "unpacked" / f"{hashlib.sha256(what).hexdigest()[:32]}.tar")
    try:
        place.parent.mkdir(parents=True, exist_ok=True)
        if not _good(place):
            with locked(place):
                if not _good(place):  # another process may have made it meanwhile
                    _make(shown, path, info.st_size, place)
    except OSError as problem:
        why = os.strerror(problem.errno) if problem.errno else problem
        raise DataError(
            f"{shown} cannot be unpacked: {why}; free some space, or set RESNETS_HOME to a folder that can be written."
        ) from problem
    return place


class Room:
    """What may still be written of an archive of so many bytes, to a folder.

    Raises DataError for more than any archive of pictures becomes, OSError where the disk gets full.
    """

    def __init__(self, shown: str, packed: int, folder: Path) -> None:
        self.shown, self.most, self.folder, self.written = shown, RATIO * packed + ROOM, folder, 0
        self._asked = -BLOCK

    def take(self, size: int) -> None:
        """Bytes that are to be written next."""
        self.written += size
        if self.written > self.most:
            raise DataError(f"{self.shown} grows to over {self.most:,} bytes, which no archive of pictures does.")
        if self.written - self._asked >= BLOCK:
            self._asked = self.written
            if shutil.disk_usage(self.folder).free < SPARE_DISK:
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def _make(shown: str, path: str, size: int, place: Path) -> None:
    digest, room = hashlib.sha256(), Room(shown, size, place.parent)
    with open_regular(path) as file, whole(place) as target, track("unpacking", size, "bytes") as advance:
        with suppress(OSError):
            os.chmod(target.name, 0o600)  # whoever may not read the archive may not read this
        opened, before = reader(file.read(6)), 0
        assert opened is not None
        file.seek(0)
        try:
            with opened(file) as source:
                while block := source.read(BLOCK):
                    if not room.written and not _is_tar(block):
                        raise DataError(f"{shown} is compressed, and what is in it is no tar archive: unpack it.")
                    room.take(len(block))
                    target.write(block)
                    digest.update(block)
                    advance(file.tell() - before)
                    before = file.tell()
        except DAMAGED as problem:
            if isinstance(problem, OSError) and problem.errno:  # of the system: what is damaged has none
                raise
            raise DataError(
                f"{shown} is a damaged or cut-off archive ({printable(str(problem))}): download or pack it again."
            ) from problem
        if not room.written:
            raise DataError(f"{shown} is compressed, and nothing is in it: download or pack it again.")
    write_json(_sum(place), {"sha256": digest.hexdigest(), "state": _state(place)})


def _is_tar(block: bytes) -> bool:
    """Whether a file's beginning is a tar's first header: its sum says so."""
    header = block[:HEADER]
    with suppress(ValueError):
        told = int(header[148:156].strip(b" \0") or b"-", 8)
        return len(header) == HEADER and told == sum(header[:148]) + 8 * ord(" ") + sum(header[156:])
    return False


def _good(place: Path) -> bool:
    """Whether the file is what was written, by what the system says of it or by its sum."""
    try:
        with open_kept(_sum(place)) as file:
            told = json.loads(file.read(2**16))
        with open_kept(place) as file:
            same = told["state"] == _state(place)
            return same or hashlib.file_digest(file, "sha256").hexdigest() == str(told["sha256"])
    except (OSError, ValueError, KeyError, TypeError):
        return False


def _sum(place: Path) -> Path:
    return place.with_suffix(".sum")


def _state(place: Path) -> list[int]:
    info = place.stat()
    return [info.st_size, info.st_mtime_ns, info.st_ino]
