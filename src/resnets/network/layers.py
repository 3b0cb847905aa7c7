"""One row of the plan -> one torch module. Everything that torch.nn does not have stands here too."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from resnets.architecture import ResNetSpec, Row


def layer(row: Row, spec: ResNetSpec, *, inplace: bool = False) -> nn.Module:
    """The module of a row; input and output are (N, C, H, W). `inplace`: a relu may write over its input."""
    match row.kind:
        case "conv":
            return _conv(row)
        case "norm":
            return nn.BatchNorm2d(row.out_channels, eps=spec.norm_eps, momentum=spec.norm_momentum)
        case "relu":
            return nn.ReLU(inplace)
        case "max_pool":
            return _max_pool(row)
        case "avg_pool":
            return AveragePool(row.stride)
        case "subsample" | "pad":
            return Resample(row)
        case "global_pool":
            return nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten())
        case "linear":
            return nn.Linear(row.in_channels, row.out_channels, bias=row.bias)
    raise ValueError(f"No module for a row of kind {row.kind!r}")


def _conv(row: Row) -> nn.Conv2d:
    kind = SameConv2d if row.padding == "same" else nn.Conv2d
    return kind(
        row.in_channels,
        row.out_channels,
        row.kernel,
        stride=row.stride,
        padding=0 if row.padding == "same" else int(row.padding),
        dilation=row.dilation,
        groups=row.groups,
        bias=row.bias,
    )


def _max_pool(row: Row) -> nn.Module:
    match row.padding:
        case "ceil":
            return nn.MaxPool2d(row.kernel, row.stride, ceil_mode=True)
        case "zero":
            return nn.Sequential(nn.ZeroPad2d(1), nn.MaxPool2d(row.kernel, row.stride))
        case "same":
            return SameMaxPool2d(row.kernel, row.stride)
    return nn.MaxPool2d(row.kernel, row.stride, padding=int(row.padding))


def same_padding(x: Tensor, kernel: int, stride: int, dilation: int = 1) -> tuple[int, int, int, int]:
    """TensorFlow's SAME for a square kernel, as (left, right, top, bottom); an odd rest goes right and below."""
    height, width = (
        max((-(-size // stride) - 1) * stride + dilation * (kernel - 1) + 1 - size, 0) for size in x.shape[2:]
    )
    return width // 2, width - width // 2, height // 2, height - height // 2


class SameConv2d(nn.Conv2d):
    """A convolution with TensorFlow's SAME padding, which depends on the size of the input."""

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, H, W) -> (N, C', ceil(H / stride), ceil(W / stride))."""
        padding = same_padding(x, self.kernel_size[0], self.stride[0], self.dilation[0])
        return super().forward(F.pad(x, padding))


class SameMaxPool2d(nn.Module):
    """A max pool with TensorFlow's SAME padding: what lies outside never wins."""

    def __init__(self, kernel: int, stride: int) -> None:
        super().__init__()
        self.kernel, self.stride = kernel, stride

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, H, W) -> (N, C, ceil(H / stride), ceil(W / stride))."""
        padding = same_padding(x, self.kernel, self.stride)
        return F.max_pool2d(F.pad(x, padding, value=-torch.inf), self.kernel, self.stride)


class AveragePool(nn.Module):
    """The 2x2 average of ResNet-D's shortcut; at an odd edge only the pixels that exist are averaged.

    With stride 1, where a stride has turned into dilation, the size stays (as in timm).
    """

    def __init__(self, stride: int) -> None:
        super().__init__()
        self.stride = stride

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, H, W) -> (N, C, ceil(H / stride), ceil(W / stride))."""
        if self.stride == 1:
            # A repeated edge pixel averaged with itself is the average over the pixels that exist.
            return F.avg_pool2d(F.pad(x, (0, 1, 0, 1), mode="replicate"), 2, 1)
        return F.avg_pool2d(x, 2, self.stride, ceil_mode=True, count_include_pad=False)


class Resample(nn.Module):
    """Option A of He 2015: every stride-th pixel, and zeros for the channels that are new."""

    def __init__(self, row: Row) -> None:
        super().__init__()
        self.stride = row.stride
        self.front, self.back = row.zero_channels

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, H, W) -> (N, C', ceil(H / stride), ceil(W / stride))."""
        x = x[:, :, :: self.stride, :: self.stride]
        if self.front or self.back:
            x = F.pad(x, (0, 0, 0, 0, self.front, self.back))
        return x

    def extra_repr(self) -> str:
        """What print(network) shows."""
        return f"stride={self.stride}, zero_channels=({self.front}, {self.back})"
