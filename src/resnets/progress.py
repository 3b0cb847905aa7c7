"""Progress of long work, with the time left, on standard error.

A terminal gets a live bar. Anything else (a log file, a pipe) gets a plain line every ten seconds, so
that a run in the background can be watched too. Standard output is never touched.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

LINE_EVERY = 10.0  # seconds between the lines of a log


def duration(seconds: float) -> str:
    """'45 s', '3 min 20 s' or '2 h 05 min'."""
    whole = max(0, round(seconds))
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02d} s"
    return f"{whole // 3600} h {whole % 3600 // 60:02d} min"


@contextmanager
def track(what: str, total: int, unit: str = "images") -> Iterator[Callable[[int], None]]:
    """Show the progress of ``total`` units of work; the value is a function that reports ``n`` more done.

    >>> with track("reading", 2) as advance:
    ...     advance(2)
    """
    if sys.stderr.isatty():
        from rich.console import Console
        from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

        bar = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn(unit),
            TimeRemainingColumn(),
            console=Console(stderr=True),
            transient=True,
        )
        with bar:
            task = bar.add_task(what, total=total)
            yield lambda n: bar.advance(task, n)
        return

    start = last = time.monotonic()
    done = 0

    def advance(n: int) -> None:
        nonlocal done, last
        done += n
        now = time.monotonic()
        if now - last >= LINE_EVERY and done:
            last = now
            left = (now - start) / done * (total - done)
            print(f"{what}: {done}/{total} {unit}, {duration(left)} left", file=sys.stderr, flush=True)

    yield advance
