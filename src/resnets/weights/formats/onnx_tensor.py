"""The tensors of an ONNX model, and the numbers and texts of its messages. Nothing is read before it is asked for."""

from __future__ import annotations

import math
import os
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from resnets.weights.formats.protobuf import BYTES, FIXED32, FIXED64, fields, message, varint
from resnets.weights.formats.stored import MAX_DIMENSIONS, MAX_TENSOR_BYTES, Stored, let_go, mapped

MAX_TEXT = 1000  # characters of a name
PIECE = 2**20  # bytes of a mapped file that are in memory at once
MAX_NUMBERS = 2**22  # bytes of whole numbers that stand one by one

# By the number of a type: how it lies in a file, and the field that has its numbers where they are no raw bytes.
TYPES: dict[int, tuple[torch.dtype, str, int]] = {
    1: (torch.float32, "<f4", 4),
    2: (torch.uint8, "<u1", 5),
    3: (torch.int8, "<i1", 5),
    6: (torch.int32, "<i4", 5),
    7: (torch.int64, "<i8", 7),
    9: (torch.bool, "?", 5),
    10: (torch.float16, "<f2", 5),
    11: (torch.float64, "<f8", 10),
    16: (torch.bfloat16, "<i2", 5),
}
_SIXTEEN = (10, 16)  # types of which a number in a list is the bits


class Tensors:
    """Reads the TensorProtos of one model; `files` are those beside it in which some of them lie."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.files: dict[Path, memoryview] = {}

    def read(self, data: memoryview) -> tuple[str, Stored]:
        """A tensor's name, and how to read it. Raises ValueError."""
        shape, lists = list[int](), dict[int, list[tuple[int, int | memoryview]]]()
        place: dict[str, str] = {}
        for number, wire, value in fields(data):
            if number == 1:
                shape += integers(wire, value)
            elif number == 13:
                parts = {n: v for n, w, v in fields(message(value)) if w == BYTES}
                place[text(parts.get(1, b""))] = text(parts.get(2, b""))
            else:
                lists.setdefault(number, []).append((wire, value))
        last = {number: values[-1][1] for number, values in lists.items()}
        name = text(last.get(8, b""))
        if len(shape) > MAX_DIMENSIONS or not all(0 <= size < 2**40 for size in shape):
            raise ValueError(f"the tensor {name[:80]!r} has the shape {shape[:MAX_DIMENSIONS]}, which none has")
        if (kind := last.get(2, 0)) not in TYPES:
            raise ValueError(f"the tensor {name[:80]!r} has numbers of the type {str(kind)[:20]}; export it as float32")
        dtype, lies, own = TYPES[int(kind)]
        size = math.prod(shape) * np.dtype(lies).itemsize
        if size > MAX_TENSOR_BYTES:
            raise ValueError(f"the tensor {name[:80]!r} would take {size:,} bytes")
        if last.get(14) == 1:
            view = self._beside(name, place, size)
        elif 9 in last:
            view = message(last[9])
        else:
            return name, Stored(tuple(shape), dtype, _Listed(name, lists.get(own, ()), tuple(shape), int(kind)))
        if len(view) != size:
            raise ValueError(f"the tensor {name[:80]!r} should have {size:,} bytes, and has {len(view):,}")

        def read() -> Tensor:
            numbers = np.empty(size, np.uint8)
            for start in range(0, size, PIECE):
                numbers[start : start + PIECE] = view[start : start + PIECE]
                let_go(view)
            return _typed(numbers.view(lies), dtype).reshape(shape)

        return name, Stored(tuple(shape), dtype, read)

    def _beside(self, name: str, place: Mapping[str, str], size: int) -> memoryview:
        """The bytes of a tensor in a file beside the model, and nowhere else."""
        where, start = place.get("location", ""), place.get("offset", "0")
        if not where or os.path.basename(where) != where or where in (".", ".."):
            raise ValueError(f"the tensor {name[:80]!r} lies in {where[:80]!r}, which is no file beside the model")
        path = self.path.with_name(where)
        homes = (os.path.realpath(self.path.parent), os.path.dirname(os.path.realpath(self.path)))
        if os.path.isfile(path) and os.path.dirname(os.path.realpath(path)) not in homes:
            raise ValueError(f"the tensor {name[:80]!r} lies in {where[:80]!r}, which is no file beside the model")
        if not os.path.isfile(path):
            raise ValueError(f"its tensors lie in {where[:80]!r}, which is not beside it: put it there")
        if not start.isdecimal() or len(start) > 18 or place.get("length", str(size)) != str(size):
            raise ValueError(f"the tensor {name[:80]!r} has an odd place in {where[:80]!r}")
        if path not in self.files:
            self.files[path] = mapped(path)
        if int(start) + size > len(self.files[path]):
            raise ValueError(f"{where[:80]!r} beside it is cut off: copy it again")
        return self.files[path][int(start) : int(start) + size]


class _Listed:
    """Reads a tensor whose numbers stand one by one. Raises ValueError, when it is made, for too few or too many."""

    def __init__(
        self, name: str, parts: Sequence[tuple[int, int | memoryview]], shape: tuple[int, ...], kind: int
    ) -> None:
        self.dtype, lies, own = TYPES[kind]
        stands = {4: (FIXED32, "<f4"), 10: (FIXED64, "<f8")}.get(own)
        found = [reals(*part, *stands) if stands else np.array(integers(*part), "<i8") for part in parts]
        numbers = np.concatenate(found) if found else np.array([], lies)
        if len(numbers) != math.prod(shape):
            wanted = math.prod(shape)
            raise ValueError(f"the tensor {name[:80]!r} should have {wanted:,} numbers, and has {len(numbers):,}")
        if kind in _SIXTEEN:
            self.numbers = numbers.astype("<u2").view(lies)
        else:
            self.numbers = numbers.astype(lies, copy=False)
        self.shape = shape

    def __call__(self) -> Tensor:
        return _typed(self.numbers.copy(), self.dtype).reshape(self.shape)


def _typed(numbers: np.ndarray, dtype: torch.dtype) -> Tensor:
    tensor = torch.from_numpy(numbers)
    return tensor.view(dtype) if dtype == torch.bfloat16 else tensor


def text(value: int | bytes | memoryview, most: int = MAX_TEXT) -> str:
    """A text of a message. Raises ValueError for one that is too long, or none."""
    if isinstance(value, int) or len(value) > most:
        raise ValueError("it has a name that is no text" if isinstance(value, int) else "it has a name without an end")
    return bytes(value).decode("utf-8", "replace")


def integers(wire: int, value: int | memoryview) -> list[int]:
    """One whole number, or many packed. Raises ValueError."""
    if isinstance(value, int):
        return [signed(value)]
    if len(value) > MAX_NUMBERS:
        raise ValueError(f"it has a list of more than {MAX_NUMBERS:,} whole numbers")
    found, position = list[int](), 0
    while position < len(value):
        number, position = varint(value, position)
        found.append(signed(number))
    return found


def signed(value: int | memoryview) -> int:
    """A whole number of 64 bits, of which the highest is the sign. Raises ValueError."""
    if not isinstance(value, int):
        raise ValueError("a whole number is none")
    return value - 2**64 if value >= 2**63 else value


def reals(wire: int, value: int | memoryview, alone: int = FIXED32, lies: str = "<f4") -> np.ndarray:
    """One number, or many packed; in single precision, unless another wire type and layout are given.

    Raises ValueError.
    """
    size = np.dtype(lies).itemsize
    if isinstance(value, int):
        if wire != alone:
            raise ValueError("a number is damaged")
        value = memoryview(value.to_bytes(size, "little"))
    if len(value) % size:
        raise ValueError("a list of numbers is cut off")
    return np.frombuffer(value, lies)
