"""A trained network's answers to images whose classes are known, each asked exactly once."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from resnets.data.cache import Cache
from resnets.data.sample import Sample
from resnets.errors import ModelFileError
from resnets.evaluation.answers import answers
from resnets.evaluation.calibration import judges
from resnets.evaluation.guessing import against_guessing
from resnets.evaluation.held_out import class_indices
from resnets.evaluation.metrics import log_softmax, measure
from resnets.inference import Classifier, novelty
from resnets.text import printable
from resnets.weights import Calibration


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
    calibration: Calibration
    temperatures: np.ndarray
    thresholds: np.ndarray | None
    unlikeness: np.ndarray | None

    def calibrated(self, calibration: Calibration) -> Judgement:
        """The same answers, read with another calibration."""
        return replace(self, **_doubts(self.pixels, calibration))

    @property
    def temperature(self) -> float:
        """What the logits of new images are divided by."""
        return float(self.calibration.temperature)

    @property
    def threshold(self) -> float | None:
        """The probability from which on a class belongs to a new image's set."""
        return self.calibration.unsure

    @property
    def coverage(self) -> float | None:
        """The stated share of images whose true class is in its set."""
        return self.calibration.coverage

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
        """What `measure` and `against_guessing` return, and how far a calibrated model's doubts can be trusted.

        "coverage" is the share of images whose true class is in their set, "stated_coverage" what was promised,
        "set_size" the mean number of classes in a set, "unsure" the share of sets that are not one class alone,
        "unlike" the share that is unlike all that the model was calibrated on; None where it never was.
        """
        sets, unlike = self.sets, self.unlike
        sizes = None if sets is None else sets.sum(axis=1)
        return {
            **measure(self.logits, self.labels, self.classes, self.temperatures[:, None]),
            **against_guessing(self.labels, self.predicted, self.classes),
            "coverage": None if sets is None else float(sets[np.arange(len(self.labels)), self.labels].mean()),
            "stated_coverage": self.coverage,
            "set_size": None if sizes is None else float(sizes.mean()),
            "unsure": None if sizes is None else float((sizes != 1).mean()),
            "unlike": None if unlike is None else float(unlike.mean()),
        }


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


def _doubts(pixels: np.ndarray, calibration: Calibration) -> dict[str, Any]:
    """What of a `Judgement` comes from the calibration."""
    temperatures, thresholds, unlikeness = np.full((3, len(pixels)), np.nan)
    for rows, fit in judges(pixels, calibration):
        temperatures[rows], thresholds[rows] = fit.temperature, fit.unsure
        if fit.unlike is not None and rows.any():
            unlikeness[rows] = novelty.score(pixels, fit.unlike, np.flatnonzero(rows))
    return {
        "calibration": calibration,
        "temperatures": temperatures,
        "thresholds": None if calibration.unsure is None else thresholds,
        "unlikeness": None if calibration.unlike is None else unlikeness,
    }
