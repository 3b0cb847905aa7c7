"""Zagoruyko 2016: the same number of weights in few wide layers or in many narrow ones; then for the same time."""

from __future__ import annotations

import dataclasses

from resnets.architecture import CATALOG, ResNetSpec, plan
from resnets.pages.plot import Plot
from resnets.studies.design import CIFAR, DIGITS, Member
from resnets.studies.drawn import over_axis, over_epochs
from resnets.studies.experiment import Holds, Study
from resnets.studies.found import Found, said

SAME_WEIGHTS, SAME_TIME = "same weights", "and the time of the slowest"


def _members(quick: bool) -> list[Member]:
    depths = (10, 22, 40) if quick else (16, 28, 40)
    weights = plan(_wide(depths[-1], 16 if quick else 64)).parameters
    specs = {depth: _of_weights(depth, weights) for depth in depths}
    found = [
        Member(name=f"wrn-{depth}-{spec.widths[0]}", spec=spec, series=SAME_WEIGHTS, at=depth)
        for depth, spec in specs.items()
    ]
    slowest = found[-1].name
    return found + [
        dataclasses.replace(member, name=f"{member.name}-time", series=SAME_TIME, as_long_as=slowest)
        for member in found[:-1]
    ]


def _wide(depth: int, width: int) -> ResNetSpec:
    """A pre-activated network of CIFAR, with 6n + 4 layers as the paper counts them, its stages w, 2w and 4w wide."""
    widths = (width, 2 * width, 4 * width)
    return dataclasses.replace(CATALOG["wrn_16_2"], depths=((depth - 4) // 6,) * 3, widths=widths)


def _of_weights(depth: int, weights: int) -> ResNetSpec:
    """The width of a multiple of four that comes nearest to so many weights."""
    widths = range(8, 513, 4)
    return min((_wide(depth, width) for width in widths), key=lambda spec: abs(plan(spec).parameters - weights))


def _says(found: Found) -> tuple[str, Holds]:
    equal = [member.name for member in found.members if member.series == SAME_WEIGHTS]
    wide, deep = equal[0], equal[-1]
    weights = [found.plans[name].parameters for name in equal]
    faster = (found.mean(deep, "seconds") / found.mean(deep, "epochs")) / (
        found.mean(wide, "seconds") / found.mean(wide, "epochs")
    )
    by_weights, by_time = found.difference(wide, deep), found.difference(f"{wide}-time", deep)
    sentences = [
        f"With {min(weights):,} to {max(weights):,} weights: {said(found, wide, deep)}; "
        f"an epoch of the wide one takes {1 / faster:.2f} of the time.",
        f"In the same time: {said(found, f'{wide}-time', deep)}; {found.chance}.",
    ]
    if by_time.told:
        return " ".join(sentences), by_time.value > 0
    return " ".join(sentences), True if by_weights.told and by_weights.value > 0 and faster > 1 else None


def _draws(found: Found) -> list[Plot]:
    names = [member.name for member in found.members if member.series == SAME_WEIGHTS]
    return [
        over_epochs(found, names, "with the same weights", top=1.0),
        over_axis(found, STUDY.axis, "error at the end"),
    ]


STUDY = Study(
    name="width-or-depth",
    title="Width does what depth does, in less time",
    source="Zagoruyko and Komodakis 2016, Wide Residual Networks, tables 3 to 5",
    asks="A number of weights can be spent on many narrow layers or on few wide ones. Which is better, and which is "
    "better for the same time?",
    axis="layers",
    members=_members,
    quick=DIGITS,
    full=dataclasses.replace(CIFAR, seeds=1),
    says=_says,
    draws=_draws,
)
