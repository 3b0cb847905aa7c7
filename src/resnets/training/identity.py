"""What makes a run the run it is: where it goes on, nothing of it may differ from its record or its checkpoint."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Container, Mapping
from typing import Any

from resnets.errors import TrainingError
from resnets.training.recipe import Recipe
from resnets.weights.run import RunRecord

DEFAULTS = json.loads(json.dumps(dataclasses.asdict(Recipe())))
FREE = ("workers", "checkpoint_seconds", "recompute")  # of the recipe: they change no bit
ELSEWHERE = ("device", "precision")  # may differ where a run is finished, which makes no more steps
LONGEST = 80  # characters of a value that a checkpoint holds in full
SHOWN = 40  # and that an error shows
NAMED = 4  # differences that an error names


def identity(record: RunRecord) -> dict[str, Any]:
    """Name -> value, fit for JSON; the data is looked at by itself."""
    return {
        # A key that an older version did not know had what is its default now.
        **{key: value for key, value in (DEFAULTS | dict(record.recipe)).items() if key not in FREE},
        **{f"preprocessing.{key}": value for key, value in record.preprocessing.items()},
        "network": record.network,
        "asked.network": record.asked.network,
        "asked.weights": record.asked.weights is not None,
        **({"weights": record.weights} if record.weights else {}),
        "seed": record.asked.seed,
        "device": record.asked.device,
        "classes": list(record.classes),
        **({"epochs": record.epochs} if record.schedule is None else {"steps": _planned(record.schedule)}),
        "precision": record.precision,
    }


def _planned(schedule: Mapping[str, Any]) -> int:
    """Of how many steps the run began: how that was refitted since is in its record alone."""
    refitted = schedule["refitted"]
    return int(refitted[0]["from"] if refitted else schedule["steps"])


def short(values: Mapping[str, Any]) -> dict[str, Any]:
    """The same for a checkpoint: what is long is there by its hash."""
    return {key: value if len(_text(value)) <= LONGEST else _digest(value) for key, value in values.items()}


def without(values: Mapping[str, Any], names: Container[str]) -> dict[str, Any]:
    """The same, but these."""
    return {key: value for key, value in values.items() if key not in names}


def check(now: Mapping[str, Any], before: Mapping[str, Any]) -> None:
    """Raise TrainingError, which names what differs and both values; what one of them does not know is left aside."""
    differ = [key for key in before if key in now and _text(before[key]) != _text(now[key])]
    if not differ:
        return
    said = [f"{key} would be {_both(now[key], before[key])}" for key in differ[:NAMED]]
    more = f"; and {len(differ) - NAMED} more" if len(differ) > NAMED else ""
    raise TrainingError(f"{'; '.join(said)}{more}: put it back, or start a new run.")


def _both(now: Any, before: Any) -> str:
    shown = [repr(value) for value in (now, before)]
    shown = [text if len(text) <= SHOWN else f"{text[: SHOWN - 3]}..." for text in shown]
    if shown[0] == shown[1]:  # they differ further behind
        shown = [_digest(value) for value in (now, before)]
    return f"{shown[0]} where the run began with {shown[1]}"


def _text(value: Any) -> str:
    return json.dumps(value, sort_keys=True)


def _digest(value: Any) -> str:
    return f"sha256 {hashlib.sha256(_text(value).encode()).hexdigest()[:16]}"
