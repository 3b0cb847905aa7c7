"""What does a file want? A few labelled images, every usual preprocessing, every reading of the graph.

Weights say nothing of channel order, scale and means, nor of where a stride sits or option A puts its zeros. A
wrong guess costs from 1 to 30 points of accuracy and raises no error; here it shows.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from scipy.optimize import linear_sum_assignment

from resnets.architecture import plan
from resnets.architecture.spec import CHOICES
from resnets.data.decode import decode
from resnets.data.labels import class_names
from resnets.data.preprocess import IMAGENET_MEAN, IMAGENET_STD, Preprocessing, Triple
from resnets.data.sources import open_source
from resnets.errors import DataError, ImageError, SpecError
from resnets.network import ResNet
from resnets.progress import say, track
from resnets.weights import Model
from resnets.weights.recognise import state_shapes
from resnets.weights.transfer import with_graph

BATCH = 50
FIRST = 48  # images that judge every candidate; the best of them are judged by all
FINALISTS = 8
GRAPH = ("stride_conv", "stride_unit", "pad_side", "pool_padding")  # fields that leave no trace in the tensors

# (what it is called, mean, deviation), for RGB in units of 0..1
NORMALISATIONS: tuple[tuple[str, Triple, Triple], ...] = (
    ("ImageNet mean and deviation", IMAGENET_MEAN, IMAGENET_STD),
    ("CIFAR-10 mean and deviation", (0.4914, 0.4822, 0.4465), (0.2470, 0.2435, 0.2616)),
    ("0 to 1", (0.0, 0.0, 0.0), (1.0, 1.0, 1.0)),
    ("-1 to 1", (0.5, 0.5, 0.5), (0.5, 0.5, 0.5)),
    ("0 to 255", (0.0, 0.0, 0.0), (1 / 255, 1 / 255, 1 / 255)),
    ("0 to 255 minus means", (123.68 / 255, 116.779 / 255, 103.939 / 255), (1 / 255, 1 / 255, 1 / 255)),
)


@dataclass(frozen=True)
class Candidate:
    """One way to use a file, and how it did.

    preprocessing   how pictures are prepared
    graph           the fields of the spec that differ from the model's
    accuracy, loss  on the images that judged it: fraction, nats
    images          how many those were
    """

    preprocessing: Preprocessing
    graph: dict[str, Any]
    accuracy: float = 0.0
    loss: float = float("inf")
    images: int = 0

    @property
    def what(self) -> str:
        """In words: normalisation, channel order, resize rule, and what of the graph differs."""
        own = self.preprocessing
        step = 1 if own.channels == "RGB" else -1
        known = {(mean[::step], std[::step]): name for name, mean, std in NORMALISATIONS}
        name = "a mean image" if own.mean_image is not None else known.get((own.mean, own.std), "its own mean")
        resized = f"{own.resize} side" if own.resize == "shorter" else "both sides"
        size = f"{resized} to {own.resize_to} {own.interpolation}, centre {own.image_size}"
        return ", ".join([name, own.channels, size, *(f"{field}={value}" for field, value in self.graph.items())])

    @property
    def order(self) -> tuple[float, ...]:
        """More images first, then accuracy; equal ones by their loss, which sees more."""
        return -self.images, -self.accuracy, self.loss


def probe(model: Model, data: str | Path, images: int = 200) -> list[Candidate]:
    """Rank the ways to use a model by their accuracy on labelled images, the best first.

    data: class folders. Their names are matched with the model's classes; if they are others but as many, their
    order counts; else each folder gets the class that fits it best, which says little of the accuracy itself and
    enough of the order.

    Raises DataError for data without usable images.
    """
    pictures, labels, classes = _pictures(data, images)
    targets = _targets(classes, model.classes)
    candidates = list(_candidates(model))
    networks = {str(graph): with_graph(model.network, graph) if graph else model.network for graph in _graphs(model)}
    work = len(candidates) * min(FIRST, len(pictures)) + FINALISTS * len(pictures)
    with track("probing", work) as advance:

        def judged(candidate: Candidate, count: int) -> Candidate:
            logits = _logits(networks[str(candidate.graph)], candidate.preprocessing, pictures[:count])
            advance(count)
            accuracy, loss = _score(logits, labels[:count], targets)
            return replace(candidate, accuracy=accuracy, loss=loss, images=count)

        ranked = sorted((judged(c, min(FIRST, len(pictures))) for c in candidates), key=lambda c: c.order)
        finalists = [judged(c, len(pictures)) for c in ranked[:FINALISTS]]
        best = min(finalists, key=lambda c: c.order)
        finalists += [judged(c, len(pictures)) for c in _geometries(best)]
    return sorted(finalists + ranked[FINALISTS:], key=lambda c: c.order)


def _pictures(data: str | Path, count: int) -> tuple[list[Image.Image], np.ndarray, tuple[str, ...]]:
    """(pictures, the number of each one's class, the classes): as many of every class, mixed."""
    source = open_source(data)
    samples = [s for s in source.samples if s.split == "train"] or list(source.samples)
    classes = class_names(samples)
    shuffled = [samples[i] for i in np.random.default_rng(0).permutation(len(samples))]
    queues = {name: [s for s in shuffled if s.label == name] for name in classes}
    pictures: list[Image.Image] = []
    labels: list[int] = []
    while len(pictures) < count and any(queues.values()):
        for number, name in enumerate(classes):
            while queues[name] and len(pictures) < count:
                try:
                    pictures.append(decode(source.read(queues[name].pop().key)))
                except ImageError:
                    continue
                labels.append(number)
                break
    if not pictures:
        raise DataError(f"{source.name} has no usable image to probe with.")
    return pictures, np.array(labels), classes


def _targets(classes: tuple[str, ...], known: tuple[str, ...]) -> np.ndarray | None:
    """The logit of each class of the data; None where only the network itself can tell."""
    if set(classes) <= set(known):
        return np.array([known.index(name) for name in classes])
    if len(classes) == len(known):
        say("The model has other names for its classes: the folders are taken in their sorted order.")
        return np.arange(len(classes))
    say("The model has other names for its classes: each folder stands for the class that fits it best.")
    return None


def _candidates(model: Model) -> Iterator[Candidate]:
    own = model.preprocessing
    for graph in _graphs(model):
        yield Candidate(own, graph)
        for _, mean, std in NORMALISATIONS:
            for channels, step in (("RGB", 1), ("BGR", -1)):
                changed: dict[str, Any] = {"channels": channels, "mean": mean[::step], "std": std[::step]}
                wanted = replace(own, mean_image=None, **changed)
                if wanted != own:
                    yield Candidate(wanted, graph)


def _graphs(model: Model) -> Iterator[dict[str, Any]]:
    """The model's own graph, and those that differ from it in one field without changing a tensor's shape."""
    p = model.network.plan
    yield {}
    for field in GRAPH:
        for value in CHOICES[field]:
            if value == getattr(p.spec, field):
                continue
            try:
                changed: dict[str, Any] = {field: value}
                other = plan(replace(p.spec, **changed), p.num_classes, p.in_channels, p.output_stride)
            except SpecError:
                continue  # this network has no such choice
            if state_shapes(other) == state_shapes(p):
                yield {field: value}


def _geometries(best: Candidate) -> Iterator[Candidate]:
    """Other resize rules for the best candidate; small images are not resized at all."""
    own = best.preprocessing
    if own.image_size <= 64:
        return
    others: list[dict[str, Any]] = [
        {"interpolation": "bicubic"},
        {"interpolation": "bilinear"},
        {"resize": "stretch", "resize_to": own.image_size},
        {"resize": "shorter", "resize_to": own.image_size},
    ]
    for changed in others:
        wanted = replace(own, **changed)
        if wanted != own:
            yield replace(best, preprocessing=wanted)


def _logits(network: ResNet, wanted: Preprocessing, pictures: list[Image.Image]) -> np.ndarray:
    parts = []
    with torch.inference_mode():
        for first in range(0, len(pictures), BATCH):
            pixels = np.stack([wanted.pixels(picture) for picture in pictures[first : first + BATCH]])
            parts.append(network(wanted.normalise(torch.from_numpy(pixels))).double().numpy())
    return np.concatenate(parts)


def _score(logits: np.ndarray, labels: np.ndarray, targets: np.ndarray | None) -> tuple[float, float]:
    """(accuracy, mean negative log-likelihood)."""
    guesses = logits.argmax(axis=1)
    if targets is None:
        votes = np.zeros((labels.max() + 1, logits.shape[1]))
        np.add.at(votes, (labels, guesses), 1)
        targets = np.asarray(linear_sum_assignment(-votes)[1])
    wanted = targets[labels]
    shifted = logits - logits.max(axis=1, keepdims=True)
    likelihood = shifted[np.arange(len(wanted)), wanted] - np.log(np.exp(shifted).sum(axis=1))
    loss = float(-likelihood.mean()) if np.isfinite(likelihood).all() else float("inf")
    return float((guesses == wanted).mean()), loss
