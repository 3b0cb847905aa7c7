"""What a file was when it was read, and whether it is that still: content decides, and times save the reading."""

from __future__ import annotations

import hashlib
import os
import stat
import time
from typing import NamedTuple

from resnets.data.source import LARGEST

COARSE = 3_000_000_000  # nanoseconds within which a clock of files may not tell two writings apart (FAT's: 2 seconds)
_PIECE = 2**20


class Seen(NamedTuple):
    """What a file was when it was read.

    size, modified, changed, inode   of the system, times in nanoseconds; nobody can set `changed` at will
    settled                          whether it was older than a clock's tick when it was read, so that another content
                                     has another time
    digest                           of the bytes that were read, 32 hexadecimal digits
    """

    size: int
    modified: int
    changed: int
    inode: int
    settled: bool
    digest: str


def seen(info: os.stat_result, data: bytes) -> Seen:
    """Of a file that has just been read: what the system said before, and the bytes, at most LARGEST + 1 of them."""
    settled = time.time_ns() - max(info.st_mtime_ns, info.st_ctime_ns) > COARSE
    return Seen(*_stamp(info), settled, digest(data))


def same(path: str, before: Seen) -> bool:
    """Whether a file still has the content that was seen. It is read only where the system does not vouch for it."""
    try:
        info = os.stat(path)
        if not stat.S_ISREG(info.st_mode) or info.st_size != before.size:
            return False
        return (before.settled and _stamp(info) == before[:4]) or _digest_of(path) == before.digest
    except OSError:
        return False


def digest(content: bytes) -> str:
    """32 hexadecimal digits of it."""
    return hashlib.blake2b(content, digest_size=16).hexdigest()


def _stamp(info: os.stat_result) -> tuple[int, int, int, int]:
    return info.st_size, info.st_mtime_ns, info.st_ctime_ns, info.st_ino


def _digest_of(path: str) -> str:
    found, left = hashlib.blake2b(digest_size=16), LARGEST + 1
    with open(path, "rb") as file:
        while piece := file.read(min(_PIECE, left)):
            found.update(piece)
            left -= len(piece)
    return found.hexdigest()
