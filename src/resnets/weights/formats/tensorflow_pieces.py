"""What TensorFlow's two checkpoint formats share: messages, types, shapes, and variables stored in pieces.

Messages: tensor_shape.proto, tensor_slice.proto and types.proto of tensorflow/core/framework. Keys of pieces
are strings that sort as their values do ("ordered code", tensorflow/core/lib/strings/ordered_code.cc).
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from resnets.weights.formats.protobuf import fields
from resnets.weights.formats.stored import MAX_DIMENSIONS, MAX_TENSOR_BYTES, Stored

DTYPES = {
    1: torch.float32,
    2: torch.float64,
    3: torch.int32,
    9: torch.int64,
    14: torch.bfloat16,
    19: torch.float16,
}
MAX_VARIABLES = 20_000  # of a checkpoint: ResNet-1001 has 5,000, and thrice as many with its optimiser's
WHOLE = -1  # length of an extent that takes the whole axis

Extents = tuple[tuple[int, int], ...]  # (start, length) for each axis


class Message:
    """A protocol buffer's fields by number. Raises ValueError for what is none, or a field of another type."""

    def __init__(self, data: memoryview) -> None:
        self._fields: dict[int, list[int | memoryview]] = {}
        for count, (number, _, value) in enumerate(fields(data)):
            if count >= MAX_VARIABLES:
                raise ValueError("a message in it has too many fields")
            self._fields.setdefault(number, []).append(value)

    def is_number(self, field: int) -> bool:
        """Whether a field is there, and a number."""
        return isinstance(self._fields.get(field, [None])[-1], int)

    def number(self, field: int) -> int:
        """A signed integer; 0 where it is left out, as protocol buffers have it."""
        value = self._fields.get(field, [0])[-1]
        if not isinstance(value, int):
            raise ValueError("a message in it has text where a number should be")
        return value - 2**64 if value >= 2**63 else value

    def parts(self, field: int) -> list[memoryview]:
        """Every value of a field that holds messages, text or bytes."""
        values = [value for value in self._fields.get(field, []) if not isinstance(value, int)]
        if len(values) != len(self._fields.get(field, [])):
            raise ValueError("a message in it has a number where text should be")
        return values

    def part(self, field: int) -> memoryview:
        """The last value of such a field; empty where it is left out."""
        return self.parts(field)[-1] if field in self._fields else memoryview(b"")


def name_of(text: bytes | memoryview) -> str:
    """A variable's name. Raises ValueError for bytes that are no text which can be shown."""
    name = str(text, "utf-8")
    if not name.isprintable():
        raise ValueError(f"a variable has the name {name[:80]!r}")
    return name


def shape_of(shape: memoryview, dtype: torch.dtype) -> tuple[int, ...]:
    """The sizes of a TensorShapeProto. Raises ValueError for what no tensor of a network has."""
    message = Message(shape)
    sizes = tuple(Message(axis).number(1) for axis in message.parts(2))
    if message.number(3) or len(sizes) > MAX_DIMENSIONS or min(sizes, default=0) < 0:
        raise ValueError("a tensor has a shape that no tensor can have")
    if math.prod(max(size, 1) for size in sizes) * dtype.itemsize > MAX_TENSOR_BYTES:
        raise ValueError(f"a tensor has the shape {sizes}, larger than any of a network")
    return sizes


def extents_of(piece: memoryview) -> Extents:
    """What a TensorSliceProto takes of each axis."""
    axes = [Message(axis) for axis in Message(piece).parts(1)]
    return tuple((axis.number(1), axis.number(2) or WHOLE) for axis in axes)


def piece_shape(shape: Sequence[int], extents: Extents) -> tuple[int, ...]:
    """The shape of a piece of a tensor. Raises ValueError for a piece that is not within it."""
    if len(extents) != len(shape):
        raise ValueError("a piece of a variable has another number of axes than the variable")
    lengths = tuple(size if length == WHOLE else length for size, (_, length) in zip(shape, extents, strict=True))
    for size, length, (start, _) in zip(shape, lengths, extents, strict=True):
        if not 0 <= start <= start + length <= size:
            raise ValueError("a piece of a variable lies outside of the variable")
    return lengths


def piece_key(name: str, extents: Extents) -> bytes:
    """The key under which a piece of a variable is stored."""
    text = name.encode().replace(b"\0", b"\0\xff").replace(b"\xff", b"\xff\0")
    numbers = (_signed(number) for extent in extents for number in extent)
    return b"\0" + text + b"\0\1" + _unsigned(len(extents)) + b"".join(numbers)


def joined(shape: tuple[int, ...], dtype: torch.dtype, pieces: Sequence[tuple[Extents, Stored]]) -> Stored:
    """One tensor of the pieces of it, which may cut one axis, as TensorFlow's partitioners do.

    Raises ValueError for pieces that leave something out, overlap, or cut more than one axis.
    """
    cut = {
        axis
        for _, piece in pieces
        for axis, (length, size) in enumerate(zip(piece.shape, shape, strict=True))
        if length != size
    }
    if len(pieces) == 1 and not cut:
        return pieces[0][1]
    if len(cut) != 1:
        raise ValueError("a variable is stored in pieces that cut none or several of its axes")
    axis = cut.pop()
    ordered = sorted(pieces, key=lambda piece: piece[0][axis][0])
    end = 0
    for extents, piece in ordered:
        if extents[axis][0] != end:
            raise ValueError("the pieces of a variable overlap or leave something out")
        end += piece.shape[axis]
    if end != shape[axis]:
        raise ValueError("the pieces of a variable leave something out")

    def read() -> Tensor:
        return torch.cat([piece.read() for _, piece in ordered], axis)

    return Stored(shape, dtype, read)


def _unsigned(value: int) -> bytes:
    data = value.to_bytes((value.bit_length() + 7) // 8, "big")
    return bytes([len(data)]) + data


def _signed(value: int) -> bytes:
    """As many leading ones as there are bytes, then the number; all bits of it turned where it is negative."""
    magnitude = ~value if value < 0 else value
    length = magnitude.bit_length() // 7 + 1
    ones = (1 << 8 * length) - (1 << 7 * length)
    return ((value & (1 << 8 * length) - 1) ^ ones).to_bytes(length, "big")
