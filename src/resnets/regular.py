"""Where files of strangers are opened: regular ones alone, and never more of one than was agreed.

A pipe waits for a writer that may never come, and a device has no end. What a path means is asked before it is opened,
and once more of what was opened, as somebody may have put another in its place between the two.
"""

from __future__ import annotations

import errno
import os
import stat
from contextlib import suppress
from io import BufferedReader
from pathlib import Path
from typing import BinaryIO

_FLAGS = os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_NOCTTY", 0) | getattr(os, "O_BINARY", 0)
_KINDS = {stat.S_IFIFO: "a pipe", stat.S_IFSOCK: "a socket", stat.S_IFCHR: "a device", stat.S_IFBLK: "a device"}

LONGEST_NAME = 255  # bytes of the name of a file or folder, on most systems
_PART = 2**20  # bytes that are read at once of what does not say its size


class IrregularError(OSError):
    """It is no regular file; `strerror` says what it is: "it is a pipe, not a file"."""


def irregular(mode: int) -> str:
    """What something is that is neither a file nor a folder, by its `st_mode`: "it is a pipe, not a file", or ""."""
    if stat.S_ISREG(mode) or stat.S_ISDIR(mode):
        return ""
    return f"it is {_KINDS.get(stat.S_IFMT(mode), 'something else')}, not a file"


def check_regular(path: str | Path) -> None:
    """For what a library opens by its path: raise IrregularError for a pipe, a socket or a device; OSError for nothing
    there and for a folder."""
    _check(path, os.stat(path).st_mode)


def open_regular(path: str | Path) -> BufferedReader:
    """Open a file to read. Raises IrregularError for a pipe, a socket or a device; OSError as `open` does."""
    check_regular(path)
    number = os.open(path, _FLAGS)
    try:
        _check(path, os.fstat(number).st_mode)
        return open(number, "rb")
    except BaseException:
        os.close(number)
        raise


def bounded(file: BinaryIO, most: int) -> bytes:
    """The rest of an open file or stream, but `most` + 1 bytes at the most; memory is taken for what is there."""
    size = 0
    with suppress(OSError):  # a stream knows neither
        size = max(os.fstat(file.fileno()).st_size - file.tell(), 0)
    parts = [file.read(min(size, most) + 1)]
    while parts[-1] and (left := most + 1 - sum(map(len, parts))) > 0 and sum(map(len, parts)) > size:
        parts.append(file.read(min(left, _PART)))
    return b"".join(parts)


def read_regular(path: str | Path, most: int) -> bytes:
    """A whole file of at most `most` bytes. Raises what `open_regular` raises, and OSError for a larger one."""
    with open_regular(path) as file:
        data = bounded(file, most)
    if len(data) > most:
        raise OSError(errno.EFBIG, f"it has more than {most:,} bytes", os.fspath(path))
    return data


def _check(path: str | Path, mode: int) -> None:
    if stat.S_ISDIR(mode):
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), os.fspath(path))
    if why := irregular(mode):
        raise IrregularError(errno.EINVAL, why, os.fspath(path))
