"""A head for a body that others have trained: every image goes through the body once, and the rest takes seconds.

What the body sees of an image, pooled, is a point; the head is a logistic regression on these points, its strength of
regularisation chosen by cross-validation. On the way every training image gets an answer of a head that did not know
it ("out of fold"), which says what the head is worth without holding images out.
"""

from __future__ import annotations

import time
import warnings
from dataclasses import dataclass
from typing import Any

import numpy as np

FOLDS = 5
STRENGTHS = tuple(10.0**power for power in range(-5, 2))  # scikit-learn's C, for features of deviation 1
CHOOSING = 4000  # training images on which the strength is chosen; of more, so many are drawn
STEPS = 300  # of the solver, at most
NEVER = 30.0  # nats below all others
EXACT, ROUGH = 1e-4, 1e-3  # the solver's tolerance: of the head, and where strengths are compared


@dataclass(frozen=True, eq=False)
class Head:
    """A linear layer, and how it was found.

    weight, bias    (classes, D) and (classes,) float32
    strength        of those in STRENGTHS, chosen by the loss of the answers out of fold
    out_of_fold     (N, classes) float32 logits for the N training images, each by a head that did not know it; NaN for
                    images that no fold answered (the only one of its class, and those beyond CHOOSING)
    seconds         that it took, without the features
    """

    weight: np.ndarray
    bias: np.ndarray
    strength: float
    out_of_fold: np.ndarray
    seconds: float

    def logits(self, features: np.ndarray) -> np.ndarray:
        """(N, D) float32 -> (N, classes) float32."""
        found: np.ndarray = features @ self.weight.T + self.bias
        return found


def fit(features: np.ndarray, labels: np.ndarray, classes: int, seed: int = 0, *, even: bool = False) -> Head:
    """The best head on features that are finite.

    features    (N, D) float32; labels (N,) of 0 .. classes - 1, each of which is there at least once
    seed        decides the folds
    even        every class weighs the same, however many images it has
    """
    began = time.perf_counter()
    centre, scale = features.mean(0), max(float(features.std()), np.finfo(np.float32).tiny)
    points, axes = _turned((features - centre) / scale)
    strength, out_of_fold = _choose(points, labels, classes, _deal(features, labels, classes, seed), even)
    weight, bias = _regress(points, labels, classes, strength, _solver(EXACT, even))
    weight = weight @ axes / scale if axes is not None else weight / scale
    return Head(weight, bias - weight @ centre, strength, out_of_fold, time.perf_counter() - began)


def _turned(points: np.ndarray) -> tuple[np.ndarray, np.ndarray | None]:
    """Fewer points than dimensions, in the coordinates that they span, and the axes of these; others as they are.

    The regression is the same, since its weights lie in the span of the points, whatever turns it: and much faster.
    """
    if len(points) >= points.shape[1]:
        return points, None
    left, lengths, axes = np.linalg.svd(points, full_matrices=False)
    return left * lengths, axes


def _choose(
    points: np.ndarray, labels: np.ndarray, classes: int, deal: tuple[np.ndarray, np.ndarray], even: bool
) -> tuple[float, np.ndarray]:
    """(the strength whose answers out of fold have the least loss, those answers). deal: as `_deal` gives it."""
    nothing = np.full((len(points), classes), np.nan, np.float32)
    rows, fold = deal
    if not len(rows):
        return STRENGTHS[len(STRENGTHS) // 2], nothing
    best, answers, least = STRENGTHS[0], nothing, np.inf
    solvers = [_solver(ROUGH, even) for _ in range(FOLDS)]  # each goes on from its weaker head
    for strength in STRENGTHS:
        found = nothing.copy()
        for part, solver in enumerate(solvers):
            learn, judge = rows[fold != part], rows[fold == part]
            if len(judge):
                weight, bias = _regress(points[learn], labels[learn], classes, strength, solver)
                found[judge] = points[judge] @ weight.T + bias
        loss = _loss(found[rows], labels[rows], even)
        if loss >= least:  # it falls to its least and rises from there
            break
        best, answers, least = strength, found, loss
    return best, answers


def _deal(features: np.ndarray, labels: np.ndarray, classes: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """(rows that take part, the fold of each): every class is spread evenly, copies of an image share a fold, and a
    class of one image takes no part."""
    random = np.random.default_rng(seed)
    drawn = random.permutation(len(labels))[:CHOOSING]
    rows, folds = [np.empty(0, np.int64)], [np.empty(0, np.int64)]
    for number in range(classes):
        own = drawn[labels[drawn] == number]
        image = np.unique(features[own], axis=0, return_inverse=True)[1].reshape(-1)
        if image.max(initial=0):
            rows.append(own)
            folds.append((random.permutation(image.max() + 1)[image] + random.integers(FOLDS)) % FOLDS)
    return np.concatenate(rows), np.concatenate(folds)


def _solver(tolerance: float, even: bool = False) -> Any:
    from sklearn.linear_model import LogisticRegression

    weights = "balanced" if even else None
    return LogisticRegression(max_iter=STEPS, tol=tolerance, warm_start=True, class_weight=weights)


def _regress(
    points: np.ndarray, labels: np.ndarray, classes: int, strength: float, solver: Any
) -> tuple[np.ndarray, np.ndarray]:
    """Weight (classes, D) and bias (classes,) float32; a class without images is never named."""
    weight, bias = np.zeros((classes, points.shape[1]), np.float32), np.zeros(classes, np.float32)
    known = np.unique(labels)
    if len(known) > 1:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # that it has made all its steps: what it has by then is good enough
            found = solver.set_params(C=strength).fit(points, labels)
        if len(known) == 2:  # one row for both: by how much the second is likelier
            weight[known], bias[known] = np.stack([-found.coef_[0], found.coef_[0]]) / 2, found.intercept_[0] / [-2, 2]
        else:
            weight[known], bias[known] = found.coef_, found.intercept_
    bias[np.setdiff1d(np.arange(classes), known)] = bias[known].min() - NEVER
    return weight, bias


def _loss(logits: np.ndarray, labels: np.ndarray, even: bool) -> float:
    from scipy.special import log_softmax

    losses = -log_softmax(logits.astype(np.float64), axis=1)[np.arange(len(labels)), labels]
    return float(np.average(losses, weights=1 / np.bincount(labels)[labels] if even else None))
