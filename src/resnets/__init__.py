"""Every residual network in one grammar: train, evaluate and predict on your own images.

This is the public surface and nothing else. Each name is fetched from its room at its first use, so that
``import resnets`` costs nothing and imports no torch.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

from resnets import surface as _surface

if TYPE_CHECKING:
    from resnets.acceptance.exported import export as export
    from resnets.architecture import ResNetSpec as ResNetSpec
    from resnets.architecture import names as names
    from resnets.architecture import plan as plan
    from resnets.errors import ResnetsError as ResnetsError
    from resnets.evaluation import evaluate as evaluate
    from resnets.explanation import explain as explain
    from resnets.inference import Classifier as Classifier
    from resnets.inference import load as load
    from resnets.inference import predict as predict
    from resnets.inference import save as save
    from resnets.network import create as create
    from resnets.training import train as train

    __version__: str

_ROOM_OF = {
    "Classifier": "resnets.inference",
    "ResNetSpec": "resnets.architecture",
    "ResnetsError": "resnets.errors",
    "create": "resnets.network",
    "evaluate": "resnets.evaluation",
    "explain": "resnets.explanation",
    "export": "resnets.acceptance",
    "load": "resnets.inference",
    "names": "resnets.architecture",
    "plan": "resnets.architecture",
    "predict": "resnets.inference",
    "save": "resnets.inference",
    "train": "resnets.training",
}

__all__ = [*_ROOM_OF, "__version__"]


def __getattr__(name: str) -> object:
    """Fetch a public name from its room (PEP 562)."""
    if name == "__version__":
        value: object = _version()
    elif name in _ROOM_OF:
        value = getattr(import_module(_ROOM_OF[name]), name)
    else:
        raise AttributeError(f"module 'resnets' has no attribute {name!r}")
    globals()[name] = value
    return value


_surface.offer(__getattr__)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})


def _version() -> str:
    from importlib.metadata import PackageNotFoundError, version

    try:
        return version("resnets")
    except PackageNotFoundError:  # run from a source tree that nobody installed
        return "0+uninstalled"
