"""recipe -> trained network."""

from resnets.training.observer import EpochRecord, Fallback, Observer, StepRecord, Training
from resnets.training.recipe import Recipe, load_recipe
from resnets.training.run import finish, resume, train
from resnets.weights.run import TrainResult

__all__ = [
    "EpochRecord",
    "Fallback",
    "Observer",
    "Recipe",
    "StepRecord",
    "TrainResult",
    "Training",
    "finish",
    "load_recipe",
    "resume",
    "train",
]
