"""The kernels of the torch engine: our own fast path, and the default everywhere.

A convolution, its bias, its ReLU and the residual addition are one oneDNN kernel; weights are reordered once into the
layout that the kernels want. There is no export and no compiler: setting up takes as long as folding and reordering do.
Where the operators are missing (another processor, another build of torch), torch's plain ones run the same steps.
"""

from __future__ import annotations

from functools import cache
from typing import Any

import torch
from torch import Tensor

from resnets.inference.lower import Graph, Step
from resnets.inference.runner import Kernel, Runner, padded

Shape = tuple[list[int], list[int], list[int], int]  # padding, stride, dilation, groups


class Fused(Runner):
    """A graph executed by oneDNN's fused convolutions, on a processor.

    batch   how many images usually come at once, for which the weights are laid out; other numbers work as well
    """

    def __init__(self, graph: Graph, dtype: torch.dtype = torch.float32, batch: int = 8) -> None:
        self.batch = batch
        super().__init__(graph, dtype)

    def convolution(self, step: Step) -> Kernel:
        """conv(x) + bias + addend, then ReLU, in one kernel; the sum is written over the addend."""
        row = step.row
        shape = convolution_shape(step)
        weight = _reordered(step.weight.to(self.dtype), shape, [self.batch, *row.input])
        bias = step.bias.to(self.dtype)
        alone, added = torch.ops.mkldnn._convolution_pointwise, torch.ops.mkldnn._convolution_pointwise_.binary
        relu = "relu" if step.relu else None

        def run(x: Tensor, addend: Tensor | None) -> Tensor:
            x = padded(x, step)
            if addend is None:
                return alone(x, weight, bias, *shape, relu or "none", [], "")  # type: ignore[no-any-return]
            return added(addend, x, weight, bias, *shape, "add", 1.0, relu, [], None)  # type: ignore[no-any-return]

        return run


def convolution_shape(step: Step) -> Shape:
    """(padding, stride, dilation, groups) as oneDNN's operators take them."""
    row = step.row
    padding = 0 if row.padding == "same" else int(row.padding)
    return [padding, padding], [row.stride, row.stride], [row.dilation, row.dilation], row.groups


@cache
def fused_operators(dtype: torch.dtype = torch.float32) -> bool:
    """Whether this build of torch has the fused operators and runs them on this processor: they are tried once."""
    try:
        x = torch.ones(1, 1, 4, 4, dtype=dtype)
        shape = [1, 1], [1, 1], [1, 1], 1
        y, weight = x.clone(), _reordered(torch.ones(1, 1, 3, 3, dtype=dtype), shape, [1, 1, 4, 4])
        torch.ops.mkldnn._convolution_pointwise_.binary(y, x, weight, None, *shape, "add", 1.0, "relu", [], None)
        torch.ops.mkldnn._convolution_pointwise(x, weight, None, *shape, "relu", [], "")
    except (AttributeError, RuntimeError):
        return False
    return bool(y[0, 0, 1, 1] == 10)


def _reordered(weight: Tensor, shape: Shape, size: list[int]) -> Tensor:
    """A weight (O, I, K, K) in the layout that the convolution of inputs of this size wants; opaque to all others."""
    reorder: Any = torch._C._nn.mkldnn_reorder_conv2d_weight
    return reorder(weight.to_mkldnn(), *shape, size)  # type: ignore[no-any-return]
