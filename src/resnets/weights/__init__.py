"""Bytes on disk -> network, and back."""

from resnets.weights.modelfile import Model, load, save

__all__ = ["Model", "load", "save"]
