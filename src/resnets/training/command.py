"""What a command gives the training that is all it does: since when the time counts, and what Ctrl-C means.

A program that uses the library has no part in this: there the time counts from the call, and signals are its own.
"""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from pathlib import Path
from types import FrameType

from resnets.progress import say
from resnets.weights.run import on_with


class _Command:
    """One command at work.

    began       by `time.perf_counter`
    folder      of the run whose steps are being made; None: no steps are
    finishing   whether Ctrl-C has asked for an end while they were
    """

    def __init__(self, began: float) -> None:
        self.began, self.finishing = began, False
        self.folder: Path | None = None

    def interrupted(self, number: int, frame: FrameType | None) -> None:
        """Ctrl-C: finish, the first time that there is something to finish; else stop."""
        if self.folder is None or self.finishing:
            raise KeyboardInterrupt
        self.finishing = True
        line = (
            "finishing: this step is made, then a model of what was learnt so far; press Ctrl-C again to stop at once; "
            f"`{on_with(self.folder)}` goes on"
        )
        # In a thread, since what the signal has interrupted may be the writing of another line.
        threading.Thread(target=say, args=(line,), daemon=True).start()


_COMMAND: ContextVar[_Command | None] = ContextVar("resnets-command", default=None)


@contextmanager
def commanded(began: float) -> Iterator[None]:
    """Run a training as a command does: Ctrl-C finishes it, and stops it where it comes again.

    began       when the command's work began, by `time.perf_counter`; imports belong to it

    Ctrl-C stays what it was outside of the main thread, and where it does not interrupt. Afterwards it is again.
    """
    command = _Command(began)
    main = threading.current_thread() is threading.main_thread()
    takes = main and signal.getsignal(signal.SIGINT) is signal.default_int_handler
    token = _COMMAND.set(command)
    try:
        if takes:
            signal.signal(signal.SIGINT, command.interrupted)
        yield
    finally:
        if takes:
            signal.signal(signal.SIGINT, signal.default_int_handler)
        _COMMAND.reset(token)


def began() -> float:
    """Since when the time of a training counts, by `time.perf_counter`: the command's beginning, or now."""
    command = _COMMAND.get()
    return time.perf_counter() if command is None else command.began


@contextmanager
def steps_in(folder: Path) -> Iterator[Callable[[], bool]]:
    """While the steps of the run in this folder are made; gives what tells whether they are to end now."""
    command = _COMMAND.get()
    if command is None:
        yield lambda: False
        return
    command.folder = folder
    try:
        yield lambda: command.finishing
    finally:
        command.folder = None
