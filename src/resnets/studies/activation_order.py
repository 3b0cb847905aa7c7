"""He 2016, table 2: where norm and ReLU stand."""

from __future__ import annotations

import dataclasses

from resnets.architecture import CATALOG
from resnets.architecture.spec import ORDERS
from resnets.pages.plot import Plot
from resnets.studies.design import CIFAR, DIGITS, Member
from resnets.studies.drawn import over_axis, over_epochs
from resnets.studies.experiment import Holds, Study
from resnets.studies.found import Found, beside, percent, ranked


def _members(quick: bool) -> list[Member]:
    base = CATALOG["resnet56" if quick else "resnet110"]
    return [
        Member(name=order, spec=dataclasses.replace(base, order=order), series="order", at=at, label=order)
        for at, order in enumerate(ORDERS)
    ]


def _says(found: Found) -> tuple[str, Holds]:
    names = ranked(found, list(ORDERS))
    depth = 2 + sum(2 * units for units in found.members[0].spec.depths)
    before = found.difference("pre", "post")
    after = found.difference("norm_after_add", "post")
    order = ", ".join(f"{name} {percent(found.mean(name, 'top1'))}" for name in names)
    sentences = [
        f"At {depth} layers, from best to worst: {order}.",
        f"Against the original order: {beside(found, 'pre', 'post')}; {beside(found, 'norm_after_add', 'post')}.",
        "The paper has, at 110 layers on CIFAR-10, pre 93.63 %, post 93.39 %, relu_pre 93.29 %, relu_before_add "
        f"92.16 %, norm_after_add 91.83 %; {found.chance}.",
    ]
    others = [found.difference(order, "pre") for order in ORDERS if order != "pre"]
    if any(one.told and one.value > 0 for one in others) or (after.told and after.value > 0):
        return " ".join(sentences), False
    return " ".join(sentences), True if before.told and after.told else None


def _draws(found: Found) -> list[Plot]:
    return [
        over_epochs(found, list(ORDERS), "the five orders", top=1.0),
        over_axis(found, STUDY.axis, "error at the end"),
    ]


STUDY = Study(
    name="activation-order",
    title="A clean path from the first unit to the last",
    source="He et al. 2016, Identity Mappings in Deep Residual Networks, table 2",
    asks="A unit adds its branch to its input. Does it matter whether norm and ReLU stand on the branch, or on the way "
    "of the sum?",
    axis="order",
    members=_members,
    quick=DIGITS,
    full=dataclasses.replace(CIFAR, seeds=1),
    says=_says,
    draws=_draws,
)
