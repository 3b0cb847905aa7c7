"""Files of other frameworks, opened without those frameworks: `open_file` looks at the content, not the name."""

from __future__ import annotations

import os
import re
from dataclasses import replace
from pathlib import Path

from resnets.errors import ModelFileError, nearest
from resnets.regular import IrregularError, open_regular
from resnets.weights.formats.hdf5 import SIGNATURE
from resnets.weights.formats.onnx_file import open_onnx
from resnets.weights.formats.safetensors_file import open_safetensors
from resnets.weights.formats.stored import Foreign, mapped, unusable
from resnets.weights.formats.table import MAGIC
from resnets.weights.formats.tensorflow_file import open_tensorflow
from resnets.weights.formats.torch_file import open_torch
from resnets.weights.formats.zip import START, members
from resnets.weights.worlds.caffe.reader import open_caffe
from resnets.weights.worlds.keras.reader import WEIGHTS as KERAS_WEIGHTS
from resnets.weights.worlds.keras.reader import open_keras
from resnets.weights.worlds.torch.folder import WEIGHTS, with_documents, with_neighbours

# The version of the format and the producer, which models begin with; the first byte alone many files have.
ONNX = re.compile(rb"\x08[\x03-\x20]\x12")


def open_file(path: str | Path) -> Foreign:
    """Open a file, a model folder or a checkpoint prefix of any framework.

    Raises ModelFileError for what is missing, of no known kind, damaged, or larger than any such network.
    """
    path = Path(path)
    if path.is_dir():
        return _folder(path)
    if not path.exists():
        if path.with_name(path.name + ".index").exists():
            return open_tensorflow(path)
        siblings = [entry.name for entry in path.parent.iterdir()] if path.parent.is_dir() else []
        raise ModelFileError(f"There is no model file {path}.{nearest(path.name, siblings)}")
    return _file(path)


def _file(path: Path) -> Foreign:
    try:
        with open_regular(path) as file:
            start = file.read(16)
            file.seek(max(os.fstat(file.fileno()).st_size - 8, 0))
            end = file.read(8)
    except IrregularError as problem:
        raise unusable(path, str(problem.strerror)) from problem
    except OSError as problem:
        raise unusable(path, f"it cannot be read ({problem.strerror}); check its permissions") from problem
    if not start:
        raise ModelFileError(f"{path} is empty: copy it again, or train again.")
    if start.startswith(SIGNATURE):
        return open_keras(path)
    if start.startswith(START):
        return open_keras(path) if _is_keras(path) else with_neighbours(open_torch(path))
    if path.suffix == ".onnx" or ONNX.match(start):
        return open_onnx(path)
    if path.suffix in (".caffemodel", ".prototxt"):
        return open_caffe(path)
    if path.suffix == ".index" or ".data-" in path.name or end == MAGIC:
        return open_tensorflow(path)
    if start[8:9] == b"{":  # before the pickle's byte, which may be the first of a header's length too
        return with_neighbours(open_safetensors(path))
    if start.startswith(b"\x80"):
        return with_neighbours(open_torch(path))
    raise unusable(
        path,
        "it is none of the files that are known (torch, safetensors, HDF5, .keras, TensorFlow checkpoint, "
        ".caffemodel with .prototxt, .onnx)",
    )


def _folder(path: Path) -> Foreign:
    for name in WEIGHTS:
        if (path / name).is_file():
            file = _file(path / name)
            return replace(with_documents(file, path), path=path)
    if (path / "checkpoint").is_file() or any(path.glob("*.index")):
        return open_tensorflow(path)
    if caffe := sorted(path.glob("*.caffemodel")):
        if len(caffe) > 1:
            raise ModelFileError(
                f"{path} has several models in it: name one of {', '.join(one.name for one in caffe)}."
            )
        return replace(open_caffe(caffe[0]), path=path)
    raise ModelFileError(
        f"{path} has no {WEIGHTS[0]} in it: name the folder of a finished run, a folder of Hugging Face or timm, that "
        "of a TensorFlow checkpoint or of a .caffemodel, or the file itself."
    )


def _is_keras(path: Path) -> bool:
    """Whether an archive has Keras's weights in it."""
    try:
        return KERAS_WEIGHTS in members(mapped(path))
    except ValueError:  # what is wrong with it, torch's reader says
        return False
