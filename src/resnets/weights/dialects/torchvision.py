"""torchvision's names (torchvision/models/resnet.py), which most of the torch world has taken over."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import ClassVar

from resnets.architecture import Plan
from resnets.weights.dialects.base import Dialect, Naming, torch_naming, unwrapped
from resnets.weights.files.stored import Foreign
from resnets.weights.files.write import write_torch_family

UNIT = "layer{stage}.{u}."
PARTS = {
    "stem.conv": "conv1",
    "stem.norm": "bn1",
    **{f"conv{n}": f"conv{n}" for n in (1, 2, 3)},
    **{f"norm{n}": f"bn{n}" for n in (1, 2, 3)},
    "shortcut.conv": "downsample.0",
    "shortcut.norm": "downsample.1",
    "head.linear": "fc",
}


class Torchvision(Dialect):
    """State dicts of torchvision.models.resnet and of what training scripts save around them."""

    name: ClassVar = "torchvision"
    containers: ClassVar = ("torch", "safetensors")
    writes: ClassVar = ".pth or .safetensors"

    def prepare(self, file: Foreign) -> Foreign:
        """Without the wrappings of training scripts."""
        return unwrapped(file)

    def namings(self, file: Foreign) -> Iterable[Naming]:
        """One way, unless the file says that it is timm's, whose names for most networks are the same."""
        return [] if "architecture" in file.documents.get("config", {}) else [torch_naming(PARTS, UNIT)]

    def naming(self, plan: Plan) -> Naming:
        """The same for every network."""
        return torch_naming(PARTS, UNIT)

    def write(self, path: Path, file: Foreign, plan: Plan) -> tuple[Path, ...]:
        """A plain state dict."""
        return write_torch_family(path, file)
