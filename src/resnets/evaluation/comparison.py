"""Two models on the same images: which is better, by how much, and whether chance alone could have done it."""

from __future__ import annotations

from typing import Any

import numpy as np

from resnets.errors import DataError
from resnets.evaluation.judging import Judgement
from resnets.evaluation.metrics import measure
from resnets.evaluation.significance import LEVEL, difference_interval, mcnemar, share_interval
from resnets.text import printable

LISTED = 10  # classes that the two disagree about most


def compare(one: Judgement, other: Judgement, names: tuple[str, str] = ("the first", "the second")) -> dict[str, Any]:
    """Compare two judgements on the images that both have; images are known by their path, classes by their name.

    names   what the verdict calls the two

    Returns (fractions of the images)
    "models"        for each of the two what `measure` says of these images, "name", and "interval" of "top1"
    "images", "left_out"    compared, and judged by one of them alone
    "only_first", "only_second", "both", "neither"   images that so many got right
    "same_answer"   share of the images to which both say the same
    "difference"    top-1 of the first less that of the second, and its paired bootstrap "interval" of 95 %
    "p_value"       of McNemar's exact test
    "better"        0 or 1 when both say that the difference is no chance, else None; "verdict" says so in words
    "classes"       where they disagree most: "name", "images", "only_first", "only_second", and "p_value", times
                    the number of classes that were looked at (Bonferroni)

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
    return {
        "models": [
            _model(judgement, rows, name)
            for judgement, rows, name in zip((one, other), (ours, theirs), names, strict=True)
        ],
        "images": images,
        "left_out": len(one.samples) + len(other.samples) - 2 * images,
        "only_first": wins[0],
        "only_second": wins[1],
        "both": int((right & others_right).sum()),
        "neither": int((~right & ~others_right).sum()),
        "same_answer": float((names_of[one.predicted[ours]] == others_names[other.predicted[theirs]]).mean()),
        "difference": difference,
        "interval": interval,
        "p_value": p_value,
        "better": better,
        "verdict": _verdict(better, difference, interval, p_value, names),
        "classes": _classes(one, one.labels[ours], only),
    }


def check_classes(one: tuple[str, ...], other: tuple[str, ...]) -> None:
    """Raise DataError, which names some, unless two models know the same classes, in whatever order."""
    if odd := sorted(set(one) ^ set(other)):
        shown = ", ".join(f'"{printable(name)}"' for name in odd[:3]) + (f" and {len(odd) - 3} more" if odd[3:] else "")
        raise DataError(
            f"The two models know other classes ({len(one)} and {len(other)}; only one of them knows {shown}): "
            "compare models of the same classes."
        )


def _model(judgement: Judgement, rows: np.ndarray, name: str) -> dict[str, Any]:
    figures = measure(
        judgement.logits[rows], judgement.labels[rows], judgement.classes, judgement.temperatures[rows, None]
    )
    return {"name": name, **figures, "interval": share_interval(int(judgement.correct[rows].sum()), len(rows))}


def _classes(one: Judgement, labels: np.ndarray, only: tuple[np.ndarray, np.ndarray]) -> list[dict[str, Any]]:
    images, first, second = (
        np.bincount(part, minlength=len(one.classes)) for part in (labels, labels[only[0]], labels[only[1]])
    )
    ranked = np.lexsort((-(first + second), -abs(first - second)))[:LISTED]
    return [
        {
            "name": one.classes[place],
            "images": int(images[place]),
            "only_first": int(first[place]),
            "only_second": int(second[place]),
            "p_value": min(1.0, mcnemar(int(first[place]), int(second[place])) * int((images > 0).sum())),
        }
        for place in ranked
        if first[place] + second[place]
    ]


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
