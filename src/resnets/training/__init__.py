"""recipe -> trained network."""

from resnets.training.recipe import Recipe, load_recipe
from resnets.training.run import resume, train

__all__ = ["Recipe", "load_recipe", "resume", "train"]
