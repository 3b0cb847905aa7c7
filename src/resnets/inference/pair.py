"""OpenVINO's two files: the .xml names the hash of its .bin, because it runs with any .bin of the same size."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

from resnets.errors import ExportError
from resnets.progress import say
from resnets.text import printable

PLACE = ("resnets", "weights_sha256")  # in the model's rt_info
NONE = 64 * "0"  # what stands there before the .bin is written


def sign(path: Path) -> None:
    """Write the hash of its .bin into an .xml that was saved with `NONE` in its place and is not in use yet."""
    text = path.read_text(encoding="utf-8")
    before, there, after = text.rpartition(f'"{NONE}"')
    if not there:
        raise ExportError(f"{printable(path.name)}: OpenVINO has not written what it was given to write.")
    path.write_text(f'{before}"{_hash(path)}"{after}', encoding="utf-8")


def check(path: Path, model: Any) -> None:
    """Raise ExportError where the .bin beside an .xml is not its own; say so where nobody can tell.

    path    the .xml
    model   what OpenVINO reads from it, an `openvino.Model`; it must not have run
    """
    place = list(PLACE)
    if not model.has_rt_info(place):
        say(f"{path.name} names no hash of its .bin: that the two belong together is not checked.")
    elif model.get_rt_info(place).astype(str) != _hash(path):
        raise ExportError(
            f"{printable(path.with_suffix('.bin').name)} is not what {printable(path.name)} was written with: export "
            "again, or put its own beside it."
        )


def _hash(path: Path) -> str:
    with open(path.with_suffix(".bin"), "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
