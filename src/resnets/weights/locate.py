"""Where a model lies: a path, a run's folder, a tag, or this package; and whether the file is one of our own."""

from __future__ import annotations

from pathlib import Path

from safetensors import SafetensorError

from resnets.architecture import names
from resnets.errors import ModelFileError
from resnets.regular import open_regular
from resnets.text import PATH, brief
from resnets.weights import registry
from resnets.weights.formats.safetensors_file import opened
from resnets.weights.run import MODEL

BOX = "box"  # the model that comes with this package: a ResNet-20 for CIFAR-10 (docs/guides/box.md)
BOXED = Path(__file__).with_name("box.safetensors")


def located(what: str | Path) -> tuple[Path, str | None]:
    """(the file or folder, the tag that it was fetched for if there was one).

    Raises FetchError, and ModelFileError for an unknown tag, for the bare name of a network, and for what no system
    takes for a path.
    """
    path, text = Path(what), str(what)
    try:
        there = "\0" not in text and path.exists()
    except (OSError, ValueError) as problem:  # a folder on the way that may not be entered, a name that is none
        why = getattr(problem, "strerror", None) or str(problem)
        raise ModelFileError(f"{brief(text, PATH)} cannot be read: {why}.") from problem
    if there:
        return path, None
    if text == BOX:
        return BOXED, None
    if registry.is_tag(text):
        return registry.fetch_weights(text), text
    if text in names():
        raise ModelFileError(
            f"{what} is a network without weights: train it (`resnets train DATA --model {what}`) and name "
            "the model.safetensors or the folder of that run."
        )
    if "\0" in text:
        raise ModelFileError(f"{brief(text, PATH)} is the name of no file.")
    return path, None


def own_file(path: Path) -> Path | None:
    """The model file that a path or a run's folder means, if `modelfile.save` wrote it; a damaged one counts."""
    own = path / MODEL if path.is_dir() else path
    try:
        with opened(own) as file:
            return own if "resnets" in (file.metadata() or {}) else None
    except (OSError, SafetensorError):
        if not own.is_file():
            return None
        with open_regular(own) as file:
            return own if b'"resnets"' in file.read(64) else None
