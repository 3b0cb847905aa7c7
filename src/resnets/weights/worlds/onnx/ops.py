"""The operators of ONNX that residual networks consist of, as the standard defines them, on torch's tensors.

Numbers keep the type that they come in, so that a network in float64 is computed in float64.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from resnets.weights.formats.onnx_file import OnnxNode
from resnets.weights.worlds.onnx.shaping import SHAPING, Operator, UnknownError, Values, axes_of, broadcast, given, room

Pads = tuple[tuple[int, int], ...]  # before and behind, along height and width


def evaluate(node: OnnxNode, values: Values) -> Tensor:
    """The first result of a node. values: its inputs, None for those left out. Raises ValueError, with a clause."""
    if node.domain not in ("", "ai.onnx") or node.op not in OPS:
        raise UnknownError(f"{node.said} is of no kind that is known")
    try:
        return OPS[node.op](node, values)
    except UnknownError:
        raise
    except (RuntimeError, IndexError, TypeError, AttributeError, ValueError, ArithmeticError, KeyError) as problem:
        raise UnknownError(f"{node.said} does not fit what it reads") from problem


def pads_of(node: OnnxNode, size: Sequence[int], kernel: Sequence[int], stride: Sequence[int]) -> Pads:
    """What a convolution or pool adds around a picture of this height and width. Raises ValueError."""
    dilations = node.attributes.get("dilations") or (1, 1)
    given = node.attributes.get("pads") or (0, 0, 0, 0)
    how = node.attributes.get("auto_pad", "NOTSET")
    if how in ("NOTSET", "VALID"):
        pads = given if how == "NOTSET" else (0, 0, 0, 0)
        if len(pads) != 4:
            raise UnknownError(f"{node.said} pads as no residual network does")
        (top, left), (bottom, right) = pads[:2], pads[2:]
        found: Pads = ((top, bottom), (left, right))
    else:
        found = tuple(
            _same(n, (k - 1) * apart + 1, step, how)
            for n, k, step, apart in zip(size, kernel, stride, dilations, strict=True)
        )
    if any(not 0 <= one <= 64 for pair in found for one in pair):
        raise ValueError(f"{node.said} pads by more than any network")
    return found


def _same(size: int, reach: int, step: int, how: str) -> tuple[int, int]:
    """TensorFlow's SAME: as many windows as steps fit, what is missing split in two halves."""
    missing = max((-(-size // step) - 1) * step + reach - size, 0)
    return (missing // 2, missing - missing // 2) if how == "SAME_UPPER" else (missing - missing // 2, missing // 2)


def pair(node: OnnxNode, name: str) -> tuple[int, int]:
    """An attribute for height and width, 1 where there is none. Raises ValueError."""
    value = node.attributes.get(name) or (1, 1)
    if len(value) != 2 or not all(type(one) is int and 0 < one < 2**16 for one in value):
        raise ValueError(f"{node.said} has the {name} {str(value)[:40]}")
    return value[0], value[1]


def _conv(node: OnnxNode, values: Values) -> Tensor:
    x, weight = given(values[0]), given(values[1])
    bias = values[2] if len(values) > 2 else None
    stride, dilation = pair(node, "strides"), pair(node, "dilations")
    (top, bottom), (left, right) = pads_of(node, x.shape[2:], weight.shape[2:], stride)
    return F.conv2d(
        F.pad(x, (left, right, top, bottom)), weight, bias, stride, 0, dilation, node.attributes.get("group", 1)
    )


def _batch_norm(node: OnnxNode, values: Values) -> Tensor:
    if node.attributes.get("training_mode"):
        raise UnknownError(f"{node.said} is still being trained; export the network in evaluation mode")
    x, scale, shift, mean, variance = map(given, values[:5])
    shape = (1, -1, *[1] * (x.ndim - 2))
    spread = (variance.double() + node.attributes.get("epsilon", 1e-5)).sqrt()
    factor = (scale.double() / spread).to(x.dtype).reshape(shape)
    normed: Tensor = (x - mean.reshape(shape)) * factor + shift.reshape(shape)
    return normed


def _pool(node: OnnxNode, x: Tensor, fill: float) -> tuple[Tensor, Tensor, tuple[int, int], tuple[int, int]]:
    """(the picture with all around it that windows reach, 1 where that counts as the picture's, kernel, stride)."""
    if pair(node, "dilations") != (1, 1):
        raise UnknownError(f"{node.said} dilates")
    kernel, stride = pair(node, "kernel_shape"), pair(node, "strides")
    pads = pads_of(node, x.shape[2:], kernel, stride)
    behind = []
    for size, (before, after), k, step in zip(x.shape[2:], pads, kernel, stride, strict=True):
        rest = size + before + after - k
        windows = (-(-rest // step) if node.attributes.get("ceil_mode") else rest // step) + 1
        if (windows - 1) * step >= size + before:  # the last one would begin behind the picture
            windows -= 1
        behind.append(max((windows - 1) * step + k - size - before, 0))
    (top, bottom), (left, right) = pads
    around = (left, behind[1], top, behind[0])
    ones = torch.ones_like(x[:1, :1])
    if node.attributes.get("count_include_pad"):
        counted = F.pad(F.pad(ones, (left, right, top, bottom), value=1.0), (0, behind[1], 0, behind[0]))
        counted = counted[:, :, : x.shape[2] + top + behind[0], : x.shape[3] + left + behind[1]]
    else:
        counted = F.pad(ones, around)
    return F.pad(x, around, value=fill), counted, kernel, stride


def _max_pool(node: OnnxNode, values: Values) -> Tensor:
    x, _, kernel, stride = _pool(node, given(values[0]), -torch.inf)
    return F.max_pool2d(x, kernel, stride)


def _average_pool(node: OnnxNode, values: Values) -> Tensor:
    x, counted, kernel, stride = _pool(node, given(values[0]), 0.0)
    sums, numbers = (F.avg_pool2d(one, kernel, stride, divisor_override=1) for one in (x, counted))
    return sums / numbers


def _pad(node: OnnxNode, values: Values) -> Tensor:
    x = given(values[0])
    if node.attributes.get("mode", "constant") != "constant":
        raise UnknownError(f"{node.said} pads with the picture's own pixels")
    amounts = node.attributes.get("pads") or [int(one) for one in given(values[1]).reshape(-1)[:16]]
    value = values[2] if len(values) > 2 else None
    fill = float(value) if value is not None and value.numel() else float(node.attributes.get("value") or 0.0)
    half = len(amounts) // 2
    if len(values) > 3 and values[3] is not None:
        raise UnknownError(f"{node.said} names its axes")
    room([n + amounts[i] + amounts[half + i] for i, n in enumerate(x.shape)])
    return F.pad(x, [amounts[i + side] for i in reversed(range(half)) for side in (0, half)], value=fill)


def _cast_like(node: OnnxNode, values: Values) -> Tensor:
    x, like = given(values[0]), values[1] if len(values) > 1 else None
    return x if like is None or (x.is_floating_point() and like.is_floating_point()) else x.to(like.dtype)


def _clip(node: OnnxNode, values: Values) -> Tensor:
    x = given(values[0])
    ends = [node.attributes.get(name) for name in ("min", "max")]
    for place, value in enumerate(values[1:3]):
        ends[place] = float(value) if value is not None else ends[place]
    return x.clamp(*ends) if any(end is not None for end in ends) else x


def _gemm(node: OnnxNode, values: Values) -> Tensor:
    a, b = given(values[0]), given(values[1])
    settings = node.attributes
    a, b = (a.mT if settings.get("transA") else a), (b.mT if settings.get("transB") else b)
    room((a.shape[0], b.shape[1]))
    product: Tensor = settings.get("alpha", 1.0) * (a @ b)
    return product + settings.get("beta", 1.0) * given(values[2]) if len(values) > 2 else product


def _matmul(node: OnnxNode, values: Values) -> Tensor:
    a, b = given(values[0]), given(values[1])
    room((*a.shape[:-1], b.shape[-1]))
    return a @ b


def _reduce_mean(node: OnnxNode, values: Values) -> Tensor:
    x = given(values[0])
    return x.mean(axes_of(node, values, x.ndim), keepdim=bool(node.attributes.get("keepdims", 1)))


def _two(function: Callable[[Tensor, Tensor], Tensor]) -> Operator:
    def both(node: OnnxNode, values: Values) -> Tensor:
        a, b = given(values[0]), given(values[1])
        room(broadcast(a.shape, b.shape))
        return function(a, b.to(a.dtype) if a.is_floating_point() else b)

    return both


def _one(function: Callable[[Tensor], Tensor]) -> Operator:
    return lambda node, values: function(given(values[0]))


OPS: dict[str, Operator] = {
    **SHAPING,
    "Add": _two(torch.add),
    "AveragePool": _average_pool,
    "BatchNormalization": _batch_norm,
    "CastLike": _cast_like,
    "Clip": _clip,
    "Conv": _conv,
    "Div": _two(lambda a, b: a / b if a.is_floating_point() else a // b),
    "Dropout": _one(lambda x: x),
    "Gemm": _gemm,
    "GlobalAveragePool": _one(lambda x: x.mean((2, 3), keepdim=True)),
    "Identity": _one(lambda x: x),
    "LogSoftmax": lambda node, values: given(values[0]).log_softmax(node.attributes.get("axis", -1)),
    "MatMul": _matmul,
    "MaxPool": _max_pool,
    "Mul": _two(torch.mul),
    "Neg": _one(torch.neg),
    "Pad": _pad,
    "Reciprocal": _one(torch.reciprocal),
    "ReduceMean": _reduce_mean,
    "Relu": _one(torch.relu),
    "Softmax": lambda node, values: given(values[0]).softmax(node.attributes.get("axis", -1)),
    "Sqrt": _one(torch.sqrt),
    "Sub": _two(torch.sub),
    "Sum": lambda node, values: sum((given(one) for one in values[1:]), given(values[0])),
}
