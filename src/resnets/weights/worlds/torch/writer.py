"""Writing the files of the torch worlds: a plain state dict, or a folder with its documents."""

from __future__ import annotations

import json
from pathlib import Path

from resnets.errors import ModelFileError
from resnets.weights.formats.safetensors_file import write_safetensors
from resnets.weights.formats.stored import Foreign
from resnets.weights.formats.torch_file import write_torch
from resnets.weights.open import DOCUMENTS
from resnets.whole import whole

FILES = (
    *(".pth", ".pt", ".th", ".bin", ".ckpt", ".safetensors", ".h5", ".keras", ".onnx"),
    *(".caffemodel", ".prototxt", ".json"),
)


def write_torch_family(path: Path, file: Foreign) -> tuple[Path, ...]:
    """The tensors as a state dict: .safetensors, or torch's own format for .pth, .pt, .th and .bin."""
    tensors = {name: stored.read() for name, stored in file.tensors.items()}
    if path.suffix == ".safetensors":
        write_safetensors(path, tensors, {"format": "pt"})
    elif path.suffix in (".pth", ".pt", ".th", ".bin"):
        write_torch(path, tensors)
    else:
        raise ModelFileError(f"{path} does not end in .pth or .safetensors, which a state dict is written to.")
    return (path,)


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
