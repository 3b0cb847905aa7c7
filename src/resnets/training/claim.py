"""Who works in a run's folder: one training, finish or resume at a time, and everybody else is told who.

A claim is a lock on a hidden file of the folder. It ends with the process that holds it, however that ends; the file
that a killed one leaves binds nobody, and says what was asked of a run that had no run.json yet.
"""

from __future__ import annotations

import dataclasses
import errno
import json
import os
import socket
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from resnets.errors import ParameterError, ResnetsError
from resnets.regular import LONGEST_NAME
from resnets.text import PATH, brief, printable
from resnets.training.recipe import Recipe
from resnets.weights.run import CHECKPOINT, CURVES, HEAD, MODEL, RECIPE, RECORD, REPORT, Asked, ways_on
from resnets.whole import lock

CLAIM = ".claim"
LONGEST = 2**20  # bytes of a claim that are read
PATIENCE = 100  # hundredths of a second that a new holder gets to write who it is


class Claim:
    """A folder held against every other process, and every other thread of this one; a context.

    folder  where a run lies, or, if `new`, is to begin: then it is made where it is missing, and nothing may lie in it
    note    what the file says beside who holds the folder; fit for JSON

    When the block fails before there is a run.json, a folder that was made for it is removed again.

    Raises ParameterError: somebody else holds it (who, since when), it is not empty, or it cannot be made or written.
    """

    def __init__(self, folder: Path, *, new: bool = False, note: Mapping[str, Any] | None = None) -> None:
        self.folder, self.new, self.note = folder, new, note or {}
        self._made: list[Path] = []
        self._file = -1

    def __enter__(self) -> Self:
        try:
            self._take()
            self._sign()
        except OSError as problem:
            self.__exit__(type(problem))
            what, mend = ("made", "give another `out`") if self.new else ("written", "make it writable, or make room")
            raise ParameterError(f"{self._shown} cannot be {what} ({problem.strerror}): {mend}.") from problem
        except BaseException as problem:  # a Ctrl-C in here, too, holds nothing
            self.__exit__(type(problem))
            raise
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: BaseException | TracebackType | None) -> None:
        if self._file >= 0:
            if self.new or self._begun():  # else it still says what was asked
                with suppress(OSError):
                    (self.folder / CLAIM).unlink()  # while it is held, so that it is nobody else's
            os.close(self._file)
        if kind is not None and not self._begun():
            for path in self._made:
                with suppress(OSError):  # somebody else has put something into it
                    path.rmdir()

    @property
    def _shown(self) -> str:
        return printable(str(self.folder))

    def _begun(self) -> bool:
        return (self.folder / RECORD).exists()

    def _take(self) -> None:
        """Open the file and lock it."""
        place = self.folder / CLAIM
        for turn in range(PATIENCE + 1):
            if self.new:
                if self.folder.exists() and not place.exists() and not is_free(self.folder):
                    raise _Taken(self._full())  # and no claim is put into it
                self._make()
            try:
                file = os.open(place, os.O_RDWR | os.O_CREAT | getattr(os, "O_NOFOLLOW", 0), 0o644)
            except FileNotFoundError:
                if self.new and turn < PATIENCE:  # one that failed has removed its folder just now
                    continue
                raise
            if _lock(file):
                if _is_at(file, place):
                    if self.new and not is_free(self.folder):
                        os.close(file)
                        raise _Taken(self._full())
                    self._file = file
                    return
            elif (who := _holder(file)) or turn == PATIENCE:
                os.close(file)
                raise _Taken(self._refusal(who))
            else:
                time.sleep(0.01)
            os.close(file)
        raise _Taken(self._refusal({}))

    def _make(self) -> None:
        missing = [path for path in (self.folder, *self.folder.parents) if not path.exists()]
        self.folder.mkdir(parents=True, exist_ok=True)
        self._made = [*missing, *(path for path in self._made if path not in missing)]

    def _sign(self) -> None:
        who = {"pid": os.getpid(), "host": socket.gethostname(), "since": time.strftime("%Y-%m-%d %H:%M:%S")}
        os.ftruncate(self._file, 0)
        os.write(self._file, json.dumps({**who, **self.note}).encode())

    def _refusal(self, who: Mapping[str, Any]) -> str:
        name = f"process {who['pid']}" if who else "another process"
        if who.get("pid") == os.getpid():
            name = f"another call in this process ({who['pid']})"
        elif who and who["host"] != socket.gethostname():
            name += f" on {printable(who['host'])}"
        since = f" since {printable(who['since'])}" if who else ""
        mend = "wait for it, or give another `out`" if self.new else "wait for it, or stop it"
        return f"{self._shown} is held by {name}{since}: {mend}."

    def _full(self) -> str:
        run = f"; {ways_on(self.folder)}" if self._begun() else ""
        return f"{self._shown} is there and not empty: give another `out`{run}."


@contextmanager
def first_free(folder: Path, note: Mapping[str, Any]) -> Iterator[Path]:
    """Hold the first of FOLDER, FOLDER-2, FOLDER-3 .. that is not there yet. Raises ParameterError like `Claim`."""
    with ExitStack() as held:
        number = 1
        while True:
            place = folder if number == 1 else folder.with_name(f"{folder.name}-{number}")
            number += 1
            with suppress(_Taken):  # by another that began at the same moment
                if not place.exists():
                    held.enter_context(Claim(place, new=True, note=note))
                    break
        yield place


def check_free(folder: Path) -> None:
    """Raise ParameterError where no new run may begin, before what a claim would come too late for."""
    name = os.fspath(folder)
    try:
        if "\0" in name or any(len(os.fsencode(part)) > LONGEST_NAME for part in folder.parts):
            raise OSError(errno.ENAMETOOLONG, "it is the name of no folder")
        taken = folder.exists() and not (folder / CLAIM).exists() and not is_free(folder)
    except OSError as problem:  # a folder that may not be entered, too
        raise ParameterError(f"`out` cannot be {brief(name, PATH)}: {problem.strerror}.") from problem
    if taken:
        raise _Taken(Claim(folder)._full())


def note(asked: Asked, recipe: Recipe) -> dict[str, Any]:
    """What a claim says of a run that begins: see `left_by_a_kill`."""
    return {"asked": asked.to_dict(), "recipe": dataclasses.asdict(recipe)}


def left_by_a_kill(folder: Path) -> tuple[Asked, Recipe] | None:
    """What was asked of a run that has no run.json yet, as the claim of its folder says; None where none does."""
    if (folder / RECORD).exists():
        return None
    try:
        with open(folder / CLAIM, "rb", opener=_without_waiting) as file:
            left = _read(file.fileno())
            return Asked.from_dict(left["asked"]), Recipe.from_table(left["recipe"], CLAIM)
    except (OSError, KeyError, TypeError, AttributeError, ResnetsError):
        return None


def is_free(folder: Path) -> bool:
    """Whether a run may begin here: nothing lies in it but what one that was killed at its beginning has left."""
    leftovers = (CLAIM, f".{RECORD}.")
    return folder.is_dir() and all(path.name.startswith(leftovers) for path in folder.iterdir())


def tidy(folder: Path) -> None:
    """Remove what one that was killed at the very end has left in a run that needs nothing else."""
    if (folder / CLAIM).exists():
        with suppress(ParameterError), Claim(folder):  # it is somebody's, or may only be read
            sweep(folder)


def sweep(folder: Path) -> None:
    """Remove what killed writers have left in a folder that is held; what somebody is writing there is locked."""
    for name in (CHECKPOINT, HEAD, MODEL, *CURVES, REPORT, RECORD, RECIPE):
        for left in folder.glob(f".{name}.*"):
            with suppress(OSError), open(left, "rb", opener=_without_waiting) as file:
                if _lock(file.fileno()):
                    left.unlink()


class _Taken(ParameterError):
    """The folder is another's."""


def _lock(file: int) -> bool:
    """Whether this open file has the lock now."""
    try:
        lock(file)
    except BlockingIOError:
        return False
    return True


def _without_waiting(path: str, flags: int) -> int:
    """Open what may be a pipe, too, that nobody writes to; but no link."""
    return os.open(path, flags | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_NOFOLLOW", 0))


def _is_at(file: int, place: Path) -> bool:
    """Whether an open file still stands at its place: who had it before may have removed it just now."""
    with suppress(FileNotFoundError):
        return os.path.samestat(os.stat(place), os.fstat(file))
    return False


def _holder(file: int) -> dict[str, Any]:
    """{"pid", "host", "since"} of a locked claim; {} while it still names one that is no more, or nobody."""
    who = _read(file)
    if not isinstance(who.get("pid"), int) or not all(isinstance(who.get(key), str) for key in ("host", "since")):
        return {}
    if who["host"] == socket.gethostname():
        try:
            os.kill(who["pid"], 0)
        except (ProcessLookupError, OverflowError):
            return {}
        except PermissionError:
            pass  # another user's
    return who


def _read(file: int) -> dict[str, Any]:
    os.lseek(file, 0, os.SEEK_SET)
    try:
        found = json.loads(os.read(file, LONGEST))
    except (ValueError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}
