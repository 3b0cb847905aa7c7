"""What a checkpoint says beside its tensors: numbers, words and lists of them, in nested dictionaries.

Training scripts save the name of the architecture, their arguments and the names of the classes so. Of objects
(argparse.Namespace, Lightning's AttributeDict, OmegaConf's nodes) the attributes are taken; no code is run for them.
"""

from __future__ import annotations

from itertools import chain
from typing import Any

from resnets.weights.formats.pickle_data import Made, Value

MAX_FACTS = 100_000  # values of one checkpoint that are looked at: ImageNet-21k's names are 21,843
MAX_DEPTH = 6  # of dictionaries in dictionaries
MAX_TEXT = 1_000  # characters; longer ones (a program's source, a log) are left out
MAX_INTEGER = 2**63


def facts_of(root: Value) -> dict[str, Any]:
    """The facts of a pickle: str, int, float, bool and None in dictionaries and lists. Never raises.

    Keys are strings; numbers that are keys (of "class 3 is a cat") become theirs. What is something else is left out,
    as are dictionaries in which nothing is left, and lists of which an item would be.
    """
    found = _plain(root, MAX_DEPTH, [MAX_FACTS])
    return found if isinstance(found, dict) else {}


class _Nothing:
    """What is no fact."""


def _plain(value: Value, depth: int, left: list[int]) -> Any:
    """The value as plain data, or _Nothing. left: how many values may still be looked at."""
    left[0] -= 1
    if left[0] < 0:
        return _Nothing
    if value is None or isinstance(value, bool | float):
        return value
    if isinstance(value, int):
        return value if abs(value) < MAX_INTEGER else _Nothing
    if isinstance(value, str):
        return value if len(value) <= MAX_TEXT else _Nothing
    if depth == 0:
        return _Nothing
    if isinstance(value, list | tuple):
        return _list(value, depth, left)
    return _table(value, depth, left) if isinstance(value, Made) else _Nothing


def _list(items: list[Value] | tuple[Value, ...], depth: int, left: list[int]) -> Any:
    found = []
    for item in items:
        if (plain := _plain(item, depth - 1, left)) is _Nothing:
            return _Nothing
        found.append(plain)
    return found


def _table(made: Made, depth: int, left: list[int]) -> Any:
    state = made.state
    if isinstance(state, tuple) and len(state) == 2:  # (attributes, slots)
        state = state[0]
    found: dict[str, Any] = {}
    for key, child in chain(made.pairs, state.pairs if isinstance(state, Made) else ()):
        left[0] -= 1
        if left[0] <= 0:
            break
        if isinstance(key, str | int) and not isinstance(key, bool) and len(text := str(key)) <= MAX_TEXT:
            plain = _plain(child, depth - 1, left)
            if plain is not _Nothing and text not in found:
                found[text] = plain
    if found.keys() >= {"_content"}:  # OmegaConf's dictionary
        return found["_content"]
    if found.keys() >= {"_val", "_metadata"}:  # and its value
        return found["_val"]
    return found or _Nothing
