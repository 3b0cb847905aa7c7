"""TrivialAugment (Mueller 2021, "wide" strengths) on whole batches: one random operation an image.

Six of the fourteen operations move pixels: `movement` gives them as affine maps, which `augment.py`
composes with the crop. The others change colours: `recolour`.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

OPERATIONS = (
    *("identity", "shear_x", "shear_y", "translate_x", "translate_y", "rotate"),
    *("brightness", "colour", "contrast", "sharpness", "posterize", "solarize", "autocontrast", "equalize"),
)
SHEAR = 0.99
TRANSLATE = 32 / 224 * 2  # the paper's 32 pixels of a 224-pixel image, in units of half an image
ROTATE = math.radians(135)
ENHANCE = 0.99  # brightness, colour, contrast and sharpness go from 0.01 to 1.99
BITS = 6  # posterize keeps 8 to 2 bits
_LUMA = (0.299, 0.587, 0.114)


def _chosen(dice: Tensor) -> Tensor:
    return (dice * len(OPERATIONS)).long()


def movement(operation: Tensor, magnitude: Tensor, sign: Tensor) -> Tensor:
    """(B,) dice each -> (B, 3, 3) maps from output to input, the identity for operations that do not move."""
    chosen = _chosen(operation)
    strength = magnitude * torch.where(sign < 0.5, -1.0, 1.0)
    matrix = torch.eye(3, device=operation.device).repeat(len(operation), 1, 1)

    def of(name: str) -> Tensor:
        return chosen == OPERATIONS.index(name)

    matrix[:, 0, 1] = torch.where(of("shear_x"), SHEAR * strength, 0.0)
    matrix[:, 1, 0] = torch.where(of("shear_y"), SHEAR * strength, 0.0)
    matrix[:, 0, 2] = torch.where(of("translate_x"), TRANSLATE * strength, 0.0)
    matrix[:, 1, 2] = torch.where(of("translate_y"), TRANSLATE * strength, 0.0)
    angle = torch.where(of("rotate"), ROTATE * strength, 0.0)
    turned = of("rotate")
    matrix[:, 0, 0] = torch.where(turned, angle.cos(), matrix[:, 0, 0])
    matrix[:, 0, 1] = torch.where(turned, -angle.sin(), matrix[:, 0, 1])
    matrix[:, 1, 0] = torch.where(turned, angle.sin(), matrix[:, 1, 0])
    matrix[:, 1, 1] = torch.where(turned, angle.cos(), matrix[:, 1, 1])
    return matrix


def recolour(x: Tensor, operation: Tensor, magnitude: Tensor, sign: Tensor) -> Tensor:
    """(B, 3, H, W) float pixels of 0..255 -> the same, each image under its own operation."""
    chosen = _chosen(operation)
    factor = (1 + ENHANCE * magnitude * torch.where(sign < 0.5, -1.0, 1.0)).view(-1, 1, 1, 1)
    strength = magnitude.view(-1, 1, 1, 1)
    x = x.clone()
    for number, name in enumerate(OPERATIONS):
        operate = _COLOURS.get(name)
        if operate is not None and len(rows := (chosen == number).nonzero()[:, 0]):
            x[rows] = operate(x[rows], factor[rows], strength[rows]).clamp_(0, 255)
    return x


def _grey(x: Tensor) -> Tensor:
    return (x * x.new_tensor(_LUMA).view(1, 3, 1, 1)).sum(1, keepdim=True)


def _blurred(x: Tensor) -> Tensor:
    kernel = x.new_tensor([[1, 1, 1], [1, 5, 1], [1, 1, 1]]) / 13
    blurred = x.clone()  # the border stays as it is, as in Pillow
    blurred[:, :, 1:-1, 1:-1] = F.conv2d(x, kernel.expand(3, 1, 3, 3), groups=3)
    return blurred


def _posterized(x: Tensor, strength: Tensor) -> Tensor:
    step = 2 ** (strength * BITS).round()
    return (x / step).floor() * step


def _autocontrast(x: Tensor) -> Tensor:
    low, high = x.amin((2, 3), keepdim=True), x.amax((2, 3), keepdim=True)
    return torch.where(high > low, (x - low) * 255 / (high - low).clamp(min=1e-6), x)


def _equalized(x: Tensor) -> Tensor:
    """Every channel's histogram made flat, by Pillow's rule."""
    values = x.round().long().flatten(2).flatten(0, 1)  # (B * 3, H * W)
    offsets = 256 * torch.arange(len(values), device=x.device)[:, None]
    counts = torch.bincount((values + offsets).flatten(), minlength=256 * len(values)).view(-1, 256)
    last = values.amax(1, keepdim=True)
    step = (values.shape[1] - counts.gather(1, last)) // 255
    table = (counts.cumsum(1) - counts + step // 2) // step.clamp(min=1)
    equal = table.clamp(0, 255).gather(1, values)
    return torch.where(step > 0, equal, values).view_as(x).to(x)


_COLOURS: dict[str, Callable[[Tensor, Tensor, Tensor], Tensor]] = {
    "brightness": lambda x, factor, strength: x * factor,
    "colour": lambda x, factor, strength: torch.lerp(_grey(x).expand_as(x), x, factor),
    "contrast": lambda x, factor, strength: torch.lerp(_grey(x).mean((1, 2, 3), keepdim=True).expand_as(x), x, factor),
    "sharpness": lambda x, factor, strength: torch.lerp(_blurred(x), x, factor),
    "posterize": lambda x, factor, strength: _posterized(x, strength),
    "solarize": lambda x, factor, strength: torch.where(x >= 255 * (1 - strength), 255 - x, x),
    "autocontrast": lambda x, factor, strength: _autocontrast(x),
    "equalize": lambda x, factor, strength: _equalized(x),
}
