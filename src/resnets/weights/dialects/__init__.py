"""The dialects: how each of the other worlds names, lays out and prepares a residual network."""

from __future__ import annotations

from resnets.errors import ModelFileError, nearest
from resnets.weights.dialects.akamaster import Akamaster
from resnets.weights.dialects.base import Dialect
from resnets.weights.dialects.caffe import Caffe
from resnets.weights.dialects.huggingface import HuggingFace
from resnets.weights.dialects.keras import Keras
from resnets.weights.dialects.tf_slim import TFSlim
from resnets.weights.dialects.timm import Timm
from resnets.weights.dialects.torchvision import Torchvision
from resnets.weights.dialects.tutorial import Tutorial

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
