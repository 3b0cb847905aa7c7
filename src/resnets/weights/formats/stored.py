"""What a foreign file looks like once it is opened: names, shapes, and a way to read each tensor.

A reader opens a container without the framework that wrote it, checks every size, offset, count and depth
before it takes memory, and executes nothing. It reads the tensors' directory only; a tensor's numbers are
read when asked for, so that a network is converted with one tensor in memory besides the network.
"""

from __future__ import annotations

import mmap
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from resnets.errors import ModelFileError
from resnets.regular import open_regular

MAX_TENSORS = 100_000  # of one file; the deepest published network has about 10,000
MAX_TENSOR_BYTES = 2**31  # of one tensor; the largest of the family has 75 MB
MAX_DOCUMENT_BYTES = 32 * 2**20  # of a text beside the tensors: config.json, a prototxt, a Keras configuration
MAX_DIMENSIONS = 8


@dataclass(frozen=True)
class Stored:
    """One tensor of a file, not yet read. `read()` gives it as the file lays it out, in memory of its own.

    module: the settings of the module that it belongs to, in a file of whole modules (`torch_modules`)

    Raises (from `read`) ModelFileError when the bytes are not what the directory promised.
    """

    shape: tuple[int, ...]
    dtype: torch.dtype
    read: Callable[[], Tensor] = field(repr=False)
    module: Mapping[str, Any] | None = field(default=None, repr=False, compare=False)


@dataclass(frozen=True)
class Foreign:
    """An opened file of another framework.

    path        what the user named
    container   torch, safetensors, keras, caffe, tensorflow or onnx: how the bytes lie, not who wrote them
    tensors     by the file's own names; nested dictionaries of a checkpoint are joined with "/"
    documents   what stands beside the tensors: "config" and "preprocessor" (the JSON documents of a model
                folder); Caffe's "graph" (its layers), "input" (the shape), "mean_image" and "notes" (comments);
                "keras" (a Keras configuration), "early" (the pool's rule in Keras' first ResNet-50);
                "onnx" (a model's graph, and what its dialect finds in it);
                "metadata" (of safetensors); "checkpoint" (what a checkpoint of
                torch's says beside its tensors), "modules" (the settings of the modules in it, where it holds whole
                ones); "stated" (fields of the spec that somebody has named, see `stated`); "structure" (whether its
                names are guessed), with the "identities" that stand in for norms
    files       every file that belongs to it, for hashing
    """

    path: Path
    container: str
    tensors: Mapping[str, Stored]
    documents: Mapping[str, Any]
    files: tuple[Path, ...]


def mapped(path: Path) -> memoryview:
    """A file's bytes, which come into memory when they are looked at. Raises ValueError for none, and OSError."""
    if not path.is_file():
        raise ValueError("there is no such file")
    with open_regular(path) as file:
        if not os.fstat(file.fileno()).st_size:
            raise ValueError("it is empty, nothing is in it; copy it again")
        return memoryview(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ))


def let_go(view: memoryview) -> None:
    """Hand the memory of a mapped file back, as far as it was looked at; looked at again, it is read again."""
    if isinstance(view.obj, mmap.mmap) and hasattr(mmap, "MADV_DONTNEED"):
        view.obj.madvise(mmap.MADV_DONTNEED)


def unusable(path: Path, why: str) -> ModelFileError:
    """The error of every reader: `why` is a clause without a full stop, and says the mend if there is one."""
    return ModelFileError(f"{path} cannot be used: {why}.")
