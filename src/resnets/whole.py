"""Files that come to stand whole, or not at all: a kill or a full disk leaves what stood there before."""

from __future__ import annotations

import contextlib
import json
import os
import secrets
import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

from resnets.errors import WriteError


@contextlib.contextmanager
def whole(path: Path) -> Iterator[BinaryIO]:
    """A new file to write to, which comes to stand at `path` when all of it is on the disk, or not at all.

    Raises WriteError when the system does not take it. Every other error passes through, and nothing is left behind.
    """
    part = path.with_name(f".{path.name}.{secrets.token_hex(4)}.part")
    try:
        try:
            with open(part, "xb") as file:
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
        with tempfile.TemporaryDirectory(dir=path.parent, prefix=f".{path.name}.") as folder:
            stage = Stage(Path(folder) / path.name, path.parent)
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


def _settle(path: Path) -> None:
    """Bring a file, or the new names in a folder, to the disk, so that not even a power cut takes it back."""
    folder = path.is_dir()
    with contextlib.suppress(OSError) if folder else contextlib.nullcontext():  # not every system can with a folder
        opened = os.open(path, os.O_RDONLY if folder else os.O_RDWR)
        try:
            os.fsync(opened)
        finally:
            os.close(opened)
