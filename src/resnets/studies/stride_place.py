"""v1 against v1.5: which convolution of a bottleneck strides, the first 1x1 or the 3x3."""

from __future__ import annotations

import dataclasses

from resnets.architecture import ResNetSpec
from resnets.pages.plot import Plot
from resnets.studies.design import CIFAR, DIGITS, Member
from resnets.studies.drawn import over_axis, over_epochs
from resnets.studies.experiment import Holds, Study
from resnets.studies.found import Found, said


def _members(quick: bool) -> list[Member]:
    base = ResNetSpec(
        depths=(2 if quick else 4,) * 3, widths=(16, 32, 64), block="bottleneck", stem="cifar", stem_width=16
    )
    return [
        Member(
            name="v1", spec=dataclasses.replace(base, stride_conv="first"), series="stride", at=0, label="the 1×1 (v1)"
        ),
        Member(name="v1.5", spec=base, series="stride", at=1, label="the 3×3 (v1.5)"),
    ]


def _says(found: Found) -> tuple[str, Holds]:
    macs = found.plans["v1.5"].macs / found.plans["v1"].macs
    time = found.mean("v1.5", "seconds") / found.mean("v1", "seconds")
    gain = found.difference("v1.5", "v1")
    sentences = [
        f"The stride in the 3×3 sees all pixels where the 1×1 drops three of four: {said(found, 'v1.5', 'v1')}.",
        f"It costs {macs:.2f} times the multiply-adds and, here, {time:.2f} times the time; the weights are as many.",
        f"NVIDIA states 0.5 points more at 5 % less throughput for ResNet-50 on ImageNet; {found.chance}.",
    ]
    return " ".join(sentences), gain.value > 0 if gain.told else None


def _draws(found: Found) -> list[Plot]:
    return [
        over_epochs(found, ["v1", "v1.5"], "two places of the stride", top=1.0),
        over_axis(found, STUDY.axis, "error at the end"),
    ]


STUDY = Study(
    name="stride-place",
    title="Where a bottleneck strides",
    source="torchvision's ResNet (the stride on the 3×3, 2016), and NVIDIA's ResNet-50 v1.5",
    asks="The paper strides in a bottleneck's first 1×1, which drops three of four pixels unseen. What does the stride "
    "in the 3×3 bring, and what does it cost?",
    axis="the convolution that strides",
    members=_members,
    quick=dataclasses.replace(DIGITS, seeds=3),
    full=CIFAR,
    says=_says,
    draws=_draws,
)
