"""He 2015, table 6: CIFAR-10 with up to 110 layers, beside the published errors."""

from __future__ import annotations

import dataclasses

from resnets.architecture import CATALOG
from resnets.pages.plot import Plot
from resnets.studies.design import CIFAR, DIGITS, Member
from resnets.studies.drawn import over_axis, over_epochs
from resnets.studies.experiment import Holds, Study
from resnets.studies.found import Found, percent, said

PUBLISHED = {20: 8.75, 32: 7.51, 44: 7.17, 56: 6.97, 110: 6.43}  # errors in percent after 64k steps


def _members(quick: bool) -> list[Member]:
    depths = (20, 32, 56) if quick else tuple(PUBLISHED)
    return [Member(name=f"resnet{d}", spec=CATALOG[f"resnet{d}"], series="residual", at=d) for d in depths]


def _says(found: Found) -> tuple[str, Holds]:
    first, last = found.members[0], found.members[-1]
    errors = ", ".join(f"{member.name} {percent(1 - found.mean(member.name, 'top1'))}" for member in found.members)
    published = ", ".join(f"{member.name} {PUBLISHED[int(member.at)]} %" for member in found.members)
    gain = found.difference(last.name, first.name)
    sentences = [
        f"Errors after {found.setting.epochs} epochs: {errors}.",
        f"Published, on the files of CIFAR-10 and after 164 epochs: {published}.",
        f"Deeper against shallower: {said(found, last.name, first.name)}; {found.chance}.",
    ]
    return " ".join(sentences), gain.value > 0 if gain.told else None


def _draws(found: Found) -> list[Plot]:
    names = [member.name for member in found.members]
    return [over_epochs(found, names, "residual networks", top=1.0), over_axis(found, STUDY.axis, "error at the end")]


STUDY = Study(
    name="table6",
    title="Residual networks of CIFAR-10, from 20 to 110 layers",
    source="He et al. 2015, Deep Residual Learning for Image Recognition, table 6",
    asks="Do residual networks get better the deeper they are? The published errors are those of 164 epochs on the "
    "original files; a reduced schedule, or other files, cannot reach them.",
    axis="layers",
    members=_members,
    quick=DIGITS,
    full=dataclasses.replace(CIFAR, epochs=40, seeds=1),
    says=_says,
    draws=_draws,
)
