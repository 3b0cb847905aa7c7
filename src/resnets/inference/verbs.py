"""The public functions of inference. Wherever a path to a model does, a `Classifier` or a `Model` does, too."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from resnets.errors import ParameterError
from resnets.inference import engines
from resnets.inference.classifier import Classifier
from resnets.inference.export import STORED
from resnets.inference.pictures import Picture
from resnets.inference.prediction import Predictions
from resnets.inference.session import open_session
from resnets.progress import say
from resnets.weights import Model
from resnets.weights import load as load_model
from resnets.weights import save as save_model


def load(what: str | Path) -> Classifier:
    """Load a trained network: our model file, a run's folder, anybody's checkpoint, or a tag of the registry.

    What it is, is seen from its content. Raises ModelFileError when there is none or it cannot be trusted; see
    `resnets.weights.load`.
    """
    return Classifier(load_model(what))


def as_classifier(what: str | Path | Model | Classifier) -> Classifier:
    """The classifier that is meant: itself, one made of a model, or what `load` finds. Raises what `load` raises."""
    if isinstance(what, Classifier):
        return what
    return Classifier(what) if isinstance(what, Model) else load(what)


def save(model: str | Path | Model | Classifier, path: str | Path, *, precision: str = "float32") -> None:
    """Write a model as a model file: whole, or not at all; what stood there before stays until the new one is safe.

    model       a classifier, a model, or whatever `load` takes
    path        the file to write, by habit with the suffix .safetensors
    precision   what the weights are stored in: "float32", or "float16" for half the bytes. Nothing judges here what the
                rounding costs: `resnets export MODEL F.safetensors` with precision float16 does

    Raises ModelFileError for weights that are not finite, not float32, or too large for float16, for class names that
    do not fit the head, and when the file cannot be written; ParameterError for another precision.
    """
    if precision not in STORED:
        raise ParameterError(f"A model file stores {' or '.join(STORED)}, not {precision!r}.")
    if not isinstance(model, Model):
        model = model.model if isinstance(model, Classifier) else load_model(model)
    save_model(path, model, half=precision == "float16")


def predict(
    model: str | Path | Model | Classifier,
    images: Picture | Iterable[Picture],
    top: int = 5,
    *,
    engine: str | None = None,
    precision: str | None = None,
    threads: int | None = None,
    batch_size: int = 32,
) -> Predictions:
    """Say what pictures show: a list with a `Prediction` for each, in their order.

    Its `paths` are what the pictures are called, and its `document()` is what `resnets predict --json` prints.

    model       a classifier, a model, or whatever `load` takes
    images      paths, bytes of image files, Pillow pictures, or uint8 arrays (H, W, 3) RGB or (H, W) grey; a single one
                may come without a list around it
    top         how many classes to name; all of them if there are fewer
    engine      "torch", "compiled", "onnxruntime", "openvino", or "auto" for the fastest. Default: the classifier's
                own, or torch, which a line says, where that one cannot do what else is asked
    precision   "float32" or "bfloat16" of that engine; int8 has to pass `resnets.acceptance.gate` first. Default: the
                classifier's own with its own engine, else float32
    threads     how many the engine works with. Default: see `inference.session`
    batch_size  pictures that the network sees at once

    Raises ImageError, naming the picture, for the first that cannot be used; ResnetsError for an engine or a precision
    that is not there; ModelFileError for a model that cannot be used.
    """
    classifier = as_classifier(model)
    if engine is not None or precision is not None or threads is not None:
        own = classifier.chosen
        usable = own is not None and engines.supported(own.name, precision or own.precision)
        name = engine or (own.name if own and usable else "torch")
        if own and not usable and engine is None:
            say(f"The classifier's engine ({own.name}) cannot do that: torch answers.")
        same = own if usable and own and own.name == name else None
        wanted = precision or (same.precision if same else "float32")
        known = {name: same.quantisation} if same and same.quantisation else None
        classifier = Classifier(classifier.model)  # the caller's goes on as it was
        more = {"batch": batch_size, "threads": threads, "quantisations": known}
        classifier.use(open_session(classifier.model, name, wanted, **more))  # type: ignore[arg-type]
    return classifier.predict(images, top, batch_size)
