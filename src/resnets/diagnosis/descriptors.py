"""How alike do pictures look? Outlines, colours and textures, compared place by place; nothing is trained.

Outlines are histograms of gradients (Dalal and Triggs 2005), textures are local binary patterns (Ojala 2002), colours
are joint histograms, and covariances (Tuzel 2006, with the logarithm of Arsigny 2006) say what goes with what. A few
hundred pictures, too few for a network to learn from, can be told apart by these.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

BLOCK = 32  # pictures at once: bounds what they take, and stays near the processor's cache
GRIDS = (1, 2, 4)  # parts of each side that are described each for itself
CELLS = (8, 16)  # pixels, sides of the cells of which histograms of gradients are taken
ANGLES = 9  # of a histogram of gradients, over half a turn
COLOURS = (5, 6, 6)  # steps of brightness, of red to green, of yellow to blue
TEXTURES = 256  # patterns of which of eight neighbours are brighter
NOTICED = 2.0  # grey levels by which a neighbour must be brighter
ACROSS = 0  # the fact that a mirror turns round
PLACE = 0.3  # of the edge of a picture, in the units of its brightness, 0 to 1


def likeness(thumbs: np.ndarray, advance: Callable[[int], object]) -> np.ndarray:
    """How alike (N, S, S, 3) uint8 pictures look, mirror images included: (N, N) float64, 0 to 1, positive definite.

    The mean over the kinds of descriptor, each a Gaussian of the distance in units of its mean. `advance` is told of N
    pictures for each of `KINDS`.
    """
    found = np.zeros((len(thumbs), len(thumbs)))
    pictures = torch.from_numpy(thumbs)
    for describe, weight in KINDS:
        views = []
        for block in torch.split(pictures, BLOCK):
            light = block.permute(0, 3, 1, 2).float() / 255
            views.append(describe(light))
            advance(len(block))
        plain, mirrored = torch.cat(views, dim=1)
        if describe is _covariances:
            plain, mirrored = _standard(torch.stack([plain, mirrored]))
        near, across = _squared_distances(plain, plain), _squared_distances(plain, mirrored)
        mean = max(float(near.sum()) / max(1, len(near) * (len(near) - 1)), 1e-9)
        found += weight / 2 * ((-near / mean).exp() + (-across / mean).exp()).double().numpy()
    return (found + found.T) / (2 * sum(weight for _, weight in KINDS))


def _squared_distances(one: Tensor, other: Tensor) -> Tensor:
    product = one @ other.T
    return ((one * one).sum(1)[:, None] + (other * other).sum(1) - 2 * product).clamp(min=0)


# What follows describes (B, 3, S, S) pictures from 0 to 1 and their mirror images: (2, B, D). The second comes from the
# first where its parts only change places.


def _outlines(light: Tensor, cell: int) -> Tensor:
    """Histograms of gradients: each block of two by two cells of equal size."""
    light = light.sqrt()
    across, down = F.pad(light, (1, 1, 0, 0), "replicate"), F.pad(light, (0, 0, 1, 1), "replicate")
    dx, dy = across[..., 2:] - across[..., :-2], down[..., 2:, :] - down[..., :-2, :]
    size, channel = (dx * dx + dy * dy).max(1, keepdim=True)
    size = size.sqrt()
    angle = torch.atan2(dy.gather(1, channel), dx.gather(1, channel)) % math.pi / math.pi * ANGLES
    low = angle.floor()
    part, low = angle - low, low.long() % ANGLES
    shares = light.new_zeros(len(light), ANGLES, *light.shape[2:])
    shares.scatter_add_(1, low, size * (1 - part)).scatter_add_(1, (low + 1) % ANGLES, size * part)
    near = 1 - (torch.arange(2 * cell).to(light) + 0.5 - cell).abs() / cell  # a pixel counts for the cells around it
    cells = F.conv2d(shares.flatten(0, 1)[:, None], (near[:, None] * near)[None, None], stride=cell, padding=cell // 2)
    cells = cells.view(len(light), ANGLES, *cells.shape[-2:])
    scale = (4 * F.avg_pool2d((cells * cells).sum(1, keepdim=True), 2, 1) + 1e-3).rsqrt()
    other_way = [-angle % ANGLES for angle in range(ANGLES)]
    last, views = cells.shape[-1] - 1, []
    for own, its_scale in ((cells, scale), (cells[:, other_way].flip(3), scale.flip(3))):
        corners = [own[:, :, y : last + y, x : last + x] for y in (0, 1) for x in (0, 1)]
        views.append(torch.cat([(corner * its_scale).clamp(max=0.3) for corner in corners], 1).flatten(1))
    return torch.stack(views)


def _colours(light: Tensor) -> Tensor:
    """Joint histograms of brightness and opponent colours."""
    red, green, blue = F.avg_pool2d(light, 2).unbind(1)
    opponents = (red - green, (red + green) / 2 - blue)
    scales = [(red + green + blue) / 3] + [x.sign() * x.abs().sqrt() / 1.4 + 0.5 for x in opponents]
    joint = light.new_ones(len(light), 1, *red.shape[1:])
    for scale, steps in zip(scales, COLOURS, strict=True):
        place = (scale * (steps - 1)).clamp(0, steps - 1)
        share = (1 - (place[:, None] - torch.arange(steps).to(light).view(1, -1, 1, 1)).abs()).clamp(min=0)
        joint = (joint[:, :, None] * share[:, None]).flatten(1, 2)
    return _rooted(F.adaptive_avg_pool2d(joint, max(GRIDS)), torch.arange(joint.shape[1]))


def _textures(light: Tensor) -> Tensor:
    """Histograms of local binary patterns at full and at half size."""
    grey = _grey(light)[:, None] * 255
    return torch.cat([_patterns(grey), _patterns(F.avg_pool2d(grey, 2))], 2)


def _patterns(grey: Tensor) -> Tensor:
    """Which of its eight neighbours are brighter than each pixel of (B, 1, S, S) grey levels: histograms."""
    side, parts = grey.shape[-1] - 2, max(GRIDS)
    middle = grey[:, 0, 1:-1, 1:-1] + NOTICED
    around = [(y, x) for y in range(3) for x in range(3) if (y, x) != (1, 1)]
    brighter = [(grey[:, 0, y : y + side, x : x + side] > middle).long() << bit for bit, (y, x) in enumerate(around)]
    part = torch.arange(side) * parts // side
    cell = part[:, None] * parts + part + parts * parts * torch.arange(len(grey))[:, None, None]
    code = (cell * TEXTURES + torch.stack(brighter).sum(0)).flatten()
    counts = torch.bincount(code, minlength=len(grey) * parts * parts * TEXTURES).float()
    shares = counts.view(len(grey), parts, parts, TEXTURES).permute(0, 3, 1, 2)
    in_mirror = torch.zeros(TEXTURES, dtype=torch.long)
    for bit, (y, x) in enumerate(around):
        in_mirror += (torch.arange(TEXTURES) >> bit & 1) << around.index((y, 2 - x))
    return _rooted(shares / shares.sum(1, keepdim=True), in_mirror)


def _rooted(shares: Tensor, in_mirror: Tensor) -> Tensor:
    """Roots of the mean shares in each part of each grid, so that rare ones count too.

    shares      (B, D, P, P) in the parts of the finest grid
    in_mirror   D places: which of them a mirror makes of each
    """
    views = [
        [(F.adaptive_avg_pool2d(own, grid).sqrt() / grid).flatten(1) for grid in GRIDS]
        for own in (shares, shares[:, in_mirror].flip(3))
    ]
    return torch.stack([torch.cat(view, 1) for view in views])


def _covariances(light: Tensor) -> Tensor:
    """Logarithms of the covariances of brightness, opponent colours, slopes, curvatures and place; and their means."""
    facts, side = _facts(light), light.shape[-1]
    upper = torch.triu_indices(facts.shape[1], facts.shape[1])
    twice = torch.where(upper[0] == upper[1], 1.0, 2**0.5).to(light)  # what lies off the diagonal stands for two
    turned = torch.ones(facts.shape[1]).to(light)
    turned[ACROSS] = -1
    signs = torch.cat([turned[upper[0]] * turned[upper[1]], turned])
    views: tuple[list[Tensor], list[Tensor]] = ([], [])
    for grid in GRIDS:
        step = side // grid
        parts = facts.unfold(2, step, step).unfold(3, step, step).flatten(4).flatten(2, 3).transpose(1, 2)
        mean = parts.mean(3, keepdim=True)
        spread = (parts - mean) @ (parts - mean).transpose(2, 3) / parts.shape[3]
        values, directions = torch.linalg.eigh(spread + 1e-4 * torch.eye(facts.shape[1]).to(light))
        logarithm = (directions * values.clamp(min=1e-5).log()[..., None, :]) @ directions.transpose(2, 3)
        own = torch.cat([logarithm[..., upper[0], upper[1]] * twice, mean[..., 0]], 2)
        views[0].append(own.flatten(1))
        views[1].append((own * signs).view(len(own), grid, grid, -1).flip(2).flatten(1))
    return torch.stack([torch.cat(view, 1) for view in views])


def _facts(light: Tensor) -> Tensor:
    """What covariances are taken of, for each pixel: (B, 11, S, S)."""
    red, green, blue = light.unbind(1)
    grey = _grey(light)
    channels = torch.stack([grey, red - green, (red + green) / 2 - blue], 1)
    wide = F.pad(channels, (1, 1, 1, 1), "replicate")
    left, right, above, below = wide[..., 1:-1, :-2], wide[..., 1:-1, 2:], wide[..., :-2, 1:-1], wide[..., 2:, 1:-1]
    dx, dy = right - left, below - above
    steep = (dx * dx + dy * dy).sqrt()
    slopes = [dx[:, 0].abs(), dy[:, 0].abs(), steep[:, 0], steep[:, 1] + steep[:, 2]]
    curved = [(one + other - 2 * channels)[:, 0].abs() for one, other in ((left, right), (above, below))]
    edge = torch.linspace(-PLACE, PLACE, light.shape[-1]).to(light)
    return torch.stack([edge.expand_as(grey), edge[:, None].expand_as(grey), *channels.unbind(1), *slopes, *curved], 1)


def _standard(both: Tensor) -> Tensor:
    """(2, N, D) covariances in units of their deviation in the set, and so that each of `GRIDS` weighs the same."""
    weights = torch.cat([torch.full((grid * grid,), 1 / grid) for grid in GRIDS]).to(both)
    rows = both.flatten(0, 1)
    return (both - rows.mean(0)) * weights.repeat_interleave(both.shape[2] // len(weights)) / (rows.std(0) + 1e-6)


def _grey(light: Tensor) -> Tensor:
    red, green, blue = light.unbind(1)
    return 0.299 * red + 0.587 * green + 0.114 * blue


# Each kind with its weight: covariances alone tell as much as the others together.
KINDS: tuple[tuple[Callable[[Tensor], Tensor], float], ...] = (
    (partial(_outlines, cell=CELLS[0]), 1),
    (partial(_outlines, cell=CELLS[1]), 1),
    (_colours, 1),
    (_textures, 1),
    (_covariances, 2),
)
