"""What torch.nn's Conv2d, BatchNorm2d, MaxPool2d and Linear do, in float64, straight from a file's state dict."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from resnets.weights.formats.stored import Foreign, unusable

EPS = 1e-5  # nn.BatchNorm2d's default, where nobody has stated another
# Of what somebody may state of the graph.
FOLLOWED = {"stride_conv", "norm_eps", "pool_padding", "shortcut", "pad_side"}


class Modules:
    """The modules of a state dict, executed by their names.

    Every method raises ModelFileError for a tensor that the file does not have.
    """

    def __init__(self, file: Foreign) -> None:
        self._file = file
        self._stated = file.documents.get("stated", {}).get("fields", {})
        if others := set(self._stated) - FOLLOWED:
            raise unusable(file.path, f"its graph is stated with {', '.join(sorted(others))}, which is not emulated")
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

    def channels(self, name: str) -> int:
        """How many a convolution gives."""
        return self._read(f"{name}.weight").shape[0]

    def kernel(self, name: str) -> int:
        """The side of a convolution's kernel."""
        return self._read(f"{name}.weight").shape[-1]

    def norm(self, name: str, x: Tensor) -> Tensor:
        """nn.BatchNorm2d in evaluation mode."""
        mean, variance, weight, bias = (
            self._read(f"{name}.{leaf}") for leaf in ("running_mean", "running_var", "weight", "bias")
        )
        return F.batch_norm(x, mean, variance, weight, bias, training=False, eps=self._stated.get("norm_eps", EPS))

    def strides(self, stride: int) -> tuple[int, int]:
        """Those of a bottleneck's first two convolutions: in the 3x3, unless it is stated that they are in the 1x1."""
        return (stride, 1) if self._stated.get("stride_conv") == "first" else (1, stride)

    def pool(self, x: Tensor) -> Tensor:
        """nn.MaxPool2d(3, stride=2, padding=1), unless another padding is stated."""
        match self._stated.get("pool_padding", "torch"):
            case "torch":
                return stem_pool(x)
            case "zero":
                return F.max_pool2d(F.pad(x, (1, 1, 1, 1)), 3, 2)
            case "ceil" | "valid" as rule:
                return F.max_pool2d(x, 3, 2, ceil_mode=rule == "ceil")
        raise unusable(self._file.path, f"a pool with the padding {self._stated['pool_padding']!r} is not emulated")

    def unprojected(self, x: Tensor, channels: int, stride: int) -> Tensor | float:
        """A shortcut without weights: the input; where it is stated, with channels of zeros, or none at all."""
        kind = self._stated.get("shortcut")
        if kind == "none":
            return 0.0
        if kind != "pad" or (stride == 1 and x.shape[1] == channels):
            return x
        new = channels - x.shape[1]
        before = new // 2 if self._stated.get("pad_side") == "both" else 0
        return F.pad(x[:, :, ::stride, ::stride], (0, 0, 0, 0, before, new - before))

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
