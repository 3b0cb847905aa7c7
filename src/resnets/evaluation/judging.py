"""A trained network judged on a data set: every image exactly once, never silently on its training images."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from resnets.data.cache import Cache, cached
from resnets.data.open import open_source
from resnets.data.sample import Sample
from resnets.errors import ModelFileError
from resnets.evaluation.answers import answers
from resnets.evaluation.calibration import judges
from resnets.evaluation.held_out import choose, class_indices
from resnets.evaluation.metrics import log_softmax, measure
from resnets.inference import Classifier, novelty
from resnets.text import printable


@dataclass(frozen=True, eq=False)
class Judgement:
    """What a classifier said of N images whose classes are known, and what it is worth.

    classes         names in the order of the logits
    samples         the N images
    pixels          (N, S, S, 3) uint8, as the network sees them before normalisation
    labels          (N,) int64, the true classes
    logits          (N, classes) float32, finite
    calibration     of the model, see `resnets.weights.calibration`
    temperatures    (N,) what each image's logits are divided by: the calibration's temperature, or, for an image
                    that it was fitted on, that of the half without it
    thresholds      (N,) the same of the probability from which on a class belongs to the image's set; None for a
                    model that was never calibrated
    unlikeness      (N,) float64, above 1: unlike all that the model was calibrated on; None: it does not know
    """

    classes: tuple[str, ...]
    samples: tuple[Sample, ...]
    pixels: np.ndarray
    labels: np.ndarray
    logits: np.ndarray
    calibration: dict[str, Any]
    temperatures: np.ndarray
    thresholds: np.ndarray | None
    unlikeness: np.ndarray | None

    def calibrated(self, calibration: Mapping[str, Any]) -> Judgement:
        """The same answers, read with another calibration."""
        return replace(self, **_doubts(self.pixels, calibration))

    @property
    def temperature(self) -> float:
        """What the logits of new images are divided by."""
        return float(self.calibration["temperature"])

    @property
    def threshold(self) -> float | None:
        """The probability from which on a class belongs to a new image's set."""
        return self.calibration["unsure"]  # type: ignore[no-any-return]

    @property
    def coverage(self) -> float | None:
        """The stated share of images whose true class is in its set."""
        return self.calibration.get("coverage")

    @property
    def probabilities(self) -> np.ndarray:
        """(N, classes) float64."""
        result: np.ndarray = np.exp(log_softmax(self.logits / self.temperatures[:, None]))
        return result

    @property
    def predicted(self) -> np.ndarray:
        """(N,) the most probable classes."""
        result: np.ndarray = self.logits.argmax(axis=1)
        return result

    @property
    def correct(self) -> np.ndarray:
        """(N,) bool."""
        result: np.ndarray = self.predicted == self.labels
        return result

    @property
    def sets(self) -> np.ndarray | None:
        """(N, classes) bool: which classes are in each image's set; None for a model that was never calibrated."""
        return None if self.thresholds is None else self.probabilities >= self.thresholds[:, None]

    @property
    def unlike(self) -> np.ndarray | None:
        """(N,) bool: unlike all that the model was calibrated on."""
        return None if self.unlikeness is None else np.asarray(self.unlikeness > 1)

    @property
    def figures(self) -> dict[str, Any]:
        """What `measure` returns, and of a calibrated model how far its doubts can be trusted (else None).

        "coverage" is the share of images whose true class is in their set, "stated_coverage" what was promised,
        "set_size" the mean number of classes in a set, "unsure" the share of sets that are not one class alone,
        "unlike" the share that is unlike all that the model was calibrated on.
        """
        sets, unlike = self.sets, self.unlike
        sizes = None if sets is None else sets.sum(axis=1)
        return {
            **measure(self.logits, self.labels, self.classes, self.temperatures[:, None]),
            "coverage": None if sets is None else float(sets[np.arange(len(self.labels)), self.labels].mean()),
            "stated_coverage": self.coverage,
            "set_size": None if sizes is None else float(sizes.mean()),
            "unsure": None if sizes is None else float((sizes != 1).mean()),
            "unlike": None if unlike is None else float(unlike.mean()),
        }


def evaluate(classifier: Classifier, data: str | Path, split: str | None = None) -> dict[str, Any]:
    """Judge a classifier on images whose classes are known.

    data    whatever `resnets.data.open.open_source` takes
    split   "train", "val" or "test". Default: the held-out one, "val" before "test". Class folders alone
            have no splits. If they are the very files that the model was trained on, the split that the
            training recorded is made again; else all images are judged, and standard error says so.

    Returns what `Judgement.figures` says (fractions, nats), and "split", "skipped_files" ("path" and "why" of
    every file that is no usable image) and "seconds". Classes are matched by name.

    Raises DataError for data that cannot be read, a split that is not there, and a class that the model does
    not know; ModelFileError when the network's answer to an image is not finite.
    """
    return judge_data(classifier, data, split)[1]


def judge_data(classifier: Classifier, data: str | Path, split: str | None = None) -> tuple[Judgement, dict[str, Any]]:
    """Like `evaluate`, with the judgement itself before the document."""
    start = time.perf_counter()
    source = open_source(data)
    name, samples = choose(source, classifier.provenance, split)
    class_indices(samples, classifier.classes)  # before the long work
    cache = cached(source, samples, classifier.preprocessing)
    judgement = judge(classifier, cache)
    document = {
        **judgement.figures,
        "skipped_files": [{"path": key, "why": why} for key, why in cache.skipped],
        "split": name,
        "seconds": time.perf_counter() - start,
    }
    return judgement, document


def judge(classifier: Classifier, cache: Cache) -> Judgement:
    """Judge images that are decoded already, each once.

    Raises DataError for a class that the model does not know, ModelFileError for an answer that is not finite.
    """
    index = class_indices(cache.samples, classifier.classes)
    logits = answers(classifier.logits, cache.images, len(classifier.classes))
    if not (finite := np.isfinite(logits).all(axis=1)).all():
        key = printable(cache.samples[int(finite.argmin())].key)
        raise ModelFileError(f"The network's answer to {key} is not finite: train it again at a lower rate.")
    return Judgement(
        classes=classifier.classes,
        samples=cache.samples,
        pixels=cache.images,
        labels=np.array([index[sample.label] for sample in cache.samples], np.int64),
        logits=logits,
        **_doubts(cache.images, classifier.calibration),
    )


def _doubts(pixels: np.ndarray, calibration: Mapping[str, Any]) -> dict[str, Any]:
    """What of a `Judgement` comes from the calibration."""
    temperatures, thresholds, unlikeness = np.full((3, len(pixels)), np.nan)
    for rows, fit in judges(pixels, calibration):
        temperatures[rows], thresholds[rows] = fit["temperature"], fit["unsure"]
        if fit.get("unlike") and rows.any():
            unlikeness[rows] = novelty.score(pixels[rows], fit["unlike"])
    return {
        "calibration": dict(calibration),
        "temperatures": temperatures,
        "thresholds": None if calibration["unsure"] is None else thresholds,
        "unlikeness": unlikeness if calibration.get("unlike") else None,
    }
