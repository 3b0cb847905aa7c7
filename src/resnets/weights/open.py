"""Files of other frameworks, opened without those frameworks: `open_file` looks at the content, not the name."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

from resnets.errors import ModelFileError, nearest
from resnets.weights.formats.stored import MAX_DOCUMENT_BYTES, Foreign, Stored, unusable

__all__ = ["Foreign", "Stored", "open_file"]

WEIGHTS = ("model.safetensors", "pytorch_model.bin")  # of a model folder, in the order of preference
KERAS_WEIGHTS = b"model.weights.h5"  # in a .keras archive
DOCUMENTS = {"config": "config.json", "preprocessor": "preprocessor_config.json"}


def open_file(path: str | Path) -> Foreign:
    """Open a file, a model folder or a checkpoint prefix of any framework.

    Raises ModelFileError for what is missing, of no known kind, damaged, or larger than any such network.
    """
    path = Path(path)
    if path.is_dir():
        return _folder(path)
    if not path.exists():
        if path.with_name(path.name + ".index").exists():
            return _tensorflow(path)
        siblings = [entry.name for entry in path.parent.iterdir()] if path.parent.is_dir() else []
        raise ModelFileError(f"There is no model file {path}.{nearest(path.name, siblings)}")
    return _file(path)


def _file(path: Path) -> Foreign:
    try:
        with open(path, "rb") as file:
            start = file.read(16)
            file.seek(max(path.stat().st_size - 8, 0))
            end = file.read(8)
    except OSError as problem:
        raise unusable(path, f"it cannot be read ({problem.strerror}); check its permissions") from problem
    if not start:
        raise ModelFileError(f"{path} is empty: copy it again, or train again.")
    if start.startswith(b"\x89HDF\r\n\x1a\n"):
        return _keras(path)
    if start.startswith(b"PK\x03\x04"):
        return _keras(path) if _is_keras_zip(path) else _with_neighbours(_torch(path))
    if path.suffix in (".caffemodel", ".prototxt"):
        from resnets.weights.worlds.caffe.reader import open_caffe

        return open_caffe(path)
    if path.suffix == ".index" or ".data-" in path.name or end == b"\x57\xfb\x80\x8b\x24\x75\x47\xdb":
        return _tensorflow(path)
    if start[8:9] == b"{":  # before the pickle's byte, which may be the first of a header's length too
        return _with_neighbours(_safetensors(path))
    if start.startswith(b"\x80"):
        return _with_neighbours(_torch(path))
    raise unusable(
        path,
        "it is none of the files that are known (torch, safetensors, HDF5, .keras, TensorFlow checkpoint, "
        ".caffemodel with .prototxt)",
    )


def _folder(path: Path) -> Foreign:
    for name in WEIGHTS:
        if (path / name).is_file():
            file = _file(path / name)
            return replace(_with_documents(file, path), path=path)
    if (path / "checkpoint").is_file() or any(path.glob("*.index")):
        return _tensorflow(path)
    raise ModelFileError(
        f"{path} has no {WEIGHTS[0]} in it: name the folder of a finished run, a folder of Hugging Face or timm, that "
        "of a TensorFlow checkpoint, or the file itself."
    )


def _with_neighbours(file: Foreign) -> Foreign:
    """A lone file with the documents beside it, if they are those of a hub: other projects have a config.json too."""
    try:
        config = read_json(file.path.with_name(DOCUMENTS["config"]))
    except (ModelFileError, OSError):
        return file
    known = config.get("model_type") == "resnet" or {"architecture", "pretrained_cfg"} <= config.keys()
    return _with_documents(file, file.path.parent) if known else file


def _with_documents(file: Foreign, folder: Path) -> Foreign:
    documents = dict(file.documents)
    files = list(file.files)
    for key, name in DOCUMENTS.items():
        if (folder / name).is_file():
            documents[key] = read_json(folder / name)
            files.append(folder / name)
    return replace(file, documents=documents, files=tuple(files))


def read_json(path: Path) -> dict[str, Any]:
    """A JSON document of bounded size. Raises ModelFileError."""
    if path.stat().st_size > MAX_DOCUMENT_BYTES:
        raise unusable(path, f"it is larger than {MAX_DOCUMENT_BYTES:,} bytes, which no configuration is")
    try:
        document = json.loads(path.read_bytes())
    except (OSError, ValueError, RecursionError) as problem:
        raise unusable(path, f"it is no JSON document ({problem})") from problem
    if not isinstance(document, dict):
        raise unusable(path, "it is no JSON object")
    return document


def _is_keras_zip(path: Path) -> bool:
    """Whether an archive's directory, which is its end, names Keras's weights."""
    with open(path, "rb") as file:
        file.seek(max(path.stat().st_size - 2**16, 0))
        return KERAS_WEIGHTS in file.read()


def _torch(path: Path) -> Foreign:
    from resnets.weights.formats.torch_file import open_torch

    return open_torch(path)


def _safetensors(path: Path) -> Foreign:
    from resnets.weights.formats.safetensors_file import open_safetensors

    return open_safetensors(path)


def _keras(path: Path) -> Foreign:
    from resnets.weights.worlds.keras.reader import open_keras

    return open_keras(path)


def _tensorflow(path: Path) -> Foreign:
    from resnets.weights.formats.tensorflow_file import open_tensorflow

    return open_tensorflow(path)
