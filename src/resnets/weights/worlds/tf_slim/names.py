"""TF-Slim's resnet_v1 and resnet_v2 (tf_slim/nets/resnet_v1.py, resnet_v2.py), under whatever scope a file has."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar

from resnets.architecture import Plan, ResNetSpec, plan
from resnets.data.preprocess import Preprocessing
from resnets.errors import DataError, ModelFileError
from resnets.weights.formats.stored import Foreign, unusable
from resnets.weights.formats.tensorflow_write import write_bundle
from resnets.weights.worlds.base import Dialect, Naming, Part, norm_first

V1 = {
    "stem.conv": "conv1",
    "stem.norm": "conv1/BatchNorm",
    **{f"conv{n}": f"conv{n}" for n in (1, 2, 3)},
    **{f"norm{n}": f"conv{n}/BatchNorm" for n in (1, 2, 3)},
    "shortcut.conv": "shortcut",
    "shortcut.norm": "shortcut/BatchNorm",
    "head.linear": "logits",
}
V2 = {  # a norm belongs to the convolution before it, as in v1; what comes first and last has a scope of its own
    "stem.conv": "conv1",
    **{f"conv{n}": f"conv{n}" for n in (1, 2, 3)},
    "norm1": "preact",
    "norm2": "conv1/BatchNorm",
    "norm3": "conv2/BatchNorm",
    "shortcut.conv": "shortcut",
    "head.norm": "postnorm",
    "head.linear": "logits",
}
PARTS = {"1": V1, "2": V2}
NORM = {"weight": "gamma", "bias": "beta", "running_mean": "moving_mean", "running_var": "moving_variance"}
LAYER = {"weight": "weights", "bias": "biases"}
DEPTHS: dict[tuple[int, ...], str] = {
    (3, 4, 6, 3): "50",
    (3, 4, 23, 3): "101",
    (3, 8, 36, 3): "152",
    (3, 24, 36, 3): "200",
}

FIRST = re.compile(r"(.*/|)block1/unit_1/bottleneck_v([12])/conv1/weights")
AVERAGE = "/ExponentialMovingAverage"
TRAINING = re.compile(r"(.*/)?(global_step|beta[12]_power|(Momentum|Adam|RMSProp|Adagrad|Adadelta|Ftrl)(_\d)?)")
MEAN = "mean_rgb"  # published v1 files carry the mean that their pictures were trained with
VGG_MEAN = (123.68, 116.78, 103.94)
BACKGROUND = 1001  # classes of ImageNet where the first one is none of them


class TFSlim(Dialect):
    """Checkpoints of TF-Slim: bundles and the single files of TensorFlow's first years."""

    name: ClassVar = "tf_slim"
    containers: ClassVar = ("tensorflow",)
    orders: ClassVar = ("post", "pre")
    transposed: ClassVar = True

    def prepare(self, file: Foreign) -> Foreign:
        """Without what belongs to the training; averages of weights stand in where the weights themselves are gone."""
        plain = {name: t for name, t in file.tensors.items() if not name.endswith(AVERAGE)}
        averaged = {name.removesuffix(AVERAGE): t for name, t in file.tensors.items() if name.endswith(AVERAGE)}
        tensors, documents = {}, dict(file.documents)
        for name, stored in {**averaged, **plain}.items():
            owner, _, last = name.rpartition("/")
            if last == MEAN and stored.shape == (3,):
                documents[MEAN] = stored.read().tolist()
            elif owner not in plain and not TRAINING.fullmatch(name):
                tensors[name] = stored
        return replace(file, tensors=tensors, documents=documents)

    def namings(self, file: Foreign) -> Iterable[Naming]:
        """One for each scope that has a first unit."""
        for scope, version in _networks(file):
            yield _naming(scope, version)

    def fields(self, file: Foreign) -> Mapping[str, Any]:
        """TF-Slim's `resnet_arg_scope`, and the stride in the last unit of a block."""
        fields = {
            "stride_conv": "spatial",
            "stride_unit": "last",
            "pool_padding": "same",
            "norm_eps": 1e-5,
            "norm_momentum": 0.003,
        }
        return fields | ({"order": "pre", "bias": "unnormed"} if _is_v2(file) else {"order": "post", "bias": "never"})

    def preprocessing(self, file: Foreign, spec: ResNetSpec) -> Preprocessing:
        """TF-Slim's "vgg" for v1 (0..255 minus a mean); its "inception" for v2 (-1..1, 7/8 of both sides)."""
        if norm_first(plan(spec)):
            half = (0.5, 0.5, 0.5)
            return Preprocessing(image_size=299, resize="stretch", resize_to=round(299 / 0.875), mean=half, std=half)
        red, green, blue = (value / 255 for value in file.documents.get(MEAN, VGG_MEAN))
        try:
            return Preprocessing(
                image_size=224, resize_to=256, mean=(red, green, blue), std=(1 / 255, 1 / 255, 1 / 255)
            )
        except DataError as problem:
            raise unusable(file.path, f"its {MEAN} makes no sense ({problem})") from problem

    def classes(self, file: Foreign, count: int) -> tuple[str, ...]:
        """Numbers; of 1001 classes the first is the background, and the others have the numbers of the 1000."""
        return (
            ("background", *super().classes(file, count - 1)) if count == BACKGROUND else super().classes(file, count)
        )

    def naming(self, plan: Plan) -> Naming:
        """Under the scope that TF-Slim's own functions have: resnet_v1_50, ..., else resnet_v1_custom."""
        version = "2" if norm_first(plan) else "1"
        return _naming(f"resnet_v{version}_{DEPTHS.get(plan.spec.depths, 'custom')}/", version)

    def head_shape(self, plan: Plan, shape: tuple[int, ...]) -> tuple[int, ...]:
        """The head is a 1x1 convolution."""
        return (1, 1, *shape)

    def write(self, path: Path, file: Foreign, plan: Plan) -> tuple[Path, ...]:
        """A bundle of an index and one data file."""
        if path.is_dir():
            raise ModelFileError(f"{path} is a folder, and a checkpoint is files: name it {path / 'model.ckpt'}.")
        return write_bundle(path.with_name(path.name.removesuffix(".index")), file.tensors)


def _networks(file: Foreign) -> Iterator[tuple[str, str]]:
    """(scope with its slash, version) of every first unit."""
    for name in file.tensors:
        if match := FIRST.fullmatch(name):
            yield match[1], match[2]


def _is_v2(file: Foreign) -> bool:
    return any(version == "2" for _, version in _networks(file))


def _naming(scope: str, version: str) -> Naming:
    parts = PARTS[version]

    def name(state_name: str) -> str:
        p = Part.of(state_name)
        leaf = (NORM if p.kind == "norm" else LAYER).get(p.leaf)
        if p.part not in parts or leaf is None:
            return ""
        unit = f"block{p.stage}/unit_{p.unit}/bottleneck_v{version}/" if p.stage else ""
        return f"{scope}{unit}{parts[p.part]}/{leaf}"

    return name
