"""The other worlds: how each names, lays out, writes and runs a residual network.

A world is a folder. `names.py` says what we need to know to convert (a `Dialect`), `witness.py` runs its graph for a
certificate and shares no code with that, `framework.py` has it run by the world itself. The last two are imported when
they are asked for, as importing a framework costs seconds.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from importlib import import_module

from torch import Tensor

from resnets.errors import ModelFileError, nearest
from resnets.weights.formats.stored import Foreign
from resnets.weights.worlds.akamaster.names import Akamaster
from resnets.weights.worlds.base import Dialect
from resnets.weights.worlds.caffe.names import Caffe
from resnets.weights.worlds.huggingface.names import HuggingFace
from resnets.weights.worlds.keras.names import Keras
from resnets.weights.worlds.onnx.names import Onnx
from resnets.weights.worlds.reference import Reference, UnfitError
from resnets.weights.worlds.tf_slim.names import TFSlim
from resnets.weights.worlds.timm.names import Timm
from resnets.weights.worlds.torchvision.names import Torchvision
from resnets.weights.worlds.tutorial.names import Tutorial

__all__ = ["DIALECTS", "Dialect", "dialect_of", "emulation", "framework"]

# By the folders' names, in the order in which they are asked; where two read a file equally well, the first is right.
DIALECTS: dict[str, Dialect] = {
    dialect.name: dialect
    for dialect in (
        Torchvision(),
        Timm(),
        HuggingFace(),
        Caffe(),
        TFSlim(),
        Keras(),
        Akamaster(),
        Tutorial(),
        Onnx(),
    )
}


def dialect_of(name: str) -> Dialect:
    """The dialect of a name. Raises ModelFileError with the nearest names for an unknown one."""
    if name not in DIALECTS:
        raise ModelFileError(f"There is no dialect {name!r}; there are {', '.join(DIALECTS)}.{nearest(name, DIALECTS)}")
    return DIALECTS[name]


def emulation(file: Foreign, dialect: str) -> Reference:
    """Our witness of a world's graph. file: as the dialect prepares it."""
    witness = import_module(f"resnets.weights.worlds.{dialect}.witness")
    return Reference(f"resnets' emulation of {dialect} in float64", lambda x: witness.run(file, x), {})


def framework(file: Foreign, dialect: str) -> Reference | None:
    """The framework itself with the tensors of a file as the dialect prepares it; None if there is none to install.

    It is handed tensors and the few sizes that follow from their shapes, never a stranger's pickle or graph, because
    several frameworks would run code for one.

    Raises UnfitError (here or when run) where it is not installed, does not import, or has no such network.
    """
    name = DIALECTS[dialect].framework
    if not name:
        return None
    with _excused(name):
        found: Reference = import_module(f"resnets.weights.worlds.{dialect}.framework").reference(file)

    def run(x: Tensor) -> Mapping[str, Tensor]:
        with _excused(name):
            return found.run(x)

    return replace(found, run=run)


@contextmanager
def _excused(name: str) -> Iterator[None]:
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
        raise UnfitError(f"{name} cannot execute it ({why})") from problem
