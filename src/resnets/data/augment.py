"""Augmentation of whole batches, on whatever device the batch lies.

Every decision is read from the image's row of dice (see `batches.py`), none is drawn here. All that moves
pixels (crop, flip, TrivialAugment's shears, shifts and rotations) is one affine map an image, so that they
are resampled once.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from resnets.data import trivial
from resnets.data.preprocess import Preprocessing

# The columns of an image's dice: uniform numbers of [0, 1).
AREA, RATIO, X, Y, FLIP, OPERATION, MAGNITUDE, SIGN, MIX = range(9)
DICE = 9


@dataclass(frozen=True, slots=True, kw_only=True)
class Augmentation:
    """What happens to a training image.

    crop        resized: a random part of at least `min_area` of the image, stretched to the network's size,
                sides 3:4 to 4:3 (Szegedy 2014); shift: the image moved by up to `shift` pixels, zeros after
                normalisation coming in from outside (He 2015 on CIFAR, 4 pixels); none
    flip        mirror every second image left to right
    trivial     one operation of random strength an image (TrivialAugment wide, Mueller 2021)
    """

    crop: str = "resized"
    min_area: float = 0.35
    shift: int = 4
    flip: bool = True
    trivial: bool = False

    def __call__(self, images: Tensor, dice: Tensor, size: int, preprocessing: Preprocessing) -> Tensor:
        """(B, S, S, 3) uint8 and (B, DICE) -> (B, 3, size, size) float32, normalised, channels_last."""
        shifts = self.crop == "shift"
        if self.crop == "resized" or self.trivial or images.shape[1] != size:
            pixels = images.permute(0, 3, 1, 2).float()
            pixels = self._resample(pixels, dice, size).round_()  # whole values, as the colour operations expect them
            if self.trivial:
                pixels = trivial.recolour(pixels, dice[:, OPERATION], dice[:, MAGNITUDE], dice[:, SIGN])
            images = pixels.round().clamp_(0, 255).to(torch.uint8).permute(0, 2, 3, 1)
        x = preprocessing.normalise(images)
        if shifts or self.flip:
            x = _shift_and_flip(x, dice, self.shift if shifts else 0, self.flip)
        return x.contiguous(memory_format=torch.channels_last)

    def _resample(self, pixels: Tensor, dice: Tensor, size: int) -> Tensor:
        """One bilinear look-up of the affine map that every image's dice describe."""
        count, (height, width) = len(pixels), pixels.shape[2:]
        matrix = torch.eye(3, device=pixels.device).repeat(count, 1, 1)
        if self.crop == "resized":
            matrix = _crop(dice, self.min_area)
        if self.trivial:
            matrix = matrix @ trivial.movement(dice[:, OPERATION], dice[:, MAGNITUDE], dice[:, SIGN])
        if (height, width) == (size, size) and bool((matrix == torch.eye(3, device=matrix.device)).all()):
            return pixels
        grid = F.affine_grid(matrix[:, :2], [count, 3, size, size], align_corners=False)
        return F.grid_sample(pixels, grid, padding_mode="reflection", align_corners=False)


def mix(x: Tensor, dice: Tensor, alpha: float) -> tuple[Tensor, Tensor]:
    """Mixup (Zhang 2017): blend each image with the one before it in the batch, shares from Beta(alpha, alpha).

    x (B, C, H, W), dice (B, DICE), alpha > 0 -> the blend, and (B,) each image's own share of it, 1/2 to 1.
    """
    from scipy.special import betaincinv

    share = torch.as_tensor(betaincinv(alpha, alpha, dice[:, MIX].cpu().double().numpy()))
    share = torch.maximum(share, 1 - share).to(x)
    return torch.lerp(x.roll(1, 0), x, share.view(-1, 1, 1, 1)), share


def _crop(dice: Tensor, min_area: float) -> Tensor:
    """(B, 3, 3) maps from the unit square of the output to a random part of the input."""
    area = min_area + (1 - min_area) * dice[:, AREA]
    ratio = torch.exp((2 * dice[:, RATIO] - 1) * math.log(4 / 3))
    across = (area * ratio).sqrt().clamp(max=1)
    down = (area / ratio).sqrt().clamp(max=1)
    matrix = torch.zeros(len(dice), 3, 3, device=dice.device)
    matrix[:, 0, 0], matrix[:, 0, 2] = across, (1 - across) * (2 * dice[:, X] - 1)
    matrix[:, 1, 1], matrix[:, 1, 2] = down, (1 - down) * (2 * dice[:, Y] - 1)
    matrix[:, 2, 2] = 1
    return matrix


def _shift_and_flip(x: Tensor, dice: Tensor, shift: int, flip: bool) -> Tensor:
    """Whole pixels only, by look-up: (B, C, H, W) -> the same shape."""
    count, _, height, width = x.shape
    down = (dice[:, Y] * (2 * shift + 1)).long()  # 0 .. 2 * shift
    across = (dice[:, X] * (2 * shift + 1)).long()
    columns = torch.arange(width, device=x.device).expand(count, width)
    if flip:
        columns = torch.where(dice[:, FLIP, None] < 0.5, width - 1 - columns, columns)
    rows = torch.arange(height, device=x.device) + down[:, None]
    columns = columns + across[:, None]
    # Pixels lie innermost in channels_last memory, so the look-up copies whole pixels.
    padded = F.pad(x, (shift,) * 4).permute(0, 2, 3, 1)
    image = torch.arange(count, device=x.device)[:, None, None]
    return padded[image, rows[:, :, None], columns[:, None, :]].permute(0, 3, 1, 2)
