"""What one side of a benchmark is told to do, and the pictures that it does it with."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

Work = Callable[[], object]  # one call: a batch through the network, a training step, ...
Maker = Callable[[int], Work]  # batch size -> the work, set up


class UnableError(Exception):
    """This side cannot take part; the message is the reason alone."""


@dataclass(frozen=True, kw_only=True)
class Job:
    """One side's task.

    who          "resnets ENGINE", "plain torch" (our network as it is, without any of our settings), or a peer
    task         "infer", "backward" (forward, loss and gradients), "train" (a step: these, and the optimiser), "files"
                 (from JPEG files to labels), "input" (from files to pixels)
    model        a name of the catalog, or a model file
    catalog      the catalog's name of that network, by which peers may know it; None if it has none
    files        JPEG files for "files" and "input"
    """

    who: str
    task: str
    model: str
    catalog: str | None
    classes: int
    image_size: int
    precision: str
    files: tuple[str, ...] = ()


def noise(count: int, size: int, seed: int = 0) -> Tensor:
    """(count, 3, size, size) float32, contiguous: coarse and fine noise, in the range of normalised photos."""
    generator = torch.Generator().manual_seed(seed)
    coarse = torch.randn(count, 3, max(size // 16, 1), max(size // 16, 1), generator=generator)
    coarse = F.interpolate(coarse, (size, size), mode="bilinear")
    return (coarse + 0.3 * torch.randn(count, 3, size, size, generator=generator)).clamp_(-2.1, 2.6)


def make_photos(folder: Path, count: int = 32) -> tuple[str, ...]:
    """JPEG files of 500 x 375 pixels and about 120 KB each, for a machine without photos."""
    from PIL import Image

    paths = []
    for number in range(count):
        pixels = noise(1, 500, seed=number)[0, :, :375].permute(1, 2, 0).mul(40).add(118).clamp(0, 255)
        path = folder / f"{number}.jpg"
        Image.fromarray(pixels.numpy().astype(np.uint8)).save(path, quality=88)
        paths.append(str(path))
    return tuple(paths)
