"""What a run has made, and whether it is still what was written: model, curves, report."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

from PIL import Image

from resnets.errors import ResnetsError
from resnets.weights import load as load_model
from resnets.weights.run import CURVES, MODEL, REPORT, RunRecord

MADE = (MODEL, *CURVES, REPORT)


def made(record: RunRecord) -> tuple[str, ...]:
    """What a finished run leaves: one that made no step has no curves."""
    return MADE if record.epochs else (MODEL, REPORT)


def described(folder: Path) -> dict[str, dict[str, Any]]:
    """{name: {"bytes", "sha256"}} of what is there, for run.json."""
    found = {}
    for name in MADE:
        if (folder / name).is_file():
            with open(folder / name, "rb") as file:
                digest = hashlib.file_digest(file, "sha256").hexdigest()
            found[name] = {"bytes": (folder / name).stat().st_size, "sha256": digest}
    return found


def lost(folder: Path, record: RunRecord) -> list[str]:
    """What a finished run should have, and has not, or no more as it was written.

    Runs of older versions did not write down what their files were: these are looked at.
    """
    if record.files:
        there = described(folder)
        return [name for name in made(record) if there.get(name) is None or there[name] != record.files.get(name)]
    return [name for name in made(record) if not looks_whole(folder / name)]


def looks_whole(path: Path) -> bool:
    """Whether a file is a whole model, picture or page, whoever wrote it."""
    if not path.is_file():
        return False
    try:
        return _LOOKS[path.suffix](path)
    except (OSError, SyntaxError, ResnetsError):  # Pillow's for a damaged PNG
        return False


def _is_model(path: Path) -> bool:
    load_model(path)  # which checks its hash, and runs it
    return True


def _is_picture(path: Path) -> bool:
    with Image.open(path) as picture:
        picture.verify()
    return True


def _ends_with(ending: bytes) -> Callable[[Path], bool]:
    return lambda path: path.read_bytes().rstrip().endswith(ending)


_LOOKS: dict[str, Callable[[Path], bool]] = {
    ".safetensors": _is_model,
    ".png": _is_picture,
    ".svg": _ends_with(b"</svg>"),
    ".html": _ends_with(b"</html>"),
}
