"""Archives read in place: .zip and plain .tar, listed once, then read at random by offset.

Each read opens the archive for itself, which costs microseconds and leaves nothing to share between
threads or to lose in a fork. What an archive says about itself is not trusted: sizes are bounded
before memory is taken, checksums are compared, and no name ever becomes a path on disk.
"""

from __future__ import annotations

import io
import os
import posixpath
import re
import struct
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Collection, Iterable, Mapping
from contextlib import suppress
from functools import lru_cache
from io import BufferedReader
from typing import Any, NamedTuple

from resnets.data.arrangement import layout_of
from resnets.data.labels import LayoutError
from resnets.data.reading import USUAL, Reading
from resnets.data.source import Source, check_size, opened
from resnets.data.titles import is_list
from resnets.data.unpack import reader, unpacked
from resnets.data.walk import RECORD, RECORD_BYTES, hidden, is_record
from resnets.data.zipnames import zip_names
from resnets.errors import DataError, ImageError
from resnets.regular import open_regular
from resnets.text import printable, some

MOST_HEADER = 2**20  # bytes of a header of a tar: a path, a few attributes
MOST_NAME = 4096  # characters of an entry's path, as of a file's on Linux
_LONG_NUMBER = re.compile(rb"\d{65}")

ZIPS = (b"PK\3\4", b"PK\5\6", b"PK\7\x08")  # what a zip begins with; other names may, too, with PK
# The first bytes of archives that are not read here, and the command that unpacks such a file.
FOREIGN = {b"\x28\xb5\x2f\xfd": "unzstd", b"7z\xbc\xaf\x27\x1c": "7z x", b"Rar!": "unrar x"}

# What the parsers raise at bytes that are not what they claim to be.
DAMAGED = (zipfile.BadZipFile, tarfile.TarError, EOFError, ValueError, NotImplementedError, struct.error)


def open_archive(name: str, path: str, reading: Reading = USUAL) -> Source:
    """The zip or tar at ``path`` as a source; ``name`` is how the user called it.

    Raises DataError: it is no archive, an encrypted or damaged one, or one that is packed in another way; OSError:
    ``path`` cannot be opened.
    """
    shown = printable(name)
    with open_regular(path) as file:
        head = file.read(6)
    for magic, command in FOREIGN.items():
        if head.startswith(magic):
            said = f"{shown} is packed in a way that is not read here: unpack it with `{command} {shown}`"
            raise DataError(f"{said}, and give the folder or the .tar.")
    if reader(head) is not None:
        path = str(unpacked(shown, path))
    kind = "zip" if head[:4] in ZIPS or path.lower().endswith(".zip") else "tar"
    try:
        return Zip(name, path, reading) if kind == "zip" else Tar(name, path, reading)
    except DataError:  # which is a ValueError too, and says already what is wrong
        raise
    except RecursionError as error:
        raise DataError(f"The headers of {shown} lie in each other without end: pack it again.") from error
    except DAMAGED as error:
        if kind == "tar" and not path.lower().endswith(".tar"):
            raise DataError(f"{shown} is neither a folder nor a .zip or .tar archive.") from error
        raise DataError(
            f"{shown} is a damaged or cut-off {kind} archive ({printable(str(error))}): download or pack it again."
        ) from error


class _Archive(Source):
    """What both kinds share: `entries` (key to what `read` needs), and what is known of each."""

    _path: str
    _stamp: tuple[int, int]
    _entries: Mapping[str, Any]
    _outside: int  # entries that climb out of the archive, which are left out
    _reading: Reading

    def _arrange(
        self,
        name: str,
        sizes: Mapping[str, int],
        stamp: Callable[[str], object],
        folders: Collection[str],
        remarks: Iterable[str] = (),
    ) -> None:
        """Find the classes, without the folders of runs; ``folders`` are the archive's entries for folders."""
        runs = sorted(_folder_of(key) for key in sizes if key.rpartition("/")[2] == RECORD and self._is_run(key))
        if "" in runs:
            raise LayoutError(f"{printable(name)} is the folder of a run.")
        if runs:
            sizes = {key: size for key, size in sizes.items() if not key.startswith(tuple(runs))}
            remarks = [*remarks, f"{some(runs)} is the folder of a run: left out."]
        if self._outside:
            one = self._outside == 1
            remarks = [
                *remarks,
                f'{self._outside:,} {"entry has a name" if one else "entries have names"} with ".." and '
                f"{'is' if one else 'are'} left out: no name leads out of an archive.",
            ]
        around = {key[: place + 1] for key in sizes for place, letter in enumerate(key) if letter == "/"}
        empty = [folder for folder in folders if folder not in around and not folder.startswith(tuple(runs))]
        layout = layout_of(name, sizes, lambda key: io.BytesIO(self.read(key)), empty=empty, reading=self._reading)
        super().__init__(name, layout, stamp, self._path, remarks=remarks)
        entries, kept = self._entries, (sample.key for sample in self.samples)
        lists = (key for key in self.beside if is_list(key))
        self._entries = {key: entries[key] for key in (*kept, *lists) if key in entries}

    def _entry(self, key: str) -> Any:
        if (entry := self._entries.get(key)) is None:  # a table in the archive names it
            raise ImageError("not in the archive")
        return entry

    def _is_run(self, key: str) -> bool:
        with suppress(ImageError):
            return is_record(self.read(key)[:RECORD_BYTES])
        return False


class _ZipEntry(NamedTuple):
    offset: int  # of the local header
    packed: int  # bytes in the archive
    size: int  # bytes unpacked
    crc: int
    deflated: bool


class Zip(_Archive):
    """A .zip whose entries are stored or deflated."""

    def __init__(self, name: str, path: str, reading: Reading = USUAL) -> None:
        self._path, self._stamp, self._outside = os.path.abspath(path), _stamp(path), 0
        self._reading = reading
        entries: dict[str, _ZipEntry] = {}
        folders: set[str] = set()
        with open_regular(path) as file, zipfile.ZipFile(file) as archive:
            infos = archive.infolist()
            names, page = zip_names(infos)
            for info, raw in zip(infos, names, strict=True):
                key = _key(raw, entries, folders, name)
                if key is None:
                    self._outside += _climbs(raw)
                    continue
                if info.flag_bits & 1:
                    raise LayoutError(f"{printable(name)} is encrypted: unpack it and give the folder.")
                if info.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
                    raise LayoutError(
                        f"{printable(name)} is packed by the rare zip method {info.compress_type}: "
                        "unpack it and give the folder, or zip it again in the usual way."
                    )
                deflated = info.compress_type == zipfile.ZIP_DEFLATED
                entries[key] = _ZipEntry(info.header_offset, info.compress_size, info.file_size, info.CRC, deflated)
        self._entries = entries
        sizes = {key: entry.size for key, entry in entries.items()}
        remarks = [f"The names in {printable(name)} are not UTF-8, and read as {page}."] if page else []
        self._arrange(name, sizes, lambda key: entries[key].crc if key in entries else 0, folders, remarks)

    def read(self, key: str) -> bytes:
        """As ``Source.read``."""
        entry = self._entry(key)
        check_size(max(entry.size, entry.packed))
        with opened(self._path, self._stamp) as file:
            file.seek(min(entry.offset, self._stamp[0]))  # a place behind the end is one of damage, not of a system
            header = file.read(30)
            if len(header) < 30 or not header.startswith(b"PK\x03\x04"):
                raise ImageError("damaged entry in the archive")
            extra = int.from_bytes(header[26:28], "little") + int.from_bytes(header[28:30], "little")
            file.seek(extra, os.SEEK_CUR)
            data = file.read(entry.packed)
        if entry.deflated:
            try:
                data = zlib.decompressobj(-zlib.MAX_WBITS).decompress(data, entry.size + 1)
            except zlib.error as error:
                raise ImageError("damaged bytes in the archive") from error
        if len(data) != entry.size or zlib.crc32(data) != entry.crc:
            raise ImageError("damaged: its bytes do not match the checksum in the archive")
        return data


class Tar(_Archive):
    """A plain .tar."""

    def __init__(self, name: str, path: str, reading: Reading = USUAL) -> None:
        self._path, self._stamp = os.path.abspath(path), _stamp(path)
        self._reading = reading
        self._entries, folders, self._outside = _tar_entries(name, path)
        # A tar has no checksums, so the archive's own time of change stands in for them.
        self._arrange(name, {key: size for key, (_, size) in self._entries.items()}, lambda _: self._stamp, folders)

    def read(self, key: str) -> bytes:
        """As ``Source.read``."""
        offset, size = self._entry(key)
        check_size(size)
        if offset < 0:
            raise ImageError("a link to a file that is not in the archive")
        with opened(self._path, self._stamp) as file:
            file.seek(offset)
            return file.read(size)


def members(name: str, path: str) -> dict[str, tuple[int, int]]:
    """Key -> offset and size of the files in a plain .tar. Raises DataError for one that is damaged or cut off."""
    try:
        entries, _, _ = _tar_entries(name, path)
    except (*DAMAGED, RecursionError) as error:
        if isinstance(error, DataError):
            raise
        raise DataError(f"{printable(name)} is a damaged or cut-off tar archive ({printable(str(error))}).") from error
    return {key: place for key, place in entries.items() if place[0] >= 0}


def _tar_entries(name: str, path: str) -> tuple[dict[str, tuple[int, int]], set[str], int]:
    """(key -> offset and size, (-1, 0) for a link to nowhere; the folders; how many entries climb out)."""
    found: dict[str, tarfile.TarInfo] = {}
    folders: set[str] = set()
    outside = 0
    with _Headers(open_regular(path).detach()) as headers:
        with tarfile.open(fileobj=headers, mode="r:") as archive:
            for info in archive:
                if info.size < 0 or archive.offset <= info.offset:
                    raise tarfile.ReadError("an entry ends before it begins")
                key = _key(f"{info.name}/" if info.isdir() else info.name, found, folders, name)
                if key is None:
                    outside += not info.isdir() and _climbs(info.name)
                elif info.isreg() or info.islnk() or info.issym():
                    found[key] = info
            # tarfile takes a damaged header for the end; the true end is a block of zeros.
            headers.seek(archive.offset)
        if headers.read(512) != bytes(512):
            raise tarfile.ReadError("its end mark is missing")
    return {key: _target(key, found) for key in found}, folders, outside


class _Headers(BufferedReader):
    """A file of which tarfile reads headers alone: none of them can be large, or slow to search."""

    def read(self, size: int | None = -1) -> bytes:
        """At most ``MOST_HEADER`` bytes."""
        if size is None or not 0 <= size <= MOST_HEADER:
            raise tarfile.ReadError("a header is too large")
        data = super().read(size)
        if len(data) > tarfile.BLOCKSIZE and _LONG_NUMBER.search(data):  # tarfile searches in the square of its length
            raise tarfile.ReadError("a number in a header has more than 64 digits")
        return data


def _target(key: str, members: Mapping[str, tarfile.TarInfo]) -> tuple[int, int]:
    """Offset and size of the bytes of ``key``, through one hard or symbolic link; (-1, 0) if nowhere."""
    info = members[key]
    if info.issym():
        info = members.get(posixpath.normpath(posixpath.join(posixpath.dirname(key), info.linkname)), info)
    elif info.islnk():
        info = members.get(posixpath.normpath(info.linkname), info)
    return (info.offset_data, info.size) if info.isreg() and not info.issparse() else (-1, 0)


def _key(raw: str, taken: Collection[str], folders: set[str], name: str) -> str | None:
    """The key of an archive's entry; None for a hidden one, one that climbs by "..", and one of the `folders`."""
    if len(raw) > MOST_NAME:
        raise LayoutError(f"{printable(name)} has an entry whose name has {len(raw):,} characters: pack it again.")
    above, _, last = raw.rpartition("/")
    folder = _folder(above)
    if folder is None or (last and hidden(last)):
        return None
    key = folder + last
    if not last:
        folders.update({folder} - {""})
        return None
    if key in taken:
        raise LayoutError(f"{printable(name)} has two entries named {printable(key)}: pack it again.")
    return key


def _climbs(raw: str) -> bool:
    return "../" in raw and ".." in raw.split("/") and not raw.endswith("/")


@lru_cache(maxsize=1024)  # thousands of entries share a folder
def _folder(raw: str) -> str | None:
    parts = [part for part in raw.split("/") if part not in ("", ".")]
    return None if any(map(hidden, parts)) else "".join(f"{part}/" for part in parts)


def _folder_of(key: str) -> str:
    above, slash, _ = key.rpartition("/")
    return above + slash


def _stamp(path: str) -> tuple[int, int]:
    info = os.stat(path)
    return info.st_size, info.st_mtime_ns
