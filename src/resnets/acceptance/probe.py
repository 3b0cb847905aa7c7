"""What does a file want? A few labelled images, every usual preprocessing, every reading of the graph.

Weights say nothing of channel order, scale and means, nor of where a stride sits or option A puts its zeros. A
wrong guess costs from 1 to 30 points of accuracy and raises no error; here it shows. The best of many tries looks
good by luck alone, so what a file says of itself is given up only for what beats it beyond chance: `verdict`.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from scipy.optimize import linear_sum_assignment

from resnets.architecture import plan
from resnets.architecture.spec import CHOICES
from resnets.data.labels import class_name, class_names
from resnets.data.open import open_source
from resnets.data.preprocess import IMAGENET_MEAN, IMAGENET_STD, Preprocessing, Triple
from resnets.data.sample import Sample
from resnets.data.source import Source
from resnets.errors import DataError, ImageError, SpecError
from resnets.evaluation.answers import answers as answers_of
from resnets.inference import Classifier
from resnets.progress import say, track
from resnets.text import printable
from resnets.weights import Model
from resnets.weights.recognise import state_shapes
from resnets.weights.transfer import with_graph

FIRST = 48  # images that judge every candidate; the best of them are judged by all
FINALISTS = 8
CHANCE = 0.05  # a lead that luck alone gives more often than this decides nothing
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
    right           for each of them, whether it was classified rightly: two candidates judged by as many saw the same
    """

    preprocessing: Preprocessing
    graph: dict[str, Any]
    accuracy: float = 0.0
    loss: float = float("inf")
    images: int = 0
    right: tuple[bool, ...] = field(default=(), compare=False, repr=False)

    @property
    def what(self) -> str:
        """In words: normalisation, channel order, resize rule, and what of the graph differs."""
        own = self.preprocessing
        step = 1 if own.channels == "RGB" else -1
        known = {(mean[::step], std[::step]): name for name, mean, std in NORMALISATIONS}
        name = "a mean image" if own.mean_image is not None else known.get((own.mean, own.std), "its own mean")
        resized = "both sides" if own.resize == "stretch" else f"{own.resize} side"
        size = f"{resized} to {own.resize_to} {own.interpolation}, centre {own.image_size}"
        return ", ".join([name, own.channels, size, *(f"{field}={value}" for field, value in self.graph.items())])

    def document(self) -> dict[str, Any]:
        """All of it but single answers, fit for JSON."""
        return {
            "what": self.what,
            "accuracy": self.accuracy,
            "loss": self.loss,
            "images": self.images,
            "preprocessing": self.preprocessing.to_dict(),
            "graph": self.graph,
        }

    @property
    def order(self) -> tuple[float, ...]:
        """More images first, then accuracy; equal ones by their loss, which sees more."""
        return -self.images, -self.accuracy, self.loss


def probe(model: Model, data: str | Path, images: int = 200) -> list[Candidate]:
    """Rank the ways to use a model by their accuracy on labelled images, the best first.

    All are judged by a few images; the best of them, and what the model itself says, by all. Of graphs that compute the
    same there is only one. What to make of the ranking, `verdict` says.

    data: class folders. Their names are matched with the model's classes; if they are others but as many, their
    order counts; if they are fewer, each folder gets the class that fits it best, which says little of the accuracy
    itself and enough of the order.

    Raises DataError for data without usable images or with more classes than the model has, and ModelFileError for
    a network that does not take the three channels of a picture.
    """
    network = Classifier(model).network
    networks = {str(graph): with_graph(network, graph) if graph else network for graph in _graphs(model)}
    source = open_source(data)
    samples = [s for s in source.samples if s.split == "train"] or list(source.samples)
    classes = class_names(samples)
    targets = _targets(source.name, classes, model.classes)
    keys, pixels, labels = _pictures(source, samples, images, model.preprocessing)
    candidates = list(_candidates(model))
    few = min(FIRST, len(keys))
    more = FINALISTS + 1 + len(_geometries(model.preprocessing))
    with track("probing", len(candidates) * few + more * len(keys)) as advance:

        def answers(candidate: Candidate, pixels: np.ndarray) -> np.ndarray:
            used = replace(model, network=networks[str(candidate.graph)], preprocessing=candidate.preprocessing)
            classifier = Classifier(used)
            logits = answers_of(classifier.logits, pixels, len(model.classes), what="").astype(np.float64)
            advance(len(pixels))
            return logits

        def judged(candidate: Candidate, logits: np.ndarray) -> Candidate:
            right, loss = _score(logits, labels[: len(logits)], targets)
            accuracy = sum(right) / len(right)
            return replace(candidate, accuracy=accuracy, loss=loss, images=len(right), right=right)

        ranked: list[Candidate] = []
        seen: dict[Preprocessing, list[np.ndarray]] = {}
        for candidate in candidates:
            logits = answers(candidate, pixels[:few])
            others = seen.setdefault(candidate.preprocessing, [])
            if not any(np.allclose(logits, other, atol=1e-6 * np.abs(other).max()) for other in others):
                others.append(logits)
                ranked.append(judged(candidate, logits))
        ranked.sort(key=lambda c: c.order)
        chosen = ranked[:FINALISTS] + [c for c in ranked[FINALISTS:] if _is_own(c, model)]
        finalists = [judged(c, answers(c, pixels)) for c in chosen]
        adopted, _ = verdict(sorted(finalists, key=lambda c: c.order), model)
        for geometry in _geometries(adopted.preprocessing):
            resized = np.stack([geometry.read(source.read(key)) for key in keys])
            wanted = replace(adopted, preprocessing=geometry)
            finalists.append(judged(wanted, answers(wanted, resized)))
    return sorted(finalists + [c for c in ranked if c not in chosen], key=lambda c: c.order)


def verdict(ranking: list[Candidate], model: Model) -> tuple[Candidate, str]:
    """What to use of the ranking that `probe` gave for this model, and a sentence that says why.

    It is the best, if it beats what the model itself says on the same images beyond chance, else the model's own.
    Chance is the exact one-sided sign test on the images that only one of both gets right, times the number of
    candidates (Bonferroni's bound), as the best of many is further ahead by luck than any one of them.
    """
    best = ranking[0]
    own = next(candidate for candidate in ranking if _is_own(candidate, model))
    if best is own:
        return own, f"Nothing does better than what the file has: {own.what}."
    wins = sum(b and not o for b, o in zip(best.right, own.right, strict=True))
    losses = sum(o and not b for b, o in zip(best.right, own.right, strict=True))
    chance = min(1.0, len(ranking) * _sign_test(wins, losses))
    if chance < CHANCE:
        return best, f"The file most likely wants: {best.what}."
    doubt = f"beyond chance (p = {chance:.2g} for the best of {len(ranking)} on {own.images} images)"
    return own, f"Undecided: {best.what} does no better than what the file has, {doubt}. Kept: {own.what}."


def _is_own(candidate: Candidate, model: Model) -> bool:
    return not candidate.graph and candidate.preprocessing == model.preprocessing


def _sign_test(wins: int, losses: int) -> float:
    """The probability that a fair coin, thrown as often, loses no more often."""
    throws = wins + losses
    return sum(math.comb(throws, k) for k in range(losses + 1)) / (1 << throws)


def _pictures(
    source: Source, samples: list[Sample], count: int, wanted: Preprocessing
) -> tuple[list[str], np.ndarray, np.ndarray]:
    """(keys, pixels, the number of each one's class) of some of the samples: as many of every class, mixed.

    Whole photos of many megapixels would fill the memory, so they are kept as the network sees them.
    """
    shuffled = [samples[i] for i in np.random.default_rng(0).permutation(len(samples))]
    queues = {name: [s for s in shuffled if s.label == name] for name in class_names(samples)}
    keys: list[str] = []
    pixels: list[np.ndarray] = []
    labels: list[int] = []
    while len(keys) < count and any(queues.values()):
        for number, queue in enumerate(queues.values()):
            while queue and len(keys) < count:
                key = queue.pop().key
                try:
                    pixels.append(wanted.read(source.read(key)))
                except ImageError:
                    continue
                keys.append(key)
                labels.append(number)
                break
    if not keys:
        raise DataError(f"{printable(source.name)} has no usable image to probe with.")
    return keys, np.stack(pixels), np.array(labels)


def _targets(where: str, classes: tuple[str, ...], known: tuple[str, ...]) -> np.ndarray | None:
    """The logit of each class of the data; None where only the network itself can tell."""
    if len(classes) > len(known):
        raise DataError(
            f"{printable(where)} has {len(classes)} classes and the model {len(known)}: probe with images of the "
            "model's own classes, one folder each."
        )
    places = {class_name(name): place for place, name in enumerate(known)}
    if set(classes) <= places.keys():
        return np.array([places[name] for name in classes])
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
    for choice in GRAPH:
        for value in CHOICES[choice]:
            if value == getattr(p.spec, choice):
                continue
            try:
                changed: dict[str, Any] = {choice: value}
                other = plan(replace(p.spec, **changed), p.num_classes, p.in_channels, p.output_stride)
            except SpecError:
                continue  # this network has no such choice
            if state_shapes(other) == state_shapes(p):
                yield changed


def _geometries(own: Preprocessing) -> list[Preprocessing]:
    """The other resize rules; small images are not resized at all."""
    if own.image_size <= 64:
        return []
    others: list[dict[str, Any]] = [
        {"interpolation": "bicubic"},
        {"interpolation": "bilinear"},
        {"resize": "stretch", "resize_to": own.image_size},
        {"resize": "shorter", "resize_to": own.image_size},
    ]
    return [wanted for changed in others if (wanted := replace(own, **changed)) != own]


def _score(logits: np.ndarray, labels: np.ndarray, targets: np.ndarray | None) -> tuple[tuple[bool, ...], float]:
    """(whether each image is right, mean negative log-likelihood)."""
    guesses = logits.argmax(axis=1)
    if targets is None:
        votes = np.zeros((labels.max() + 1, logits.shape[1]))
        np.add.at(votes, (labels, guesses), 1)
        targets = np.asarray(linear_sum_assignment(-votes)[1])
    wanted = targets[labels]
    shifted = logits - logits.max(axis=1, keepdims=True)
    likelihood = shifted[np.arange(len(wanted)), wanted] - np.log(np.exp(shifted).sum(axis=1))
    loss = float(-likelihood.mean()) if np.isfinite(likelihood).all() else float("inf")
    return tuple((guesses == wanted).tolist()), loss
