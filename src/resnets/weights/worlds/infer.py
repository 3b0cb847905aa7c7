"""Shapes of roles -> spec: what a file's tensors say about the network that they belong to.

Depths are how many units there are, widths what their convolutions put out, a bottleneck is a unit with a
third convolution, and so on. What shapes cannot show (where a stride sits, how a pool pads, epsilon) is the
dialect's to say. Nothing here is believed: the plan of the spec is compared with every tensor afterwards.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from resnets.architecture import ResNetSpec
from resnets.architecture.spec import EXPANSION, MAX_UNITS
from resnets.errors import SpecError

ShapeOf = Callable[[str], tuple[int, ...] | None]  # our state name -> shape in our layout, None if not there


class MissingError(SpecError):
    """A tensor that every residual network has, by our state name."""

    def __init__(self, state_name: str) -> None:
        super().__init__(f"it has no {state_name}.")
        self.state_name = state_name


def infer(shape_of: ShapeOf, fields: Mapping[str, Any]) -> tuple[ResNetSpec, int, int]:
    """(spec, classes, input channels).

    shape_of: the shapes in the file, convolutions (O, I, H, W), the head (O, I)
    fields: fields of the spec that win over what the shapes say

    Raises SpecError, with what is missing or odd, for tensors that are no residual network's.
    """
    stem, in_channels = _stem(shape_of)
    head = _needed(shape_of, "head.linear.weight", 2)
    block = "bottleneck" if shape_of("stage1.unit1.conv3.weight") else "basic"
    depths = _depths(shape_of)
    stages = range(1, len(depths) + 1)
    last = {"basic": 2, "bottleneck": 3}[block]
    outer = [_needed(shape_of, f"stage{s}.unit1.conv{last}.weight", 4)[0] for s in stages]
    if any(channels % EXPANSION[block] for channels in outer):
        raise SpecError("a stage's channels are not four times a width, which a bottleneck's are.")
    found: dict[str, Any] = {
        "depths": depths,
        "widths": tuple(channels // EXPANSION[block] for channels in outer),
        "block": block,
        "order": "pre" if shape_of("head.norm.weight") else "post",
        **stem,
        "bias": _bias(shape_of, last),
    }
    if block == "bottleneck":
        inner, per_group, *_ = _needed(shape_of, "stage1.unit1.conv2.weight", 4)
        groups = inner // max(per_group, 1)
        base = found["widths"][0] * groups
        if groups < 1 or inner * 64 % base:
            raise SpecError("the inner width of a bottleneck does not divide into groups.")
        found |= {"groups": groups, "width_per_group": inner * 64 // base}
    return ResNetSpec(**{**found, **fields}), head[0], in_channels


def _stem(shape_of: ShapeOf) -> tuple[dict[str, Any], int]:
    if last := shape_of("stem.conv3.weight"):
        first = _needed(shape_of, "stem.conv1.weight", 4)
        return {"stem": "deep", "stem_width": last[0]}, first[1]
    conv = _needed(shape_of, "stem.conv.weight", 4)
    kinds = {(7, 7): "imagenet", (3, 3): "cifar"}
    if (kind := kinds.get((conv[2], conv[3]))) is None:
        raise SpecError(f"the first convolution is {conv[2]} x {conv[3]}; a stem's is 7 x 7 or 3 x 3.")
    return {"stem": kind, "stem_width": conv[0]}, conv[1]


def _depths(shape_of: ShapeOf) -> tuple[int, ...]:
    depths: list[int] = []
    while sum(depths) < MAX_UNITS:
        units = 0
        while units < MAX_UNITS and shape_of(f"stage{len(depths) + 1}.unit{units + 1}.conv1.weight"):
            units += 1
        if not units:
            break
        depths.append(units)
    if not depths:
        raise SpecError("there is no unit in it.")
    return tuple(depths)


def _bias(shape_of: ShapeOf, last: int) -> str:
    def has(part: str) -> bool:
        return shape_of(f"{part}.bias") is not None

    stem = has("stem.conv") or has("stem.conv1")
    if has("stage1.unit1.conv1"):
        return "always"
    if has(f"stage1.unit1.conv{last}"):
        return "unnormed"
    return "stem" if stem else "never"


def _needed(shape_of: ShapeOf, name: str, dimensions: int) -> tuple[int, ...]:
    shape = shape_of(name)
    if shape is None:
        raise MissingError(name)
    if len(shape) != dimensions or min(shape) < 1:
        raise SpecError(f"its {name.removesuffix('.weight')} has the shape {shape}.")
    return shape
