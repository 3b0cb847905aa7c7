"""Every residual network in one grammar: train, evaluate and predict on your own images.

This is the public surface and nothing else. Each name is fetched from its room at its first use, so that
``import resnets`` costs nothing and imports no torch.
"""

from __future__ import annotations

from importlib import import_module as _import_module
from typing import TYPE_CHECKING

from resnets import surface as _surface
from resnets.progress import install as _install

if TYPE_CHECKING:
    from resnets.acceptance.conversion import convert as convert
    from resnets.acceptance.exported import export as export
    from resnets.architecture import Plan as Plan
    from resnets.architecture import ResNetSpec as ResNetSpec
    from resnets.architecture import names as names
    from resnets.architecture import plan as plan
    from resnets.benchmark import bench as bench
    from resnets.data.preprocess import Preprocessing as Preprocessing
    from resnets.diagnosis import doctor as doctor
    from resnets.errors import DataError as DataError
    from resnets.errors import ExportError as ExportError
    from resnets.errors import FetchError as FetchError
    from resnets.errors import ImageError as ImageError
    from resnets.errors import ModelFileError as ModelFileError
    from resnets.errors import NoReaderError as NoReaderError
    from resnets.errors import ParameterError as ParameterError
    from resnets.errors import RecipeError as RecipeError
    from resnets.errors import ResnetsError as ResnetsError
    from resnets.errors import SpecError as SpecError
    from resnets.errors import TrainingError as TrainingError
    from resnets.errors import UnreadableError as UnreadableError
    from resnets.errors import WriteError as WriteError
    from resnets.evaluation import evaluate as evaluate
    from resnets.explanation import explain as explain
    from resnets.inference import Classifier as Classifier
    from resnets.inference import Prediction as Prediction
    from resnets.inference import load as load
    from resnets.inference import predict as predict
    from resnets.inference import save as save
    from resnets.network import create as create
    from resnets.studies import study as study
    from resnets.training import train as train
    from resnets.weights import Model as Model

    __version__: str

_ROOMS = {
    "resnets.acceptance.exported": ("export",),
    "resnets.acceptance.conversion": ("convert",),
    "resnets.architecture": ("Plan", "ResNetSpec", "names", "plan"),
    "resnets.benchmark": ("bench",),
    "resnets.data.preprocess": ("Preprocessing",),
    "resnets.diagnosis": ("doctor",),
    "resnets.errors": (
        *("DataError", "ExportError", "FetchError", "ImageError", "ModelFileError", "NoReaderError", "ParameterError"),
        *("RecipeError", "ResnetsError", "SpecError", "TrainingError", "UnreadableError", "WriteError"),
    ),
    "resnets.evaluation": ("evaluate",),
    "resnets.explanation": ("explain",),
    "resnets.inference": ("Classifier", "Prediction", "load", "predict", "save"),
    "resnets.network": ("create",),
    "resnets.studies": ("study",),
    "resnets.training": ("train",),
    "resnets.weights": ("Model",),
}
_ROOM_OF = {name: room for room, own in _ROOMS.items() for name in own}
# What objects of a lower room show in a notebook, by `surface.verb`; no public names.
_SHOWN = {"_plan_page": "page", "_plan_drawing": "drawing"}

_install()  # before a program says how it wants to be spoken to

__all__ = [*_ROOM_OF, "__version__"]


def __getattr__(name: str) -> object:
    """Fetch a public name from its room (PEP 562)."""
    if name == "__version__":
        value: object = _version()
    elif name in _ROOM_OF:
        value = getattr(_import_module(_ROOM_OF[name]), name)
    elif name in _SHOWN:
        value = getattr(_import_module("resnets.inspection.notebook"), _SHOWN[name])
    else:
        raise AttributeError(f"module 'resnets' has no attribute {name!r}")
    globals()[name] = value
    return value


_surface.offer(__getattr__)


def __dir__() -> list[str]:
    return sorted(__all__)


def _version() -> str:
    from importlib.metadata import PackageNotFoundError, version

    try:
        return version("resnets")
    except PackageNotFoundError:  # run from a source tree that nobody installed
        return "0+uninstalled"
