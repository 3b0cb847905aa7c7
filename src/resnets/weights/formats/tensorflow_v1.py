"""The checkpoints of TensorFlow's first years: one table with the directory and, piece by piece, the numbers.

The published TF-Slim networks are such files. A tensor's numbers are not laid out as in memory, but stand in
the fields of a TensorProto, whole numbers in as many bytes as they need.
Format: tensorflow/core/util/saved_tensor_slice.proto, tensorflow/core/framework/tensor.proto.
"""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from resnets.weights.formats.stored import Stored
from resnets.weights.formats.table import MAX_DIRECTORY_BYTES, Table
from resnets.weights.formats.tensorflow_pieces import (
    DTYPES,
    Extents,
    Message,
    extents_of,
    joined,
    name_of,
    piece_key,
    piece_shape,
    shape_of,
)

CONTENT = 4  # the field for the numbers as in memory; those of the fields for each type follow
FLOATS = {torch.float32: (5, "<f4"), torch.float64: (6, "<f8")}
INTEGERS = {torch.int32: 7, torch.int64: 10, torch.float16: 13, torch.bfloat16: 13}
LARGEST_GROWTH = 8 * 22  # a 64-bit zero takes one byte, which snappy may have packed further

_CHUNK = 2**18  # values that are decoded at a time


def old_tensors(file: Path, table: Table) -> dict[str, Stored]:
    """The tensors by name. Raises ValueError for a directory that is damaged or promises what cannot be."""
    directory = table.first()
    if len(directory) > MAX_DIRECTORY_BYTES:
        raise ValueError(f"its directory has more than {MAX_DIRECTORY_BYTES:,} bytes, which no network needs")
    tensors: dict[str, Stored] = {}
    promised = 0
    for entry in map(Message, Message(Message(directory).part(1)).parts(1)):
        dtype = DTYPES.get(entry.number(3))
        if dtype is None:
            continue
        name, shape = name_of(entry.part(1)), shape_of(entry.part(2), dtype)
        pieces = [
            (extents, _stored(table, name, extents, piece_shape(shape, extents), dtype))
            for extents in map(extents_of, entry.parts(4))
        ]
        if name in tensors:
            raise ValueError(f"it has two tensors of the name {name[:80]}")
        tensors[name] = joined(shape, dtype, pieces)
        promised += math.prod(shape) * dtype.itemsize
    if promised > LARGEST_GROWTH * file.stat().st_size:
        raise ValueError("it promises more numbers than it can hold")
    return tensors


def _stored(table: Table, name: str, extents: Extents, shape: tuple[int, ...], dtype: torch.dtype) -> Stored:
    def read() -> Tensor:
        piece = Message(Message(table.value(piece_key(name, extents))).part(2))
        return _values(Message(piece.part(3)), math.prod(shape), dtype).reshape(shape)

    return Stored(shape, dtype, read)


def _values(proto: Message, count: int, dtype: torch.dtype) -> Tensor:
    """The numbers of a TensorProto, in memory of their own. Raises ValueError if they are not `count`."""
    tensor = torch.empty(count, dtype=dtype)
    if content := proto.part(CONTENT):
        _fill(tensor.view(torch.uint8).numpy(), np.frombuffer(content, np.uint8))
    elif dtype in FLOATS:
        field, kind = FLOATS[dtype]
        packed = proto.part(field)
        if len(packed) % dtype.itemsize:
            raise ValueError("the numbers of a tensor are cut off")
        _fill(tensor.numpy(), np.frombuffer(packed, kind))
    else:
        _unpack(proto.part(INTEGERS[dtype]), tensor)
    return tensor


def _fill(target: np.ndarray[Any, Any], source: np.ndarray[Any, Any]) -> None:
    if len(source) != len(target):
        raise ValueError("a tensor has another number of values than its shape")
    target[:] = source


def _unpack(packed: memoryview, tensor: Tensor) -> None:
    """Varints to whole numbers, or to the bits of short floating point numbers."""
    width = {1: np.uint8, 2: np.uint16, 4: np.uint32, 8: np.uint64}[tensor.dtype.itemsize]
    target = tensor.view(torch.uint8).numpy().view(width)
    data = np.frombuffer(packed, np.uint8)
    ends = np.flatnonzero(data < 0x80)
    if len(ends) != len(target) or (len(data) and data[-1] >= 0x80):
        raise ValueError("a tensor has another number of values than its shape")
    start = 0
    for first in range(0, len(ends), _CHUNK):
        last = ends[first : first + _CHUNK]
        starts = np.concatenate(([start], last[:-1] + 1))
        lengths = last - starts + 1
        if lengths.max() > 10:
            raise ValueError("a number is longer than 64 bits")
        values = np.zeros(len(last), np.uint64)
        for byte in range(lengths.max()):
            there = lengths > byte
            bits = data[starts[there] + byte] & np.uint8(0x7F)
            values[there] |= bits.astype(np.uint64) << np.uint64(7 * byte)
        target[first : first + _CHUNK] = values.astype(width)
        start = last[-1] + 1
