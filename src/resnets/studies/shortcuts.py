"""He 2015, table 3: what a shortcut does where the shape changes, and whether projections everywhere pay."""

from __future__ import annotations

import dataclasses

from resnets.architecture import CATALOG
from resnets.architecture.spec import Shortcut
from resnets.pages.plot import Plot
from resnets.studies.design import CIFAR, DIGITS, Member
from resnets.studies.drawn import over_axis, over_epochs
from resnets.studies.experiment import Holds, Study
from resnets.studies.found import Found, beside, gap, percent

OPTIONS: dict[str, Shortcut] = {"none": "none", "A": "pad", "B": "projection", "C": "all"}


def _members(quick: bool) -> list[Member]:
    base = CATALOG["resnet32" if quick else "resnet56"]
    return [
        Member(name=f"option-{key}", spec=dataclasses.replace(base, shortcut=value), series="option", at=at, label=key)
        for at, (key, value) in enumerate(OPTIONS.items())
    ]


def _says(found: Found) -> tuple[str, Holds]:
    gains = [found.difference(f"option-{key}", "option-none") for key in "ABC"]
    between = [found.difference("option-B", "option-A"), found.difference("option-C", "option-B")]
    sentences = [
        f"Without a shortcut {percent(found.mean('option-none', 'top1'))}; "
        + ", ".join(beside(found, f"option-{key}", "option-none") for key in "ABC")
        + ".",
        f"Among the options: B against A {gap(found, 'option-B', 'option-A')}; C against B "
        f"{gap(found, 'option-C', 'option-B')}.",
        f"The paper finds B slightly better than A and C than B, and no option essential; {found.chance}.",
    ]
    if not all(gain.told for gain in gains):
        return " ".join(sentences), None
    # What the paper concludes: that there is a shortcut matters far more than which.
    most = max(abs(one.value) for one in between)
    return " ".join(sentences), all(gain.value > most for gain in gains)


def _draws(found: Found) -> list[Plot]:
    return [
        over_epochs(found, [member.name for member in found.members], "four kinds of shortcut", top=1.0),
        over_axis(found, STUDY.axis, "error at the end"),
    ]


STUDY = Study(
    name="shortcuts",
    title="That there is a shortcut matters more than which one",
    source="He et al. 2015, Deep Residual Learning for Image Recognition, table 3",
    asks="Where a unit changes the shape, its shortcut cannot be the identity. Zero channels (A), a projection there "
    "(B), or a projection in every unit (C): does it matter?",
    axis="option",
    members=_members,
    quick=DIGITS,
    full=CIFAR,
    says=_says,
    draws=_draws,
)
