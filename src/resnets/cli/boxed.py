"""The model in the box: when `resnets predict` means it, and what is said of it."""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import TYPE_CHECKING

import typer

if TYPE_CHECKING:
    from resnets.inference import Classifier


def meant(model: str, paths: list[str]) -> tuple[str, list[str]]:
    """(the model, the pictures): where the first word is a picture, or is called like one, the box's model is meant."""
    from resnets.weights.locate import BOXED

    if _is_picture(Path(model)):
        return str(BOXED), [model, *paths]
    if not paths:
        raise typer.BadParameter("Missing argument 'PATH...': name the pictures behind the model.")
    return model, paths


def _is_picture(path: Path) -> bool:
    from resnets.data.decode import is_picture
    from resnets.data.layout import PICTURES
    from resnets.regular import open_regular

    with contextlib.suppress(OSError, ValueError):
        if path.is_file():
            with open_regular(path) as file:
                return is_picture(file.read(256))
        return path.suffix.lower() in PICTURES and not path.is_dir()
    return False


def told(model: str, classifier: Classifier) -> str:
    """Of the model in the box, what it is, what it is good for, and what not; "" of any other."""
    from resnets.weights.locate import BOX, BOXED

    if model != str(BOXED) and (model != BOX or Path(BOX).exists()):
        return ""
    metrics = classifier.provenance.metrics or {}
    return (
        f"the model in the box: ResNet-20, CIFAR-10, {100 * metrics['top1']:.1f} % top-1 there. It sees 32 × 32 pixels "
        f"and knows {', '.join(classifier.classes)} and nothing else: `resnets train photos/` makes one of your own."
    )
