"""What every choice of a spec means, in words: one table, read by the comparison and by the diagram.

A choice is said as "verb | rest | tail": of two networks the first gets all, the second the rest alone where verb
and tail are the same ("A has 3 + 3 units; B 5 + 5").
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from resnets.architecture import Plan, ResNetSpec
from resnets.architecture.spec import ORDERS


@dataclass(frozen=True, slots=True, kw_only=True)
class Words:
    """The words of one field.

    say     value -> "verb | rest | tail" (the tail can be left out), or the plan -> the same where the words
            need more than the value
    means   whether the field means anything for a spec: a basic unit has no 1×1 that could stride
    short   value -> a few words for the heading of a diagram; a value that is not there goes unsaid
    """

    say: Mapping[Any, str] | Callable[[Plan], str]
    means: Callable[[ResNetSpec], bool] = lambda spec: True
    short: Mapping[Any, str] | None = None


def _bottleneck(spec: ResNetSpec) -> bool:
    return spec.block == "bottleneck"


def _inside(spec: ResNetSpec) -> str:
    wide = f"{spec.inner_width(64)} channels wide"
    return f"{wide} ({spec.groups} groups of {spec.width_per_group})" if spec.groups > 1 else wide


def _list(numbers: tuple[int, ...]) -> str:
    return " + ".join(map(str, numbers))


WORDS: dict[str, Words] = {
    "depths": Words(say=lambda plan: f"has | {_list(plan.spec.depths)} | units in its stages"),
    "widths": Words(say=lambda plan: f"has stages of width | {', '.join(map(str, plan.spec.widths))}"),
    "block": Words(
        say={
            "basic": "stacks | basic units (two 3×3 convolutions)",
            "bottleneck": "stacks | bottleneck units (1×1, 3×3, then a 1×1 to four times the width)",
        },
        short={"basic": "basic units (3×3, 3×3)", "bottleneck": "bottleneck units (1×1, 3×3, 1×1)"},
    ),
    "order": Words(
        say={name: f"puts norm and ReLU | {order.say}" for name, order in ORDERS.items()},
        short={name: order.short for name, order in ORDERS.items()},
    ),
    "stride_conv": Words(
        say={
            "spatial": "strides | in the 3×3 convolution of a bottleneck (torchvision's v1.5)",
            "first": "strides | in the first 1×1 convolution of a bottleneck (the paper, Caffe, Keras)",
        },
        means=_bottleneck,
        short={"first": "stride in the first 1×1"},
    ),
    "stride_unit": Words(
        say={
            "first": "halves the resolution | in the first unit of a stage (the paper)",
            "last": "halves the resolution | in the last unit of the stage before (TF-Slim, Keras v2)",
        },
        short={"last": "stride in a stage's last unit"},
    ),
    "shortcut": Words(
        say={
            "projection": "fits its shortcuts to a new shape | with a 1×1 convolution (projection, option B)",
            "pad": "fits its shortcuts to a new shape | with every second pixel and zero channels (option A)",
            "avgpool": "fits its shortcuts to a new shape | with an average pool and a 1×1 convolution (ResNet-D)",
            "all": "has | a 1×1 convolution in every shortcut (option C)",
            "none": "has | no shortcuts (a plain network)",
        },
        short={
            "projection": "projection shortcuts (option B)",
            "pad": "zero-padded shortcuts (option A)",
            "avgpool": "average-pooled shortcuts (ResNet-D)",
            "all": "projections in all shortcuts (option C)",
            "none": "plain: no shortcuts",
        },
    ),
    "pad_side": Words(
        say={
            "end": "puts the zero channels of a shortcut | behind the others",
            "both": "puts the zero channels of a shortcut | half before and half behind the others",
        },
        means=lambda spec: spec.shortcut == "pad",
    ),
    "groups": Words(
        say=lambda plan: (
            f"splits its 3×3 convolutions | into {plan.spec.groups} groups (ResNeXt)"
            if plan.spec.groups > 1
            else "leaves its 3×3 convolutions | whole"
        ),
        means=_bottleneck,
    ),
    "width_per_group": Words(
        say=lambda plan: f"makes the inside of a bottleneck of width 64 | {_inside(plan.spec)}",
        means=_bottleneck,
    ),
    "stem": Words(
        say={
            "imagenet": "starts | with a 7×7 convolution and a pool, at a quarter of the resolution (ImageNet)",
            "cifar": "starts | with a 3×3 convolution at full resolution (CIFAR)",
            "deep": "starts | with three 3×3 convolutions and a pool (the deep stem of ResNet-C and D)",
        },
        short={"deep": "deep stem"},
    ),
    "stem_width": Words(say=lambda plan: f"gives its first stage | {plan.spec.stem_width} | channels"),
    "stem_activation": Words(
        say={True: "builds its stem | with a ReLU", False: "builds its stem | without a ReLU"},
        means=lambda spec: "relu" in ORDERS[spec.order].stem,
        short={False: "no ReLU in the stem"},
    ),
    "conv_padding": Words(
        say={
            "symmetric": "pads a convolution that strides | alike on all sides",
            "same": "pads a convolution that strides | as TensorFlow's SAME: more at the end than at the start",
        }
    ),
    "pool_padding": Words(
        say={
            "torch": "pads the stem's pool | with a pixel of minus infinity on all sides (torch)",
            "zero": "pads the stem's pool | with a pixel of zeros on all sides (Keras)",
            "same": "pads the stem's pool | as TensorFlow's SAME: at the end alone where the size is even (TF-Slim)",
            "ceil": "pads the stem's pool | not at all, and cuts its last window short (Caffe)",
            "valid": "pads the stem's pool | not at all, and takes whole windows alone (Keras before 2018)",
        },
        means=lambda spec: spec.stem != "cifar",
    ),
    "bias": Words(
        say={
            "never": "has a bias | in no convolution",
            "stem": "has a bias | in the stem's convolutions alone",
            "unnormed": "has a bias | in the convolutions that no norm follows",
            "always": "has a bias | in every convolution",
        }
    ),
    "norm_eps": Words(say=lambda plan: f"adds | {plan.spec.norm_eps:g} | to a norm's variance"),
    "norm_momentum": Words(
        say=lambda plan: f"lets a new batch count | {plan.spec.norm_momentum:g} | in a norm's running statistics"
    ),
    "zero_init_last": Words(
        say={
            True: "starts training | with units that are their shortcuts (last norm or convolution at zero)",
            False: "starts training | with units whose branches already count",
        }
    ),
    "image_size": Words(say=lambda plan: f"takes images of | {plan.image_size}×{plan.image_size} | pixels"),
    "num_classes": Words(say=lambda plan: f"tells | {plan.num_classes:,} | classes apart"),
    "in_channels": Words(say=lambda plan: f"takes images of | {plan.in_channels} | channels"),
    "output_stride": Words(
        say=lambda plan: f"lets height and width fall | to 1/{plan.output_stride} | at most, then dilates"
    ),
}


def said(field: str, plan: Plan) -> tuple[str, str, str] | None:
    """(verb, rest, tail) of what a network does about a field; None where the field means nothing for it."""
    words = WORDS[field]
    if not words.means(plan.spec):
        return None
    text = words.say(plan) if callable(words.say) else words.say[getattr(plan.spec, field)]
    verb, rest, *tail = text.split(" | ")
    return verb, rest, "".join(tail)


def in_short(spec: ResNetSpec) -> list[str]:
    """What makes a network what it is, a few words each."""
    found = []
    for field, words in WORDS.items():
        value = getattr(spec, field, None)
        if words.short and words.means(spec) and value in words.short:
            found.append(words.short[value])
    if spec.groups > 1:
        found.append(f"{spec.groups} groups")
    if (wider := widening(spec)) > 1:
        found.append(f"{wider:g} times as wide")
    return found


def widening(spec: ResNetSpec) -> float:
    """How many times as wide as usual a unit's convolutions are: above 1 for Wide ResNets alone.

    On ImageNet it is the inside of a bottleneck, on CIFAR the whole network behind its stem (Zagoruyko 2016).
    """
    if spec.block == "bottleneck":
        return spec.width_per_group / 64 if spec.groups == 1 else 1.0
    return spec.widths[0] / spec.stem_width if spec.stem == "cifar" else 1.0
