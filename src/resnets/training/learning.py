"""What would twice as many photos bring? Heads on cached features, fitted on ever larger parts of the images, say it.

The errors of such heads fall like a power of the number of images towards a floor (Cortes et al. 1993, "Learning
curves: asymptotic values and rate of convergence"). The curve is read on at twice the images, and drawn again from the
same images many times for its interval. Where it does not fit, nothing is said.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from resnets.evaluation.significance import MIDDLE

PARTS = (1 / 8, 2**-2.5, 1 / 4, 2**-1.5, 1 / 2, 2**-0.5, 1)  # of the images that a fold leaves to learn from
FOLDS, SEEDS = 5, 3
LEAST = 40  # images, below which no curve is drawn
MOST = 2000  # images that it is drawn from; so many tell the floor
EACH, POINTS = 2, 4  # images of a class, on average, that a part needs; parts that a curve needs
WIDEST = 256  # directions of the features that count
RIDGES = 10.0 ** np.arange(-1, 6)
EXPONENTS = np.linspace(0.1, 1.5, 29)
DRAWS = 300
FITS = 3.0  # standard errors that the curve may lie beside a measured point


@dataclass(frozen=True)
class LearningCurve:
    """The share of wrong answers over the number of training images: floor + scale * images ** -exponent.

    sizes, errors       measured: images that the heads were fitted on, and their errors on others, 0..1
    images              training images that there are
    floor, scale, exponent      of the curve that fits best
    interval            95 % of the points (fractions) that twice the images would bring
    """

    sizes: tuple[int, ...]
    errors: tuple[float, ...]
    images: int
    floor: float
    scale: float
    exponent: float
    interval: tuple[float, float]

    def error(self, images: float) -> float:
        """The share of wrong answers of a head that so many images have taught."""
        return float(min(1.0, self.floor + self.scale * images**-self.exponent))

    @property
    def gain(self) -> float:
        """By how much top-1 would rise with twice the images, as a fraction."""
        return self.error(self.images) - self.error(2 * self.images)

    def document(self) -> dict[str, Any]:
        """The gain, as `next` in JSON has it."""
        return {"top1": self.gain, "interval": list(self.interval)}


def learning_curve(
    features: np.ndarray, labels: np.ndarray, held_out: np.ndarray, held_out_labels: np.ndarray, seed: int = 0
) -> LearningCurve | None:
    """The curve of heads on features that are cached, in seconds.

    features, labels            (N, D) float32 and (N,) whole numbers: of the training images
    held_out, held_out_labels   the same of the held-out ones. They are learnt from as well: each image judges the heads
                                of the folds without it, so that few held-out images are no bound

    None for too few images, for features that are not finite, and where the errors do not follow such a curve: where
    they do not fall, or lie beside it by more than chance.
    """
    images, target = np.concatenate([features, held_out]), np.concatenate([labels, held_out_labels])
    classes, target = np.unique(target, return_inverse=True)
    if len(target) > MOST:
        chosen = np.random.default_rng(seed).permutation(len(target))[:MOST]
        images, target = images[chosen], target[chosen]
    # Of a photo that is there twice one would judge what knows the other.
    first = list({row.tobytes(): place for place, row in reversed(list(enumerate(images)))}.values())[::-1]
    images, target = images[first], target[first]
    learn = len(target) - -(-len(target) // FOLDS)
    sizes = np.array([size for part in PARTS if (size := round(part * learn)) >= EACH * len(classes)])
    if len(classes) < 2 or len(target) < LEAST or len(sizes) < POINTS or not np.isfinite(images).all():
        return None
    wrong = _measured(_reduced(images), target, sizes, seed)
    errors = wrong.mean(axis=(1, 2))
    floor, scale, exponent = (float(value[0]) for value in _fitted(sizes, errors[None]))
    random, count = np.random.default_rng(seed), len(target)
    draws = np.stack(
        [
            wrong[:, random.integers(SEEDS, size=SEEDS)][:, :, random.integers(count, size=count)].mean(axis=(1, 2))
            for _ in range(DRAWS)
        ]
    )
    noise = draws.std(axis=0) + 1 / count
    fitted = floor + scale * sizes**-exponent
    if not errors[0] - errors[-1] > 2 * float((draws[:, 0] - draws[:, -1]).std()):
        return None  # more images do not help, or not visibly
    if (np.abs(fitted - errors) > FITS * noise).any():
        return None
    _, scales, exponents = _fitted(sizes, draws)
    gains = scales * len(labels) ** -exponents * (1 - 2**-exponents)
    low, high = np.quantile(gains, MIDDLE)
    return LearningCurve(
        sizes=tuple(int(size) for size in sizes),
        errors=tuple(float(error) for error in errors),
        images=len(labels),
        floor=floor,
        scale=scale,
        exponent=exponent,
        interval=(float(low), float(high)),
    )


def _reduced(images: np.ndarray) -> np.ndarray:
    """The `WIDEST` directions in which (N, D) features, each of spread 1, vary most: no label is asked for them."""
    x: np.ndarray = images.astype(np.float32)
    x -= x.mean(axis=0)
    spread = x.std(axis=0)
    spread[spread < 1e-6 * max(float(spread.max()), 1e-12)] = np.inf  # what does not vary tells nothing
    x /= spread
    if min(x.shape) <= WIDEST:
        return x
    few = len(x) < x.shape[1]
    _, vectors = np.linalg.eigh(x @ x.T if few else x.T @ x)
    widest = vectors[:, -WIDEST:]
    found: np.ndarray = widest * np.linalg.norm(x.T @ widest, axis=0) if few else x @ widest
    return found


def _measured(images: np.ndarray, target: np.ndarray, sizes: np.ndarray, seed: int) -> np.ndarray:
    """(sizes, seeds, N) bool: whether an image is answered wrongly by the head of so many that did not see it."""
    classes = int(target.max()) + 1
    wrong = np.zeros((len(sizes), SEEDS, len(target)), bool)
    for number in range(SEEDS):
        order = _dealt(target, np.random.default_rng((seed, number)))
        for fold in range(FOLDS):
            judge = order[fold::FOLDS]
            rest = order[np.arange(len(order)) % FOLDS != fold]
            for place, size in enumerate(sizes):  # nested: each part holds the smaller ones
                rows = rest[:size]
                answers = _head(images[rows], target[rows], classes, images[judge])
                wrong[place, number, judge] = answers.argmax(axis=1) != target[judge]
    return wrong


def _dealt(target: np.ndarray, random: np.random.Generator) -> np.ndarray:
    """An order of the images in which every beginning, and every fold, has about its share of each class."""
    order = random.permutation(len(target))
    counts, places = np.bincount(target), np.empty(len(target))
    for label, count in enumerate(counts):
        own = order[target[order] == label]
        places[own] = (np.arange(count) + random.random(count)) / count
    return np.argsort(places, kind="stable")


def _head(x: np.ndarray, target: np.ndarray, classes: int, others: np.ndarray) -> np.ndarray:
    """What a ridge classifier says of others, (M, classes); its ridge has the least error of leaving one out.

    A ridge takes one decomposition for all strengths, and no iterations.
    """
    x, others = x - x.mean(axis=0), others - x.mean(axis=0)
    wanted = np.eye(classes, dtype=np.float32)[target]
    centre = wanted.mean(axis=0)
    left, values, right = np.linalg.svd(x, full_matrices=False)
    spoken, best, answers = left.T @ (wanted - centre), np.inf, np.zeros((len(others), classes))
    for ridge in RIDGES:
        kept = values**2 / (values**2 + ridge)
        residual = wanted - centre - left @ (kept[:, None] * spoken)
        alone = 1 - (left**2 @ kept) - 1 / len(x)
        error = float(((residual / np.maximum(alone, 1e-9)[:, None]) ** 2).mean())
        if error < best:
            best = error
            answers = centre + others @ (right.T @ ((values / (values**2 + ridge))[:, None] * spoken))
    return answers


def _fitted(sizes: np.ndarray, errors: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(draws,) floors, scales and exponents of the curves that fit (draws, sizes) errors best; floor, scale >= 0."""
    powers = sizes[None] ** -EXPONENTS[:, None]  # (exponents, sizes)
    own, means = powers - powers.mean(axis=1, keepdims=True), errors.mean(axis=1)
    scale = np.maximum((errors @ own.T) / (own**2).sum(axis=1), 0)  # (draws, exponents)
    floor = means[:, None] - scale * powers.mean(axis=1)
    through = (errors @ powers.T) / (powers**2).sum(axis=1)  # of a curve that falls to nothing
    scale = np.where(floor < 0, through, scale)
    floor = np.maximum(floor, 0)
    left = ((floor[..., None] + scale[..., None] * powers - errors[:, None]) ** 2).sum(axis=2)
    best, row = left.argmin(axis=1), np.arange(len(errors))
    return floor[row, best], scale[row, best], EXPONENTS[best]
