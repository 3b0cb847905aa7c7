"""Where images come from: a folder, a .zip, a plain .tar, or a named data set.

A source lists its files once and then reads any of them at random, in place. It holds no open file,
so threads, forked processes and unpickled copies read at once. Archives are never unpacked: the names
inside are only names.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import BinaryIO

from resnets.data.layout import arrange
from resnets.errors import DataError, ImageError, UnreadableError
from resnets.regular import IrregularError, bounded, open_regular
from resnets.text import printable

LARGEST = 256 * 2**20  # bytes of one image file; more is a mistake or an attack


class Source:
    """Files in class folders, listed once and read at random.

    Attributes:
        name: as the user gave it.
        samples: every file in a class folder, sorted by key; hidden files and clutter are left out.
        beside: the keys of the files that lie in no class folder, sorted.
        remarks: sentences about how the files lie, which whoever uses them should know.
        place: the folder or the archive, absolute; None for what lies in no file.
        fingerprint: hex SHA-256 over each sample's key, size and checksum (or time of change).
    """

    def __init__(
        self,
        name: str,
        sizes: Mapping[str, int],
        stamp: Callable[[str], object],
        place: str | None = None,
        *,
        odd: Collection[str] = (),
        empty: Collection[str] = (),
        remarks: Iterable[str] = (),
    ) -> None:
        """List ``sizes`` (key to bytes); ``stamp`` of a key changes whenever its content does.

        odd         keys of what is no regular file; alone it makes no class
        empty       folders that hold nothing, with a "/" at the end
        remarks     what is known to whoever listed the files
        """
        self.name = name
        self.place = place and os.path.abspath(place)
        layout = arrange(name, sizes, odd=odd, empty=empty)
        self.samples, self.beside = layout.samples, layout.beside
        self.remarks = (*remarks, *layout.remarks)
        digest = hashlib.sha256()
        for sample in self.samples:
            line = f"{sample.key}\0{sample.size}\0{stamp(sample.key)}\n"
            digest.update(line.encode("utf-8", "surrogateescape"))
        self.fingerprint = digest.hexdigest()

    def read(self, key: str) -> bytes:
        """The bytes of the file ``key``. Safe from any thread or process.

        Raises ImageError: the file has vanished, is cut off, fails its checksum, or is over 256 MiB.
        """
        raise NotImplementedError  # each kind of source reads in its own way


@contextmanager
def opened(path: str, stamp: tuple[int, int] | None) -> Iterator[BinaryIO]:
    """Open ``path`` for one read; an archive must still be what it was when its entries were listed."""
    try:
        with open_regular(path) as file:
            info = os.fstat(file.fileno())
            if stamp is not None and stamp != (info.st_size, info.st_mtime_ns):
                raise DataError(f"{printable(path)} was changed while it was in use: begin again.")
            yield file
    except IrregularError as error:
        raise ImageError(error.strerror) from error
    except OSError as error:
        raise UnreadableError(f"cannot be read: {error.strerror}") from error


def read_image(path: str) -> bytes:
    """The bytes of an image file. Raises ImageError for what cannot be read, is no file, or is over ``LARGEST``."""
    with opened(path, None) as file:
        data = bounded(file, LARGEST)
    check_size(len(data))
    return data


def check_size(size: int) -> None:
    """Raise ``ImageError`` for a file of more than ``LARGEST`` bytes."""
    if size > LARGEST:
        raise ImageError(f"larger than {LARGEST // 2**20} MiB")
