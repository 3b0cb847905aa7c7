"""A trained network at work."""

from resnets.inference.predictor import Classifier, Prediction, load

__all__ = ["Classifier", "Prediction", "load"]
