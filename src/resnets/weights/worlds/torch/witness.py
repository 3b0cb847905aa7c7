"""What torch.nn's Conv2d, BatchNorm2d, MaxPool2d and Linear do, in float64, straight from a file's state dict."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from resnets.weights.formats.stored import Foreign, unusable

EPS = 1e-5  # nn.BatchNorm2d's default; none of the worlds that build on torch.nn changes it for these networks


class Modules:
    """The modules of a state dict, executed by their names.

    Every method raises ModelFileError for a tensor that the file does not have.
    """

    def __init__(self, file: Foreign) -> None:
        self._file = file
        names = (name.split(".") for name in file.tensors)
        self._prefixes = {".".join(parts[:n]) for parts in names for n in range(1, len(parts) + 1)}

    def __contains__(self, prefix: str) -> bool:
        """Whether there is such a module (or tensor)."""
        return prefix in self._prefixes

    def children(self, prefix: str, first: int = 0) -> list[str]:
        """The modules '{prefix}{n}' for n = first, first + 1, ..., as far as they go."""
        found: list[str] = []
        while (name := f"{prefix}{first + len(found)}") in self:
            found.append(name)
        return found

    def conv(self, name: str, x: Tensor, stride: int = 1) -> Tensor:
        """nn.Conv2d padded by half its kernel; the groups follow from the channels that come in."""
        weight = self._read(f"{name}.weight")
        bias = self._read(f"{name}.bias") if f"{name}.bias" in self else None
        return F.conv2d(x, weight, bias, stride, weight.shape[-1] // 2, groups=x.shape[1] // weight.shape[1])

    def norm(self, name: str, x: Tensor) -> Tensor:
        """nn.BatchNorm2d in evaluation mode."""
        mean, variance, weight, bias = (
            self._read(f"{name}.{leaf}") for leaf in ("running_mean", "running_var", "weight", "bias")
        )
        return F.batch_norm(x, mean, variance, weight, bias, training=False, eps=EPS)

    def linear(self, name: str, x: Tensor) -> Tensor:
        """nn.Linear."""
        return F.linear(x, self._read(f"{name}.weight"), self._read(f"{name}.bias"))

    def _read(self, name: str) -> Tensor:
        if name not in self._file.tensors:
            raise unusable(self._file.path, f"it has no {name}, so that its graph cannot be executed")
        return self._file.tensors[name].read().to(torch.float64)


def stem_pool(x: Tensor) -> Tensor:
    """nn.MaxPool2d(3, stride=2, padding=1)."""
    return F.max_pool2d(x, 3, 2, 1)
