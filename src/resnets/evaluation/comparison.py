"""Two models on the same images: which is better, by how much, and whether chance alone could have done it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from resnets.data.open import open_as_trained
from resnets.data.reading import USUAL, Reading
from resnets.errors import DataError
from resnets.evaluation.evaluation import judge_source
from resnets.evaluation.judging import Judgement
from resnets.evaluation.metrics import measure
from resnets.evaluation.significance import LEVEL, difference_interval, mcnemar
from resnets.inference import Classifier, as_classifier
from resnets.progress import say
from resnets.text import printable
from resnets.weights import Model

LISTED = 10  # classes that the two disagree about most


@dataclass(frozen=True)
class Compared:
    """One of two models, on the images that both judged: its name, what `measure` says of them, and (path, why) of the
    files that it could not be judged on."""

    name: str
    figures: Mapping[str, Any] = field(repr=False)
    skipped_files: tuple[tuple[str, str], ...] = ()

    @property
    def top1(self) -> float:
        """The share of the images that it got right."""
        return float(self.figures["top1"])

    @property
    def interval(self) -> tuple[float, float]:
        """The 95 % interval of that."""
        low, high = self.figures["top1_interval"]
        return low, high

    def document(self) -> dict[str, Any]:
        """What a program reads, ready for JSON."""
        return {
            "name": self.name,
            **self.figures,
            "interval": self.interval,
            "skipped_files": [{"path": path, "why": why} for path, why in self.skipped_files],
        }


@dataclass(frozen=True)
class Disagreement:
    """A class about which two models disagree: its images, how many of them one alone got right, and the p-value, times
    the number of classes that were looked at (Bonferroni)."""

    name: str
    images: int
    only_first: int
    only_second: int
    p_value: float


@dataclass(frozen=True)
class Comparison:
    """Two models on the same images (fractions of the images).

    models                  the two
    images, left_out        compared, and judged by one of them alone
    only_first, only_second, both, neither      images that so many got right
    same_answer             share of the images to which both say the same
    difference, interval    top-1 of the first less that of the second, and its paired bootstrap interval of 95 %
    p_value                 of McNemar's exact test
    better                  0 or 1 when both say that the difference is no chance, else None
    verdict                 that in words
    classes                 where they disagree most
    """

    models: tuple[Compared, Compared]
    images: int
    left_out: int
    only_first: int
    only_second: int
    both: int
    neither: int
    same_answer: float
    difference: float
    interval: tuple[float, float]
    p_value: float
    better: int | None
    verdict: str
    classes: tuple[Disagreement, ...]

    def document(self) -> dict[str, Any]:
        """What a program reads, ready for JSON."""
        return {
            **vars(self),
            "models": [model.document() for model in self.models],
            "classes": [vars(row).copy() for row in self.classes],
        }


def compare(
    one: str | Path | Model | Classifier,
    other: str | Path | Model | Classifier,
    data: str | Path,
    split: str | None = None,
    *,
    names: tuple[str, str] = ("the first", "the second"),
) -> Comparison:
    """Judge two models on the same data set and compare them on the images that both judged.

    one, other      classifiers, models, or whatever `resnets.load` takes, of the same classes
    data, split     as in `evaluate`; without a split, all images that neither was trained on, as far as they know
    names           what the verdict calls them

    Raises DataError for other classes, and for no image in common; and what `evaluate` raises.
    """
    first, second = as_classifier(one), as_classifier(other)
    check_classes(first.classes, second.classes)  # before the long work
    source = open_as_trained(data, _recipe_of(first, second))
    judged = [judge_source(classifier, source, split, unseen=True) for classifier in (first, second)]
    skipped = judged[0].skipped_files, judged[1].skipped_files
    found = compare_judgements(judged[0].judgement, judged[1].judgement, names, skipped)
    flatters = [f"{name}: {sentence}" for name, one in zip(names, judged, strict=True) for sentence in one.flatters]
    return replace(found, verdict=" ".join([found.verdict, *flatters]))


def _recipe_of(*models: Classifier) -> Mapping[str, Any] | None:
    """That of the first model whose data was not read as usual, so that their order hardly ever changes anything."""
    recipes = [one.provenance.recipe for one in models]
    found = {reading: recipe for recipe in recipes if (reading := Reading.of(recipe)) != USUAL}
    if len(found) > 1:
        said = "; ".join(reading.words for reading in found)
        say(f"The two models' data was read in different ways ({said}): here as the first one's.")
    return next(iter(found.values()), recipes[0])


def compare_judgements(
    one: Judgement,
    other: Judgement,
    names: tuple[str, str] = ("the first", "the second"),
    skipped: tuple[tuple[tuple[str, str], ...], tuple[tuple[str, str], ...]] = ((), ()),
) -> Comparison:
    """Compare two judgements on the images that both have; images are known by their path, classes by their name.

    names       what the verdict calls the two
    skipped     of each the (path, why) of the files that could not be judged

    Raises DataError for other classes, and for no image in common.
    """
    check_classes(one.classes, other.classes)
    place = {sample.key: row for row, sample in enumerate(other.samples)}
    pairs = [(row, place[sample.key]) for row, sample in enumerate(one.samples) if sample.key in place]
    if not pairs:
        raise DataError(
            "The two models have no held-out image in common: name a split, or images that are new to both."
        )
    ours, theirs = np.array(pairs).T
    right, others_right = one.correct[ours], other.correct[theirs]
    only = right & ~others_right, others_right & ~right
    images, wins = len(ours), (int(only[0].sum()), int(only[1].sum()))
    names_of, others_names = np.array(one.classes, dtype=object), np.array(other.classes, dtype=object)
    interval, p_value = difference_interval(*wins, images), mcnemar(*wins)
    apart = p_value < LEVEL and not interval[0] <= 0 <= interval[1]
    better = int(wins[1] > wins[0]) if apart else None
    difference = (wins[0] - wins[1]) / images
    models = [
        _compared(judgement, rows, name, files)
        for judgement, rows, name, files in zip((one, other), (ours, theirs), names, skipped, strict=True)
    ]
    return Comparison(
        models=(models[0], models[1]),
        images=images,
        left_out=len(one.samples) + len(other.samples) - 2 * images,
        only_first=wins[0],
        only_second=wins[1],
        both=int((right & others_right).sum()),
        neither=int((~right & ~others_right).sum()),
        same_answer=float((names_of[one.predicted[ours]] == others_names[other.predicted[theirs]]).mean()),
        difference=difference,
        interval=interval,
        p_value=p_value,
        better=better,
        verdict=_verdict(better, difference, interval, p_value, names),
        classes=_classes(one, one.labels[ours], only),
    )


def check_classes(one: tuple[str, ...], other: tuple[str, ...]) -> None:
    """Raise DataError, which names some, unless two models know the same classes, in whatever order."""
    if odd := sorted(set(one) ^ set(other)):
        shown = ", ".join(f'"{printable(name)}"' for name in odd[:3]) + (f" and {len(odd) - 3} more" if odd[3:] else "")
        raise DataError(
            f"The two models know other classes ({len(one)} and {len(other)}; only one of them knows {shown}): "
            "compare models of the same classes."
        )


def _compared(judgement: Judgement, rows: np.ndarray, name: str, skipped: tuple[tuple[str, str], ...]) -> Compared:
    figures = measure(
        judgement.logits[rows], judgement.labels[rows], judgement.classes, judgement.temperatures[rows, None]
    )
    return Compared(name, figures, skipped)


def _classes(one: Judgement, labels: np.ndarray, only: tuple[np.ndarray, np.ndarray]) -> tuple[Disagreement, ...]:
    images, first, second = (
        np.bincount(part, minlength=len(one.classes)) for part in (labels, labels[only[0]], labels[only[1]])
    )
    ranked = np.lexsort((-(first + second), -abs(first - second)))[:LISTED]
    return tuple(
        Disagreement(
            name=one.classes[place],
            images=int(images[place]),
            only_first=int(first[place]),
            only_second=int(second[place]),
            p_value=min(1.0, mcnemar(int(first[place]), int(second[place])) * int((images > 0).sum())),
        )
        for place in ranked
        if first[place] + second[place]
    )


def _verdict(
    better: int | None, difference: float, interval: tuple[float, float], p_value: float, names: tuple[str, str]
) -> str:
    low, high = (100 * end for end in interval)
    chance = f"McNemar p = {p_value:.2g}"
    if better is None:
        by = f"{100 * difference:+.1f} points ({low:+.1f} to {high:+.1f})"
        return f"These cannot be told apart: top-1 differs by {by}, {chance}."
    if better == 1:
        low, high = -high, -low
    by = f"{100 * abs(difference):.1f} points of top-1 ({low:.1f} to {high:.1f})"
    return f"{printable(names[better])} is better by {by}, {chance}."
