"""Files that come to stand whole, or not at all: a kill or a full disk leaves what stood there before."""

from __future__ import annotations

import contextlib
import json
import os
import secrets
from collections.abc import Iterator
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


def _settle(folder: Path) -> None:
    """Bring the new name to the disk too, so that not even a power cut takes it back; not every system can."""
    with contextlib.suppress(OSError):
        directory = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(directory)
        finally:
            os.close(directory)
