"""The one way up: what the public surface offers, for an object below it that has the same as a method.

`classifier.evaluate(data)` is `resnets.evaluate(classifier, data)`, and judging stands above inference. So nothing is
imported here: `resnets/__init__.py`, which stands outside the house, says how its names are found.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

_find: Callable[[str], Any] | None = None


def offer(find: Callable[[str], Any]) -> None:
    """Say how a public name is found; `resnets/__init__.py` does, once."""
    global _find
    _find = find


def verb(name: str) -> Callable[..., Any]:
    """The public function of that name."""
    assert _find is not None  # importing anything of this package has run its __init__
    found: Callable[..., Any] = _find(name)
    return found
