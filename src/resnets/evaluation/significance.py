"""What chance alone can do to the figures of a finite set of images. Fractions of 0..1; the seed is fixed.

A bootstrap draws as many images again, with replacement. Where each image counts 0 or 1 (or, for a pair of models, -1,
0 or 1), the sums that it can give are binomially (multinomially) distributed, exactly: those are drawn here, which
takes the same time for 50,000 images as for 50.
"""

from __future__ import annotations

import numpy as np

from resnets.evaluation.metrics import ECE_BINS, ece, interval

DRAWS = 10_000  # of a bootstrap; the ends of its interval then waver by some 1 % of its width
SIMULATIONS = 200
LEVEL = 0.05  # what chance alone does less often than this is not taken for chance
_MIDDLE = (LEVEL / 2, 1 - LEVEL / 2)


def share_interval(right: int, images: int) -> tuple[float, float]:
    """The 95 % bootstrap interval of the share right / images (percentiles).

    Where all or none are right there is nothing to draw from: then Wilson's interval.
    """
    if right in (0, images):
        return interval(right / images, images)
    low, high = np.quantile(np.random.default_rng(0).binomial(images, right / images, DRAWS) / images, _MIDDLE)
    return float(low), float(high)


def difference_interval(only_first: int, only_second: int, images: int) -> tuple[float, float]:
    """The 95 % paired bootstrap interval of the difference of two shares seen on the same images (percentiles).

    only_first, only_second     images that the one alone, and the other alone, got right
    """
    shares = np.array([only_first, only_second, images - only_first - only_second]) / images
    first, second, _ = np.random.default_rng(0).multinomial(images, shares, DRAWS).T
    low, high = np.quantile((first - second) / images, _MIDDLE)
    return float(low), float(high)


def mcnemar(only_first: int, only_second: int) -> float:
    """The p-value of the exact test of McNemar (1947): two models that differ by chance win equally often."""
    from scipy.stats import binomtest

    both = only_first + only_second
    return float(binomtest(only_first, both).pvalue) if both else 1.0


def honest_ece(confidence: np.ndarray) -> float:
    """The calibration error that probabilities taken at their word stay below in 95 of 100 such sets of images.

    confidence  (N,) probability of the predicted class

    Few images show some error even then; see Vaicenavicius et al. 2019, "Evaluating model calibration in
    classification", section 5.
    """
    random = np.random.default_rng(0)
    errors = [ece(confidence, random.random(len(confidence)) < confidence, ECE_BINS) for _ in range(SIMULATIONS)]
    return float(np.quantile(errors, 1 - LEVEL))
