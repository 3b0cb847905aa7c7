"""timm: torchvision's names where its networks are torchvision's, its own for deep stems and resnetv2."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, ClassVar

from resnets.architecture import Plan, ResNetSpec
from resnets.architecture.catalog import name_of
from resnets.data.preprocess import IMAGENET_MEAN, IMAGENET_STD, Preprocessing
from resnets.errors import DataError, ModelFileError
from resnets.weights.formats.stored import Foreign, unusable
from resnets.weights.model import Model
from resnets.weights.worlds.base import Dialect, Naming, norm_first
from resnets.weights.worlds.torch import stated
from resnets.weights.worlds.torch.folder import write_folder
from resnets.weights.worlds.torch.names import torch_naming
from resnets.weights.worlds.torch.prepared import prepared
from resnets.weights.worlds.torchvision import names as torchvision

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
# Those of the catalog that timm 1.0 registers.
REGISTERED = {
    *("resnet18", "resnet26", "resnet34", "resnet50", "resnet101", "resnet152"),
    *("resnet18d", "resnet26d", "resnet34d", "resnet50d", "resnet101d", "resnet152d", "resnet200d"),
    *("resnext50_32x4d", "resnext101_32x8d", "resnext101_64x4d", "wide_resnet50_2", "wide_resnet101_2"),
    *("resnetv2_50", "resnetv2_101", "resnetv2_152"),
}
# Arguments of a configuration that names and shapes show as well, or that matter in training alone.
SHOWN = {
    *("block", "layers", "channels", "num_classes", "in_chans", "cardinality", "base_width", "stem_width", "stem_chs"),
    *("width_factor", "bottle_ratio", "basic"),
    *("drop_rate", "drop_path_rate", "drop_block_rate", "zero_init_last"),
}
SHOWN_V1 = {"stem_type", "avg_down"}  # in resnetv2 neither the stem's padding nor the shortcut's pool has a name
USUAL = {"global_pool": "avg", "output_stride": 32, "act_layer": "relu"}  # others, as they are where nothing is said
CROPS = {"center": "shorter", "squash": "stretch", "border": "longer"}  # the last with a crop_pct of 1 alone


class Timm(Dialect):
    """`resnet*`, `resnext*`, `wide_resnet*`, `resnet*d` and `resnetv2_*`, and the hub's config.json."""

    name: ClassVar = "timm"
    containers: ClassVar = ("torch", "safetensors")
    borrowed: ClassVar = True
    framework: ClassVar = "timm"
    orders: ClassVar = ("post", "pre")

    def claims(self, file: Foreign) -> bool:
        """A configuration of timm's hub names its architecture."""
        return "architecture" in file.documents.get("config", {})

    def prepare(self, file: Foreign) -> Foreign:
        """With what a checkpoint says of its graph."""
        return stated.stated(file)

    def namings(self, file: Foreign) -> Iterable[Naming]:
        """resnetv2's names, or those of resnet with what its deep stem and averaged shortcuts change."""
        if "stem.conv.weight" in file.tensors or "stem.conv1.weight" in file.tensors:
            return [torch_naming(V2, V2_UNIT)]
        changes = (DEEP if "conv1.0.weight" in file.tensors else {}) | (AVERAGED if _averages(file) else {})
        return [torch_naming({**torchvision.PARTS, **changes}, torchvision.UNIT)]

    def fields(self, file: Foreign) -> Mapping[str, Any]:
        """Pooled shortcuts show in their numbering; in resnetv2 they come with the deep stem."""
        pooled = _averages(file) or "stem.conv1.weight" in file.tensors
        return {**stated.fields_of(file), **({"shortcut": "avgpool"} if pooled else {})}

    def check(self, file: Foreign, plan: Plan, names: Mapping[str, str]) -> None:
        """The configuration must name an architecture whose graph is known, and change nothing that does not show."""
        config = file.documents.get("config", {})
        architecture = str(config.get("architecture", "resnet18"))
        stated.check(file, plan, names)
        if not stated.KNOWN.fullmatch(architecture):
            raise unusable(file.path, f"timm's {architecture} runs another graph with the same tensors")
        arguments, pretrained = config.get("model_args") or {}, config.get("pretrained_cfg") or {}
        if not isinstance(arguments, dict) or not isinstance(pretrained, dict):
            raise unusable(file.path, "model_args and pretrained_cfg of its config.json are tables, and here are not")
        pools = [("global_pool", place.get("global_pool")) for place in (config, pretrained)]
        shown = SHOWN if norm_first(plan) else SHOWN | SHOWN_V1
        if "head.linear.weight" not in names:  # of a body, which may give out its maps
            shown = shown | {"global_pool"}
        for key, value in [*arguments.items(), *pools]:
            if value is not None and key not in shown and value != USUAL.get(key):
                raise unusable(
                    file.path, f"its config.json sets {key[:50]}, which is another graph with the same tensors"
                )

    def preprocessing(self, file: Foreign, spec: ResNetSpec) -> Preprocessing:
        """That of config.json's pretrained_cfg, else the usual one with what a training's arguments change."""
        config = file.documents.get("config", {}).get("pretrained_cfg")
        if not config:
            return prepared(file, super().preprocessing(file, spec))[0]
        try:
            _, size, width = config["input_size"]
            if width != size:
                raise ValueError("its pictures are not square")
            return Preprocessing(
                image_size=size,
                resize=CROPS.get(crop := config.get("crop_mode", "center"), crop),
                resize_to=math.floor(size / config.get("crop_pct", 0.875)),
                interpolation=config.get("interpolation", "bilinear"),
                mean=tuple(config.get("mean", IMAGENET_MEAN)),
                std=tuple(config.get("std", IMAGENET_STD)),
            )
        except (TypeError, ValueError, KeyError, ArithmeticError, DataError) as problem:
            raise unusable(file.path, f"its pretrained_cfg cannot be followed ({problem})") from problem

    def states(self, file: Foreign) -> Mapping[str, str]:
        """An architecture's name stands for its graph in timm's code."""
        config = file.documents.get("config", {})
        keys = {"graph": "architecture", "preprocessing": "pretrained_cfg"}
        who = prepared(file, Preprocessing.evaluation(224))[1]
        said = {"preprocessing": who} if who else {}
        return said | {what: "its config.json" for what, key in keys.items() if config.get(key)}

    def classes(self, file: Foreign, count: int) -> tuple[str, ...]:
        """Those of config.json, which few files have."""
        labels = file.documents.get("config", {}).get("label_names")
        known = isinstance(labels, list) and len(labels) == len(set(map(str, labels))) == count
        return tuple(map(str, labels)) if known else stated.class_names(file, count) or super().classes(file, count)

    def naming(self, plan: Plan) -> Naming:
        """As its own code would name this network."""
        spec = plan.spec
        if norm_first(plan):
            return torch_naming(V2, V2_UNIT)
        changes = (DEEP if spec.stem == "deep" else {}) | (AVERAGED if spec.shortcut == "avgpool" else {})
        return torch_naming({**torchvision.PARTS, **changes}, torchvision.UNIT)

    def head_shape(self, plan: Plan, shape: tuple[int, ...]) -> tuple[int, ...]:
        """resnetv2's head is a 1x1 convolution."""
        return (*shape, 1, 1) if norm_first(plan) else shape

    def documents(self, model: Model) -> dict[str, Any]:
        """config.json as timm's hub has it. Raises ModelFileError for a network that timm has not."""
        p, wanted = model.network.plan, model.preprocessing
        architecture = name_of(p.spec)
        if architecture not in REGISTERED:
            raise ModelFileError(
                f"timm has no network that is {architecture or 'this custom one'}: choose another `target_dialect`."
            )
        v2 = norm_first(p)
        pretrained = {
            "custom_load": False,
            "input_size": [p.in_channels, wanted.image_size, wanted.image_size],
            "fixed_input_size": False,
            "interpolation": wanted.interpolation,
            "crop_pct": wanted.image_size / wanted.resize_to,
            "crop_mode": {resize: mode for mode, resize in CROPS.items()}[wanted.resize],
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
