"""The log of a run: a line of JSON for each step, epoch and fallback, of which each step counts once."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from resnets.errors import ModelFileError
from resnets.regular import read_regular
from resnets.text import printable
from resnets.weights.checked import MOST_BYTES
from resnets.weights.run import LOG, RunRecord


def read_log(folder: Path) -> list[dict[str, Any]]:
    """The lines of a run's log, "kind" step, epoch or fallback: each step once.

    Left out are a last line that a kill cut short, what is no line, and steps that a fallback gave up.

    Raises ModelFileError where there is no log.
    """
    try:
        text = read_regular(folder / LOG, MOST_BYTES).decode(errors="replace")
    except OSError as problem:
        raise ModelFileError(f"{printable(str(folder / LOG))} cannot be read ({problem.strerror}).") from problem
    lines: list[dict[str, Any]] = []
    for line in text.splitlines():
        try:
            found = json.loads(line)
        except (ValueError, RecursionError):
            break
        if not isinstance(found, dict) or not {"kind", "step", "epoch", "loss"} <= found.keys():
            continue
        numbers = all(isinstance(found[key], int) for key in ("step", "epoch"))
        if numbers and (found["kind"] not in ("step", "epoch") or isinstance(found["loss"], int | float)):
            lines = standing(lines, found) if found["kind"] == "fallback" else lines
            lines.append(found)
    return lines


def until(lines: list[dict[str, Any]], record: RunRecord | None) -> list[dict[str, Any]]:
    """The lines of a log that a model as it stands knows of: others were made after its checkpoint, and are lost."""
    if record is None or record.so_far is None or record.so_far.step is None:
        return lines
    made = record.so_far.step
    return [line for line in lines if line["step"] + (line["kind"] == "step") <= made]


def standing(lines: Sequence[dict[str, Any]], fallback: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The lines of a log before a fallback without the steps that it gave up: they were made again behind it."""
    back = fallback.get("back_to")
    if not isinstance(back, int):  # no line of ours
        return list(lines)
    first = {"step": back, "epoch": back + 1}  # a step's line has the steps made before it, an epoch's those at its end
    return [one for one in lines if one["step"] < first.get(one["kind"], math.inf)]
