"""Files that come to stand whole, or not at all: a kill or a full disk leaves what stood there before.

What is not whole yet has a name of its own, `.NAME.xxxxxxxx.part` or, a folder, `.NAME.xxxxxxxx.parts`, and is held by
its writer. What a writer that was killed has left is removed by the next one that writes beside it: see `sweep`.
"""

from __future__ import annotations

import contextlib
import errno
import json
import os
import re
import secrets
import shutil
import stat
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

from resnets.errors import WriteError

STALE = 3600.0  # seconds since the last write after which nobody waits for what a writer has left
_OURS = re.compile(r"\..+\.[0-9a-f]{8}\.parts?")
_swept: set[str] = set()  # folders that this process has looked through


@contextlib.contextmanager
def whole(path: Path) -> Iterator[BinaryIO]:
    """A new file to write to, which comes to stand at `path` when all of it is on the disk, or not at all.

    Raises WriteError when the system does not take it. Every other error passes through, and nothing is left behind.
    """
    sweep(path.parent)
    part = path.with_name(f".{path.name}.{secrets.token_hex(4)}.part")
    try:
        try:
            with open(part, "xb") as file:
                _hold(file.fileno())
                with contextlib.suppress(OSError):  # what was private stays so
                    if stat.S_ISREG(mode := path.lstat().st_mode):
                        os.chmod(part, stat.S_IMODE(mode & part.stat().st_mode))
                yield file
                file.flush()
                os.fsync(file.fileno())
            os.replace(part, path)
            _settle(path.parent)
        finally:
            with contextlib.suppress(OSError):
                part.unlink(missing_ok=True)
    except OSError as problem:
        if problem.errno is None or isinstance(problem, WriteError):  # of what was to be written, not of the system
            raise
        raise unwritable(path, problem) from problem


@dataclass
class Stage:
    """Where files that belong together are written before they take their places.

    path        stands in for the path that was asked for; what belongs to it is written beside it, or into it
    parts       what was written, told by who wrote it: what a reader looks for first comes first
    beside      the folder in which all of it comes to stand
    """

    path: Path
    beside: Path
    parts: Sequence[Path] = ()

    @property
    def places(self) -> tuple[Path, ...]:
        """Where the parts come to stand, in their order."""
        return tuple(self.beside / part.relative_to(self.path.parent) for part in self.parts)


@contextlib.contextmanager
def staged(path: Path, check: Callable[[Path], None] = lambda place: None) -> Iterator[Stage]:
    """A temporary folder beside `path` for several files, all of which are on the disk before any takes its place.

    The parts take their places from the last to the first, as a reader looks for the first. check: called with every
    place before one is taken; what it raises leaves everything as it was.

    Raises WriteError when the system does not take a file. Other errors pass through, and nothing is left behind.
    """
    try:
        with _folder(path.parent, path.name) as folder:
            stage = Stage(folder / path.name, path.parent)
            yield stage
            for place in stage.places:
                check(place)
            for part in stage.parts:
                _settle(part)
            for part, place in reversed(list(zip(stage.parts, stage.places, strict=True))):
                place.parent.mkdir(exist_ok=True)
                os.replace(part, place)
            for parent in {place.parent for place in stage.places}:
                _settle(parent)
    except OSError as problem:  # a WriteError too, which names a place in the temporary folder
        raise unwritable(path, problem) from problem


def workspace() -> contextlib.AbstractContextManager[Path]:
    """A temporary folder for what no user asked for, which goes with the context, or is swept after a kill."""
    return _folder(Path(tempfile.gettempdir()), "resnets")


def write_text(path: Path, text: str) -> None:
    """Write a text file in UTF-8; see `whole`."""
    with whole(path) as file:
        file.write(text.encode())


def write_json(path: Path, document: Any) -> None:
    """Write a JSON document for people and programs; see `whole`."""
    write_text(path, json.dumps(document, indent=1) + "\n")


def unwritable(path: Path, problem: OSError) -> WriteError:
    """The sentence for a file that the system does not take."""
    why = problem.strerror or str(problem)
    return WriteError(f"{path} cannot be written ({why}): choose another place or make room.", problem)


def sweep(folder: Path) -> None:
    """Remove what writers that were killed have left in a folder; once in each process.

    Only what has one of our names, belongs to this user, was last written to more than an hour ago (STALE), and is held
    by no living writer, here or, where its file system tells, on another machine.
    """
    place = os.path.abspath(folder)
    if place in _swept or sys.platform == "win32":  # where nobody could tell whether a writer lives
        return
    _swept.add(place)
    with contextlib.suppress(OSError), os.scandir(place) as entries:
        for entry in entries:
            if _OURS.fullmatch(entry.name):
                with contextlib.suppress(OSError):  # another process was faster, or it is held
                    _remove(Path(entry.path))


def _remove(left: Path) -> None:
    """Remove a stale file or folder that nobody holds. Raises OSError where somebody does."""
    info = left.lstat()
    directory = stat.S_ISDIR(info.st_mode)
    if info.st_uid != os.geteuid() or not (directory if left.suffix == ".parts" else stat.S_ISREG(info.st_mode)):
        return
    written = max(
        [info.st_mtime, *(path.lstat().st_mtime for path in left.rglob("*"))] if directory else [info.st_mtime]
    )
    if time.time() - written <= STALE:
        return
    opened = os.open(left, os.O_NOFOLLOW | (os.O_RDONLY if directory else os.O_RDWR))
    try:
        _lock(opened)
        if directory:
            shutil.rmtree(left)
        else:
            left.unlink()
    finally:
        os.close(opened)


@contextlib.contextmanager
def _folder(beside: Path, name: str) -> Iterator[Path]:
    """A temporary folder, held while it is in use."""
    sweep(beside)
    folder = beside / f".{name}.{secrets.token_hex(4)}.parts"
    folder.mkdir(mode=0o700)
    try:
        opened = None if sys.platform == "win32" else os.open(folder, os.O_RDONLY)
        try:
            if opened is not None:
                _hold(opened)
            yield folder
        finally:
            if opened is not None:
                os.close(opened)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _hold(opened: int) -> None:
    """Let others see that a writer lives, until it closes what it has opened or dies."""
    with contextlib.suppress(OSError):  # a file system that knows no locks: nothing on it is swept
        _lock(opened)


def lock(opened: int, *, wait: bool = False) -> None:
    """Hold an open file against other processes; where the system or its disk knows no locks, everybody is on his own.

    Raises BlockingIOError where another one holds it, unless it is waited for.
    """
    try:
        _lock(opened, wait)
    except OSError as problem:
        if problem.errno not in (errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP):
            raise


def _lock(opened: int, wait: bool = False) -> None:
    if sys.platform != "win32":
        import fcntl

        fcntl.flock(opened, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))


def _settle(path: Path) -> None:
    """Bring a file, or the new names in a folder, to the disk, so that not even a power cut takes it back."""
    folder = path.is_dir()
    with contextlib.suppress(OSError) if folder else contextlib.nullcontext():  # not every system can with a folder
        opened = os.open(path, os.O_RDONLY if folder else os.O_RDWR)
        try:
            os.fsync(opened)
        finally:
            os.close(opened)
