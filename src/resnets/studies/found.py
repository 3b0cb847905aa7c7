"""What came of the runs of a study, and what may be said of it: means, intervals, and what cannot be told."""

from __future__ import annotations

import math
import statistics
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from resnets.architecture import Plan
from resnets.evaluation.significance import LEVEL, interval
from resnets.studies.design import Member, Setting

ENOUGH = 3  # seeds, from which on their spread can be told
# Top-1, as a fraction, by which two networks must differ where there are too few seeds to know their spread: twice the
# largest range of three seeds of one recipe that docs/benchmarks.md lists.
APART = 0.05


@dataclass(frozen=True, kw_only=True)
class Run:
    """One training of one member.

    train_top1      on the training images without augmentation, at the end, all of them; a fraction
    taught          how many training images these are
    top1, images    on the held-out images, and how many these are
    seconds         of its steps, judging and start-up left out: its epochs times the median one, since one that was
                    interrupted has lost a part of its time
    epochs          how often each image was seen
    course          a mapping for each epoch: "epoch", "loss", and what was judged ("train_top1", "top1", ...)
    fallbacks       how often its learning rate was lowered, because it diverged
    machine         what it was made on: processor, device, precision
    """

    member: str
    seed: int
    train_top1: float
    taught: int
    top1: float
    images: int
    seconds: float
    epochs: int
    course: tuple[Mapping[str, Any], ...]
    fallbacks: int = 0
    machine: str = ""


@dataclass(frozen=True, kw_only=True)
class Difference:
    """How much more one member has than another, as a fraction, and whether chance can be ruled out."""

    value: float
    interval: tuple[float, float] | None
    told: bool


@dataclass(frozen=True, kw_only=True)
class Found:
    """The runs of a study so far.

    members     in the study's order; plans: how each was built for this data, by name
    runs        those that were made
    """

    setting: Setting
    members: tuple[Member, ...]
    plans: Mapping[str, Plan]
    runs: tuple[Run, ...]

    def of(self, member: str) -> list[Run]:
        """The runs of a member, by seed."""
        return [run for run in self.runs if run.member == member]

    def values(self, member: str, key: str) -> list[float]:
        """One figure of each run of a member."""
        return [getattr(run, key) for run in self.of(member)]

    def mean(self, member: str, key: str) -> float:
        """NaN where the member has no run yet."""
        values = self.values(member, key)
        return statistics.mean(values) if values else math.nan

    def told(self, members: Iterable[str]) -> bool:
        """Whether all of these have a run."""
        return all(self.of(member) for member in members)

    def spread(self, member: str, key: str) -> tuple[float, float] | None:
        """The 95 % interval of the mean over seeds (Student's t); None for fewer than `ENOUGH`."""
        from scipy.stats import t

        values = self.values(member, key)
        if len(values) < ENOUGH:
            return None
        reach = t.ppf(1 - LEVEL / 2, len(values) - 1) * statistics.stdev(values) / math.sqrt(len(values))
        return max(statistics.mean(values) - reach, 0.0), min(statistics.mean(values) + reach, 1.0)

    def difference(self, one: str, other: str, key: str = "top1") -> Difference:
        """How much `one` is above `other`: by Welch's t where both have `ENOUGH` seeds.

        With fewer, or where no seed differs from another, a difference counts from `APART` on, and where it is more
        than so many images can show by chance (Newcombe 1998).
        """
        from scipy.stats import ttest_ind

        a, b = self.values(one, key), self.values(other, key)
        value = statistics.mean(a) - statistics.mean(b)
        if min(len(a), len(b)) < ENOUGH or statistics.stdev(a) == statistics.stdev(b) == 0:
            least = max(APART, self._by_chance(one, other, key))
            return Difference(value=value, interval=None, told=abs(value) > least + 1e-9)
        low, high = ttest_ind(a, b, equal_var=False).confidence_interval(1 - LEVEL)
        return Difference(value=value, interval=(float(low), float(high)), told=not low <= 0 <= high)

    def _by_chance(self, one: str, other: str, key: str) -> float:
        """How far two shares may lie apart because of the images that they are of."""
        reach = 0.0
        for member in (one, other):
            images = min(run.taught if key == "train_top1" else run.images for run in self.of(member))
            share = self.mean(member, key)
            low, high = interval(share, images)
            reach += max(high - share, share - low) ** 2
        return math.sqrt(reach)

    def course(self, member: str, key: str) -> list[tuple[float, float]]:
        """(epoch, the mean over seeds) of what was judged after each epoch."""
        found: dict[float, list[float]] = {}
        for run in self.of(member):
            for line in run.course:
                if isinstance(value := line.get(key), int | float):
                    found.setdefault(line["epoch"], []).append(value)
        most = max(map(len, found.values()), default=0)
        return [(epoch, statistics.mean(values)) for epoch, values in sorted(found.items()) if len(values) == most]

    @property
    def chance(self) -> str:
        """How much the seeds can tell, as the end of a sentence."""
        seeds = min((len(runs) for member in self.members if (runs := self.of(member.name))), default=0)
        if seeds >= ENOUGH:
            return f"{seeds} seeds a network, Welch's t-test at 95 %"
        return (
            f"{'one seed' if seeds == 1 else f'{seeds} seeds'} a network, so that {100 * APART:.0f} points and less "
            "cannot be told from chance"
        )


def points(share: float) -> str:
    """A difference of fractions in points: "+1.3"; a true minus."""
    return f"{100 * share:+.1f}".replace("-", "\N{MINUS SIGN}")


def percent(share: float) -> str:
    """A fraction: "91.3 %"."""
    return "-" if math.isnan(share) else f"{100 * share:.1f} %"


def said(found: Found, one: str, other: str, key: str = "top1") -> str:
    """ "A 91.3 %, B 90.2 % (+1.1 points)", and that it cannot be told where that is so."""
    shares = ", ".join(f"{name} {percent(found.mean(name, key))}" for name in (one, other))
    return f"{shares} ({gap(found, one, other, key)})"


def beside(found: Found, one: str, other: str, key: str = "top1") -> str:
    """ "A 91.3 % (+1.1 points)", where the other's share was said before."""
    return f"{one} {percent(found.mean(one, key))} ({gap(found, one, other, key)})"


def gap(found: Found, one: str, other: str, key: str = "top1") -> str:
    """ "+1.1 points", with the interval where there is one, and that it cannot be told where that is so."""
    difference = found.difference(one, other, key)
    ends = difference.interval
    between = f", {points(ends[0])} to {points(ends[1])}" if ends else ""
    return (
        f"{points(difference.value)} points{between}{'' if difference.told else ', which cannot be told from chance'}"
    )


def ranked(found: Found, members: Sequence[str], key: str = "top1") -> list[str]:
    """The members from best to worst, by their means."""
    return sorted(members, key=lambda member: -found.mean(member, key))
