"""What a picture looks like, in some twenty numbers, and whether anything in the calibration looked like it.

Brightness, colour, and the contrast between neighbours at every scale: noise, drawings, scans and screens differ from
photos in them by far more than photos from each other. It is computed from the network's input alone, so every engine
gives the same answer. It does not know what is on a picture: a photo of an unknown thing looks like a photo, and is
what `unsure` is for. benchmarks/unlike.py measures it against scores from logits and features: of a network that was
trained for a few epochs these call digits more familiar than photos.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from PIL import Image

from resnets.weights.calibration import Usual

SMALLEST = 8  # pixels: the side of the coarsest scale at which neighbours are compared
LARGEST = 64  # pixels: larger images are averaged to less than twice this before anything but the finest contrast
SPARSE = 4  # of a larger image, every fourth row and column say how neighbouring pixels differ
FALSE_ALARMS = 0.01  # share of images like those of the calibration that are called unlike them
LEAST = 1e-3  # the limit among images that are all alike
LUMA = np.array([0.299, 0.587, 0.114], np.float32)  # ITU-R BT.601


def describe(pixels: np.ndarray, rows: np.ndarray | None = None) -> np.ndarray:
    """(N, S, S, 3) uint8 RGB with S >= 8 -> (N, D) float64; D depends on S alone (20 at 32, 26 at 128 and at 224).

    rows    the numbers of those that are described; None: all of them
    """
    parts = [slice(i, i + 64) for i in range(0, len(pixels if rows is None else rows), 64)]
    return np.concatenate([_describe(pixels[part if rows is None else rows[part]]) for part in parts])


def dimensions(side: int) -> int:
    """How many numbers `describe` gives for images of this side; 0 where they are too small for any."""
    if side < SMALLEST:
        return 0
    times = side // LARGEST
    if times > 1:
        side = -(-side // times)
    scales = (side // SMALLEST).bit_length()
    return 8 + 4 * scales + (2 if times > 1 else 0)


def fit(pixels: np.ndarray, rows: np.ndarray | None = None) -> Usual | None:
    """What `unlike` compares with, from these rows of (N, S, S, 3) uint8: a Gaussian of their looks, and the limit.

    The limit lets FALSE_ALARMS of such images be called unlike, as either half of them shows under the Gaussian of the
    other half. None where the images are too small for it (S < 8).
    """
    if pixels.shape[1] < SMALLEST:
        return None
    found = describe(pixels, rows)
    halves = found[::2], found[1::2]
    across = np.concatenate([_distance(a, *_gaussian(b)) for a, b in (halves, halves[::-1])])
    mean, whiten = _gaussian(found)
    rank = min(int(np.ceil((len(across) + 1) * (1 - FALSE_ALARMS))), len(across))
    limit = max(float(np.sort(across)[rank - 1]), LEAST)
    return Usual(tuple(mean.tolist()), tuple(map(tuple, whiten.tolist())), limit)


def score(pixels: np.ndarray, usual: Usual, rows: np.ndarray | None = None) -> np.ndarray:
    """How unlike: (N,) float64, the squared Mahalanobis distance as a share of the limit; above 1 is unlike.

    rows    as in `describe`
    """
    return _distance(describe(pixels, rows), usual.mean, usual.whiten) / float(usual.limit)


def _gaussian(values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(D,) mean and (D, D) W with |W (x - mean)|² the squared Mahalanobis distance, for covariances shrunk to a fit."""
    from sklearn.covariance import LedoitWolf

    mean, scale = values.mean(axis=0), values.std(axis=0) + 1e-2
    covariance = LedoitWolf(assume_centered=True).fit((values - mean) / scale).covariance_
    # What is the same in all images (grey ones have no colour) may differ by a hundredth, and not by nothing.
    return mean, np.linalg.inv(np.linalg.cholesky(covariance + 1e-4 * np.eye(len(mean)))) / scale


def _distance(
    values: np.ndarray, mean: Sequence[float] | np.ndarray, whiten: Sequence[Sequence[float]] | np.ndarray
) -> np.ndarray:
    found: np.ndarray = np.square((values - np.asarray(mean)) @ np.asarray(whiten).T).sum(axis=1)
    return found


def _describe(pixels: np.ndarray) -> np.ndarray:
    found = []
    if (times := pixels.shape[1] // LARGEST) > 1:
        rows, columns = pixels[:, ::SPARSE] @ LUMA, pixels[:, :, ::SPARSE] @ LUMA
        found += [_contrast(rows / 255, 2), _contrast(columns / 255, 1)]
        pixels = np.stack([np.asarray(Image.fromarray(image).reduce(times)) for image in pixels])
    x = pixels.astype(np.float32) / 255
    luma = x @ LUMA
    blue, red = x[..., 2] - luma, x[..., 0] - luma
    found += [_mean(plane) for plane in (luma, blue, red, luma > 0.98, luma < 0.02)]
    found += [luma.std((1, 2)), *(np.log(plane.std((1, 2)) + 1e-2) for plane in (blue, red))]
    for plane in (luma, (blue + red) / 2):
        while plane.shape[1] >= SMALLEST:
            found += [_contrast(plane, 2), _contrast(plane, 1)]
            half = plane.shape[1] // 2
            plane = plane[:, : 2 * half, : 2 * half].reshape(-1, half, 2, half, 2).mean((2, 4))
    return np.stack(found, axis=1).astype(np.float64)


def _contrast(plane: np.ndarray, axis: int) -> np.ndarray:
    """The logarithm of how much neighbours along an axis of (N, H, W) differ on average: (N,)."""
    result: np.ndarray = np.log(_mean(np.abs(np.diff(plane, axis=axis))) + 1e-3)
    return result


def _mean(plane: np.ndarray) -> np.ndarray:
    result: np.ndarray = plane.mean((1, 2), dtype=np.float32)
    return result
