"""What a command gives the training that is all it does: since when the time counts.

A program that uses the library has no part in this: there the time counts from the call.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

_BEGAN: ContextVar[float | None] = ContextVar("resnets-command", default=None)


@contextmanager
def commanded(began: float) -> Iterator[None]:
    """Run a training as a command does. began: when its work began, by `time.perf_counter`; imports belong to it."""
    token = _BEGAN.set(began)
    try:
        yield
    finally:
        _BEGAN.reset(token)


def began() -> float:
    """Since when the time of a training counts, by `time.perf_counter`: the command's beginning, or now."""
    found = _BEGAN.get()
    return time.perf_counter() if found is None else found
