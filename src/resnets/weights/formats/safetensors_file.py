"""Reads and writes bare .safetensors files, as Hugging Face and timm publish them."""

from __future__ import annotations

import hashlib
import json
import math
import os
from collections.abc import Mapping
from pathlib import Path
from typing import IO, Any

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from resnets.regular import open_regular
from resnets.weights.formats.stored import MAX_DIMENSIONS, MAX_TENSOR_BYTES, Foreign, Stored, unusable
from resnets.whole import whole

MAX_HEADER = 4 * 2**20  # bytes; 100 for each tensor, so enough for 40,000, and a second's work for the library

TYPES = {
    torch.float64: "F64",
    torch.float32: "F32",
    torch.float16: "F16",
    torch.bfloat16: "BF16",
    torch.int64: "I64",
    torch.int32: "I32",
    torch.int16: "I16",
    torch.int8: "I8",
    torch.uint8: "U8",
    torch.bool: "BOOL",
}
_DTYPES = {name: dtype for dtype, name in TYPES.items()}


def open_safetensors(path: Path) -> Foreign:
    """Open a .safetensors file; its metadata, if it has any, are in `documents["metadata"]`.

    Raises ModelFileError for a file that is missing, damaged, cut off, or has tensors of unusual types.
    """
    try:
        if not path.is_file():
            raise unusable(path, "there is no such file")
        with open_regular(path) as start:
            length = int.from_bytes(start.read(8), "little")
        if length > MAX_HEADER:
            raise unusable(path, f"it is no safetensors file, or has a directory of more than {MAX_HEADER:,} bytes")
        # The library checks that the tensors lie one behind the other and fill the file, and maps it.
        file = opened(path)
        tensors = {name: _stored(path, name, file) for name in list(file.keys())}
        metadata = file.metadata()
    except SafetensorError as problem:
        raise unusable(path, "it is no safetensors file, or it is damaged or cut off; copy it again") from problem
    except OSError as problem:
        raise unusable(path, f"it cannot be read ({problem.strerror}); check its permissions") from problem
    if not tensors:
        raise unusable(path, "there are no tensors in it; give a file of a network's weights")
    return Foreign(path, "safetensors", tensors, {"metadata": metadata} if metadata else {}, (path,))


def opened(path: Path) -> Any:
    """`safe_open`, of a regular file whatever it is called: that library knows only names in UTF-8.

    Raises OSError and SafetensorError.
    """
    with open_regular(path) as file:
        try:
            os.fspath(path).encode()
        except UnicodeEncodeError:
            return safe_open(f"/dev/fd/{file.fileno()}", framework="pt")  # and it stays mapped
        return safe_open(path, framework="pt")


def write_safetensors(path: Path, tensors: Mapping[str, Tensor], metadata: Mapping[str, str]) -> None:
    """Write tensors and metadata ({"format": "pt"} for transformers): whole, or not at all; equal for equal input.

    Raises ModelFileError when the file cannot be written.
    """
    state = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
    head = header(metadata, state)
    with whole(path) as file:
        put(file, head + b" " * (-len(head) % 8), state)


def header(metadata: Mapping[str, str], tensors: Mapping[str, Tensor]) -> bytes:
    """The JSON document that a .safetensors file begins with, behind its length, which must be a multiple of 8."""
    entries: dict[str, Any] = {"__metadata__": metadata}
    start = 0
    for name in _order(tensors):
        tensor = tensors[name]
        end = start + tensor.nbytes
        entries[name] = {
            "dtype": TYPES[tensor.dtype],
            "shape": list(tensor.shape),
            "data_offsets": [start, end],
        }
        start = end
    return json.dumps(entries, separators=(",", ":")).encode()


def put(file: IO[bytes], head: bytes, tensors: Mapping[str, Tensor]) -> None:
    """Write a header and its tensors: contiguous, on the CPU, of the TYPES."""
    file.write(len(head).to_bytes(8, "little") + head)
    for name in _order(tensors):
        file.write(raw(tensors[name]))


def hashed(tensors: Mapping[str, Tensor]) -> str:
    """SHA-256, in hexadecimal, over names and values."""
    digest = hashlib.sha256()
    for name in sorted(tensors):
        digest.update(f"{name}\n".encode())
        digest.update(raw(tensors[name].detach().cpu().contiguous()))
    return digest.hexdigest()


def raw(tensor: Tensor) -> memoryview:
    """The bytes of a contiguous tensor on the CPU."""
    return tensor.reshape(-1).view(torch.uint8).numpy().data


def _order(tensors: Mapping[str, Tensor]) -> list[str]:
    return sorted(tensors, key=lambda name: (-tensors[name].element_size(), name))


def _stored(path: Path, name: str, file: Any) -> Stored:
    entry = file.get_slice(name)
    shape, kind = tuple(entry.get_shape()), entry.get_dtype()
    if kind not in _DTYPES:
        raise unusable(path, f"{name[:100]!r} has numbers of the type {kind}; save it with float32")
    dtype = _DTYPES[kind]
    if len(shape) > MAX_DIMENSIONS or math.prod(max(size, 1) for size in shape) * dtype.itemsize > MAX_TENSOR_BYTES:
        raise unusable(path, f"{name[:100]!r} has a shape that no network's tensor has")

    def read() -> Tensor:
        try:
            tensor: Tensor = file.get_tensor(name)
        except SafetensorError as problem:
            raise unusable(path, f"{name[:100]!r} is damaged or cut off; copy it again") from problem
        return tensor.clone()  # the library's is a view of the mapped file

    return Stored(shape, dtype, read)
