"""The standard streams of a command: closed, full, gone, or one file for both. None of them ends its work.

A remark that nobody can hear is no error; a result that cannot be written is one, `Unwritten`, told when the work is
done. A document on standard output stays alone there, though standard error is the same file.
"""

from __future__ import annotations

import contextlib
import errno
import os
import stat
import sys
from collections.abc import Iterator
from typing import Any, TextIO, cast


class Unwritten(Exception):
    """Standard output took no more. No `OSError`, which would be taken for one of a file. `gone`: its reader left."""

    def __init__(self, cause: OSError | ValueError) -> None:
        why = getattr(cause, "strerror", None) or str(cause)
        super().__init__(f"The result cannot be written to standard output ({why}): send it elsewhere, or make room.")
        self.gone = isinstance(cause, BrokenPipeError)


class Output:
    """Standard output: what it does not take raises `Unwritten`. None stands for one that was closed."""

    def __init__(self, stream: TextIO | None) -> None:
        self._stream = stream
        self.used = False  # whether something was written
        self.alone = False  # whether nothing else is to be written to that file

    def write(self, text: str) -> int:
        """Write as the stream does."""
        self.used = True
        with _told():
            return _there(self._stream).write(text)

    def flush(self) -> None:
        """Bring everything out."""
        if self.used:
            with _told():
                _there(self._stream).flush()

    def isatty(self) -> bool:
        """Whether somebody looks at it."""
        return self._stream is not None and not self._stream.closed and self._stream.isatty()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


def _there(stream: TextIO | None) -> TextIO:
    if stream is None:
        raise OSError(errno.EBADF, os.strerror(errno.EBADF))
    return stream


@contextlib.contextmanager
def _told() -> Iterator[None]:
    try:
        yield
    except UnicodeError:
        raise
    except (OSError, ValueError) as problem:  # ValueError: it is closed
        raise Unwritten(problem) from problem


@contextlib.contextmanager
def standard(document: bool) -> Iterator[Output]:
    """For the time of one command; gives what stands for standard output, which `sys.stdout` is meanwhile.

    document    whether one JSON document is to be there and nothing else: where standard error is the same file (`2>&1`
                into a file or a pipe; a terminal is none), what is said there is left out
    """
    _fill()
    before = sys.stdout
    out = Output(before)
    sys.stdout = cast(TextIO, out)
    out.alone = document and _same(before, sys.stderr)
    kept = os.dup(sys.stderr.fileno()) if out.alone else None
    try:
        if out.alone:  # all that writes there, other people's libraries too
            _silence(sys.stderr)
        yield out
    finally:
        if kept is not None:
            sys.stderr.flush()
            os.dup2(kept, sys.stderr.fileno())
            os.close(kept)
        sys.stdout = before


def drain() -> None:
    """Give up what the streams do not take, so that Python does not stumble over it when it ends."""
    for stream in (sys.stdout, sys.stderr):
        try:
            if stream is not None and not stream.closed:
                stream.flush()
        except OSError:
            with contextlib.suppress(OSError):  # a stream without a file
                _silence(stream)


def _fill() -> None:
    """Stand-ins for standard files that are closed: the next file to be opened would become one of them."""
    for number in range(3):
        try:
            os.fstat(number)
        except OSError:
            os.set_inheritable(os.open(os.devnull, os.O_RDWR), True)  # takes the lowest number that is free: this one
    if sys.stdin is None:
        sys.stdin = open(os.devnull)  # noqa: SIM115  (open as long as the process)


def _same(one: TextIO | None, other: TextIO | None) -> bool:
    """Whether two streams are one file or pipe."""
    try:
        if one is None or other is None:
            return False
        infos = [os.fstat(stream.fileno()) for stream in (one, other)]
    except (OSError, ValueError):  # no files, or closed
        return False
    return os.path.samestat(*infos) and not stat.S_ISCHR(infos[0].st_mode)


def _silence(stream: TextIO) -> None:
    with open(os.devnull, "wb") as nothing:
        os.dup2(nothing.fileno(), stream.fileno())
