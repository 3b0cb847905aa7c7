"""One of several networks is chosen on the held-out images, and no image judges what was chosen with its help.

The images are dealt into the halves that the calibration has. Either half chooses for itself, and judges what the other
one has chosen; all of them together choose what is kept.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from resnets.evaluation.calibration import calibrate, fit_temperature, halves
from resnets.evaluation.judging import Judgement
from resnets.evaluation.metrics import log_softmax
from resnets.evaluation.significance import LEVEL
from resnets.weights import Calibration


@dataclass(frozen=True, eq=False)
class Choice:
    """What was chosen among networks that were judged on the same images.

    kept            the name of the one that all images together choose
    losses          the mean of each, in nats, on all images, each at its own best temperature
    by_halves       the names that the two halves chose
    judgement       of each image by what the other half has chosen, at the temperature that it fits: the honest figures
    calibration     of the kept network
    foreign         (N,) bool: the images that another network than the kept one answers to
    """

    kept: str
    losses: Mapping[str, float]
    by_halves: tuple[str, str]
    judgement: Judgement
    calibration: Calibration
    foreign: np.ndarray

    def calibrated(self, calibration: Calibration) -> Judgement:
        """The judgement with another calibration of the kept network; the answers of others keep theirs."""
        judgement, logits = self.judgement.calibrated(calibration), self.judgement.logits.copy()
        logits[self.foreign] *= (judgement.temperatures / self.judgement.temperatures)[self.foreign, None]
        return replace(judgement, logits=logits)

    def document(self) -> dict[str, Any]:
        """Fit for JSON: what was kept of what, and how that was found."""
        how = (
            "the least loss on the held-out images, where it is less than the first one's beyond chance; each half of "
            "them judges what the other half chose"
        )
        return {"kept": self.kept, "losses": dict(self.losses), "by_halves": list(self.by_halves), "how": how}


def choose(judgements: Mapping[str, Judgement], of_first_half: str = "") -> Choice:
    """Choose among networks by the loss of their answers, and judge the choice.

    judgements      one or more, by the networks' names, of the same images in the same order. The first is kept unless
                    another one is better than chance would have it (one-sided paired test, at LEVEL): it is the safe
                    one, and of a few images most differences are chance
    of_first_half   the name of one that the first half has chosen already, among epochs: it answers to the second half
                    alone, which alone says whether it is kept

    The loss counts, not top-1, which changes by whole images: of 50 photos two points each. Every network's logits are
    divided by the temperature that suits them best, so that no one loses for being too sure of itself.
    """
    names = list(judgements)
    first = judgements[names[0]]
    half = halves(first.pixels)

    def pick(rows: np.ndarray, names: Collection[str]) -> str:
        return _best({name: _losses(judgements[name].logits[rows], first.labels[rows]) for name in names})

    others = [name for name in names if name != of_first_half] or names
    by_halves = [pick(half == 0, names), pick(half == 1, others)]
    kept = pick(np.ones(len(half), bool) if len(others) == len(names) else half == 1, names)
    losses = {name: float(_losses(one.logits, one.labels).mean()) for name, one in judgements.items()}
    calibration = calibrate(first.pixels, judgements[kept].logits, first.labels)
    judgement = judgements[kept].calibrated(calibration)
    across, foreign = judgement.logits.copy(), np.zeros(len(half), bool)
    for number, name in enumerate(by_halves):  # what a half has chosen answers to the other one
        if name != kept:
            own, others = judgements[name].logits, half != number
            scale = fit_temperature(own[~others].astype(np.float64), first.labels[~others])
            across[others] = own[others] / scale * judgement.temperatures[others, None]
            foreign |= others
    judgement = replace(judgement, logits=across)
    return Choice(kept, losses, (by_halves[0], by_halves[1]), judgement, calibration, foreign)


def _best(losses: Mapping[str, np.ndarray]) -> str:
    """The name of the first, or of the least loss among those that are better than the first beyond chance."""
    from scipy.stats import norm

    (name, own), *others = losses.items()
    least = float(norm.isf(LEVEL))
    better = {name: own.mean()} if len(own) else {}
    for other, theirs in others if len(own) > 1 else ():
        gained = own - theirs
        if gained.mean() > least * gained.std(ddof=1) / math.sqrt(len(gained)):
            better[other] = theirs.mean()
    return min(better, key=better.__getitem__) if better else name


def _losses(logits: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """The cross entropy of each image at the best temperature of all, (N,)."""
    if not len(labels):
        return np.empty(0)
    logits = logits.astype(np.float64)
    scaled = log_softmax(logits / fit_temperature(logits, labels))
    found: np.ndarray = -scaled[np.arange(len(labels)), labels]
    return found
