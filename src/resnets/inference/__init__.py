"""A trained network at work."""

from resnets.inference.classifier import Classifier
from resnets.inference.prediction import Outcome, Prediction
from resnets.inference.session import Session, open_session
from resnets.inference.verbs import as_classifier, load, predict, save

__all__ = [
    "Classifier",
    "Outcome",
    "Prediction",
    "Session",
    "as_classifier",
    "load",
    "open_session",
    "predict",
    "save",
]
