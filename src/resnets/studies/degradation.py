"""He 2015: deeper plain networks get worse, in training too; the same layers with shortcuts do not."""

from __future__ import annotations

from resnets.architecture import CATALOG
from resnets.pages.plot import Plot
from resnets.studies.design import CIFAR, DIGITS, Member
from resnets.studies.drawn import over_axis, over_epochs
from resnets.studies.experiment import Holds, Study
from resnets.studies.found import Difference, Found, percent, points

PLAIN, TWICE, RESIDUAL = "plain", "plain, twice the steps", "residual"
HELD = 0.02  # of training accuracy, which the deepest residual network may lose and still be said not to degrade


def _members(quick: bool) -> list[Member]:
    depths = (20, 32, 44, 56)
    found = [Member(name=f"plain{d}", spec=CATALOG[f"plain{d}"], series=PLAIN, at=d) for d in depths]
    found += [Member(name=f"resnet{d}", spec=CATALOG[f"resnet{d}"], series=RESIDUAL, at=d) for d in depths]
    ends = (depths[0], depths[-1])
    return found + [
        Member(name=f"plain{d}-twice", spec=CATALOG[f"plain{d}"], series=TWICE, at=d, times=2) for d in ends
    ]


def _says(found: Found) -> tuple[str, Holds]:
    key = "train_top1"
    plain, residual = (found.difference(f"{kind}56", f"{kind}20", key) for kind in ("plain", "resnet"))
    twice = found.difference(*ends, key) if found.told(ends := ("plain56-twice", "plain20-twice")) else None
    shortcut = found.difference("resnet56", "plain56", key)

    def between(kind: str, end: str = "") -> str:
        first, last = (percent(found.mean(f"{kind}{depth}{end}", key)) for depth in (20, 56))
        return f"{first} with 20 layers and {last} with 56"

    held_out = {name: percent(found.mean(name, "top1")) for name in ("plain20", "plain56", "resnet20", "resnet56")}
    sentences = [
        f"Plain networks know {between('plain')} of the images that they are taught ({points(plain.value)} points)"
        + (": it is no overfitting." if plain.told and plain.value < 0 else "."),
        f"The same layers with shortcuts: {between('resnet')} ({points(residual.value)} points).",
        f"With twice the steps the plain ones have {between('plain', '-twice')} ({points(twice.value)} points)."
        if twice
        else "Whether twice the steps would mend the plain ones is not known yet.",
        f"On held-out images: plain {held_out['plain20']} and {held_out['plain56']}, residual {held_out['resnet20']} "
        f"and {held_out['resnet56']}; {found.chance}.",
    ]
    if not plain.told:
        sentences.append("Whether plain networks get worse with depth cannot be told from these runs.")
    return " ".join(sentences), _holds(plain, residual, twice, shortcut)


def _holds(plain: Difference, residual: Difference, twice: Difference | None, shortcut: Difference) -> Holds:
    """Worse with depth without shortcuts, after twice the steps too; not with them; and better with than without."""
    rises = any(one.told and one.value > 0 for one in (plain, twice) if one)
    falls = any(one.told and one.value < 0 for one in (residual, shortcut))
    if rises or falls:
        return False
    told = plain.told and twice is not None and twice.told and shortcut.told
    return True if told and residual.value >= -HELD else None


def _draws(found: Found) -> list[Plot]:
    plain, residual = ([m.name for m in found.members if m.series == series] for series in (PLAIN, RESIDUAL))
    return [
        over_epochs(found, plain, "plain networks", top=1.0),
        over_epochs(found, residual, "the same with shortcuts", top=1.0),
        over_axis(found, STUDY.axis, "error at the end"),
    ]


STUDY = Study(
    name="degradation",
    title="Deeper plain networks get worse, in training too; a shortcut mends it",
    source="He et al. 2015, Deep Residual Learning for Image Recognition, figures 1 and 6, table 6",
    asks="A deeper network can do all that a shallower one can, so it should fit its training images at least as well. "
    "Does it, when it is trained as networks are?",
    axis="layers",
    members=_members,
    quick=DIGITS,
    full=CIFAR,
    says=_says,
    draws=_draws,
    first=("plain20", "plain56", "resnet20", "resnet56"),
)
