"""What pictures look like without a trained network: which patches of a dictionary occur in them, and where.

Coates and Ng 2011, "The importance of encoding versus training with sparse coding and vector quantization": patches of
the data set itself, whitened and clustered, make a first layer that rivals trained ones and needs one pass over the
pictures. Half of a dictionary are the mirror images of the other half, so that the map of a mirrored picture comes from
that of the picture.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from resnets.machine import fastest_precision

GRID = 8  # a map says what occurs in each of GRID x GRID parts of the picture
PATCHES = 20_000  # that a dictionary is made from
ROUNDS = 4  # of k-means
FLAT = 10.0  # variance, in grey levels squared, added to a patch's own before it is divided by it
FAINT = 0.1  # added to each variance before whitening
SAMPLE = 600  # pictures that the main directions of the maps are taken from
BLOCK = 16  # pictures at once: what they take stays in the processor's cache


@dataclass(frozen=True)
class Scale:
    """Which patches of a picture are looked at.

    side    of the picture, pixels
    patch   side of a patch, pixels
    stride  between patches, pixels
    words   of the dictionary
    keep    numbers that the map keeps for each part of the picture
    """

    side: int
    patch: int
    stride: int
    words: int
    keep: int


SCALES = (Scale(side=64, patch=6, stride=2, words=512, keep=128),)


def bytes_each() -> int:
    """What the maps of one picture take."""
    dtype = getattr(torch, fastest_precision("cpu"))
    return 2 * GRID * GRID * sum(scale.keep for scale in SCALES) * int(dtype.itemsize)


def maps(thumbs: Tensor, advance: Callable[[int], object]) -> Tensor:
    """What occurs where in (N, S, S, 3) uint8 pictures and in their mirror images: (N, 2, GRID, GRID, D).

    D is the sum of `keep` over `SCALES`. Of the precision that is fastest here. `advance` is told of N pictures for
    each scale.
    """
    dtype = getattr(torch, fastest_precision("cpu"))
    found = torch.empty(len(thumbs), 2, GRID, GRID, sum(scale.keep for scale in SCALES), dtype=dtype)
    sample = torch.from_numpy(np.random.default_rng(0).permutation(len(thumbs))[:SAMPLE])
    first = 0
    for scale in SCALES:
        bank = _dictionary(thumbs, scale).to(dtype)
        some = torch.cat([_responses(thumbs[rows], bank, scale) for rows in torch.split(sample, BLOCK)])
        mean, main = _main_directions(some.flatten(0, 2), scale.keep)
        here = slice(first, first := first + scale.keep)
        for start in range(0, len(thumbs), BLOCK):
            rows = slice(start, start + BLOCK)
            response = _responses(thumbs[rows], bank, scale)
            # In a mirror the columns are in the other order, and each word stands where its mirror image was.
            mirrored = response.unflatten(3, (2, -1)).flip(2).roll(scale.words // 2, dims=4).flatten(3)  # type: ignore[no-untyped-call]
            found[rows, 0, ..., here] = ((response - mean) @ main).to(dtype)
            found[rows, 1, ..., here] = ((mirrored - mean) @ main).to(dtype)
            advance(len(response))
    return found


def _responses(thumbs: Tensor, bank: Tensor, scale: Scale) -> Tensor:
    """How strongly each word, and its negative, occurs in each part of (B, S, S, 3) pictures.

    Roots of mean responses: (B, GRID, GRID, 2 * words) float32.
    """
    picture = _shrunk(thumbs, scale.side)
    places = (scale.side - scale.patch) // scale.stride + 1
    part = torch.arange(places) * GRID // places
    parts = F.one_hot((part[:, None] * GRID + part).flatten(), GRID * GRID).float()
    parts = (parts / parts.sum(0)).T.to(bank).expand(len(picture), -1, -1)
    mean, squared = (F.avg_pool2d(x, scale.patch, scale.stride).mean(1) for x in (picture, picture * picture))
    contrast = ((squared - mean * mean).clamp(min=0) + FLAT).rsqrt().flatten(1)[..., None]
    cut = picture.to(bank).unfold(2, scale.patch, scale.stride).unfold(3, scale.patch, scale.stride)
    patch = cut.permute(0, 2, 3, 1, 4, 5).flatten(3).flatten(1, 2) * contrast.to(bank)
    response = (patch.flatten(0, 1) @ bank).relu_().view(*patch.shape[:2], -1)
    positive = torch.bmm(parts, response)
    # mean(max(-r, 0)) = mean(max(r, 0)) - mean(r), and r is linear in the patch.
    negative = positive - torch.bmm(parts, patch) @ bank
    both = torch.cat([positive, negative], dim=2).float().clamp(min=0).sqrt_()
    return both.view(len(picture), GRID, GRID, -1)


def _dictionary(thumbs: Tensor, scale: Scale) -> Tensor:
    """(3 * patch * patch, words) filters: half of them, then their mirror images. Each sums to zero."""
    random = np.random.default_rng(1)
    size = scale.patch
    drawn = np.sort(random.integers(len(thumbs), size=PATCHES))
    y, x = torch.from_numpy(random.integers(scale.side - size + 1, size=(2, PATCHES)))
    chosen, number = (torch.from_numpy(found) for found in np.unique(drawn, return_inverse=True))
    pieces = []
    for first in range(0, len(chosen), BLOCK):
        here = ((number >= first) & (number < first + BLOCK)).nonzero()[:, 0]
        picture = _shrunk(thumbs[chosen[first : first + BLOCK]], scale.side)
        pieces.append(picture.unfold(2, size, 1).unfold(3, size, 1)[number[here] - first, :, y[here], x[here]])
    patches = torch.cat(pieces)
    rows = torch.cat([patches, patches.flip(3)]).flatten(1)
    rows = rows - rows.mean(1, keepdim=True)
    rows = rows / (rows.var(1, keepdim=True) + FLAT).sqrt()
    values, directions = torch.linalg.eigh(rows.T @ rows / len(rows))
    whiten = (directions / (values.clamp(min=0) + FAINT).sqrt()) @ directions.T
    own, mirrored = F.normalize(rows @ whiten, dim=1).chunk(2)
    words = own[torch.from_numpy(random.permutation(len(own))[: scale.words // 2])]
    for _ in range(ROUNDS):
        nearest = torch.maximum(own @ words.T, mirrored @ words.T).argmax(1)
        total = torch.zeros_like(words).index_add_(0, nearest, own)
        words = torch.where(total.norm(dim=1, keepdim=True) > 0, F.normalize(total, dim=1), words)
    half = (whiten @ words.T).view(3, size, size, -1)
    bank = torch.cat([half, half.flip(2)], dim=3).flatten(0, 2)
    return bank - bank.mean(0)


def _main_directions(rows: Tensor, keep: int) -> tuple[Tensor, Tensor]:
    """(D,) mean and (D, keep) by which to multiply what differs from it: the main components, of about equal size."""
    mean = rows.mean(0)
    values, directions = torch.linalg.eigh((rows - mean).T @ (rows - mean) / len(rows))
    values = values[-keep:].clamp(min=0)
    return mean, directions[:, -keep:] / (values + 0.1 * values.mean() + 1e-6).sqrt()


def _shrunk(thumbs: Tensor, side: int) -> Tensor:
    """(B, S, S, 3) uint8 as (B, 3, side, side) float32 around 0."""
    return F.adaptive_avg_pool2d(thumbs.permute(0, 3, 1, 2).float() - 128, side)
