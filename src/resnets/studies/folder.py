"""The folder of a study: what it is for, and that it is of one study alone."""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Mapping
from pathlib import Path

from resnets.data.named import NAMES
from resnets.errors import DataError
from resnets.regular import read_regular
from resnets.text import PATH, brief, printable
from resnets.whole import write_json

ASKED = "asked.json"


def place_of(name: str, quick: bool) -> Path:
    """Where a study lies, if nobody says otherwise."""
    return Path("runs") / f"study-{name}{'-quick' if quick else ''}"


def claim(folder: Path, mine: Mapping[str, object]) -> None:
    """See that the folder is new, or of the same study of the same networks, trained alike. Raises DataError."""
    path, shown = folder / ASKED, printable(str(folder))
    if folder.exists() and not folder.is_dir():
        raise DataError(f"{shown} is a file: name a folder for the study.")
    if path.exists():
        try:
            theirs = json.loads(read_regular(path, 2**24))
        except (OSError, ValueError, RecursionError) as problem:
            raise DataError(f"{shown} has an {ASKED} that cannot be read: choose another folder.") from problem
        differ = [key for key, value in mine.items() if not isinstance(theirs, dict) or theirs.get(key) != value]
        if differ == ["data"]:
            _check_moved(shown, str(mine["data"]), str(theirs["data"]))
        elif differ:
            raise DataError(
                f"{shown} belongs to a study with other {', '.join(differ)}: choose another folder with `out`."
            )
        return
    if folder.is_dir() and any(folder.iterdir()):
        raise DataError(f"{shown} is not empty, and no study: choose another folder with `out`.")
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as problem:
        raise DataError(f"{shown} cannot be made a folder ({problem.strerror}): choose another.") from problem
    write_json(path, mine)


def _check_moved(shown: str, mine: str, theirs: str) -> None:
    """Data may lie elsewhere by now, where it is no more where it was; each run sees that it is the same."""
    if mine not in NAMES and "://" not in mine and not os.path.exists(mine):
        raise DataError(f"There is nothing at {brief(mine, PATH)} to train on.")
    if theirs in NAMES or os.path.exists(theirs):
        raise DataError(f"{shown} belongs to a study of other data ({brief(theirs, PATH)}): choose another `out`.")


def leave(folder: Path) -> None:
    """Leave no folder behind that nothing was made in, because its data cannot be used, say."""
    if not (folder / "runs").exists():
        (folder / ASKED).unlink(missing_ok=True)
        with contextlib.suppress(OSError):
            folder.rmdir()
