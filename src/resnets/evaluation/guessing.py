"""What guessing is worth on a set of images, whether a model's answers are worth more, and which classes it misses."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from resnets.evaluation.significance import LEVEL
from resnets.text import printable

NAMED = 10  # classes in a sentence


def against_guessing(labels: np.ndarray, predicted: np.ndarray, classes: Sequence[str]) -> dict[str, Any]:
    """Answers beside guesses, of N > 0 images: (N,) true classes, (N,) answers, both as places in `classes`.

    "baseline"              the share of the commonest class, of which always naming it would be right
    "better_than_guessing"  whether as many right answers come by chance in fewer than 5 of 100 cases where each is
                            right with the probability of the baseline (exact binomial test, one-sided). None: it
                            cannot be told, since even N right answers would not show it
    "tells_apart"           whether at least one class is recognised significantly more often than if the same answers
                            had been dealt out at random (5 % for all classes): where classes are of unequal size, a
                            model may be right less often than the commonest class is, and know more than that
    "unrecognised"          names of the classes of whose images none was recognised, or significantly fewer than if
                            the same answers had been dealt out at random (the same test, at 5 % for all classes)
    "only_answer"           the class that every answer names, where there are two or more; else None
    """
    images = np.bincount(labels, minlength=len(classes))
    said = np.bincount(predicted, minlength=len(classes))
    right = np.bincount(labels[labels == predicted], minlength=len(classes))
    count, best = len(labels), int(images.max())
    return {
        "baseline": best / count,
        "better_than_guessing": better(int(right.sum()), count, best / count),
        "tells_apart": any(
            _more(int(hits), count, int(own), int(named)) < LEVEL / np.count_nonzero(images)
            for own, hits, named in zip(images, right, said, strict=True)
            if own
        ),
        "unrecognised": [
            name
            for name, own, hits, named in zip(classes, images, right, said, strict=True)
            if own and (not hits or _fewer(int(hits), int(own), named / count) < LEVEL / np.count_nonzero(images))
        ],
        "only_answer": classes[int(said.argmax())] if len(classes) > 1 and said.max() == count else None,
    }


def better(right: int, images: int, baseline: float) -> bool | None:
    """Whether so many right answers are more than chance gives; None: it cannot be told of so few images."""
    from scipy.stats import binom

    if baseline**images >= LEVEL:
        return None
    return bool(binom.sf(right - 1, images, baseline) < LEVEL)


def worth(found: Mapping[str, Any]) -> str:
    """By how much a model is better than guessing, in a sentence, of figures of `measure` and the above."""
    baseline = f"{100 * found['baseline']:.1f} %"
    commonest = max(found["per_class"], key=lambda row: row["images"])
    always = f'always answering "{printable(commonest["name"])}" would be right on {baseline}'
    balanced, equal = found["balanced_accuracy"], 1 / sum(row["images"] > 0 for row in found["per_class"])
    if not found["better_than_guessing"] and found["tells_apart"] and balanced > equal:
        told = "is no better" if found["better_than_guessing"] is False else "cannot be told to be better"
        return (
            f"It tells the classes apart: balanced accuracy is {100 * balanced:.1f} %, where guessing gives "
            f"{100 * equal:.1f} %. By top-1 it {told} than guessing: {always}."
        )
    if found["better_than_guessing"] is False:
        return f"It is no better than guessing: {always}."
    if found["better_than_guessing"] is None:
        few = "all images are of one class" if found["baseline"] == 1 else "there are too few images"
        return f"Whether it is better than guessing cannot be told, since {few}: {always}."
    return f"It is {100 * (found['top1'] - found['baseline']):.0f} points better than guessing ({baseline})."


def remarks(found: Mapping[str, Any]) -> list[str]:
    """What a reader has to know beside that, a sentence each, of the same figures."""
    said = []
    if (only := found["only_answer"]) is not None:
        said.append(f'Every answer is "{printable(only)}".')
    if missed := found["unrecognised"]:
        rows = {row["name"]: row for row in found["per_class"]}
        named = [_recall(rows[name]) for name in missed[:NAMED]]
        more = f" and {len(missed) - NAMED} more" if missed[NAMED:] else ""
        said.append(f"Not recognised, or less often than by chance: {', '.join(named)}{more}.")
    return said


def _more(hits: int, images: int, own: int, said: int) -> float:
    from scipy.stats import hypergeom

    return float(hypergeom.sf(hits - 1, images, own, said))


def _fewer(hits: int, own: int, share: float) -> float:
    from scipy.stats import binom

    return float(binom.cdf(hits, own, share))


def _recall(row: Mapping[str, Any]) -> str:
    return f'"{printable(row["name"])}" ({round(row["recall"] * row["images"])} of {row["images"]})'
