"""Pictures that are there twice: the same bytes, and the same picture recompressed, resized or cropped a little.

Near duplicates are found on brightness alone, at 16 x 16 pixels, in two steps. First every picture is compared with
every other by one matrix product of short descriptions, and each keeps its likeliest three. Then the two pictures of a
candidate are laid over one another (Lucas and Kanade 1981, for shift and scale) and compared in full.

What makes that sharp is that the descriptions are whitened by what the data set has in common: of two skies, or two
products on a white ground, only what is their own counts. On Imagenette no two different pictures reach 0.91, and the
same picture recompressed (JPEG quality 40), halved, or cropped by 5 % stays above 0.96; `benchmarks/doctor.py` counts.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from resnets.progress import track

ALIKE = 0.955  # similarity of near duplicates, after laying one over the other
CANDIDATE = 0.7  # similarity by the short descriptions from which on a pair is looked at closely
NEIGHBOURS = 3  # candidates of each picture
SIDE = 16  # pixels
SHORT = 48  # numbers of a short description
BLOCK = 512  # pictures compared with all others at once
PRIOR = 256  # pictures that the spectrum of natural images counts for beside the data set's own
NOISE = 1e-3  # of a direction's share of the variance, for which compression alone is reason enough
_WHOLE = (0.0, 0.0, 1.0, 1.0)  # x, y, width, height of a part of a picture, of 1
_MIDDLE = (0.025, 0.025, 0.95, 0.95)


def exact(digests: Sequence[bytes]) -> list[list[int]]:
    """Groups of two or more indices with the same digest."""
    found: dict[bytes, list[int]] = defaultdict(list)
    for index, digest in enumerate(digests):
        found[digest].append(index)
    return [group for group in found.values() if len(group) > 1]


def near(thumbs: np.ndarray, exact: Sequence[Sequence[int]] = ()) -> list[tuple[int, int]]:
    """Pairs i < j of near duplicates among (N, S, S, 3) uint8 pictures.

    Of each group in `exact`, the first stands for all.
    """
    left_out = {index for group in exact for index in group[1:]}
    kept = np.array([index for index in range(len(thumbs)) if index not in left_out])
    if len(kept) < 2:
        return []
    whole, middle = (_cut(thumbs[kept], part) for part in (_WHOLE, _MIDDLE))
    whiten = _whitening(whole)
    one, other = _candidates(_unit(whole @ whiten[:, -SHORT:]), _unit(middle @ whiten[:, -SHORT:]))
    found = set()
    for first in range(0, len(one), BLOCK):
        # As arrays: a tensor with one element is a number to numpy, which takes a row for it and not a block of one.
        i, j = one[first : first + BLOCK].numpy(), other[first : first + BLOCK].numpy()
        wanted = _unit(whole[j] @ whiten)
        laid_over = _lay_over(_grey(thumbs[kept[i]]), whole[j])
        similarity = torch.maximum(
            (_unit(laid_over @ whiten) * wanted).sum(1), (_unit(whole[i] @ whiten) * wanted).sum(1)
        )
        alike = (similarity >= ALIKE).numpy()
        found |= {(min(a, b), max(a, b)) for a, b in zip(kept[i][alike].tolist(), kept[j][alike].tolist(), strict=True)}
    return sorted(found)


def _candidates(whole: Tensor, middle: Tensor) -> tuple[Tensor, Tensor]:
    """Indices (P,) and (P,) of pairs worth a closer look, from (N, D) unit descriptions of pictures and their middles.

    A cropped copy is found as itself by the middle of its original.
    """
    one, other = [], []
    with track("looking for near duplicates", len(whole)) as advance:
        for first in range(0, len(whole), BLOCK):
            rows = slice(first, first + BLOCK)
            similarity = torch.maximum(whole[rows] @ whole.T, middle[rows] @ whole.T)
            own = torch.arange(len(similarity))
            similarity[own, own + first] = -1
            best, who = similarity.topk(min(NEIGHBOURS, len(whole) - 1), dim=1)
            place, rank = (best > CANDIDATE).nonzero(as_tuple=True)
            one.append(place + first)
            other.append(who[place, rank])
            advance(len(similarity))
    return torch.cat(one), torch.cat(other)


def _lay_over(grey: Tensor, wanted: Tensor) -> Tensor:
    """The part of each of `grey` (B, S, S) that is likest to its row of `wanted`, described like those: (B, D).

    Gauss-Newton over the part's four numbers, its derivatives by finite differences.
    """
    step, most = 0.01, 0.02
    part = torch.tensor([(0.0125, 0.0125, 0.975, 0.975)]).expand(len(grey), 4)
    for _ in range(4):
        now = _part(grey, part)
        moved = [_part(grey, part + step * unit) for unit in torch.eye(4)]
        slope = torch.stack([(there - now) / step for there in moved], dim=2)
        curve = slope.mT @ slope
        # Levenberg's damping: a picture without detail must not send the part anywhere.
        damping = 1e-2 * curve.diagonal(dim1=1, dim2=2).mean(1) + 1e-6
        curve = curve + damping[:, None, None] * torch.eye(4)
        part = part + torch.linalg.solve(curve, slope.mT @ (wanted - now)[..., None])[..., 0].clamp(-most, most)
    return _part(grey, part)


def _whitening(rows: Tensor) -> Tensor:
    """(D, D) by which to multiply (N, D) descriptions so that all directions count alike; the commonest come last.

    With few pictures the spectrum of natural images stands in, 1 / frequency squared (Field 1987).
    """
    from scipy.fft import dctn

    pixels = np.eye(SIDE * SIDE).reshape(-1, SIDE, SIDE)
    waves = torch.from_numpy(dctn(pixels, axes=(1, 2), norm="ortho").reshape(SIDE * SIDE, -1))
    places = torch.arange(SIDE, dtype=torch.float64) ** 2
    squared = (places[:, None] + places).flatten()
    power = torch.where(squared > 0, 1 / squared.clamp(min=1), 0)
    prior = (waves * (power / power.sum())) @ waves.T
    common = (PRIOR * prior + (rows.T @ rows).double()) / (PRIOR + len(rows))
    values, directions = torch.linalg.eigh(common)
    whiten: Tensor = directions / (values.clamp(min=0) + NOISE).sqrt()
    return whiten.float()


def _cut(thumbs: np.ndarray, part: tuple[float, float, float, float]) -> Tensor:
    """The same part of all pictures: (N, D)."""
    blocks = (thumbs[first : first + BLOCK] for first in range(0, len(thumbs), BLOCK))
    return torch.cat([_part(_grey(block), torch.tensor([part]).expand(len(block), 4)) for block in blocks])


def _part(grey: Tensor, part: Tensor) -> Tensor:
    """A part of each of (B, S, S), given as (B, 4) x, y, width, height of 1, as unit vectors (B, SIDE * SIDE)."""
    x, y, width, height = part.T
    zero = torch.zeros_like(x)
    matrix = torch.stack([width, zero, 2 * x + width - 1, zero, height, 2 * y + height - 1], dim=1).view(-1, 2, 3)
    grid = F.affine_grid(matrix, [len(grey), 1, 2 * SIDE, 2 * SIDE], align_corners=False)
    sampled = F.grid_sample(grey[:, None], grid, padding_mode="border", align_corners=False)
    flat = F.avg_pool2d(sampled, 2).flatten(1)
    return _unit(flat - flat.mean(1, keepdim=True))


def _grey(thumbs: np.ndarray) -> Tensor:
    return torch.from_numpy(thumbs).float() @ torch.tensor([0.299, 0.587, 0.114])


def _unit(rows: Tensor) -> Tensor:
    return F.normalize(rows, dim=1, eps=1e-6)
