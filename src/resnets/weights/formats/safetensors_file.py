"""Reads and writes bare .safetensors files, as Hugging Face and timm publish them."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open
from torch import Tensor

from resnets.weights import container
from resnets.weights.formats.stored import MAX_DIMENSIONS, MAX_TENSOR_BYTES, Foreign, Stored, unusable
from resnets.whole import whole

MAX_HEADER = 4 * 2**20  # bytes; 100 for each tensor, so enough for 40,000, and a second's work for the library

_TYPES = {name: dtype for dtype, name in container.TYPES.items()}


def open_safetensors(path: Path) -> Foreign:
    """Open a .safetensors file; its metadata, if it has any, are in `documents["metadata"]`.

    Raises ModelFileError for a file that is missing, damaged, cut off, or has tensors of unusual types.
    """
    try:
        if not path.is_file():
            raise unusable(path, "there is no such file")
        with open(path, "rb") as start:
            length = int.from_bytes(start.read(8), "little")
        if length > MAX_HEADER:
            raise unusable(path, f"it is no safetensors file, or has a directory of more than {MAX_HEADER:,} bytes")
        # The library checks that the tensors lie one behind the other and fill the file, and maps it.
        file: Any = safe_open(path, framework="pt")
        tensors = {name: _stored(path, name, file) for name in list(file.keys())}
        metadata = file.metadata()
    except SafetensorError as problem:
        raise unusable(path, "it is no safetensors file, or it is damaged or cut off; copy it again") from problem
    except OSError as problem:
        raise unusable(path, f"it cannot be read ({problem.strerror}); check its permissions") from problem
    if not tensors:
        raise unusable(path, "there are no tensors in it; give a file of a network's weights")
    return Foreign(path, "safetensors", tensors, {"metadata": metadata} if metadata else {}, (path,))


def write_safetensors(path: Path, tensors: Mapping[str, Tensor], metadata: Mapping[str, str]) -> None:
    """Write tensors and metadata ({"format": "pt"} for transformers): whole, or not at all; equal for equal input.

    Raises ModelFileError when the file cannot be written.
    """
    state = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
    head = container.header(metadata, state)
    with whole(path) as file:
        container.put(file, head + b" " * (-len(head) % 8), state)


def _stored(path: Path, name: str, file: Any) -> Stored:
    entry = file.get_slice(name)
    shape, kind = tuple(entry.get_shape()), entry.get_dtype()
    if kind not in _TYPES:
        raise unusable(path, f"{name[:100]!r} has numbers of the type {kind}; save it with float32")
    dtype = _TYPES[kind]
    if len(shape) > MAX_DIMENSIONS or math.prod(max(size, 1) for size in shape) * dtype.itemsize > MAX_TENSOR_BYTES:
        raise unusable(path, f"{name[:100]!r} has a shape that no network's tensor has")

    def read() -> Tensor:
        try:
            tensor: Tensor = file.get_tensor(name)
        except SafetensorError as problem:
            raise unusable(path, f"{name[:100]!r} is damaged or cut off; copy it again") from problem
        return tensor.clone()  # the library's is a view of the mapped file

    return Stored(shape, dtype, read)
