"""The log of a run: a line of JSON for each step, epoch and fallback, of which each step counts once."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from resnets.errors import ModelFileError
from resnets.regular import open_regular
from resnets.text import printable
from resnets.weights.checked import MOST_BYTES
from resnets.weights.run import LOG, RunRecord

MOST_LINE = 2**16  # bytes


def read_log(folder: Path) -> list[dict[str, Any]]:
    """The lines of a run's log, "kind" step, epoch or fallback: each step once.

    Left out are a last line that a kill cut short, what is no line, and steps that a fallback gave up.

    Raises ModelFileError where there is no log.
    """
    return _standing(folder, lambda line: True)


def losses_of(folder: Path, epoch: int) -> list[float]:
    """The losses of the steps of an epoch, 1 the first, that a run's log has, however long it is."""
    lines = _standing(folder, lambda line: line["kind"] == "fallback" or line["epoch"] == epoch, math.inf)
    return [line["loss"] for line in lines if line["kind"] == "step"]


def _standing(
    folder: Path, wanted: Callable[[Mapping[str, Any]], bool], most: float = MOST_BYTES
) -> list[dict[str, Any]]:
    """The lines that are wanted, without those that a fallback among them gave up."""
    lines: list[dict[str, Any]] = []
    for line in _lines(folder, most):
        if not isinstance(line, dict) or not {"kind", "step", "epoch", "loss"} <= line.keys():
            continue
        numbers = all(isinstance(line[key], int) for key in ("step", "epoch"))
        if (
            numbers
            and (line["kind"] not in ("step", "epoch") or isinstance(line["loss"], int | float))
            and wanted(line)
        ):
            lines = standing(lines, line) if line["kind"] == "fallback" else lines
            lines.append(line)
    return lines


def _lines(folder: Path, most: float) -> Iterator[Any]:
    """What the lines of a log hold, up to one that is none; of no more than so many bytes in all."""
    shown, read = printable(str(folder / LOG)), 0
    try:
        with open_regular(folder / LOG) as file:
            while line := file.readline(MOST_LINE):
                read += len(line)
                if read > most:
                    raise ModelFileError(f"{shown} cannot be read (it has more than {most:,} bytes).")
                try:
                    yield json.loads(line.decode(errors="replace"))
                except (ValueError, RecursionError):
                    return
    except OSError as problem:
        raise ModelFileError(f"{shown} cannot be read ({problem.strerror}).") from problem


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
