"""Bytes on disk -> network, and back."""

from resnets.weights.calibration import Calibration
from resnets.weights.load import load
from resnets.weights.model import Model
from resnets.weights.modelfile import save
from resnets.weights.provenance import Provenance

__all__ = ["Calibration", "Model", "Provenance", "load", "save"]
