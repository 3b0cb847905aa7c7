"""Writes a TensorFlow bundle, PREFIX.index and PREFIX.data-00000-of-00001, as tf.train.Saver does.

The format is described where it is read: `tensorflow_file` and `table`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import BinaryIO

import torch

from resnets.weights.formats.protobuf import FIXED32, encoded, field
from resnets.weights.formats.stored import Stored
from resnets.weights.formats.table import FOOTER_BYTES, MAGIC, UNCOMPRESSED, checksum
from resnets.weights.formats.tensorflow_pieces import DTYPES
from resnets.whole import whole

NUMBERS = {dtype: number for number, dtype in DTYPES.items()}
VERSION = field(1, 1)  # "producer", of the only version that there is


def write_bundle(prefix: Path, tensors: Mapping[str, Stored]) -> tuple[Path, Path]:
    """Write tensors under their names; returns the two files. One tensor at a time is in memory.

    The index comes last: until then, what stood there before is either whole or refused by its checksums.

    Raises ModelFileError when the files cannot be written.
    """
    index = prefix.with_name(f"{prefix.name}.index")
    data = prefix.with_name(f"{prefix.name}.data-00000-of-00001")
    header = field(1, 1) + field(3, VERSION)  # one data file
    with whole(index) as directory, whole(data) as numbers:
        directory.write(_table([(b"", header), *_write_data(numbers, tensors)]))
    return index, data


def _write_data(file: BinaryIO, tensors: Mapping[str, Stored]) -> Iterator[tuple[bytes, bytes]]:
    """Write the numbers; the index's entries in the order of their keys, which is that of the bytes."""
    for key, name in sorted((name.encode(), name) for name in tensors):
        tensor = tensors[name].read().contiguous()
        raw = tensor.reshape(-1).view(torch.uint8).numpy().data
        shape = b"".join(field(2, field(1, size)) for size in tensor.shape)
        entry = field(1, NUMBERS[tensor.dtype]) + field(2, shape) + field(4, file.tell()) + field(5, len(raw))
        file.write(raw)
        yield key, entry + encoded(6 << 3 | FIXED32) + checksum(raw).to_bytes(4, "little")


def _table(entries: Sequence[tuple[bytes, bytes]]) -> bytes:
    """A table of one data block, however large: readers take any size."""
    out = bytearray()
    data = _add(out, _block(entries))
    metadata = _add(out, _block([]))  # TensorFlow has none either
    index = _add(out, _block([(entries[-1][0], data)]))
    return bytes(out) + (metadata + index).ljust(FOOTER_BYTES - len(MAGIC), b"\0") + MAGIC


def _block(entries: Sequence[tuple[bytes, bytes]]) -> bytes:
    """Keys and values, with every key whole: each entry is a place to start from (an empty block has one too)."""
    out, starts = bytearray(), []
    for key, value in entries:
        starts.append(len(out))
        out += encoded(0) + encoded(len(key)) + encoded(len(value)) + key + value
    starts = starts or [0]
    return bytes(out) + b"".join(number.to_bytes(4, "little") for number in (*starts, len(starts)))


def _add(out: bytearray, content: bytes) -> bytes:
    """Append a block with its trailer; returns its handle."""
    handle = encoded(len(out)) + encoded(len(content))
    content += bytes([UNCOMPRESSED])
    out += content + checksum(content).to_bytes(4, "little")
    return handle
