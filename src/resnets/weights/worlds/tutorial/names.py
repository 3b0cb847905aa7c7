"""The common teaching version of ResNet-18: a bias on every convolution, no ReLU in the stem, 10 classes."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, ClassVar

from resnets.architecture import Plan, ResNetSpec
from resnets.data.preprocess import Preprocessing
from resnets.weights.formats.stored import Foreign
from resnets.weights.worlds.base import Dialect, Naming
from resnets.weights.worlds.torch import stated
from resnets.weights.worlds.torch.names import torch_naming
from resnets.weights.worlds.torch.prepared import prepared
from resnets.weights.worlds.torch.writer import write_torch_family

UNIT = "bigblock{stage}.{u}."
PARTS = {
    "stem.conv": "b1.0",
    "stem.norm": "b1.1",
    **{f"conv{n}": f"conv{n}" for n in (1, 2)},
    **{f"norm{n}": f"bn{n}" for n in (1, 2)},
    "shortcut.conv": "conv3",
    "shortcut.norm": "bn3",
    "head.linear": "linear",
}


class Tutorial(Dialect):
    """A third convolution in a unit is its shortcut, so that every unit is a basic one."""

    name: ClassVar = "tutorial"
    containers: ClassVar = ("torch",)

    def namings(self, file: Foreign) -> Iterable[Naming]:
        """One way."""
        return [torch_naming(PARTS, UNIT)]

    def fields(self, file: Foreign) -> Mapping[str, Any]:
        """What has no weights: the ReLU that the stem lacks."""
        return {"stem_activation": False}

    def preprocessing(self, file: Foreign, spec: ResNetSpec) -> Preprocessing:
        """Pixels of 0..1 and nothing else, as ToTensor gives them, unless a training's arguments say something else."""
        return prepared(file, self._usual(spec.image_size))[0]

    def states(self, file: Foreign) -> Mapping[str, str]:
        """Of how pictures are prepared, a training's arguments."""
        who = prepared(file, self._usual(224))[1]
        return {"preprocessing": who} if who else {}

    def classes(self, file: Foreign, count: int) -> tuple[str, ...]:
        """Those that a training script has saved beside the weights."""
        return stated.class_names(file, count) or super().classes(file, count)

    @staticmethod
    def _usual(size: int) -> Preprocessing:
        return Preprocessing.evaluation(size, mean=(0.0, 0.0, 0.0), std=(1.0, 1.0, 1.0))

    def naming(self, plan: Plan) -> Naming:
        """The same for every network."""
        return torch_naming(PARTS, UNIT)

    def write(self, path: Path, file: Foreign, plan: Plan) -> tuple[Path, ...]:
        """A plain state dict."""
        return write_torch_family(path, file)
