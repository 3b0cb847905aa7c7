"""Archives read in place: .zip and plain .tar, listed once, then read at random by offset.

Each read opens the archive for itself, which costs microseconds and leaves nothing to share between
threads or to lose in a fork. What an archive says about itself is not trusted: sizes are bounded
before memory is taken, checksums are compared, and no name ever becomes a path on disk.
"""

from __future__ import annotations

import os
import posixpath
import struct
import tarfile
import zipfile
import zlib
from collections.abc import Collection, Mapping
from contextlib import suppress
from functools import lru_cache
from typing import NamedTuple

from resnets.data.source import Source, check_size, opened
from resnets.data.walk import hidden
from resnets.errors import DataError, ImageError
from resnets.text import printable

# The first bytes of compressed files, and the command that turns such a file into a plain .tar.
COMPRESSED = {b"\x1f\x8b": "gunzip", b"BZh": "bunzip2", b"\xfd7zXZ": "unxz", b"\x28\xb5\x2f\xfd": "unzstd"}

# What the parsers raise at bytes that are not what they claim to be.
DAMAGED = (zipfile.BadZipFile, tarfile.TarError, EOFError, ValueError, NotImplementedError, struct.error)


def open_archive(name: str, path: str) -> Source:
    """The zip or plain tar at ``path`` as a source; ``name`` is how the user called it.

    Raises DataError: it is no archive, or a compressed, encrypted or damaged one; OSError: ``path`` cannot be opened.
    """
    shown = printable(name)
    with open(path, "rb") as file:
        head = file.read(6)
    for magic, command in COMPRESSED.items():
        if head.startswith(magic):
            raise DataError(
                f"{shown} is compressed as a whole, so single images cannot be read from it: "
                f"turn it into a plain .tar with `{command} {shown}`, or unpack it and give the folder."
            )
    kind = "zip" if head.startswith(b"PK") or path.lower().endswith(".zip") else "tar"
    try:
        return Zip(name, path) if kind == "zip" else Tar(name, path)
    except DataError:  # which is a ValueError too, and says already what is wrong
        raise
    except DAMAGED as error:
        if kind == "tar" and not path.lower().endswith(".tar"):
            raise DataError(f"{shown} is neither a folder nor a .zip or .tar archive.") from error
        raise DataError(
            f"{shown} is a damaged or cut-off {kind} archive ({error}): download or pack it again."
        ) from error


class _ZipEntry(NamedTuple):
    offset: int  # of the local header
    packed: int  # bytes in the archive
    size: int  # bytes unpacked
    crc: int
    deflated: bool


class Zip(Source):
    """A .zip whose entries are stored or deflated."""

    def __init__(self, name: str, path: str) -> None:
        self._path, self._stamp = os.path.abspath(path), _stamp(path)
        entries: dict[str, _ZipEntry] = {}
        with zipfile.ZipFile(path) as archive:
            for info in archive.infolist():
                key = _key(zip_name(info), entries, name)
                if key is None:
                    continue
                if info.flag_bits & 1:
                    raise DataError(f"{printable(name)} is encrypted: unpack it and give the folder.")
                if info.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
                    raise DataError(
                        f"{printable(name)} is packed by the rare zip method {info.compress_type}: "
                        "unpack it and give the folder, or zip it again in the usual way."
                    )
                deflated = info.compress_type == zipfile.ZIP_DEFLATED
                entries[key] = _ZipEntry(info.header_offset, info.compress_size, info.file_size, info.CRC, deflated)
        sizes = {key: entry.size for key, entry in entries.items()}
        super().__init__(name, sizes, lambda key: entries[key].crc)
        self._entries = {sample.key: entries[sample.key] for sample in self.samples}

    def read(self, key: str) -> bytes:
        """As ``Source.read``."""
        entry = self._entries[key]
        check_size(max(entry.size, entry.packed))
        with opened(self._path, self._stamp) as file:
            file.seek(entry.offset)
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


def zip_name(info: zipfile.ZipInfo) -> str:
    """The entry's name; some packers write UTF-8 without saying so, and others use backslashes."""
    name = info.filename
    if not info.flag_bits & 0x800 and not name.isascii():
        with suppress(UnicodeError):
            name = name.encode("cp437").decode("utf-8")
    return name.replace("\\", "/")


class Tar(Source):
    """A plain .tar."""

    def __init__(self, name: str, path: str) -> None:
        self._path, self._stamp = os.path.abspath(path), _stamp(path)
        members: dict[str, tarfile.TarInfo] = {}
        with tarfile.open(path, "r:") as archive:
            for info in archive:
                key = _key(info.name, members, name)
                if key is not None and (info.isreg() or info.islnk() or info.issym()):
                    members[key] = info
            # tarfile takes a damaged header for the end; the true end is a block of zeros.
            archive.fileobj.seek(archive.offset)
            if archive.fileobj.read(512) != bytes(512):
                raise tarfile.ReadError("its end mark is missing")
        entries = {key: _target(key, members) for key in members}
        # A tar has no checksums, so the archive's own time of change stands in for them.
        super().__init__(name, {key: size for key, (_, size) in entries.items()}, lambda _: self._stamp)
        self._entries = {sample.key: entries[sample.key] for sample in self.samples}

    def read(self, key: str) -> bytes:
        """As ``Source.read``."""
        offset, size = self._entries[key]
        check_size(size)
        if offset < 0:
            raise ImageError("a link to a file that is not in the archive")
        with opened(self._path, self._stamp) as file:
            file.seek(offset)
            return file.read(size)


def _target(key: str, members: Mapping[str, tarfile.TarInfo]) -> tuple[int, int]:
    """Offset and size of the bytes of ``key``, through one hard or symbolic link; (-1, 0) if nowhere."""
    info = members[key]
    if info.issym():
        info = members.get(posixpath.normpath(posixpath.join(posixpath.dirname(key), info.linkname)), info)
    elif info.islnk():
        info = members.get(posixpath.normpath(info.linkname), info)
    return (info.offset_data, info.size) if info.isreg() and not info.issparse() else (-1, 0)


def _key(raw: str, taken: Collection[str], name: str) -> str | None:
    """The key of an archive's entry, or None for a hidden one (and for one that climbs by "..")."""
    above, _, last = raw.rpartition("/")
    folder = _folder(above)
    if folder is None or not last or hidden(last):
        return None
    key = folder + last
    if key in taken:
        raise DataError(f"{printable(name)} has two entries named {printable(key)}: pack it again.")
    return key


@lru_cache(maxsize=1024)  # thousands of entries share a folder
def _folder(raw: str) -> str | None:
    parts = [part for part in raw.split("/") if part not in ("", ".")]
    return None if any(map(hidden, parts)) else "".join(f"{part}/" for part in parts)


def _stamp(path: str) -> tuple[int, int]:
    info = os.stat(path)
    return info.st_size, info.st_mtime_ns
