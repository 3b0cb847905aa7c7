"""The CIFAR-10 checkpoints of akamaster/pytorch_resnet_cifar10: option A with the zero channels on both sides."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, ClassVar

from resnets.architecture import ResNetSpec
from resnets.data.preprocess import Preprocessing
from resnets.data.published import CIFAR10
from resnets.progress import say
from resnets.weights.formats.stored import Foreign
from resnets.weights.worlds.base import Dialect, Naming
from resnets.weights.worlds.torch import stated
from resnets.weights.worlds.torch.names import torch_naming
from resnets.weights.worlds.torch.prepared import prepared
from resnets.weights.worlds.torchvision.names import PARTS, UNIT


class Akamaster(Dialect):
    """Read only: nobody else loads these names."""

    name: ClassVar = "akamaster"
    containers: ClassVar = ("torch",)

    def namings(self, file: Foreign) -> Iterable[Naming]:
        """torchvision's names, but for the head."""
        return [torch_naming({**PARTS, "head.linear": "linear"}, UNIT)]

    def fields(self, file: Foreign) -> Mapping[str, Any]:
        """The shortcut has no weights that could show it."""
        return {"shortcut": "pad", "pad_side": "both"}

    def preprocessing(self, file: Foreign, spec: ResNetSpec) -> Preprocessing:
        """Its trainer normalises 32-pixel images with ImageNet's mean and deviation, unless a training's arguments
        say something else."""
        return prepared(file, Preprocessing.evaluation(32))[0]

    def states(self, file: Foreign) -> Mapping[str, str]:
        """Of how pictures are prepared, a training's arguments."""
        who = prepared(file, Preprocessing.evaluation(32))[1]
        return {"preprocessing": who} if who else {}

    def classes(self, file: Foreign, count: int) -> tuple[str, ...]:
        """Those that a training script has saved; else of ten CIFAR-10's, in the order of the data set's own labels."""
        if names := stated.class_names(file, count):
            return names
        if count != len(CIFAR10):
            return super().classes(file, count)
        say(f"{file.path.name}: its ten classes are taken for CIFAR-10's; `resnets convert` names others.")
        return CIFAR10
