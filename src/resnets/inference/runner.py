"""Steps executed by torch's own operators: what runs everywhere, and what the faster engines are built on."""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

from resnets.architecture.rows import INPUT
from resnets.inference.lower import OUTPUT, Graph, Step
from resnets.network.layers import layer, same_padding

DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16}
Kernel = Callable[[Tensor, Tensor | None], Tensor]


class Runner:
    """A graph, executed step by step: (N, C, H, W) float32 of any size -> (N, classes) float32.

    Activations lie in channels_last, and a value is dropped as soon as its last reader has run. A faster engine
    overrides `convolution`: nothing else of a network takes much time.

    dtype   of weights and activations; the head's mean and linear layer are float32 always
    """

    def __init__(self, graph: Graph, dtype: torch.dtype = torch.float32) -> None:
        self.graph, self.dtype = graph, dtype
        last_reader = {name: step.name for step in graph.steps for name in (step.input, step.addend) if name}
        self._program = [
            (
                step,
                self.kernel(step),
                {name for name in (step.input, step.addend) if name and last_reader[name] == step.name},
            )
            for step in graph.steps
        ]

    @torch.inference_mode()
    def __call__(self, x: Tensor) -> Tensor:
        """Logits of one batch, which is left as it is."""
        # Predictions have the precision that was asked for, also where the caller holds an autocast open.
        with torch.autocast(x.device.type, enabled=False):
            values = {INPUT: self.enter(x)}
            for step, kernel, done in self._program:
                addend = values[step.addend] if step.addend else None
                y = kernel(values[step.input], addend)
                for name in done:
                    del values[name]
                values[step.name] = y
            return values[OUTPUT]

    def enter(self, x: Tensor) -> Tensor:
        """The network's input as the first step wants it."""
        return x.to(self.dtype, memory_format=torch.channels_last)

    def kernel(self, step: Step) -> Kernel:
        """What executes a step: (input, addend) -> output. An addend has no later reader and may be overwritten."""
        match step.kind:
            case "conv":
                return self.convolution(step)
            case "affine":
                return self.affine(step)
            case "add":
                return _addition(step)
            case "relu":
                return lambda x, _: x.relu()
            case "head":
                return self.head(step)
        if step.kind == "max_pool" and step.row.padding == 1:
            return lambda x, _: max_pool(x)
        module = layer(step.row, self.graph.plan.spec)  # a pool, or a resampling: no weights
        return lambda x, _: module(x).contiguous(memory_format=torch.channels_last)

    def convolution(self, step: Step) -> Kernel:
        """conv(x) + bias + addend, then ReLU."""
        weight = step.weight.to(self.dtype, memory_format=torch.channels_last)
        bias, row = step.bias.to(self.dtype), step.row
        padding = 0 if row.padding == "same" else int(row.padding)

        def run(x: Tensor, addend: Tensor | None) -> Tensor:
            y = F.conv2d(padded(x, step), weight, bias, row.stride, padding, row.dilation, row.groups)
            if addend is not None:
                y += addend
            return y.relu_() if step.relu else y

        return run

    def affine(self, step: Step) -> Kernel:
        """x * weight + bias channel by channel, then ReLU: a norm that no convolution precedes."""
        scale, shift = (t.to(self.dtype).reshape(1, -1, 1, 1) for t in (step.weight, step.bias))

        def run(x: Tensor, _: Tensor | None) -> Tensor:
            y = torch.addcmul(shift, x, scale)
            return y.relu_() if step.relu else y

        return run

    def head(self, step: Step) -> Kernel:
        """The mean over height and width, then the linear layer, in float32."""
        weight, bias = step.weight, step.bias
        return lambda x, _: F.linear(x.mean((2, 3), dtype=torch.float32), weight, bias)


def _addition(step: Step) -> Kernel:
    def run(x: Tensor, addend: Tensor | None) -> Tensor:
        assert addend is not None
        addend += x
        return addend.relu_() if step.relu else addend

    return run


def padded(x: Tensor, step: Step, value: float = 0.0) -> Tensor:
    """x with the padding of TensorFlow's SAME around it, where the step asks for that; else x itself."""
    if step.row.padding != "same":
        return x
    padding = same_padding(x, step.row.kernel, step.row.stride, step.row.dilation)
    return F.pad(x, padding, value=value).contiguous(memory_format=torch.channels_last)


def max_pool(x: Tensor) -> Tensor:
    """3x3, stride 2, padding 1 of (N, C, H, W) in channels_last, of any type; what lies outside never wins.

    Whole rows are compared first, then columns: both run over contiguous memory, twice as fast as torch's own pool,
    which has no uint8 either.
    """
    rows = x.permute(0, 2, 3, 1)
    return _every_second(_every_second(rows, 1), 2).permute(0, 3, 1, 2)


def _every_second(x: Tensor, dim: int) -> Tensor:
    """The largest of places 2 i - 1, 2 i and 2 i + 1 along a dimension, for each i."""

    def take(start: int, count: int, step: int = 2) -> Tensor:
        return x.narrow(dim, start, step * (count - 1) + 1)[(slice(None),) * dim + (slice(None, None, step),)]

    size = x.shape[dim]
    pairs, count = size // 2, (size + 1) // 2
    y = x.new_empty((*x.shape[:dim], count, *x.shape[dim + 1 :]))
    if pairs:
        torch.maximum(take(0, pairs), take(1, pairs), out=y.narrow(dim, 0, pairs))
    if count > pairs:
        y.narrow(dim, pairs, 1).copy_(x.narrow(dim, size - 1, 1))
    if count > 1:
        later = y.narrow(dim, 1, count - 1)
        torch.maximum(later, take(1, count - 1), out=later)
    return y
