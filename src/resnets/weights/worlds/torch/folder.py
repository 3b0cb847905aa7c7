"""A model's folder as Hugging Face's and timm's hubs have it: the weights, and JSON documents beside them."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

from resnets.errors import ModelFileError
from resnets.regular import bounded, open_regular
from resnets.weights.formats.stored import MAX_DOCUMENT_BYTES, Foreign, unusable
from resnets.weights.worlds.torch.writer import write_torch_family
from resnets.whole import whole

WEIGHTS = ("model.safetensors", "pytorch_model.bin")  # of a model folder, in the order of preference
DOCUMENTS = {"config": "config.json", "preprocessor": "preprocessor_config.json"}
FILES = (  # suffixes that a folder is hardly meant to have
    *(".pth", ".pt", ".th", ".bin", ".ckpt", ".safetensors", ".h5", ".keras", ".onnx"),
    *(".caffemodel", ".prototxt", ".json"),
)


def with_neighbours(file: Foreign) -> Foreign:
    """A lone file with the documents beside it, if they are those of a hub: other projects have a config.json too."""
    try:
        config = read_json(file.path.with_name(DOCUMENTS["config"]))
    except (ModelFileError, OSError):
        return file
    known = config.get("model_type") == "resnet" or {"architecture", "pretrained_cfg"} <= config.keys()
    return with_documents(file, file.path.parent) if known else file


def with_documents(file: Foreign, folder: Path) -> Foreign:
    """A file of weights with the documents that lie in a folder. Raises ModelFileError for one that is damaged."""
    documents = dict(file.documents)
    files = list(file.files)
    for key, name in DOCUMENTS.items():
        if (folder / name).is_file():
            documents[key] = read_json(folder / name)
            files.append(folder / name)
    return replace(file, documents=documents, files=tuple(files))


def read_json(path: Path) -> dict[str, Any]:
    """A JSON document of bounded size. Raises ModelFileError."""
    try:
        with open_regular(path) as file:
            data = bounded(file, MAX_DOCUMENT_BYTES)
        if len(data) > MAX_DOCUMENT_BYTES:
            raise unusable(path, f"it is larger than {MAX_DOCUMENT_BYTES:,} bytes, which no configuration is")
        document = json.loads(data)
    except (OSError, ValueError, RecursionError) as problem:
        raise unusable(path, f"it is no JSON document ({problem})") from problem
    if not isinstance(document, dict):
        raise unusable(path, "it is no JSON object")
    return document


def write_folder(path: Path, file: Foreign) -> tuple[Path, ...]:
    """A folder of model.safetensors and the documents, as the hubs have them; each file whole, or not at all.

    The weights are written last, as they make it a model's folder, and are the first of the paths. Raises
    ModelFileError when it cannot be written, or is named like a file; other suffixes are part of a name
    ("resnet50.a1_in1k").
    """
    if path.suffix.lower() in FILES:
        raise ModelFileError(f"{path} looks like a file, and this dialect is a folder: leave the suffix out.")
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as problem:
        why = problem.strerror or str(problem)
        raise ModelFileError(f"{path} cannot be written ({why}): choose another place or make room.") from problem
    documents = {path / DOCUMENTS[key]: document for key, document in file.documents.items()}
    for place, document in documents.items():
        with whole(place) as text:
            text.write((json.dumps(document, indent=2) + "\n").encode())
    return (*write_torch_family(path / "model.safetensors", file), *documents)
