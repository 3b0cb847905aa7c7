"""Labels that look wrong: what does a classifier say of each picture that has learned from the others only?

Below `FEW` pictures it compares them (`descriptors`) and answers by ridge regression, above a small network does
(`learned`). `noise` says how likely its answers make each label a mistake. How good all this is differs from set to
set, so it is tried on the set itself: labels are swapped on purpose, and where they are not found, it says nothing.
`benchmarks/doctor.py` measures it on other sets.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from warnings import catch_warnings, simplefilter

import numpy as np
import torch

from resnets.diagnosis import learned, patches
from resnets.diagnosis.descriptors import KINDS, likeness
from resnets.evaluation.noise import mistaken
from resnets.machine import free_memory
from resnets.progress import track

FEWEST = 5  # pictures of a class, below which nothing can be said of it
LEAST = 50  # pictures in all, below which nothing is learned from them
FEW = 2000  # pictures, up to which they are compared with each other
MOST = 100_000  # pictures that are looked at; of larger sets as many of each class as its share
MEMORY = 0.5  # share of the free memory that the look may take
WORK = 2e12  # multiply-adds of a part's logistic regression: with a thousand classes its thousand rounds take days
RIDGES = (0.01, 0.03, 0.1, 0.3, 1.0)
LIKELY = 0.1  # probability of a mistake, from which on a label is suspected: one in ten is worth a look
SWAPPED, TRIALS = 0.05, 4  # share of the labels that are swapped on purpose, and how often
FINDS = 0.25  # share of these that must be found, or else nothing is said
KNOWS = 0.2  # share of the way from guessing to knowing that accuracy must have gone, or else nothing is said


@dataclass(frozen=True)
class Suspect:
    """A picture whose label looks wrong.

    index       among the pictures
    suggested   the label that it looks like
    own         probability of the label that it has, 0 to 1, were all labels equally frequent
    other       probability of the suggested one
    """

    index: int
    suggested: str
    own: float
    other: float


@dataclass(frozen=True)
class Checked:
    """What a look at the labels brought, and how good it was.

    suspects    the likeliest mistakes, the likeliest first; none where too little was found of what was planted
    accuracy    share of the pictures of a class that are told from the others, mean over the classes, 0 to 1
    guessing    the same for who guesses: 1 / classes
    planted     labels that were swapped on purpose
    found       how many of them were then suspected
    looked, of  pictures that were looked at, of how many
    """

    suspects: tuple[Suspect, ...]
    accuracy: float
    guessing: float
    planted: int
    found: int
    looked: int = 0
    of: int = 0

    @property
    def able(self) -> bool:
        """Whether it knows and finds enough to be believed."""
        knows = self.accuracy - self.guessing >= KNOWS * (1 - self.guessing)
        return knows and self.found >= FINDS * self.planted


def check(thumbs: np.ndarray, labels: Sequence[str], most: int = 200) -> Checked | None:
    """The pictures whose labels look most likely to be wrong, and how well such are found in this very set.

    thumbs  (N, S, S, 3) uint8 RGB
    labels  the N labels
    most    suspects to name

    None for fewer than `LEAST` pictures; classes of fewer than `FEWEST` are left aside. Of more than `MOST` pictures,
    or more than fit into memory, that many are looked at, evenly spread over the classes.
    """
    fits = max(FEW, min(MOST, int(MEMORY * free_memory()) // patches.bytes_each()))
    if len(labels) <= fits:
        checked = _check(thumbs, labels, most)
        return checked and replace(checked, looked=len(labels), of=len(labels))
    by_class = np.argsort(np.unique(np.asarray(labels, dtype=object), return_inverse=True)[1], kind="stable")
    rows = np.sort(by_class[np.linspace(0, len(labels) - 1, fits).astype(int)])
    checked = _check(thumbs[rows], [labels[row] for row in rows.tolist()], most)
    if checked is None:
        return None
    suspects = tuple(replace(one, index=int(rows[one.index])) for one in checked.suspects)
    return replace(checked, suspects=suspects, looked=len(rows), of=len(labels))


def _check(thumbs: np.ndarray, labels: Sequence[str], most: int) -> Checked | None:
    names, index, counts = np.unique(np.asarray(labels, dtype=object), return_inverse=True, return_counts=True)
    known = counts >= FEWEST
    usable = np.flatnonzero(known[index])
    if known.sum() < 2 or len(usable) < LEAST:
        return None
    names, target = names[known], (np.cumsum(known) - 1)[index[usable]]
    learn = _comparing(thumbs[usable], target) if len(usable) <= FEW else _learning(thumbs[usable], target)
    return _judged(learn, target, usable, names, most)


def _judged(
    learn: Callable[[np.ndarray], np.ndarray], target: np.ndarray, usable: np.ndarray, names: np.ndarray, most: int
) -> Checked:
    """`learn` makes answers, (N, classes), of labels, each without the picture's own."""
    answers = learn(target)
    wrong, even = mistaken(answers, target)
    planted, found = _tried(learn, target)
    row = np.arange(len(target))
    other = even.copy()
    other[row, target] = -1
    best = other.argmax(axis=1)
    doubtful = np.flatnonzero((wrong > LIKELY) & (even[row, best] > even[row, target]))
    ranked = doubtful[np.argsort(-wrong[doubtful], kind="stable")][:most]
    suspects = [
        Suspect(int(usable[i]), str(names[best[i]]), float(even[i, target[i]]), float(even[i, best[i]])) for i in ranked
    ]
    checked = Checked(tuple(suspects), _balanced(answers, target), 1 / len(names), planted, found)
    return checked if checked.able else replace(checked, suspects=())


def _tried(learn: Callable[[np.ndarray], np.ndarray], target: np.ndarray) -> tuple[int, int]:
    """How many labels were swapped on purpose, each for any other, and how many of them were suspected."""
    random = np.random.default_rng(3)
    number, classes = max(1, round(SWAPPED * len(target))), int(target.max()) + 1
    found = 0
    for _ in range(TRIALS):
        rows = random.permutation(len(target))[:number]
        swapped = target.copy()
        swapped[rows] = (target[rows] + random.integers(1, classes, number)) % classes
        if len(np.unique(swapped)) == classes:
            found += int((mistaken(learn(swapped), swapped)[0][rows] > LIKELY).sum())
    return TRIALS * number, found


def _comparing(thumbs: np.ndarray, target: np.ndarray) -> Callable[[np.ndarray], np.ndarray]:
    """Ridge regression on how alike pictures are; what it says of one that is left out needs no second fit.

    Each class weighs the same. The ridge is the one of `RIDGES` whose answers tell the classes apart best.
    """
    with track("looking at labels", len(thumbs) * len(KINDS), "steps") as advance:
        alike = likeness(thumbs, advance) + 1.0
    counts = np.bincount(target)
    rarity = (counts * len(counts) / len(target))[target]

    def inverse(ridge: float) -> np.ndarray:
        return np.linalg.inv(alike + np.diag(ridge * rarity))

    def answers(inverted: np.ndarray, labels: np.ndarray) -> np.ndarray:
        wanted = 2 * np.eye(len(counts))[labels] - 1
        left_out: np.ndarray = wanted - inverted @ wanted / np.diag(inverted)[:, None]
        return left_out

    best = inverse(max(RIDGES, key=lambda ridge: _balanced(answers(inverse(ridge), target), target)))
    return lambda labels: answers(best, labels)


def _learning(thumbs: np.ndarray, target: np.ndarray) -> Callable[[np.ndarray], np.ndarray]:
    """A network's answers, after a logistic regression that knows which classes it often confuses and which never.

    It learns once: a few swapped labels more would teach it hardly less.
    """
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.linear_model import LogisticRegression
    from sklearn.model_selection import StratifiedKFold

    logits = learned.answers(torch.from_numpy(thumbs), torch.from_numpy(target))
    answers = np.empty_like(logits)
    rounds = int(min(1000, max(20, WORK / (len(target) * logits.shape[1] ** 2))))
    for learn, judge in StratifiedKFold(FEWEST).split(logits, target):  # so that each class is in each part
        with catch_warnings():
            simplefilter("ignore", ConvergenceWarning)  # where its rounds are bounded, it is as good as they make it
            model = LogisticRegression(max_iter=rounds).fit(logits[learn], target[learn])
        answers[judge] = model.predict_log_proba(logits[judge])
    return lambda labels: answers


def _balanced(answers: np.ndarray, target: np.ndarray) -> float:
    """Share of each class that is answered rightly, mean over the classes."""
    right = answers.argmax(axis=1) == target
    return float(np.mean(np.bincount(target, weights=right) / np.bincount(target)))
