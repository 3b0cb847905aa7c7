"""Who executes the source for a certificate: the framework itself where it can be imported, else our emulation.

A framework is handed tensors and the few sizes that follow from their shapes, never a stranger's pickle or graph,
because several of them would run code for one. Importing one costs seconds, so it happens here alone.
"""

from __future__ import annotations

import importlib
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace

from torch import Tensor

from resnets.weights.formats.stored import Foreign
from resnets.weights.worlds.reference import EXACT, SINGLE, Reference, UnfitError

__all__ = ["EXACT", "SINGLE", "Reference", "UnfitError", "emulation", "framework"]

# By dialect: the framework. A dialect that is not here is one file of somebody's code, or cannot live beside torch.
FRAMEWORKS = {
    "torchvision": "torchvision",
    "timm": "timm",
    "huggingface": "transformers",
    "keras": "Keras",
    "caffe": "OpenCV",
}


def emulation(file: Foreign, dialect: str) -> Reference:
    """Our emulation of a dialect's graph. file: as the dialect prepares it."""
    module = importlib.import_module(f"resnets.weights.worlds.{dialect}.witness")
    return Reference(f"resnets' emulation of {dialect} in float64", lambda x: module.run(file, x), {})


def framework(file: Foreign, dialect: str) -> Reference | None:
    """The framework itself with the tensors of a file as the dialect prepares it; None if there is none to install.

    Raises UnfitError (here or when run) where it is not installed, does not import, or has no such network.
    """
    if dialect not in FRAMEWORKS:
        return None
    with _excused(dialect):
        found: Reference = importlib.import_module(f"resnets.weights.worlds.{dialect}.framework").reference(file)

    def run(x: Tensor) -> Mapping[str, Tensor]:
        with _excused(dialect):
            return found.run(x)

    return replace(found, run=run)


@contextmanager
def _excused(dialect: str) -> Iterator[None]:
    """Whatever goes wrong in a framework is a reason to do without it, and no more."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # what it says about itself is not the user's business
            yield
    except UnfitError:
        raise
    except ModuleNotFoundError as problem:
        raise UnfitError(f"{(problem.name or '').partition('.')[0]} is not installed") from problem
    except Exception as problem:
        why = (str(problem) or type(problem).__name__).splitlines()[0]
        raise UnfitError(f"{FRAMEWORKS[dialect]} cannot execute it ({why})") from problem
