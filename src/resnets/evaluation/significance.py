"""What chance alone can do to the figures of a finite set of images. Fractions of 0..1; the seed is fixed.

A bootstrap draws as many images again, with replacement. Where each image counts 0 or 1 (or, for a pair of models, -1,
0 or 1), the sums that it can give are binomially (multinomially) distributed, exactly: those are drawn here, which
takes the same time for 50,000 images as for 50. A share alone has Wilson's interval.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

DRAWS = 10_000  # of a bootstrap; the ends of its interval then waver by some 1 % of its width
LEVEL = 0.05  # what chance alone does less often than this is not taken for chance
COARSE = (3.0, 0.3)  # points of an interval, below which each end has a digit more
MIDDLE = (LEVEL / 2, 1 - LEVEL / 2)


def interval(share: float, images: int) -> tuple[float, float]:
    """The 95 % confidence interval of a share seen on so many images (Wilson 1927: good near 0 and 1 as well).

    Not a number where there is no image.
    """
    if not images:
        return math.nan, math.nan
    z = 1.959964
    centre = (share + z * z / (2 * images)) / (1 + z * z / images)
    reach = z / (1 + z * z / images) * math.sqrt(share * (1 - share) / images + (z / (2 * images)) ** 2)
    return 0.0 if share == 0 else max(centre - reach, 0.0), 1.0 if share == 1 else min(centre + reach, 1.0)


def shown(share: float | None, ends: Sequence[float] | None) -> str:
    """A share with its interval as a person reads it: "91.5 % (86 to 95)", in as many digits as the images can tell.

    share, ends     fractions; "-" for no share, and the share alone without an interval
    """
    if share is None or math.isnan(share):
        return "-"
    if ends is None or math.isnan(ends[0]):
        return f"{100 * share:.1f} %"
    low, high = (100 * end for end in ends)
    digits = sum(high - low < coarse for coarse in COARSE)
    return f"{100 * share:.{max(digits, 1)}f} % ({low:.{digits}f} to {high:.{digits}f})"


def difference_interval(only_first: int, only_second: int, images: int) -> tuple[float, float]:
    """The 95 % paired bootstrap interval of the difference of two shares seen on the same images (percentiles).

    only_first, only_second     images that the one alone, and the other alone, got right
    """
    shares = np.array([only_first, only_second, images - only_first - only_second]) / images
    first, second, _ = np.random.default_rng(0).multinomial(images, shares, DRAWS).T
    low, high = np.quantile((first - second) / images, MIDDLE)
    return float(low), float(high)


def mcnemar(only_first: int, only_second: int) -> float:
    """The p-value of the exact test of McNemar (1947): two models that differ by chance win equally often."""
    from scipy.stats import binomtest

    both = only_first + only_second
    return float(binomtest(only_first, both).pvalue) if both else 1.0
