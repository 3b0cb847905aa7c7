"""A .keras archive: a zip with the weights, in which they are read in place, and the model's configuration."""

from __future__ import annotations

import itertools
import re
import struct
import zipfile
import zlib
from pathlib import Path

from resnets.weights.formats.hdf5 import Hdf5Error, damaged, unsupported

WEIGHTS, CONFIG = "model.weights.h5", "config.json"
MAX_ENTRIES = 1000  # an archive has three, and a few more with assets
MAX_CONFIG_BYTES = 8 * 2**20  # the configuration of a ResNet-152 has 300 kB
MAX_UNPACKED_BYTES = 2**28  # of weights that are compressed, which they are only where somebody zipped them again
MAX_RATIO = 16  # how much larger they may be than in the archive

_DAMAGED = (zipfile.BadZipFile, EOFError, KeyError, NotImplementedError, RuntimeError, ValueError, struct.error)


def open_archive(path: Path, data: memoryview) -> tuple[memoryview, bytes | None]:
    """(the bytes of the weights, those of the configuration) of the archive at `path`, whose bytes are `data`.

    Raises Hdf5Error.
    """
    # zipfile takes a while for each entry that there is, so they are counted first.
    if next(itertools.islice(re.finditer(b"PK\x01\x02", data), MAX_ENTRIES, None), None):
        raise Hdf5Error(f"its archive has more than {MAX_ENTRIES} entries, which no archive of Keras has")
    try:
        with zipfile.ZipFile(path) as archive:
            entries = {entry.filename: entry for entry in archive.infolist()}
            if WEIGHTS not in entries:
                raise unsupported(f"an archive without {WEIGHTS}")
            if entries[WEIGHTS].compress_type == zipfile.ZIP_STORED:
                weights = _in_place(data, entries[WEIGHTS])
            else:
                weights = memoryview(_unpacked(archive, entries[WEIGHTS], MAX_UNPACKED_BYTES, len(data)))
            config = _unpacked(archive, entries[CONFIG], MAX_CONFIG_BYTES, len(data)) if CONFIG in entries else None
    except Hdf5Error:
        raise
    except (*_DAMAGED, zlib.error) as problem:
        raise damaged("its archive") from problem
    return weights, config


def _in_place(data: memoryview, entry: zipfile.ZipInfo) -> memoryview:
    signature, name, extra = struct.unpack_from("<4s22xHH", data, entry.header_offset)
    start = entry.header_offset + 30 + name + extra
    content = data[start : start + entry.file_size]
    if signature != b"PK\x03\x04" or len(content) != entry.file_size or zlib.crc32(content) != entry.CRC:
        raise damaged("its weights do not have the checksum that its archive states")
    return content


def _unpacked(archive: zipfile.ZipFile, entry: zipfile.ZipInfo, most: int, packed: int) -> bytes:
    """An entry of at most `most` bytes in an archive of `packed` ones; zipfile compares its checksum."""
    if entry.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        raise unsupported(f"compression {entry.compress_type} of zip")
    if entry.file_size > min(most, MAX_RATIO * min(entry.compress_size, packed) + 2**16):
        raise Hdf5Error(f"{entry.filename} in its archive is larger than that of any network")
    return archive.read(entry)
