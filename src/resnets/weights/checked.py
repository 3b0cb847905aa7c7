"""What stands in run.json is looked at before it is believed: its kinds, its ranges, how deep and how large it is."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from resnets.data.walk import RECORD
from resnets.errors import ModelFileError
from resnets.regular import read_regular

LARGEST = 1e15  # of a number in it: what lies beyond is no time, no count and no share
DEEPEST = 24  # tables in tables
MOST_BYTES = 2**29  # of the file: the names of some millions of images

_WORDS = {
    str: "a text",
    int: "a whole number",
    float: "a number",
    bool: "true or false",
    dict: "a table",
    list: "a list",
    type(None): "null",
}


def document(path: Path) -> object:
    """The JSON document of a file. Raises ValueError, OSError or RecursionError when there is none."""
    found = json.loads(read_regular(path, MOST_BYTES).decode())
    if _too_deep(found, DEEPEST):
        raise ValueError(f"{path.name} has tables in tables in tables")
    return found


def field(
    table: Mapping[str, Any], key: str, *kinds: type, where: str = "", low: float = -LARGEST, high: float = LARGEST
) -> Any:
    """A value of one of these kinds, a number from `low` to `high`.

    Raises ModelFileError, which names it and what it should be.
    """
    if key not in table:
        raise ModelFileError(f"{RECORD} has no {where}{key}: put it back, or start a new run.")
    value = table[key]
    if type(value) not in kinds and not (type(value) is int and float in kinds):
        raise wrong(where + key, " or ".join(_WORDS[kind] for kind in kinds), value)
    if isinstance(value, int | float) and not low <= value <= high:  # nor is NaN
        limits = f"{low:g} to {high:g}" if low > -LARGEST else f"up to {high:g}"
        raise wrong(where + key, f"{_WORDS[type(value)]} from {limits}", value)
    return value


def files(table: Mapping[str, Any], key: str, where: str = "") -> tuple[dict[str, str], ...]:
    """A list of {"path", "why"}."""
    found = field(table, key, list, where=where)
    for item in found:
        if not isinstance(item, dict) or not all(isinstance(item.get(name), str) for name in ("path", "why")):
            raise wrong(where + key, "a list of paths, each with a reason", item)
    return tuple(found)


def texts(table: Mapping[str, Any], key: str, where: str = "") -> tuple[str, ...]:
    """A list of different texts."""
    found = field(table, key, list, where=where)
    if not all(isinstance(item, str) for item in found) or len(set(found)) < len(found):
        raise wrong(where + key, "a list of different texts", found)
    return tuple(found)


def tables(table: Mapping[str, Any], key: str, where: str = "") -> tuple[dict[str, Any], ...]:
    """A list of tables."""
    found = field(table, key, list, where=where)
    for item in found:
        if not isinstance(item, dict):
            raise wrong(where + key, "a list of tables", item)
    return tuple(found)


def interval(table: Mapping[str, Any], key: str, where: str = "") -> tuple[float, float] | None:
    """Two fractions, the lower one first; None where there is none."""
    found = field({key: None, **table}, key, list, type(None), where=where)
    if found is None:
        return None
    if len(found) != 2 or not all(type(end) in (int, float) for end in found) or not 0 <= found[0] <= found[1] <= 1:
        raise wrong(where + key, "two fractions, the lower one first", found)
    return found[0], found[1]


def schedule(table: Mapping[str, Any]) -> dict[str, Any] | None:
    """The steps of a run, as `resnets.training.schedule` writes them; None where its epochs say how many."""
    found: dict[str, Any] | None = field({"schedule": None, **table}, "schedule", dict, type(None))
    if found is None:
        return None
    where, nothing = "schedule.", type(None)
    field(found, "minutes", float, nothing, where=where, low=0)
    field(found, "evaluate_every", int, nothing, where=where, low=1)
    field(found, "pace", dict, where=where)
    steps = field(found, "steps", int, where=where, low=0)
    if "shortened" in found:  # as it was called when a schedule could not become longer
        found = {"refitted": found["shortened"], **found}
        del found["shortened"]
    left = None
    for one in tables(found, "refitted", where):
        inner = f"{where}refitted."
        begins = field(one, "from", int, where=inner, low=1)
        ends = field(one, "to", int, where=inner, low=0)
        field(one, "step", int, where=inner, low=0, high=min(begins - 1, ends))
        field(one, "why", str, where=inner)
        if left is not None and begins != left:
            raise wrong(f"{inner}from", f"{left}, to which it had been refitted before", begins)
        left = ends
    if left is not None and steps != left:
        raise wrong(f"{where}steps", f"{left}, to which it was refitted", steps)
    return found


def wrong(name: str, wanted: str, value: object) -> ModelFileError:
    """The sentence for a value that cannot be."""
    return ModelFileError(f"{name} in {RECORD} is {wanted}, not {str(value)[:60]!r}: put it back, or start a new run.")


def _too_deep(value: object, left: int) -> bool:
    if not left:
        return True
    inner = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    return any(_too_deep(item, left - 1) for item in inner if isinstance(item, dict | list))
