"""One picture explained: what the network answers, where it looks, what its stages make of it, what it finds alike.

`explain` gathers; `resnets.pages.explanation` draws it on one page.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

from resnets.data.decode import decode
from resnets.data.labels import class_name
from resnets.data.preprocess import Preprocessing
from resnets.data.source import read_image
from resnets.data.titles import shown
from resnets.errors import DataError, ImageError, nearest
from resnets.explanation.heat import check, heat
from resnets.explanation.neighbours import Neighbour, neighbours
from resnets.inference import Classifier, Prediction, as_classifier
from resnets.inference.features import head
from resnets.text import printable
from resnets.weights import Model

SHOWN = 1024  # pixels of the longer side of the photo that is kept for drawing
TOP = 5


@dataclass(frozen=True, eq=False)
class Explanation:
    """What there is to show about one picture.

    photo       the whole picture, upright, made smaller for drawing: (h, w, 3) uint8
    size        (width, height) of the picture itself
    frame       (left, top, right, bottom) of what the network sees of it, in pixels of `size`
    pixels      what the network sees: (S, S, 3) uint8
    prediction  the `TOP` classes
    name        the class that is explained, with its probability
    heat        (S, S) from 0 to 1, as `method` gives it for that class
    maps        "stem", "stage1", ... -> (C, H, W) float32; empty unless asked for
    alike       the nearest training images; empty unless asked for
    titles      class -> what it is called in words
    """

    path: str
    photo: np.ndarray
    size: tuple[int, int]
    frame: tuple[float, float, float, float]
    pixels: np.ndarray
    prediction: Prediction
    name: str
    probability: float
    method: str
    heat: np.ndarray
    maps: dict[str, np.ndarray]
    alike: tuple[Neighbour, ...]
    titles: Mapping[str, str] = field(default_factory=dict)

    def document(self) -> dict[str, Any]:
        """What a program reads, ready for JSON."""
        return {
            "image": self.path,
            "top": [{"name": name, "probability": p} for name, p in self.prediction.top],
            "class": self.name,
            "probability": self.probability,
            "method": self.method,
            "frame": list(self.frame),
            "neighbours": [
                {"path": n.key, "label": n.label, "similarity": n.similarity, "same": n.same} for n in self.alike
            ],
        }


def explain(
    model: str | Path | Model | Classifier,
    image: str | Path,
    *,
    name: str | None = None,
    method: str = "grad-cam",
    stages: bool = False,
    data: str | Path | None = None,
) -> Explanation:
    """Explain what a network says of the picture in a file.

    model   a classifier, a model, or whatever `resnets.load` takes
    image   the file
    name    the class to explain. Default: the most probable one
    method  as in `resnets.explanation.heat.heat`
    stages  whether to keep what every stage gives
    data    whose training images to find the nearest of

    Raises ImageError, which names the file, when it is no usable image; ParameterError for a method, DataError for a
    class or data that there is not.
    """
    check(method)
    classifier = as_classifier(model)
    name = None if name is None else _known(name, classifier)
    photo = _read(os.fspath(image), classifier.preprocessing.full_scale)
    pixels = classifier.preprocessing.pixels(photo)
    prediction = classifier.name(pixels[None], TOP)[0]
    name = prediction.top[0][0] if name is None else name
    place = classifier.classes.index(name)
    small = photo.copy()
    small.thumbnail((SHOWN, SHOWN))
    return Explanation(
        path=os.fspath(image),
        photo=np.asarray(small),
        size=photo.size,
        frame=frame(classifier.preprocessing, *photo.size),
        pixels=pixels,
        prediction=prediction,
        name=name,
        probability=float(classifier.probabilities(classifier.logits(pixels[None]))[0, place]),
        method=method,
        heat=heat(classifier, pixels[None], [place], method)[0],
        maps=stage_maps(classifier, pixels) if stages else {},
        alike=neighbours(classifier, data, pixels) if data is not None else (),
        titles=classifier.titles,
    )


def _known(name: str, classifier: Classifier) -> str:
    """The class that somebody means by its name, in other bytes too, or by its title. Raises DataError for none."""
    classes, titles = classifier.classes, classifier.titles
    found = [one for one in classes if class_name(one) == class_name(name)]
    found = found or [one for one in classes if name in (titles.get(one), shown(one, titles))]
    if len(found) == 1:
        return found[0]
    if name in found:
        return name
    hint = nearest(name, [*classes, *titles.values()]) or f" It knows {len(classes)} classes."
    raise DataError(f'The model does not know the class "{printable(name)}".{hint}')


def _read(path: str, full: float | None) -> Image.Image:
    try:
        if not os.path.exists(path) or os.path.isdir(path):
            raise ImageError("there is no such file")
        return decode(read_image(path), full)
    except ImageError as problem:
        raise ImageError(f"{printable(path)} cannot be explained: {problem}.") from problem


def frame(p: Preprocessing, width: int, height: int) -> tuple[float, float, float, float]:
    """(left, top, right, bottom) of the part of a picture that `p.pixels` keeps, in its pixels; it may reach beyond."""
    square = max(width, height) if p.resize == "longer" else min(width, height)
    sides = (width, height) if p.resize == "stretch" else (square, square)
    across, down = (side * p.image_size / p.resize_to for side in sides)
    left, top = (width - across) / 2, (height - down) / 2
    return left, top, left + across, top + down


def stage_maps(classifier: Classifier, pixels: np.ndarray) -> dict[str, np.ndarray]:
    """What each stage makes of (S, S, 3) uint8: "stem", "stage1", ... -> (C, H, W) float32.

    With pre-activation "head" follows: the last stage after the head's norm and relu, which is what is pooled.
    """
    network = classifier.network
    device = next(network.parameters()).device
    with torch.no_grad():
        x = classifier.preprocessing.normalise(torch.from_numpy(pixels[None].copy()).to(device))
        maps = network.features(x)
        before = head(network)[0]
        if len(before):
            maps["head"] = before(maps[network.stage_names[-1]])
    return {stage: found[0].float().cpu().numpy() for stage, found in maps.items()}
