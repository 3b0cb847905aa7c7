"""Fitting what makes answers honest, on held-out images: temperature, "unsure" and "unlike".

What is fitted on an image is never judged on it. Still none is wasted: everything is fitted three times, on all
held-out images for the use on new ones, and on either half of them to judge the other half with. An image is known
again by the digest of its pixels, wherever it lies and whatever its file is called.
"""

from __future__ import annotations

import hashlib

import numpy as np

from resnets.evaluation.metrics import log_softmax
from resnets.inference import novelty
from resnets.weights.calibration import Calibration, Fit

COVERAGE = 0.9  # share of images whose true class shall be in its set
FEWEST = 100  # images to fit on; with fewer, 90 % would be known to worse than 3 points
MOST = 10_000  # images to fit on; their digests stand in the model file
TEMPERATURES = (0.05, 20.0)


def calibrate(pixels: np.ndarray, logits: np.ndarray, labels: np.ndarray, coverage: float = COVERAGE) -> Calibration:
    """Fit a model's calibration on held-out images.

    pixels      (N, S, S, 3) uint8, as the network sees them before normalisation
    logits      (N, classes) float, finite
    labels      (N,) the true classes
    coverage    above 0, below 1

    Images that are there twice count once, or either half would know some of the other. With fewer than FEWEST images
    there is nothing to tell: the calibration of a model never calibrated.
    """
    digests, rows = np.unique(digest(pixels), return_index=True)
    digests, rows = digests[:MOST], rows[:MOST]
    if len(rows) < FEWEST:
        return Calibration()
    logits = logits.astype(np.float64)

    def fit(rows: np.ndarray) -> Fit:
        temperature = fit_temperature(logits[rows], labels[rows])
        true = np.exp(log_softmax(logits[rows] / temperature))[np.arange(len(rows)), labels[rows]]
        return Fit(temperature, fit_threshold(true, coverage), novelty.fit(pixels[rows]))

    halves = tuple(fit(rows[half::2]) for half in (0, 1))
    return Calibration(**vars(fit(rows)), coverage=coverage, fitted_on=tuple(digests.tolist()), halves=halves)


def judges(pixels: np.ndarray, calibration: Calibration) -> list[tuple[np.ndarray, Fit]]:
    """Which images, as (N,) bool, are judged by which fit: those that it was fitted on by the half without them."""
    fitted_on = np.array(calibration.fitted_on, dtype=str)
    if not len(fitted_on):
        return [(np.ones(len(pixels), bool), calibration)]
    digests = digest(pixels)
    place = np.minimum(np.searchsorted(fitted_on, digests), len(fitted_on) - 1)
    known = fitted_on[place] == digests
    odd = place % 2 == 1
    first, second = calibration.halves
    return [(~known, calibration), (known & ~odd, second), (known & odd, first)]


def digest(pixels: np.ndarray) -> np.ndarray:
    """16 hexadecimal digits of each of (N, S, S, 3) uint8."""
    return np.array([hashlib.blake2b(image.tobytes(), digest_size=8).hexdigest() for image in pixels])


def fit_temperature(logits: np.ndarray, labels: np.ndarray) -> float:
    """What to divide logits by so that the mean cross entropy is least (Guo et al. 2017), between 0.05 and 20.

    Of N images the true class counts as (N + 1) / (N + 2), and the others share the rest: where all answers are right,
    N of them are still no proof of certainty (Platt 1999).
    """
    from scipy.optimize import minimize_scalar

    images, classes = int(logits.shape[0]), int(logits.shape[1])

    def loss(log_temperature: float) -> float:
        scaled = log_softmax(logits / np.exp(log_temperature))
        true = float(scaled[np.arange(images), labels].mean())
        others = (float(scaled.sum(axis=1).mean()) - true) / max(classes - 1, 1)
        return -float((images + 1) * true + others) / (images + 2)

    found = minimize_scalar(loss, bounds=tuple(np.log(TEMPERATURES)), method="bounded")
    return float(np.exp(found.x))


def fit_threshold(true: np.ndarray, coverage: float) -> float:
    """The probability from which on a class belongs to an image's set, so that `coverage` of the sets are right.

    true    (N,) the probability of each image's true class

    Split conformal prediction with least ambiguous sets (Sadinle, Lei and Wasserman 2019): for new images like these
    the coverage is at least the stated one, on average over the choice of the N. It is never above one half: a class
    with more than that is the only one of its image, and a good classifier would call the last tenth of its answers
    unsure for the sake of a coverage that it exceeds.
    """
    allowed = int((len(true) + 1) * (1 - coverage) + 1e-9)  # so many of the least probabilities may be left out
    return min(float(np.sort(true)[allowed - 1]) if allowed else 0.0, 0.5)
