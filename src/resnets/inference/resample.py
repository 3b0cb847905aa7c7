"""Pillow's resizing as two matrix products, so that an exported file takes pictures of any size.

An exported file has to prepare a picture as `Preprocessing` does, or it disagrees with the network that it was made
from. Pillow's antialiased resampling (libImaging's Resample.c, its path for eight bits) is linear: each new column is
a weighted mean of old ones, and each new row of the columns' rows. The weights depend on the picture's size alone, so
they are computed inside the graph. The formula stands here once; `Ops` says what it is written in.
"""

from __future__ import annotations

from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor

from resnets.data.preprocess import Preprocessing


class Ops(Protocol):
    """What the formula needs beside the operators + - * / // % @ < and `.T` of its values, in torch's meaning."""

    def size(self, x: Any, axis: int) -> Any:
        """The length of an axis, as an int64 scalar."""

    def indices(self, x: Any, axis: int) -> Any:
        """0, 1, .. length of an axis - 1, int64."""

    def constant(self, array: np.ndarray) -> Any:
        """An array that is known beforehand."""

    def planes(self, x: Any) -> Any:
        """(N, H, W, C) of any type -> (N, C, H, W) float32."""

    def real(self, x: Any) -> Any:
        """The same numbers as float32."""

    def minimum(self, x: Any, y: Any) -> Any:
        """The lesser, element by element."""

    def maximum(self, x: Any, y: Any) -> Any:
        """The greater, element by element."""

    def where(self, condition: Any, x: Any, y: Any) -> Any:
        """x where the condition holds, else y."""

    def clip(self, x: Any, low: float, high: float) -> Any:
        """The nearest number from low to high."""

    def absolute(self, x: Any) -> Any:
        """Without the sign."""

    def floor(self, x: Any) -> Any:
        """The next whole number below."""

    def row_sums(self, x: Any) -> Any:
        """(R, C) -> (R, 1)."""

    def mirrored_channels(self, x: Any) -> Any:
        """(N, C, H, W) with the last channel first."""

    def softmax(self, x: Any) -> Any:
        """exp(x) / sum of exp(x) over the last axis."""


def resized(ops: Ops, images: Any, preprocessing: Preprocessing) -> Any:
    """What `preprocessing.pixels` makes of pictures of one size: (N, H, W, 3) uint8 RGB -> (N, 3, S, S) float32.

    Whole numbers from 0 to 255: columns first and then rows, rounded after each (Pillow 13 begins with the rows of some
    upright pictures, which then differ by a few levels). Exact for H and W below 2^30 / `resize_to`, also in an engine
    that computes whole numbers in 32 bits.
    """
    if preprocessing.resize == "longer":
        return _padded(ops, images, preprocessing)
    target = preprocessing.resize_to
    height, width = ops.size(images, 1), ops.size(images, 2)
    shorter = ops.minimum(height, width)
    sides = (height, width) if preprocessing.resize == "stretch" else (shorter, shorter)
    # Where both sides are right already, Preprocessing crops whole pixels, the larger half of an odd margin behind.
    change = ops.absolute(sides[0] - target) + ops.absolute(sides[1] - target)
    rows, columns = (
        _weights(ops, ops.indices(images, axis), size, side, change, preprocessing)
        for axis, size, side in ((1, height, sides[0]), (2, width, sides[1]))
    )
    return _rounded(ops, rows @ _rounded(ops, ops.planes(images) @ columns.T))


def normalised(ops: Ops, pixels: Any, preprocessing: Preprocessing) -> Any:
    """What `preprocessing.normalise` gives, of (N, 3, S, S) as `resized` returns them."""
    if preprocessing.channels == "BGR":
        pixels = ops.mirrored_channels(pixels)
    mean, std = (np.array(numbers).reshape(3, 1, 1) for numbers in (preprocessing.mean, preprocessing.std))
    mean = mean if preprocessing.mean_image is None else preprocessing.mean_image
    shift, scale = (255 * mean).astype(np.float32), (1 / (255 * std)).astype(np.float32)
    return (pixels - ops.constant(shift)) * ops.constant(scale)


def probabilities(ops: Ops, logits: Any, temperature: float) -> Any:
    """softmax(logits / temperature), (N, classes) float32."""
    return ops.softmax(logits / temperature)


def _weights(ops: Ops, index: Any, size: Any, side: Any, change: Any, preprocessing: Preprocessing) -> Any:
    """(S, size) float32: how much each old pixel of one axis counts in each new one.

    The distance of two pixels' centres, in old pixels, is a fraction of whole numbers, and it stays one until the one
    division: rounded before, a centre of a large photo would be off by more than Pillow's is.
    """
    target, new = preprocessing.resize_to, preprocessing.image_size
    numbers = ops.constant(np.arange(new, dtype=np.int64).reshape(-1, 1))
    margin = size * target - side * new - ops.where(change < 1, (size - new) % 2, ops.constant(np.array(0))) * target
    distance = (index * 2 + 1) * target - (numbers * 2 + 1) * side - margin  # in 1 / (2 target) of an old pixel
    # Enlarging interpolates between neighbours; shrinking widens the filter, so that every old pixel counts.
    reach = ops.maximum(side, ops.constant(np.array(target))) * 2
    weights = _filter(ops, ops.absolute(ops.real(distance) / ops.real(reach)), preprocessing.interpolation)
    return weights / ops.row_sums(weights)


def _padded(ops: Ops, images: Any, preprocessing: Preprocessing) -> Any:
    """The same where the whole picture lies in the middle of the square, and the rest of it has a colour."""
    size, sides = preprocessing.image_size, (ops.size(images, 1), ops.size(images, 2))
    longer = ops.maximum(*sides)
    parts = []
    for axis, side in zip((1, 2), sides, strict=True):
        inner = ops.maximum((side * (2 * size) + longer) // (longer * 2), ops.constant(np.array(1)))
        place = ops.constant(np.arange(size, dtype=np.int64).reshape(-1, 1)) - (inner * -1 + size) // 2
        # The distance of two pixels' centres in 1 / (2 inner) of an old one, as in `_weights`.
        distance = (ops.indices(images, axis) * 2 + 1) * inner - (place * 2 + 1) * side
        reach = ops.maximum(side, inner) * 2
        weights = _filter(ops, ops.absolute(ops.real(distance) / ops.real(reach)), preprocessing.interpolation)
        # Outside the picture, which no weight needs to reach, a sum of 0 is not divided by.
        parts.append((weights, ops.where(place < 0, inner, place) < inner))
    (rows, down), (columns, across) = (
        (weights / ops.maximum(ops.row_sums(weights), ops.constant(np.array(0.25, np.float32))), inside)
        for weights, inside in parts
    )
    picture = _rounded(ops, rows @ _rounded(ops, ops.planes(images) @ columns.T))
    around = ops.constant(np.array(preprocessing.fill, np.float32).reshape(3, 1, 1))
    return ops.where(down, ops.where(across.T, picture, around), around)


def _filter(ops: Ops, t: Any, interpolation: str) -> Any:
    """The filter at the distance t >= 0: a triangle, or Keys' cubic with a = -0.5."""
    if interpolation == "bilinear":
        return ops.clip(1 - t, 0, 1)
    t = ops.clip(t, 0, 2)
    return ops.where(t < 1, (1.5 * t - 2.5) * t * t + 1, (((t - 5) * t + 8) * t - 4) * -0.5)


def _rounded(ops: Ops, x: Any) -> Any:
    return ops.clip(ops.floor(x + 0.5), 0, 255)


class TorchOps:
    """The formula on tensors, also while torch.export watches and sizes are symbols."""

    def size(self, x: Tensor, axis: int) -> Tensor:
        """See `Ops`."""
        return torch.full((), x.shape[axis], dtype=torch.int64)

    def indices(self, x: Tensor, axis: int) -> Tensor:
        """See `Ops`."""
        return torch.arange(x.shape[axis])

    def constant(self, array: np.ndarray) -> Tensor:
        """See `Ops`."""
        return torch.from_numpy(array)

    def planes(self, x: Tensor) -> Tensor:
        """See `Ops`."""
        return x.permute(0, 3, 1, 2).float()

    def real(self, x: Tensor) -> Tensor:
        """See `Ops`."""
        return x.float()

    def row_sums(self, x: Tensor) -> Tensor:
        """See `Ops`."""
        return x.sum(dim=1, keepdim=True)

    def mirrored_channels(self, x: Tensor) -> Tensor:
        """See `Ops`."""
        return x.flip(1)

    def softmax(self, x: Tensor) -> Tensor:
        """See `Ops`."""
        return torch.softmax(x, dim=-1)

    def where(self, condition: Tensor, x: Tensor, y: Tensor) -> Tensor:
        """See `Ops`."""
        return torch.where(condition, x, y)

    def clip(self, x: Tensor, low: float, high: float) -> Tensor:
        """See `Ops`."""
        return x.clamp(low, high)

    minimum = staticmethod(torch.minimum)
    maximum = staticmethod(torch.maximum)
    absolute = staticmethod(torch.abs)
    floor = staticmethod(torch.floor)
