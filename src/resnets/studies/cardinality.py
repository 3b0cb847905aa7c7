"""Xie 2017, table 3: groups of a bottleneck, from one wide to 32 narrow ones, at about the same multiply-adds."""

from __future__ import annotations

import dataclasses

from resnets.architecture import ResNetSpec
from resnets.pages.plot import Plot
from resnets.studies.design import CIFAR, DIGITS, Member
from resnets.studies.drawn import over_axis, over_epochs
from resnets.studies.experiment import Holds, Study
from resnets.studies.found import Found, said

# Groups and the width of each, as the paper's table 2 has them for a bottleneck of width 64; the quick form is half as
# wide.
SHAPES = ((1, 64), (2, 40), (4, 24), (8, 14), (32, 4))


def _members(quick: bool) -> list[Member]:
    width, units = (32, 1) if quick else (64, 3)
    widths = (width, 2 * width, 4 * width)
    base = ResNetSpec(depths=(units,) * 3, widths=widths, block="bottleneck", stem="cifar", stem_width=width)
    return [
        Member(
            name=f"{groups}x{each}d",
            spec=dataclasses.replace(base, groups=groups, width_per_group=each),
            series="groups",
            at=at,
            label=str(groups),
        )
        for at, (groups, each) in enumerate(SHAPES)
    ]


def _says(found: Found) -> tuple[str, Holds]:
    macs = [found.plans[member.name].macs / 1e6 for member in found.members]
    most, one = "32x4d", "1x64d"
    slower = found.mean(most, "seconds") / found.mean(one, "seconds")
    gain = found.difference(most, one)
    sentences = [
        f"At {min(macs):.0f} to {max(macs):.0f} million multiply-adds: {said(found, most, one)}.",
        f"Here the 32 groups take {slower:.2f} times the time of the whole convolution, for as many multiply-adds.",
        f"The paper has 22.2 % against 23.9 % error on ImageNet, at 50 layers; {found.chance}.",
    ]
    return " ".join(sentences), gain.value > 0 if gain.told else None


def _draws(found: Found) -> list[Plot]:
    return [
        over_epochs(found, [member.name for member in found.members], "groups x width", top=1.0),
        over_axis(found, STUDY.axis, "error at the end"),
    ]


STUDY = Study(
    name="cardinality",
    title="Many narrow paths instead of one wide one",
    source="Xie et al. 2017, Aggregated Residual Transformations for Deep Neural Networks, tables 2 and 3",
    asks="A bottleneck's 3×3 convolution can be split into groups and made wider for the same multiply-adds. Is that "
    "better, and does it cost the same time?",
    axis="groups",
    members=_members,
    quick=DIGITS,
    full=dataclasses.replace(CIFAR, seeds=1),
    says=_says,
    draws=_draws,
)
