"""A network written as source, for `resnets show`, and the places that its files may go to."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from resnets.cli.output import note

if TYPE_CHECKING:
    from resnets.architecture import Plan


def write_sources(plan: Plan, name: str, torch: Path | None, prototxt: Path | None, keras: Path | None) -> None:
    """Write a plan as its worlds' own source into the files that are named: all of them, or none."""
    from resnets.weights.worlds.caffe.source import prototxt as caffe_source
    from resnets.weights.worlds.keras.source import keras_source
    from resnets.weights.worlds.torch.source import torch_source
    from resnets.whole import write_text

    wanted = (
        (torch, torch_source, "PyTorch"),
        (prototxt, caffe_source, "Caffe's layers"),
        (keras, keras_source, "Keras"),
    )
    texts = [(path, write(plan, name), what) for path, write, what in wanted if path is not None]
    for path, text, what in texts:  # all of them, or none
        write_text(path, text)
        note(f"{name} written as {what} in {path}")


# What stands at the beginning of each kind of file that is written here.
MARKS = {".py": b" multiply-adds for ", ".prototxt": b"input_param {\n    shape {\n", ".svg": b"resnets-diagram"}


def _is_ours(path: Path) -> bool:
    from resnets.regular import open_regular

    with open_regular(path) as file:
        return MARKS[path.suffix] in file.read(1024)


def check_places(*places: tuple[Path | None, str, str]) -> None:
    """Refuse places that nothing can be written to, before any work is done: (path, its suffix, what it will be)."""
    from resnets.errors import ResnetsError

    named = [path.resolve() for path, _, _ in places if path is not None]
    if len(set(named)) < len(named):
        raise ResnetsError(f"{max(named, key=named.count)} is named twice: give each file a name of its own.")
    for path, suffix, what in places:
        if path is None:
            continue
        if path.suffix != suffix:
            raise ResnetsError(
                f"{path} does not end in {suffix}, and that is what {what} is: give it a name that does."
            )
        if path.is_dir():
            raise ResnetsError(f"{path} is a folder: name a file to write.")
        if path.exists() and not _is_ours(path):
            raise ResnetsError(f"{path} is there and was not written by this command: name another file.")
        if not path.parent.is_dir():
            raise ResnetsError(f"There is no folder {path.parent} to write {path.name} into: make it first.")
        try:
            with tempfile.TemporaryFile(dir=path.parent):
                pass
        except OSError as problem:
            raise ResnetsError(f"{path} cannot be written ({problem.strerror}): name another place.") from problem
