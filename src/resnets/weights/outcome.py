"""What a run came to beside its accuracy, and what a fallback leaves of its log: parts of `resnets.weights.run`."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """The part of a run's result that older versions did not know; the defaults stand for theirs.

    baseline        the share of the commonest class among the held-out images
    better_than_guessing    whether top1 is more than chance would give; None: it cannot be told
    unrecognised    names of the classes that are not recognised, see `resnets.evaluation.guessing`
    fallbacks       of the learning rate, as `resnets.training.Fallback` says them
    remarks         what to know and what to try, a sentence each
    """

    baseline: float | None = None
    better_than_guessing: bool | None = None
    unrecognised: tuple[str, ...] = ()
    fallbacks: tuple[Mapping[str, Any], ...] = ()
    remarks: tuple[str, ...] = ()


def standing(lines: Sequence[dict[str, Any]], fallback: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The lines of a log before a fallback without the steps that it gave up: they were made again behind it."""
    back = fallback.get("back_to")
    if not isinstance(back, int):  # no line of ours
        return list(lines)
    first = {"step": back, "epoch": back + 1}  # a step's line has the steps made before it, an epoch's those at its end
    return [one for one in lines if one["step"] < first.get(one["kind"], math.inf)]
