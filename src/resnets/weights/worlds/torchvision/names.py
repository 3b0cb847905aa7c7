"""torchvision's names (torchvision/models/resnet.py), which most of the torch world has taken over."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar

from resnets.architecture import Plan, ResNetSpec
from resnets.data.preprocess import Preprocessing
from resnets.errors import ModelFileError
from resnets.progress import say
from resnets.weights.formats.stored import Foreign
from resnets.weights.model import Model
from resnets.weights.worlds.base import Dialect, Naming
from resnets.weights.worlds.torch import stated
from resnets.weights.worlds.torch.names import torch_naming
from resnets.weights.worlds.torch.prepared import prepared
from resnets.weights.worlds.torch.writer import write_torch_family

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


# Where its children are those of a torch.nn.Sequential: how a head is usually taken away.
_SHORTCUT = re.compile(r"^(layer\d+\.\d+\.)shortcut\.")  # kuangliu's pytorch-cifar, and what comes from it
CHILDREN = {"0": "conv1", "1": "bn1", **{str(stage + 3): f"layer{stage}" for stage in range(1, 5)}}


class Torchvision(Dialect):
    """State dicts of torchvision.models.resnet and of what training scripts save around them."""

    name: ClassVar = "torchvision"
    containers: ClassVar = ("torch", "safetensors")
    borrowed: ClassVar = True
    framework: ClassVar = "torchvision"

    def prepare(self, file: Foreign) -> Foreign:
        """Its children's names, where they are those of a torch.nn.Sequential, and what a checkpoint says of it."""
        return stated.stated(_named(file))

    def namings(self, file: Foreign) -> Iterable[Naming]:
        """One way. timm's names are the same for most networks; its files say whose they are."""
        return [torch_naming(PARTS, UNIT)]

    def fields(self, file: Foreign) -> Mapping[str, Any]:
        """What a checkpoint says of its graph."""
        return stated.fields_of(file)

    def preprocessing(self, file: Foreign, spec: ResNetSpec) -> Preprocessing:
        """The usual one, with what a training's arguments change."""
        return prepared(file, super().preprocessing(file, spec))[0]

    def states(self, file: Foreign) -> Mapping[str, str]:
        """Of how pictures are prepared, a training's arguments."""
        who = prepared(file, Preprocessing.evaluation(224))[1]
        return {"preprocessing": who} if who else {}

    def classes(self, file: Foreign, count: int) -> tuple[str, ...]:
        """Those that a training script has saved beside the weights."""
        return stated.class_names(file, count) or super().classes(file, count)

    def check(self, file: Foreign, plan: Plan, names: Mapping[str, str]) -> None:
        """The graph must be what a checkpoint says, if it says anything.

        A stem that torchvision does not have is somebody's own, whose stride and pool no tensor shows.
        """
        stated.check(file, plan, names)
        if plan.spec.stem == "cifar":
            say("Its first convolution is 3x3: taken for CIFAR's stem, with stride 1 and no pool behind it.")

    def documents(self, model: Model) -> dict[str, Any]:
        """None. Raises ModelFileError for a network that its code does not build."""
        spec = model.network.plan.spec
        for name, value in (("stem", "imagenet"), ("bias", "never")):
            if getattr(spec, name) != value:
                raise ModelFileError(
                    f"torchvision has no network with {name}={getattr(spec, name)!r}: choose another `target_dialect`."
                )
        return {}

    def naming(self, plan: Plan) -> Naming:
        """The same for every network."""
        return torch_naming(PARTS, UNIT)

    def write(self, path: Path, file: Foreign, plan: Plan) -> tuple[Path, ...]:
        """A plain state dict."""
        return write_torch_family(path, file)


def _named(file: Foreign) -> Foreign:
    """A file whose names begin with the numbers of the children, or call a shortcut so, under torchvision's names."""
    if not {"0.weight", "1.running_mean", "4.0.conv1.weight"} <= file.tensors.keys():
        renamed = {_SHORTCUT.sub(r"\1downsample.", name): t for name, t in file.tensors.items()}
        return replace(file, tensors=renamed) if len(renamed) == len(file.tensors) else file
    parts = ((name.partition("."), stored) for name, stored in file.tensors.items())
    return replace(file, tensors={f"{CHILDREN.get(first, first)}.{rest}": t for (first, _, rest), t in parts})
