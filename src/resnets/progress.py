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


def say(text: str) -> None:
    """One line on standard error that stays, for what the user should know and no result holds."""
    print(text, file=sys.stderr, flush=True)


class Tracker:
    """What `track` hands out: call it with the number of units done since, and a few words of news if any."""

    def __init__(self, show: Callable[[int, str], None], say: Callable[[str], None]) -> None:
        self._show = show
        self.say = say  # prints a line that stays

    def __call__(self, n: int, news: str = "") -> None:
        """Report that ``n`` more units are done."""
        self._show(n, news)


@contextmanager
def track(what: str, total: int, unit: str = "images", done: int = 0) -> Iterator[Tracker]:
    """Show the progress of ``total`` units of work, of which ``done`` are there already.

    >>> with track("reading", 2) as advance:
    ...     advance(2)
    """
    if sys.stderr.isatty():
        from rich.console import Console
        from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

        console = Console(stderr=True, highlight=False)
        bar = Progress(
            TextColumn("{task.description}"),
            BarColumn(bar_width=20),
            MofNCompleteColumn(),
            TextColumn(unit),
            TimeRemainingColumn(),
            TextColumn("{task.fields[news]}"),
            console=console,
            transient=True,
        )
        with bar:
            task = bar.add_task(what, total=total, completed=done, news="")
            yield Tracker(
                lambda n, news: bar.update(task, advance=n, news=news),
                lambda text: console.print(text, markup=False),
            )
        return

    start = last = time.monotonic()
    at_start = done

    def show(n: int, news: str) -> None:
        nonlocal done, last
        done += n
        now = time.monotonic()
        if now - last >= LINE_EVERY and done > at_start:
            last = now
            left = (now - start) / (done - at_start) * (total - done)
            line = f"{what}: {done}/{total} {unit}, {duration(left)} left"
            print(f"{line}, {news}" if news else line, file=sys.stderr, flush=True)

    yield Tracker(show, say)
