"""Quantised convolutions on oneDNN: uint8 activations, int8 weights, the ReLU and the residual addition within."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache

import torch
from torch import Tensor

from resnets.architecture.rows import INPUT
from resnets.errors import ResnetsError
from resnets.inference.fused import Fused, convolution_shape, fused_operators
from resnets.inference.lower import Graph, Step
from resnets.inference.quantize import LEVELS, Quantisation, quantised_weight, stored, weight_scales
from resnets.inference.runner import DTYPES, Kernel, padded
from resnets.machine import fastest_precision

_NO_SCALARS: list[float] = []  # of the ReLU
Convert = Callable[[Tensor], Tensor]


class Quantised(Fused):
    """A graph whose convolutions run in int8, but for those that its quantisation leaves in float.

    What is left in float runs in bfloat16 where the processor multiplies in it, else in float32. Raises ResnetsError
    where this build of torch has no int8 convolutions.
    """

    def __init__(self, graph: Graph, quantisation: Quantisation, batch: int = 8) -> None:
        if not int8_operators():
            raise ResnetsError("This build of torch has no int8 convolutions: take another precision or engine.")
        self.quantisation = quantisation
        self.stored = stored(graph, quantisation)
        super().__init__(graph, DTYPES[fastest_precision("cpu")], batch)

    def enter(self, x: Tensor) -> Tensor:
        """The network's input on its grid, if its first convolution is quantised."""
        if INPUT not in self.stored:
            return super().enter(x)
        return self._quantiser(INPUT)(x.contiguous(memory_format=torch.channels_last))

    def kernel(self, step: Step) -> Kernel:
        """The step's own kernel, between uint8 and float where its neighbours want that."""
        stored = step.name in self.stored
        if step.kind == "conv" and step.name not in self.quantisation.floats:
            return self._int8(step)
        moves = step.kind in ("subsample", "pad") or (step.kind == "max_pool" and step.row.padding == 1)
        if moves and stored and step.input in self.stored and self.quantisation.grid(step.input)[1] == 0:
            return super().kernel(step)  # of whole numbers; the zeros that it may add are 0 on this grid
        run, before, addend = super().kernel(step), self._float(step.input), self._float(step.addend)
        after = self._quantiser(step.name) if stored else _same
        return lambda x, y: after(run(before(x), None if y is None else addend(y)))

    def _int8(self, step: Step) -> Kernel:
        """conv(x) + bias + addend, then ReLU: x uint8; addend and result too if it is stored so, else float."""
        grid, stored = self.quantisation.grid, step.name in self.stored
        padding, stride, dilation, groups = convolution_shape(step)
        source, scales = grid(step.input), weight_scales(step.weight)
        packed = torch.ops.onednn.qconv_prepack(
            quantised_weight(step.weight), scales, *source, stride, padding, dilation, groups,
            [self.batch, *step.row.input],
        )  # fmt: skip
        weight = (packed, scales, torch.zeros(len(scales), dtype=torch.int32))
        target = (*grid(step.name), torch.uint8) if stored else (1.0, 0, self.dtype)
        geometry = (step.bias, stride, padding, dilation, groups, *target)
        alone, added = torch.ops.onednn.qconv2d_pointwise, torch.ops.onednn.qconv2d_pointwise.binary
        relu = "relu" if step.relu else "none"
        convert = _same if stored else self._float(step.addend)
        addend_grid = grid(step.addend) if stored and step.addend else (1.0, 0)
        sum_up = (*addend_grid, "sum", 1.0, relu, _NO_SCALARS, "")

        def run(x: Tensor, addend: Tensor | None) -> Tensor:
            x = padded(x, step, source[1])
            if addend is None:
                return alone(x, *source, *weight, *geometry, relu, _NO_SCALARS, "")  # type: ignore[no-any-return]
            return added(x, *source, *weight, convert(addend), *geometry, *sum_up)  # type: ignore[no-any-return]

        return run

    def _quantiser(self, value: str) -> Convert:
        """From float to the value's grid."""
        scale, zero = self.quantisation.grid(value)
        offset = torch.tensor(zero + 0.5)  # the conversion to uint8 cuts off, so that this rounds
        return lambda x: torch.add(offset, x.float(), alpha=1 / scale).clamp_(0, LEVELS).to(torch.uint8)

    def _float(self, value: str | None) -> Convert:
        """From the value's grid to float, if it is stored on it."""
        if value not in self.stored or value is None:
            return _same
        scale, zero = self.quantisation.grid(value)
        return lambda x: x.to(self.dtype).sub_(zero).mul_(scale)


def _same(x: Tensor) -> Tensor:
    return x


@cache
def int8_operators() -> bool:
    """Whether this build of torch runs int8 convolutions on this processor: one is tried."""
    x, weight = torch.ones(1, 1, 4, 4, dtype=torch.uint8), torch.ones(1, 1, 1, 1, dtype=torch.int8)
    one, zero, shape = torch.ones(1), torch.zeros(1, dtype=torch.int32), ([1, 1], [0, 0], [1, 1], 1)
    try:
        packed = torch.ops.onednn.qconv_prepack(weight, one, 1.0, 0, *shape, [1, 1, 4, 4])
        y = torch.ops.onednn.qconv2d_pointwise(
            x, 1.0, 0, packed, one, zero, None, *shape, 1.0, 0, torch.uint8, "none", _NO_SCALARS, ""
        )
    except (AttributeError, RuntimeError):  # NotImplementedError among them
        return False
    return fused_operators(DTYPES[fastest_precision("cpu")]) and bool((y == 1).all())
