"""Every tutorial's sum: two 3x3 at 256 channels have 1,179,648 weights, a bottleneck 69,632. What does that buy?"""

from __future__ import annotations

import dataclasses

from resnets.architecture import ResNetSpec
from resnets.pages.plot import Plot
from resnets.studies.design import CIFAR, DIGITS, Member
from resnets.studies.drawn import over_axis, over_epochs
from resnets.studies.experiment import Holds, Study
from resnets.studies.found import Found, said


def _members(quick: bool) -> list[Member]:
    units = (1 if quick else 3,) * 3
    wide = ResNetSpec(depths=units, widths=(64, 128, 256), stem="cifar", stem_width=64)
    neck = dataclasses.replace(wide, widths=(16, 32, 64), block="bottleneck")
    return [
        Member(name="basic", spec=wide, series="unit", at=0, label="basic"),
        Member(name="bottleneck", spec=neck, series="unit", at=1, label="bottleneck"),
        Member(
            name="bottleneck-time",
            spec=neck,
            series="unit, the time of the basic one",
            at=1,
            label="bottleneck",
            as_long_as="basic",
        ),
    ]


def _says(found: Found) -> tuple[str, Holds]:
    basic, neck = found.plans["basic"], found.plans["bottleneck"]
    inner = [_inner(found, name) for name in ("basic", "bottleneck")]
    time = found.mean("bottleneck", "seconds") / found.mean("basic", "seconds")
    equal, lasting = found.difference("bottleneck", "basic"), found.difference("bottleneck-time", "basic")
    sentences = [
        f"A unit at 256 channels has {inner[0]:,} weights as two 3×3 and {inner[1]:,} as a bottleneck. The networks "
        f"have {basic.parameters:,} and {neck.parameters:,} weights, {basic.macs / 1e6:.0f} and "
        f"{neck.macs / 1e6:.0f} million multiply-adds; an epoch of the bottleneck takes {time:.2f} of the time.",
        f"After as many epochs: {said(found, 'bottleneck', 'basic')}.",
        f"In the same time: {said(found, 'bottleneck-time', 'basic')}; {found.chance}.",
    ]
    told = lasting if lasting.told else equal
    return " ".join(sentences), told.value > 0 if told.told and (lasting.told or equal.value > 0) else None


def _inner(found: Found, name: str) -> int:
    """Weights of the convolutions on the branch of an identity unit at 256 channels, as if there were one more unit."""
    from resnets.architecture import plan

    spec = found.plans[name].spec
    longer = plan(dataclasses.replace(spec, depths=(*spec.depths[:-1], spec.depths[-1] + 1)))
    return sum(row.parameters for row in longer.stages[-1][-1].branch if row.kind == "conv")


def _draws(found: Found) -> list[Plot]:
    return [
        over_epochs(found, ["basic", "bottleneck"], "two kinds of unit", top=1.0),
        over_axis(found, STUDY.axis, "error at the end"),
    ]


STUDY = Study(
    name="bottleneck",
    title="What a bottleneck saves",
    source="He et al. 2015, Deep Residual Learning for Image Recognition, figure 5",
    asks="A bottleneck goes through a quarter of the channels, and has a seventeenth of the weights of two 3×3 "
    "convolutions. What does it cost in accuracy, and what does it save in time?",
    axis="unit",
    members=_members,
    quick=DIGITS,
    full=CIFAR,
    says=_says,
    draws=_draws,
)
