"""Bytes on disk -> network, and back."""

from resnets.weights.load import load
from resnets.weights.modelfile import Model, save

__all__ = ["Model", "load", "save"]
