"""The figures of a classifier, from its logits and the true classes. No torch, no files.

All are fractions of 0..1, except the loss, which is in nats.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from resnets.evaluation.significance import LEVEL, interval

ECE_BINS = 15  # as in Guo et al. 2017, "On Calibration of Modern Neural Networks", section 2
SIMULATIONS = 200  # of honest answers


def measure(
    logits: np.ndarray,
    labels: np.ndarray,
    classes: Sequence[str],
    temperature: float | np.ndarray = 1.0,
) -> dict[str, Any]:
    """All figures of one set of images.

    logits          (N, classes), finite, N > 0
    labels          (N,) whole numbers: the true class of each
    temperature     what the logits are divided by before the softmax, one number or (N, 1); it moves `loss` and `ece`
                    only

    Returns "images", "top1", "top1_interval" (its 95 % interval), "top5", "balanced_accuracy" (the mean recall) and
    "macro_f1" (both over the classes that have images), "loss" (mean cross entropy), "ece", and "per_class": "name",
    "images", "precision" (None for a class never predicted) and "recall" (None for a class without images).
    """
    from sklearn.metrics import precision_recall_fscore_support

    log_probabilities = log_softmax(logits / temperature)
    predicted = logits.argmax(axis=1)
    precision, recall, f1, images = precision_recall_fscore_support(
        labels, predicted, labels=np.arange(len(classes)), zero_division=np.nan
    )
    right = top_k(logits, labels, 1)
    return {
        "images": len(labels),
        "top1": right,
        "top1_interval": [*interval(right, len(labels))],
        "top5": top_k(logits, labels, 5),
        "balanced_accuracy": float(recall[images > 0].mean()),
        "macro_f1": float(f1[images > 0].mean()),
        "loss": float(-log_probabilities[np.arange(len(labels)), labels].mean()),
        "ece": ece(np.exp(log_probabilities.max(axis=1)), predicted == labels),
        "per_class": [
            {"name": name, "images": int(n), "precision": _known(p), "recall": _known(r)}
            for name, n, p, r in zip(classes, images, precision, recall, strict=True)
        ],
    }


def log_softmax(logits: np.ndarray) -> np.ndarray:
    """The logarithms of the classes' probabilities, (N, classes) float64."""
    shifted = logits.astype(np.float64)
    shifted -= shifted.max(axis=1, keepdims=True)
    result: np.ndarray = shifted - np.log(np.exp(shifted).sum(axis=1, keepdims=True))
    return result


def top_k(logits: np.ndarray, labels: np.ndarray, k: int) -> float:
    """The share of images whose true class is among the `k` largest logits; of equal ones the first wins.

    logits (N, classes), labels (N,). With `k` classes or fewer it is 1.
    """
    own = logits[np.arange(len(labels)), labels][:, None]
    earlier = np.arange(logits.shape[1]) < labels[:, None]
    ahead = (logits > own).sum(axis=1) + ((logits == own) & earlier).sum(axis=1)
    return float((ahead < k).mean())


def bin_of(confidence: np.ndarray, bins: int = ECE_BINS) -> np.ndarray:
    """Which of the bins of `ece`, from 0, each of (N,) confidences falls into."""
    result: np.ndarray = np.clip(np.ceil(confidence * bins).astype(int) - 1, 0, bins - 1)
    return result


def ece(confidence: np.ndarray, correct: np.ndarray, bins: int = ECE_BINS) -> float:
    """The expected calibration error: how far the stated confidence is from the share that is right.

    confidence  (N,) probability of the predicted class
    correct     (N,) whether it was the true one

    The images fall into `bins` bins of equal width, ((m - 1) / bins, m / bins]; the error is the mean over
    the images of |accuracy - mean confidence| of their bin (Guo et al. 2017, equation 3).
    """
    gap = np.bincount(bin_of(confidence, bins), weights=correct - confidence, minlength=bins)
    return float(np.abs(gap).sum() / len(confidence))


def honest_ece(confidence: np.ndarray) -> float:
    """The calibration error that probabilities taken at their word stay below in 95 of 100 such sets of images.

    confidence  (N,) probability of the predicted class

    Few images show some error even then; see Vaicenavicius et al. 2019, "Evaluating model calibration in
    classification", section 5.
    """
    random = np.random.default_rng(0)
    errors = [ece(confidence, random.random(len(confidence)) < confidence, ECE_BINS) for _ in range(SIMULATIONS)]
    return float(np.quantile(errors, 1 - LEVEL))


def _known(value: float) -> float | None:
    return None if np.isnan(value) else float(value)
