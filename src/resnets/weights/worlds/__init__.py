"""The dialects: how each of the other worlds names, lays out and prepares a residual network."""

from __future__ import annotations

from resnets.errors import ModelFileError, nearest
from resnets.weights.worlds.akamaster.names import Akamaster
from resnets.weights.worlds.base import Dialect
from resnets.weights.worlds.caffe.names import Caffe
from resnets.weights.worlds.huggingface.names import HuggingFace
from resnets.weights.worlds.keras.names import Keras
from resnets.weights.worlds.tf_slim.names import TFSlim
from resnets.weights.worlds.timm.names import Timm
from resnets.weights.worlds.torchvision.names import Torchvision
from resnets.weights.worlds.tutorial.names import Tutorial

__all__ = ["DIALECTS", "Dialect", "dialect_of"]

# In the order in which they are asked; where two read a file equally well, the first is right.
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
    )
}


def dialect_of(name: str) -> Dialect:
    """The dialect of a name. Raises ModelFileError with the nearest names for an unknown one."""
    if name not in DIALECTS:
        raise ModelFileError(f"There is no dialect {name!r}; there are {', '.join(DIALECTS)}.{nearest(name, DIALECTS)}")
    return DIALECTS[name]
