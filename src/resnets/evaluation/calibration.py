"""Fitting what makes answers honest, on held-out images: temperature, "unsure" and "unlike".

What is fitted on an image is never judged on it. Still none is wasted: everything is fitted three times, on all
held-out images for the use on new ones, and on either half of them to judge the other half with. An image is known
again by the digest of its pixels, wherever it lies and whatever its file is called.
"""

from __future__ import annotations

import hashlib
import math

import numpy as np

from resnets.evaluation.guessing import against_guessing
from resnets.evaluation.metrics import log_softmax
from resnets.evaluation.significance import LEVEL
from resnets.inference import novelty
from resnets.weights.calibration import LARGEST, Calibration, Fit

COVERAGE = 0.9  # share of images whose true class shall be in its set
FEWEST = 100  # images to fit on; with fewer, 90 % would be known to worse than 3 points
MOST = 10_000  # images to fit on; their digests stand in the model file
TEMPERATURES = 1e3  # how far, as a factor, a temperature may lie from the scale of the logits
SURE_WRONG = 2.0  # times the share that the coverage allows: more of the answers that are called sure may not be wrong


def calibrate(pixels: np.ndarray, logits: np.ndarray, labels: np.ndarray, coverage: float = COVERAGE) -> Calibration:
    """Fit a model's calibration on held-out images.

    pixels      (N, S, S, 3) uint8, as the network sees them before normalisation
    logits      (N, classes) float, finite
    labels      (N,) the true classes
    coverage    above 0, below 1

    Images that are there twice count once, or either half would know some of the other. With fewer than FEWEST images
    there is nothing to tell: the calibration of a model never calibrated. A model that is no better than guessing and
    tells no class apart (see `guessing`) knows nothing, however sure its probabilities look: each of its sets has every
    class.
    """
    digests, rows = np.unique(digest(pixels), return_index=True)
    digests, rows = digests[:MOST], rows[:MOST]
    found = against_guessing(labels[rows], logits[rows].argmax(axis=1), tuple(map(str, range(logits.shape[1]))))
    ignorant = found["better_than_guessing"] is False and not found["tells_apart"]
    if len(rows) < FEWEST:
        return Calibration(unsure=0.0) if ignorant else Calibration()
    logits = logits.astype(np.float64)

    def fit(rows: np.ndarray) -> Fit:
        temperature = fit_temperature(logits[rows], labels[rows])
        probabilities = np.exp(log_softmax(logits[rows] / temperature))
        threshold = 0.0 if ignorant else sure_threshold(probabilities, labels[rows], coverage)
        return Fit(temperature, threshold, novelty.fit(pixels, rows))

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


def halves(pixels: np.ndarray) -> np.ndarray:
    """Which half, 0 or 1, each of (N, S, S, 3) uint8 belongs to; images that are there twice to the same one."""
    place: np.ndarray = np.unique(digest(pixels), return_inverse=True)[1]
    return place % 2


def digest(pixels: np.ndarray) -> np.ndarray:
    """16 hexadecimal digits of each of (N, S, S, 3) uint8."""
    return np.array([hashlib.blake2b(image.tobytes(), digest_size=8).hexdigest() for image in pixels])


def fit_temperature(logits: np.ndarray, labels: np.ndarray) -> float:
    """What to divide logits by so that the mean cross entropy is least (Guo et al. 2017).

    Of N images the true class counts as (N + 1) / (N + 2), and the others share the rest: where all answers are right,
    N of them are still no proof of certainty (Platt 1999). It is sought around the scale of the logits, whatever that
    is: a network that nearly diverged has logits of thousands, one trained with smoothed labels of hundredths. Where no
    temperature matters (one class, or the same logits for all) it is 1.
    """
    from scipy.optimize import minimize_scalar

    images, classes = int(logits.shape[0]), int(logits.shape[1])
    scale = float((logits.max(axis=1) - logits.min(axis=1)).mean())
    if not 1 / LARGEST < scale < math.inf:
        return 1.0

    def loss(log_temperature: float) -> float:
        scaled = log_softmax(logits / np.exp(log_temperature))
        true = float(scaled[np.arange(images), labels].mean())
        others = (float(scaled.sum(axis=1).mean()) - true) / max(classes - 1, 1)
        return -float((images + 1) * true + others) / (images + 2)

    around = (math.log(scale / TEMPERATURES), math.log(scale * TEMPERATURES))
    found = minimize_scalar(loss, bounds=around, method="bounded", options={"xatol": 1e-6})
    return float(np.clip(np.exp(found.x), 1 / LARGEST, LARGEST))


def sure_threshold(probabilities: np.ndarray, labels: np.ndarray, coverage: float) -> float:
    """The threshold of `fit_threshold`, or a lower one where the answers that it calls sure are wrong too often.

    probabilities   (N, classes); labels (N,)

    The coverage speaks of all images: a model that knows some of its classes and guesses others may be right as often
    as stated and sure of its guesses. Of the images whose set is one class, SURE_WRONG times 1 - coverage may be wrong,
    and what chance adds to that; else the threshold falls, so that more sets have a second class, to none if need be.
    """
    from scipy.stats import binom

    true = probabilities[np.arange(len(labels)), labels]
    first = fit_threshold(true, coverage)
    if probabilities.shape[1] == 1:
        return first
    second, best = np.sort(probabilities, axis=1)[:, -2:].T
    right = probabilities.argmax(axis=1) == labels
    lower = np.quantile(second[second < first], np.linspace(1, 0, 50)) if (second < first).any() else []
    for threshold in (first, *lower):
        sure = (best >= threshold) & (second < threshold)
        if binom.cdf(right[sure].sum(), sure.sum(), 1 - SURE_WRONG * (1 - coverage)) >= LEVEL:
            return float(threshold)
    return 0.0


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
