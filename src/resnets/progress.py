"""How the library speaks: records of the logger ``resnets``, and the progress of long work, with the time left.

A program that configures nothing gets plain lines on standard error, and a live bar on a terminal. The logger's
level silences them, bars included; ``propagate = True`` sends them to the program's own handlers instead, and so do
other ``handlers``. Where no bar is drawn, progress is a line every ten seconds, so that a run in the background can be
watched too. Standard output is never touched.
"""

from __future__ import annotations

import logging
import sys
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import Any, TextIO, cast

from resnets.text import printable

LOG = logging.getLogger("resnets")
LINE_EVERY = 10.0  # seconds between the lines of a log
RECENT = 30.0  # seconds whose speed tells the time left: work begins slowly, and may change its pace


class Plain(logging.Handler):
    """Plain lines on whatever is standard error at the time; a warning begins with "warning: "."""

    def emit(self, record: logging.LogRecord) -> None:
        """Print the record's line at once."""
        try:
            if self.active() and _heard():
                print(self.line(record), file=sys.stderr, flush=True)
        except OSError:  # a stream that is full, or whose reader went away, is no error
            pass
        except Exception:
            self.handleError(record)

    def line(self, record: logging.LogRecord) -> str:
        """What is printed for a record: one line, whatever names it holds."""
        text = printable(record.getMessage())
        return f"warning: {text}" if record.levelno >= logging.WARNING else text

    def active(self) -> bool:
        """Whether it prints at all."""
        return True


class _Default(Plain):
    """What prints until a program lets the records go on to its own handlers."""

    def active(self) -> bool:
        return not LOG.propagate


def install() -> None:
    """Give the logger its default handler and the level INFO, unless the program was here first."""
    if not LOG.handlers:
        LOG.addHandler(_Default())
        LOG.propagate = False
    if LOG.level == logging.NOTSET:
        LOG.setLevel(logging.INFO)


def say(text: str) -> None:
    """One line that stays, for what the user should know and no result holds."""
    LOG.info("%s", text)


def warn(text: str) -> None:
    """One line about what went wrong and stops nothing."""
    LOG.warning("%s", text)


def duration(seconds: float) -> str:
    """'45 s', '3 min 20 s' or '2 h 05 min'."""
    whole = max(0, round(seconds))
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02d} s"
    return f"{whole // 3600} h {whole % 3600 // 60:02d} min"


class Tracker:
    """What `track` hands out: call it with the number of units done since, and a few words of news if any."""

    def __init__(self, show: Callable[[int, str], None]) -> None:
        self._show = show

    def __call__(self, n: int, news: str = "") -> None:
        """Report that ``n`` more units are done."""
        self._show(n, news)

    def say(self, text: str) -> None:
        """Print a line that stays, above a bar if there is one."""
        say(text)


@contextmanager
def track(what: str, total: int, unit: str = "images", done: int = 0) -> Iterator[Tracker]:
    """Show the progress of ``total`` units of work, of which ``done`` are there already.

    >>> with track("reading", 2) as advance:
    ...     advance(2)
    """
    if _bar_wanted():
        from rich.console import Console
        from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

        bar = Progress(
            TextColumn("{task.description}"),
            BarColumn(bar_width=20),
            MofNCompleteColumn(),
            TextColumn(unit),
            TimeRemainingColumn(),
            TextColumn("{task.fields[news]}"),
            console=Console(file=cast(TextIO, Unfailing(sys.stderr)), highlight=False, markup=False, emoji=False),
            transient=True,
            redirect_stdout=False,  # results go where they were sent, though the bar is on a terminal
        )
        with bar:  # which lets what is printed on standard error pass above it
            task = bar.add_task(printable(what), total=total, completed=done, news="")
            yield Tracker(lambda n, news: bar.update(task, advance=n, news=printable(news)))
        return

    last = time.monotonic()
    passed = deque([(last, done)])  # when how much was done, for as long as it is recent, and the last before that

    def show(n: int, news: str) -> None:
        nonlocal done, last
        done += n
        now = time.monotonic()
        if now - last >= LINE_EVERY and done > passed[0][1]:
            last = now
            line = f"{what}: {done}/{total} {unit}, {duration(_left(passed, now, done, total))} left"
            say(f"{line}, {news}" if news else line)
        if now - passed[-1][0] >= RECENT / 30:
            passed.append((now, done))
            while now - passed[1][0] > RECENT:
                passed.popleft()

    yield Tracker(show)


def _left(passed: Sequence[tuple[float, int]], now: float, done: int, total: int) -> float:
    """Seconds that the rest takes at the speed since the first of the (time, units done) that have passed."""
    began, before = passed[0]
    return (now - began) / (done - before) * (total - done)


class Unfailing:
    """A stream that may be full, closed, or a terminal that went away, for what must not fail over that."""

    def __init__(self, stream: Any) -> None:
        self._stream = stream

    def write(self, text: str) -> int:
        """Write what can be written."""
        with suppress(OSError, ValueError):  # ValueError: it is closed
            self._stream.write(text)
        return len(text)

    def flush(self) -> None:
        """Bring out what can be brought out."""
        with suppress(OSError, ValueError):
            self._stream.flush()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


def _bar_wanted() -> bool:
    """Whether lines of progress would be plain ones on a terminal."""
    if not LOG.isEnabledFor(logging.INFO) or not _heard() or not sys.stderr.isatty():
        return False
    return any(isinstance(handler, Plain) and handler.active() for handler in LOG.handlers)


def _heard() -> bool:
    """Whether there is a standard error: a program may have none, or have closed it."""
    return sys.stderr is not None and not sys.stderr.closed
