"""timm: torchvision's names where its networks are torchvision's, its own for deep stems and resnetv2."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, ClassVar

from resnets.architecture import Plan, ResNetSpec
from resnets.architecture.catalog import name_of
from resnets.data.preprocess import IMAGENET_MEAN, IMAGENET_STD, Preprocessing
from resnets.errors import DataError, ModelFileError
from resnets.weights.dialects import torchvision
from resnets.weights.dialects.base import Dialect, Naming, torch_naming, unwrapped
from resnets.weights.files.stored import Foreign, unusable
from resnets.weights.files.write import write_folder
from resnets.weights.modelfile import Model

DEEP = {
    **{f"stem.conv{n}": f"conv1.{3 * n - 3}" for n in (1, 2, 3)},
    **{f"stem.norm{n}": f"conv1.{3 * n - 2}" for n in (1, 2)},
    "stem.norm3": "bn1",
}
AVERAGED = {"shortcut.conv": "downsample.1", "shortcut.norm": "downsample.2"}  # 0 is the pool
V2_UNIT = "stages.{s}.blocks.{u}."
V2 = {
    "stem.conv": "stem.conv",
    **{f"stem.{kind}{n}": f"stem.{kind}{n}" for kind in ("conv", "norm") for n in (1, 2, 3)},
    **{f"{kind}{n}": f"{kind}{n}" for kind in ("conv", "norm") for n in (1, 2, 3)},
    "shortcut.conv": "downsample.conv",
    "head.norm": "norm",
    "head.linear": "head.fc",
}
# The families that are in the grammar. Others share these names and tensors but run another graph: resnetaa and
# resnetblur smooth before they stride, ecaresnet and seresnet gate, *_gn normalises by groups.
KNOWN = re.compile(
    r"(tv_|gluon_|ssl_|swsl_|ig_)?((wide_)?resnet\d+[cd]?(_2|_v1[bcd])?|resnext\d+d?_\d+x\d+d|resnetv2_\d+d?)"
)


class Timm(Dialect):
    """`resnet*`, `resnext*`, `wide_resnet*`, `resnet*d` and `resnetv2_*`, and the hub's config.json."""

    name: ClassVar = "timm"
    containers: ClassVar = ("torch", "safetensors")
    writes: ClassVar = "a folder"

    def prepare(self, file: Foreign) -> Foreign:
        """Without the wrappings of training scripts; the averaged weights where there are two sets."""
        return unwrapped(file)

    def namings(self, file: Foreign) -> Iterable[Naming]:
        """resnetv2's names, or those of resnet with what its deep stem and averaged shortcuts change."""
        if "stem.conv.weight" in file.tensors or "stem.conv1.weight" in file.tensors:
            return [torch_naming(V2, V2_UNIT)]
        changes = (DEEP if "conv1.0.weight" in file.tensors else {}) | (AVERAGED if _averages(file) else {})
        return [torch_naming({**torchvision.PARTS, **changes}, torchvision.UNIT)]

    def fields(self, file: Foreign) -> Mapping[str, Any]:
        """Pooled shortcuts show in their numbering; in resnetv2 they come with the deep stem."""
        return {"shortcut": "avgpool"} if _averages(file) or "stem.conv1.weight" in file.tensors else {}

    def check(self, file: Foreign, plan: Plan, names: Mapping[str, str]) -> None:
        """The architecture that the configuration names must be one whose graph is known."""
        architecture = str(file.documents.get("config", {}).get("architecture", "resnet18"))
        if not KNOWN.fullmatch(architecture):
            raise unusable(file.path, f"timm's {architecture} runs another graph with the same tensors")

    def preprocessing(self, file: Foreign, spec: ResNetSpec) -> Preprocessing:
        """That of config.json's pretrained_cfg, else the usual one."""
        config = file.documents.get("config", {}).get("pretrained_cfg")
        if not config:
            return super().preprocessing(file, spec)
        try:
            size = config["input_size"][1]
            return Preprocessing(
                image_size=size,
                resize_to=math.floor(size / config.get("crop_pct", 0.875)),
                interpolation=config.get("interpolation", "bilinear"),
                mean=tuple(config.get("mean", IMAGENET_MEAN)),
                std=tuple(config.get("std", IMAGENET_STD)),
            )
        except (TypeError, ValueError, KeyError, IndexError, ZeroDivisionError, DataError) as problem:
            raise unusable(file.path, f"its pretrained_cfg makes no sense ({problem})") from problem

    def classes(self, file: Foreign, count: int) -> tuple[str, ...]:
        """Those of config.json, which few files have."""
        labels = file.documents.get("config", {}).get("label_names")
        known = isinstance(labels, list) and len(set(map(str, labels))) == count
        return tuple(map(str, labels)) if known else super().classes(file, count)

    def naming(self, plan: Plan) -> Naming:
        """As its own code would name this network."""
        spec = plan.spec
        if spec.order == "pre":
            return torch_naming(V2, V2_UNIT)
        changes = (DEEP if spec.stem == "deep" else {}) | (AVERAGED if spec.shortcut == "avgpool" else {})
        return torch_naming({**torchvision.PARTS, **changes}, torchvision.UNIT)

    def head_shape(self, plan: Plan, shape: tuple[int, ...]) -> tuple[int, ...]:
        """resnetv2's head is a 1x1 convolution."""
        return (*shape, 1, 1) if plan.spec.order == "pre" else shape

    def documents(self, model: Model) -> dict[str, Any]:
        """config.json as timm's hub has it. Raises ModelFileError for a network that timm has not."""
        p, wanted = model.network.plan, model.preprocessing
        architecture = name_of(p.spec)
        if not architecture or not KNOWN.fullmatch(architecture):
            raise ModelFileError(
                f"timm has no network that is {architecture or 'this custom one'}: choose another --to."
            )
        v2 = p.spec.order == "pre"
        pretrained = {
            "custom_load": False,
            "input_size": [p.in_channels, wanted.image_size, wanted.image_size],
            "fixed_input_size": False,
            "interpolation": wanted.interpolation,
            "crop_pct": wanted.image_size / wanted.resize_to,
            "crop_mode": "center",
            "mean": list(wanted.mean),
            "std": list(wanted.std),
            "num_classes": p.num_classes,
            "first_conv": "stem.conv" if v2 else "conv1.0" if p.spec.stem == "deep" else "conv1",
            "classifier": "head.fc" if v2 else "fc",
        }
        config = {
            "architecture": architecture,
            "num_classes": p.num_classes,
            "num_features": p.spec.widths[-1] * p.spec.expansion,
            "label_names": list(model.classes),
            "pretrained_cfg": pretrained,
        }
        return {"config": config}

    def write(self, path: Path, file: Foreign, plan: Plan) -> tuple[Path, ...]:
        """A folder of model.safetensors and config.json, as on the hub."""
        return write_folder(path, file)


def _averages(file: Foreign) -> bool:
    return any(".downsample.2." in name for name in file.tensors)
