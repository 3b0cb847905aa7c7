"""What the doctor says of labels: which may be wrong, how well such mistakes are found here, or that it cannot tell."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from resnets.data.sample import Sample
from resnets.diagnosis.diagnosis import Finding, count
from resnets.diagnosis.labels import Checked
from resnets.text import printable


def findings(checked: Checked | None, samples: Sequence[Sample]) -> list[Finding]:
    """One finding where labels look wrong, or where too few of those planted were found; else none."""
    if checked is None:
        return []
    if not checked.able:
        return [_unable(checked)]
    return [_suspected(checked, samples)] if checked.suspects else []


def facts(checked: Checked | None) -> dict[str, Any] | None:
    """How good the look at the labels was, in figures and in words, fit for JSON; None where there was none."""
    if checked is None:
        return None
    return {
        "accuracy": checked.accuracy,
        "guessing": checked.guessing,
        "planted": checked.planted,
        "found": checked.found,
        "able": checked.able,
        "looked": checked.looked,
        "words": _quality(checked),
    }


def _unable(checked: Checked) -> Finding:
    return Finding(
        kind="unclear-labels",
        severity="note",
        text=f"Whether labels are wrong, the doctor cannot tell here: {_quality(checked)}.",
        mend="Look through the classes yourself, or ask again with more images of each.",
        details=facts(checked) or {},
    )


def _suspected(checked: Checked, samples: Sequence[Sample]) -> Finding:
    doubtful = checked.suspects
    keys = [samples[one.index].key for one in doubtful]
    worst = f"{printable(keys[0])} looks like {printable(doubtful[0].suggested)}"
    return Finding(
        kind="suspected-labels",
        severity="warning",
        text=f"{count(len(doubtful), 'label')} may be wrong, the likeliest first: {worst} ({_quality(checked)}).",
        mend="Look at the pictures (`resnets doctor --html`) and move those that lie in the wrong folder. Most of "
        "a long list are right and only hard to tell; a cleaned copy keeps them.",
        paths=tuple(keys),
        details={
            **(facts(checked) or {}),
            "suspects": [
                {
                    "path": key,
                    "label": samples[one.index].label,
                    "suggested": one.suggested,
                    "probability": one.own,
                    "suggested_probability": one.other,
                }
                for key, one in zip(keys, doubtful, strict=True)
            ],
        },
    )


def _quality(checked: Checked) -> str:
    """How good the look was, in words."""
    return (
        f"a quick look tells {100 * checked.accuracy:.0f} % of each class from the others, where guessing tells "
        f"{100 * checked.guessing:.0f} %, and found {checked.found:,} of {checked.planted:,} labels swapped on purpose"
        + (f"; {checked.looked:,} of the {checked.of:,} images were looked at" if checked.looked < checked.of else "")
    )
