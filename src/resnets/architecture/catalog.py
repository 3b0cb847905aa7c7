"""The networks by name: each line says what differs from torchvision's ResNet-18.

Sources: ResNet (He 2015), pre-activation and other orders (He 2016, Table 2), Wide ResNet (Zagoruyko 2016), ResNeXt
(Xie 2017), ResNet-D (He 2018). CIFAR's networks have 3 stages of n units: depth = 6n + 2 (basic), 9n + 2 (bottleneck).
"""

from __future__ import annotations

import fnmatch
from dataclasses import replace
from typing import Any

from resnets.architecture.spec import ResNetSpec
from resnets.errors import SpecError, nearest
from resnets.text import brief

_BOTTLENECK: dict[str, Any] = {"block": "bottleneck"}
_D: dict[str, Any] = {"stem": "deep", "shortcut": "avgpool"}
_CAFFE: dict[str, Any] = {"block": "bottleneck", "stride_conv": "first", "pool_padding": "ceil"}
_SLIM: dict[str, Any] = {"block": "bottleneck", "stride_unit": "last", "pool_padding": "same", "norm_momentum": 0.003}
_SLIM_V2: dict[str, Any] = {**_SLIM, "order": "pre", "bias": "unnormed"}
_KERAS: dict[str, Any] = {"block": "bottleneck", "pool_padding": "zero", "norm_eps": 1.001e-5, "norm_momentum": 0.01}
_KERAS_V1: dict[str, Any] = {**_KERAS, "stride_conv": "first", "bias": "always"}
_KERAS_V2: dict[str, Any] = {**_KERAS, "order": "pre", "stride_unit": "last", "bias": "unnormed"}
_V1: dict[str, Any] = {"block": "bottleneck", "stride_conv": "first"}
_V2: dict[str, Any] = {"block": "bottleneck", "order": "pre"}


def _cifar(units: int, **fields: Any) -> ResNetSpec:
    base: dict[str, Any] = {"depths": (units,) * 3, "widths": (16, 32, 64), "stem": "cifar", "stem_width": 16}
    return ResNetSpec(**{**base, **fields})


def _wide(units: int, factor: int) -> ResNetSpec:
    return _cifar(units, widths=(16 * factor, 32 * factor, 64 * factor), order="pre")


def _resnext29(groups: int) -> ResNetSpec:
    return _cifar(3, widths=(64, 128, 256), stem_width=64, groups=groups, **_BOTTLENECK)


CATALOG: dict[str, ResNetSpec] = {
    "resnet10": ResNetSpec(depths=(1, 1, 1, 1)),
    "resnet18": ResNetSpec(),
    "resnet26": ResNetSpec(**_BOTTLENECK),
    "resnet34": ResNetSpec(depths=(3, 4, 6, 3)),
    "resnet50": ResNetSpec(depths=(3, 4, 6, 3), **_BOTTLENECK),
    "resnet101": ResNetSpec(depths=(3, 4, 23, 3), **_BOTTLENECK),
    "resnet152": ResNetSpec(depths=(3, 8, 36, 3), **_BOTTLENECK),
    "resnet50_v1": ResNetSpec(depths=(3, 4, 6, 3), **_V1),
    "resnet101_v1": ResNetSpec(depths=(3, 4, 23, 3), **_V1),
    "resnet152_v1": ResNetSpec(depths=(3, 8, 36, 3), **_V1),
    "resnet18d": ResNetSpec(**_D),
    "resnet26d": ResNetSpec(**_D, **_BOTTLENECK),
    "resnet34d": ResNetSpec(depths=(3, 4, 6, 3), **_D),
    "resnet50d": ResNetSpec(depths=(3, 4, 6, 3), **_D, **_BOTTLENECK),
    "resnet101d": ResNetSpec(depths=(3, 4, 23, 3), **_D, **_BOTTLENECK),
    "resnet152d": ResNetSpec(depths=(3, 8, 36, 3), **_D, **_BOTTLENECK),
    "resnet200d": ResNetSpec(depths=(3, 24, 36, 3), **_D, **_BOTTLENECK),
    "resnext50_32x4d": ResNetSpec(depths=(3, 4, 6, 3), groups=32, width_per_group=4, **_BOTTLENECK),
    "resnext101_32x8d": ResNetSpec(depths=(3, 4, 23, 3), groups=32, width_per_group=8, **_BOTTLENECK),
    "resnext101_64x4d": ResNetSpec(depths=(3, 4, 23, 3), groups=64, width_per_group=4, **_BOTTLENECK),
    "wide_resnet50_2": ResNetSpec(depths=(3, 4, 6, 3), width_per_group=128, **_BOTTLENECK),
    "wide_resnet101_2": ResNetSpec(depths=(3, 4, 23, 3), width_per_group=128, **_BOTTLENECK),
    "resnetv2_50": ResNetSpec(depths=(3, 4, 6, 3), **_V2),
    "resnetv2_101": ResNetSpec(depths=(3, 4, 23, 3), **_V2),
    "resnetv2_152": ResNetSpec(depths=(3, 8, 36, 3), **_V2),
    "resnetv2_200": ResNetSpec(depths=(3, 24, 36, 3), **_V2),
    "plain18": ResNetSpec(shortcut="none"),
    "plain34": ResNetSpec(depths=(3, 4, 6, 3), shortcut="none"),
    "resnet20": _cifar(3, shortcut="pad"),
    "resnet32": _cifar(5, shortcut="pad"),
    "resnet44": _cifar(7, shortcut="pad"),
    "resnet56": _cifar(9, shortcut="pad"),
    "resnet110": _cifar(18, shortcut="pad"),
    "resnet110_norm_after_add": _cifar(18, order="norm_after_add", shortcut="pad"),
    "resnet110_relu_before_add": _cifar(18, order="relu_before_add", shortcut="pad"),
    "resnet110_relu_pre": _cifar(18, order="relu_pre", shortcut="pad"),
    "resnet1202": _cifar(200, shortcut="pad"),
    "plain20": _cifar(3, shortcut="none"),
    "plain32": _cifar(5, shortcut="none"),
    "plain44": _cifar(7, shortcut="none"),
    "plain56": _cifar(9, shortcut="none"),
    "plain110": _cifar(18, shortcut="none"),
    "preact_resnet110": _cifar(18, order="pre", shortcut="pad"),
    "preact_resnet164": _cifar(18, **_V2),
    "preact_resnet1001": _cifar(111, **_V2),
    "wrn_16_2": _wide(2, 2),
    "wrn_16_8": _wide(2, 8),
    "wrn_28_10": _wide(4, 10),
    "wrn_40_4": _wide(6, 4),
    "resnext29_8x64d": _resnext29(8),
    "resnext29_16x64d": _resnext29(16),
    "caffe_resnet50": ResNetSpec(depths=(3, 4, 6, 3), bias="stem", **_CAFFE),
    "caffe_resnet101": ResNetSpec(depths=(3, 4, 23, 3), **_CAFFE),
    "caffe_resnet152": ResNetSpec(depths=(3, 8, 36, 3), **_CAFFE),
    "keras_resnet50": ResNetSpec(depths=(3, 4, 6, 3), **_KERAS_V1),
    "keras_resnet101": ResNetSpec(depths=(3, 4, 23, 3), **_KERAS_V1),
    "keras_resnet152": ResNetSpec(depths=(3, 8, 36, 3), **_KERAS_V1),
    "keras_resnet50v2": ResNetSpec(depths=(3, 4, 6, 3), **_KERAS_V2),
    "keras_resnet101v2": ResNetSpec(depths=(3, 4, 23, 3), **_KERAS_V2),
    "keras_resnet152v2": ResNetSpec(depths=(3, 8, 36, 3), **_KERAS_V2),
    "slim_resnet_v1_50": ResNetSpec(depths=(3, 4, 6, 3), **_SLIM),
    "slim_resnet_v1_101": ResNetSpec(depths=(3, 4, 23, 3), **_SLIM),
    "slim_resnet_v1_152": ResNetSpec(depths=(3, 8, 36, 3), **_SLIM),
    "slim_resnet_v1_200": ResNetSpec(depths=(3, 24, 36, 3), **_SLIM),
    "slim_resnet_v2_50": ResNetSpec(depths=(3, 4, 6, 3), **_SLIM_V2),
    "slim_resnet_v2_101": ResNetSpec(depths=(3, 4, 23, 3), **_SLIM_V2),
    "slim_resnet_v2_152": ResNetSpec(depths=(3, 8, 36, 3), **_SLIM_V2),
    "slim_resnet_v2_200": ResNetSpec(depths=(3, 24, 36, 3), **_SLIM_V2),
    "tutorial_resnet18": ResNetSpec(bias="always", stem_activation=False),
}

CLASSES = {"tutorial_resnet18": 10}  # of networks that were published with other classes than their family


def names(pattern: str = "*") -> list[str]:
    """The catalog's names that match a shell pattern ('resnet*', '*50*'), in the catalog's order."""
    return [name for name in CATALOG if fnmatch.fnmatchcase(name, pattern)]


def spec_of(network: str | ResNetSpec) -> ResNetSpec:
    """The spec of a name (a spec is its own). Raises SpecError with the nearest names for an unknown one."""
    if isinstance(network, ResNetSpec):
        return network
    if not isinstance(network, str):
        raise SpecError(f"A network is a name or a ResNetSpec, not {brief(network)}.")
    try:
        return CATALOG[network]
    except KeyError:
        hint = nearest(network, CATALOG) or " `resnets list` shows all names."
        raise SpecError(f"There is no network {brief(network)}.{hint}") from None


def name_of(spec: ResNetSpec) -> str | None:
    """The catalog's name of a spec, however it is trained (initialisation, norm momentum); None if it has none."""
    return next((name for name, known in CATALOG.items() if same_network(spec, known)), None)


def same_network(one: ResNetSpec, other: ResNetSpec) -> bool:
    """Whether two specs compute the same: they may differ in what matters to training alone."""
    return replace(one, zero_init_last=other.zero_init_last, norm_momentum=other.norm_momentum) == other
