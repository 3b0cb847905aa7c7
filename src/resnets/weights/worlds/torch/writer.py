"""Writes what the torch family reads: a plain state dict."""

from __future__ import annotations

from pathlib import Path

from resnets.errors import ModelFileError
from resnets.weights.formats.safetensors_file import write_safetensors
from resnets.weights.formats.stored import Foreign
from resnets.weights.formats.torch_file import write_torch


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
