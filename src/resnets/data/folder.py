"""A folder of class folders, read in place."""

from __future__ import annotations

import errno
import os
import stat

from resnets.data.source import Source, all_of, hidden, opened
from resnets.errors import DataError
from resnets.text import printable


class Folder(Source):
    """A folder; symbolic links are followed."""

    def __init__(self, name: str, root: str) -> None:
        found = _walk(name, root)
        super().__init__(name, {key: size for key, (size, _) in found.items()}, lambda key: found[key][1])
        self._root = os.path.abspath(root)

    def read(self, key: str) -> bytes:
        """As ``Source.read``."""
        with opened(os.path.join(self._root, key), None) as file:
            return all_of(file)


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
