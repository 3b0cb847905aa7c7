"""A .safetensors file that carries one document and a hash over everything in it.

Metadata are two strings: "resnets", the document, and "sha256", over the document and every tensor's name,
type, shape and bytes, in the order of the names. What the document says is `modelfile`'s business.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import BinaryIO

from safetensors import SafetensorError
from torch import Tensor

from resnets.errors import ModelFileError, nearest
from resnets.regular import irregular, open_regular
from resnets.weights.formats.safetensors_file import TYPES, header, opened, put, raw
from resnets.whole import whole


def write(path: Path, text: str, tensors: Mapping[str, Tensor]) -> None:
    """Write a file: whole, or not at all; what stood there before stays until the new one is on the disk.

    tensors: contiguous, on the CPU, of the TYPES. Raises ModelFileError when the file cannot be written.
    """
    with whole(path) as file:
        _write(file, text, tensors)


def read(path: Path) -> tuple[str, dict[str, Tensor], bool]:
    """(document, tensors, whether the hash agrees with both); the tensors are mapped, not read, into memory.

    Raises ModelFileError for a file that is missing, no safetensors, cut off, or has no document.
    """
    _refuse_what_is_no_file(path)
    try:
        with opened(path) as file:
            metadata = file.metadata() or {}
            if "resnets" not in metadata:
                raise ModelFileError(
                    f"{path} was not written by resnets; it holds bare tensors, which do not say which "
                    "network, classes and preprocessing they belong to: give the model.safetensors of a run."
                )
            names = list(file.keys())
            if not all(file.get_slice(name).get_dtype() in TYPES.values() for name in names):
                return metadata["resnets"], {}, False
            tensors = {name: file.get_tensor(name) for name in names}
    except SafetensorError as problem:
        raise _unreadable(path) from problem
    except OSError as problem:
        raise ModelFileError(f"{path} cannot be read ({problem}): check its permissions.") from problem
    text = metadata["resnets"]
    return text, tensors, metadata.get("sha256") == _digest(text, tensors)


def damaged(path: Path) -> ModelFileError:
    """The error for a file that changed after it was written."""
    return ModelFileError(f"{path} is damaged or cut off: copy it again, or train again.")


def _write(file: BinaryIO, text: str, tensors: Mapping[str, Tensor]) -> None:
    """The library's own writer puts metadata in a random order; here equal models give equal files."""

    def head(text: str, digest: str) -> bytes:
        return header({"resnets": text, "sha256": digest}, tensors)

    # The spaces up to a multiple of 8 go to the end of the document, where the hash covers them, and not behind
    # the header, where nobody would notice a damaged one.
    text += " " * (-len(head(text, "0" * 64)) % 8)
    put(file, head(text, _digest(text, tensors)), tensors)


def _digest(text: str, tensors: Mapping[str, Tensor]) -> str:
    digest = hashlib.sha256(text.encode())
    for name in sorted(tensors):
        tensor = tensors[name]
        digest.update(f"\n{name} {TYPES[tensor.dtype]} {list(tensor.shape)}\n".encode())
        digest.update(raw(tensor))
    return digest.hexdigest()


def _refuse_what_is_no_file(path: Path) -> None:
    if path.is_dir():
        raise ModelFileError(f"{path} is a folder: name the model file in it.")
    if path.exists() and (why := irregular(path.stat().st_mode)):
        raise ModelFileError(f"{path} cannot be a model: {why}.")
    if not path.is_file():
        siblings = [entry.name for entry in path.parent.iterdir()] if path.parent.is_dir() else []
        raise ModelFileError(f"There is no model file {path}.{nearest(path.name, siblings)}")
    if path.stat().st_size == 0:
        raise ModelFileError(f"{path} is empty: copy it again, or train again.")


def _unreadable(path: Path) -> ModelFileError:
    """Why the safetensors library refuses this file, judged by its first bytes."""
    with open_regular(path) as file:
        first = file.read(9)
    if first[8:] == b"{":
        return damaged(path)
    if first.startswith((b"PK\x03\x04", b"\x80")):
        return ModelFileError(
            f"{path} is a pickle or an archive, not a resnets model file; resnets opens none, because "
            "unpickling runs code: give the model.safetensors of a run."
        )
    return ModelFileError(f"{path} is not a resnets model file: give the model.safetensors of a run.")
