"""`load`: whatever holds a trained network -> Model."""

from __future__ import annotations

from pathlib import Path

from resnets.errors import ModelFileError
from resnets.weights import convert, modelfile, registry, run
from resnets.weights.locate import located, own_file
from resnets.weights.model import Model
from resnets.weights.named import recognised


def load(what: str | Path) -> Model:
    """The model of our own file, of a run's folder, of anybody's file or folder, or of a tag.

    Raises ModelFileError when there is none (a run that was stopped has none yet), it cannot be trusted, or it is no
    residual network; FetchError when a tag's file does not arrive.
    """
    path, tag = located(what)
    if own := own_file(path):
        return modelfile.load(own)
    if why := run.without_model(path):
        raise ModelFileError(why)
    model = convert.classifier_of(recognised(path, *registry.stated(tag)))
    return registry.describe(model, tag) if tag else model
