"""Where images come from: a folder, a .zip, a .tar, a table with labels, or a named data set.

A source lists its files once and then reads any of them at random, in place. It holds no open file,
so threads, forked processes and unpickled copies read at once. Archives are never unpacked: the names
inside are only names.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import cached_property
from typing import BinaryIO

from resnets.data import identity
from resnets.data.layout import Layout
from resnets.data.sample import Sample
from resnets.errors import DataError, ImageError, UnreadableError
from resnets.regular import IrregularError, bounded, open_regular
from resnets.text import printable

LARGEST = 256 * 2**20  # bytes of one image file; more is a mistake or an attack


class Source:
    """Files of classes, listed once and read at random.

    Attributes:
        name: as the user gave it.
        samples: every file of a class, sorted by key; hidden files and clutter are left out.
        beside: the keys of the files that belong to no class, sorted.
        remarks: sentences about how the files lie, which whoever uses them should know.
        tabled: whether the classes stand in a table, and not in the names of folders; keys may lead anywhere then.
        place: the folder or the archive, absolute; None for what lies in no file.
        fingerprint_before: what earlier versions knew the data by: hex SHA-256 over each sample's key, size and
            checksum (or time of change).
    """

    def __init__(
        self,
        name: str,
        layout: Layout,
        stamp: Callable[[str], object],
        place: str | None = None,
        *,
        remarks: Iterable[str] = (),
    ) -> None:
        """Files that mean what ``layout`` says; ``stamp`` of a key changes whenever its content does.

        remarks     what is known to whoever listed the files
        """
        self.name = name
        self.place = place and os.path.abspath(place)
        self.samples, self.beside, self.tabled = layout.samples, layout.beside, layout.tabled
        self.remarks = (*remarks, *layout.remarks)
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


@contextmanager
def opened(path: str, stamp: tuple[int, int] | None) -> Iterator[BinaryIO]:
    """Open ``path`` for one read; an archive must still be what it was when its entries were listed."""
    try:
        if b"\0" in os.fsencode(path):
            raise ImageError("no file can be called so")
    except UnicodeEncodeError as error:  # half of a surrogate pair, as JSON may hold it
        raise ImageError("no file can be called so") from error
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
