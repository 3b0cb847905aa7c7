"""The names of He's published files (ResNet-50, -101 and -152 of 2015), under which Caffe's networks go here.

Every convolution `res2a_branch2a` has a norm in two layers, `bn2a_branch2a` (mean and variance) and
`scale2a_branch2a` (scale and shift). Units are letters, or in the long stages of 101 and 152 a, b1, b2 and so on.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from string import ascii_lowercase

from resnets.weights.worlds.base import Naming, Part

PLACES = {
    "stem.conv": "conv1",
    "stem.norm": "conv1",
    **{f"stem.{kind}{n}": f"conv1_{n}" for kind in ("conv", "norm") for n in (1, 2, 3)},
    **{f"{kind}{n}": f"branch2{letter}" for kind in ("conv", "norm") for n, letter in enumerate("abc", 1)},
    "shortcut.conv": "branch1",
    "shortcut.norm": "branch1",
    "head.norm": "pool5",
}
NORM = {"running_mean": ("bn", 0), "running_var": ("bn", 1), "weight": ("scale", 0), "bias": ("scale", 1)}
UNIT = re.compile(r"res(\d{1,4})([a-z]\d*)_branch")
LONG = 6  # units of the longest stage of a network whose units are all letters


def letters(depths: Sequence[int]) -> dict[int, list[str]]:
    """What He calls the units, by stage."""
    numbered = max(depths) > LONG
    return {stage: _of_stage(depth, numbered) for stage, depth in enumerate(depths, 1)}


def naming(units: Mapping[int, Sequence[str]], head: str) -> Naming:
    """units: by stage, their letters in order; head: the name of the last layer."""

    def name(state_name: str) -> str:
        p = Part.of(state_name)
        if p.part == "head.linear":
            return f"{head}/{int(p.leaf == 'bias')}" if head else ""
        known = units.get(p.stage, ())
        if p.part not in PLACES or p.leaf not in NORM or p.unit > len(known):
            return ""
        place = PLACES[p.part] if not p.stage else f"{p.stage + 1}{known[p.unit - 1]}_{PLACES[p.part]}"
        if p.kind == "norm":
            kind, index = NORM[p.leaf]
            return f"{kind}{place}/{index}" if p.stage else f"{kind}_{place}/{index}"
        return f"{'res' if p.stage else ''}{place}/{int(p.leaf == 'bias')}"

    return name


def layer_of(naming: Naming, state_name: str) -> str:
    """The layer that has one of our tensors."""
    return naming(state_name).rpartition("/")[0]


def _of_stage(depth: int, numbered: bool) -> list[str]:
    if numbered and depth > 3:
        return ["a", *(f"b{i}" for i in range(1, depth))]
    return list(ascii_lowercase[:depth])
