"""What lies in `home`: how large it is, when it was last of use, and what goes when there is too much.

All of it can be made or fetched again, but for what somebody has put there by hand: weights, the registry. Decoded
pictures and features (`cache/`) are kept within a limit and an age: before new ones are written, those that were of use
the longest ago go. The rest goes when somebody says so.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import stat
import struct
import time
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from resnets.errors import ParameterError
from resnets.machine import home
from resnets.whole import STALE

KINDS = {
    "cache": "decoded pictures and features",
    "unpacked": "archives, unpacked",
    "downloads": "data fetched from an address",
    "datasets": "data sets by name",
    "weights": "pretrained weights",
    "contents": "digests of files",
    "engines": "measured speeds of engines",
    "int8": "calibrations for int8",
}
LIMIT = 50 * 2**30  # bytes of `cache/`, unless $RESNETS_CACHE_LIMIT says otherwise
AGE = 90.0  # days without use after which something in `cache/` goes, when something else comes
DAY = 86_400.0
RECORD = 2**24  # bytes of a record at the end of a file that are looked at for its name

_SIZE = re.compile(r"(\d{1,15}(?:\.\d{1,9})?)\s*([kmgt]?)i?b?", re.IGNORECASE)
_UNITS = {"": 1, "k": 2**10, "m": 2**20, "g": 2**30, "t": 2**40}


@dataclass(frozen=True)
class Kept:
    """Something in `home`: a file or a folder.

    kind    of KINDS
    bytes   on the disk
    used    when it was last of use, in seconds since 1970, as far as the system keeps that; else when it was written
    what    where it came from, if it says so
    own     whether it is this user's
    """

    kind: str
    path: Path
    bytes: int
    used: float
    what: str = ""
    own: bool = True


def kept(kinds: Iterable[str] = tuple(KINDS)) -> list[Kept]:
    """Everything of these kinds, the largest first. What others are writing at the moment is left out."""
    found = []
    for kind in kinds:
        folder = home() / kind
        with suppress(OSError):
            for path in folder.iterdir():
                with suppress(OSError):
                    if not path.name.startswith(".") and not _being_written(path):
                        found.append(_kept(kind, path))
    return sorted(found, key=lambda one: (-one.bytes, str(one.path)))


def remove(things: Iterable[Kept]) -> int:
    """Delete these; returns the bytes that are free now. Another user's stay, and what cannot be deleted."""
    freed = 0
    for one in things:
        if not one.own:
            continue
        with suppress(OSError):
            if one.path.is_dir() and not one.path.is_symlink():
                shutil.rmtree(one.path)
            else:
                one.path.unlink()
            freed += one.bytes
    return freed


def mark(path: Path) -> None:
    """Say that a file was of use now. Its content's time stays."""
    with suppress(OSError):
        os.utime(path, ns=(time.time_ns(), path.stat().st_mtime_ns))


def own(path: Path) -> Path:
    """The same path, or, where another user keeps something under that name, one of this user's beside it."""
    with suppress(OSError):
        if not _mine(path.lstat()):
            return path.with_name(f"{path.stem}.{os.geteuid()}{path.suffix}")
    return path


def make_room(needed: int) -> int:
    """Before so many bytes come into `cache/`: what is too old goes, and then the oldest while all would be too much.

    What is larger than the limit by itself moves nothing but the old. Only what is this user's goes, and files that a
    process has open stay readable to it. Returns the bytes that are free now. Raises ParameterError for a limit in the
    environment that is no size.
    """
    most, now, freed = limit(), time.time(), 0
    by_age = sorted(kept(["cache"]), key=lambda one: one.used)
    total = sum(one.bytes for one in by_age)
    for one in by_age:
        crowded = needed <= most < needed + total
        if one.own and (now - one.used > AGE * DAY or crowded):
            gone = remove([one])
            freed, total = freed + gone, total - gone
    return freed


def limit() -> int:
    """Bytes that `cache/` may have: $RESNETS_CACHE_LIMIT ("20GB", "500 MB", a number of bytes), else LIMIT."""
    text = os.environ.get("RESNETS_CACHE_LIMIT", "").strip()
    if not text:
        return LIMIT
    if (count := bytes_of(text)) is None:
        raise ParameterError(f"RESNETS_CACHE_LIMIT is a size like 20GB, not {text!r}.")
    return count


def bytes_of(text: str) -> int | None:
    """Bytes of a size as people write it: "20GB" and "20 GiB" are 20 times 2**30, "100" is 100; None: it is none."""
    found = _SIZE.fullmatch(text.strip())
    return int(float(found[1]) * _UNITS[found[2].lower()]) if found else None


def size(count: float) -> str:
    """'1.5 GiB', '20 MiB', '3 KiB'."""
    if count >= 2**30:
        return f"{count / 2**30:.1f} GiB"
    return f"{count / 2**20:.0f} MiB" if count >= 2**20 else f"{count / 2**10:.0f} KiB"


def _being_written(path: Path) -> bool:
    """Whether somebody holds it, or writes to it: downloads that were stopped an hour ago are not."""
    return path.name.endswith(".lock") or (path.name.endswith(".part") and time.time() - path.stat().st_mtime < STALE)


def _mine(info: os.stat_result) -> bool:
    return not hasattr(os, "geteuid") or info.st_uid == os.geteuid()


def _kept(kind: str, path: Path) -> Kept:
    info = path.lstat()
    if stat.S_ISDIR(info.st_mode):
        infos = [one.lstat() for one in path.rglob("*")]
        used = max([info.st_mtime, *(max(one.st_mtime, one.st_atime) for one in infos if stat.S_ISREG(one.st_mode))])
        return Kept(kind, path, sum(one.st_size for one in infos), used, path.name, _mine(info))
    what = _what(path) if path.suffix == ".u8" and stat.S_ISREG(info.st_mode) and _mine(info) else path.name
    return Kept(kind, path, info.st_size, max(info.st_mtime, info.st_atime), what, _mine(info))


def _what(path: Path) -> str:
    """What a file of decoded pictures was made from, by the record at its end. Looking is no use of it."""
    quietly = os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_NOATIME", 0)
    try:
        with open(os.open(path, quietly), "rb") as file:
            end = file.seek(-8, os.SEEK_END)
            (length,) = struct.unpack("<Q", file.read(8))
            if length > min(RECORD, end):
                return ""
            file.seek(end - 4 - length)
            record = json.loads(file.read(length))
        side = re.search(r"centre (\d+)", record["geometry"])
        return f"{record['source']}{f', {side[1]} pixels' if side else ''}"
    except (OSError, ValueError, LookupError, TypeError, struct.error, RecursionError):
        return ""
