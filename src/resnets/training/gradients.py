"""The gradient of a convolution's weights as one matrix product, where that is faster than the library's own.

On a processor with AMX, oneDNN's own reduces along a row of the output and fills its tiles badly where rows are short.
`benchmarks/convolutions.py` measures both, `benchmarks/step.py` what a step gains. Nothing changes but the order of the
sums.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

SHORT = 8  # pixels of an output row up to which the product wins, 1.0 to 8 times (torch 2.13.0, batches of 16 to 128)
WIDE = 128 * 256  # input times output channels from which it does


class ByProduct(TorchFunctionMode):
    """While it is entered, convolutions in bfloat16 autocast whose output is small find their weights' gradient so."""

    def __torch_function__(
        self, func: Callable[..., Any], types: Iterable[type], args: Any = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        """Every function of torch comes by here; all but such convolutions are called as they are."""
        if func is torch.conv2d and not kwargs and len(args) == 7 and torch.is_autocast_enabled("cpu") and _pays(*args):
            x, weight, bias, stride, padding = args[:5]
            y = _Convolution.apply(x.bfloat16(), weight.bfloat16(), stride[0], padding[0])  # type: ignore[no-untyped-call]
            return y if bias is None else y + bias.bfloat16().view(-1, 1, 1)
        return func(*args, **(kwargs or {}))


def gains(network: nn.Module) -> bool:
    """Whether any convolution of a network is wide enough for it; each call in the mode costs some microseconds."""
    return any(parameter.ndim == 4 and _wide(parameter) for parameter in network.parameters())


def _wide(weight: Tensor) -> bool:
    return weight.shape[0] * weight.shape[1] >= WIDE


def _pays(x: Tensor, weight: Tensor, bias: object, stride: Any, padding: Any, dilation: Any, groups: int) -> bool:
    square = all(isinstance(each, tuple) and each[0] == each[1] for each in (stride, padding, dilation))
    if not square or dilation[0] != 1 or groups != 1 or not weight.requires_grad:
        return False
    outputs = (x.shape[3] + 2 * padding[0] - weight.shape[3]) // stride[0] + 1
    return outputs <= SHORT and _wide(weight)


class _Convolution(torch.autograd.Function):
    """x (B, C, H, W), weight (D, C, K, K), both bfloat16 -> (B, D, h, w)."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, stride: int, padding: int) -> Tensor:
        ctx.save_for_backward(x, weight)
        ctx.stride, ctx.padding = stride, padding
        return torch.conv2d(x, weight, None, stride, padding)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, Tensor, None, None]:
        (g,) = gradients
        x, weight = ctx.saved_tensors
        stride, padding = [ctx.stride] * 2, [ctx.padding] * 2
        below = None
        if ctx.needs_input_grad[0]:
            below = torch.ops.aten.convolution_backward(
                g, x, weight, None, stride, padding, [1, 1], False, [0, 0], 1, [True, False, False]
            )[0]
        return below, _weights(x, g, weight.shape, ctx.stride, ctx.padding), None, None


def _weights(x: Tensor, g: Tensor, shape: torch.Size, stride: int, padding: int) -> Tensor:
    """The gradient (D, C, K, K) of weights: every output pixel's gradient times the pixels that it saw."""
    d, c, k, _ = shape
    b, _, height, width = g.shape
    pixels = F.pad(x, [padding] * 4).permute(0, 2, 3, 1)
    image, row, pixel, channel = pixels.stride()
    seen = pixels.as_strided(
        (b, height, width, k, k, c), (image, row * stride, pixel * stride, row, pixel, channel), pixels.storage_offset()
    ).reshape(-1, k * k * c)
    product = g.permute(0, 2, 3, 1).reshape(-1, d).t() @ seen
    return product.view(d, k, k, c).permute(0, 3, 1, 2)
