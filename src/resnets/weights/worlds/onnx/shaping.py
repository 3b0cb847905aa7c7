"""The operators of ONNX that cut, turn and make tensors; exporters compute sizes with them.

What one would give is asked for its size before memory is taken: a graph is a stranger's.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import numpy as np
import torch
from torch import Tensor

from resnets.weights.formats.onnx_file import OnnxNode
from resnets.weights.formats.onnx_tensor import TYPES
from resnets.weights.formats.stored import Stored

LARGEST = 2**26  # numbers of one result
Values = Sequence[Tensor | None]
Operator = Callable[[OnnxNode, Values], Tensor]


class UnknownError(ValueError):
    """An operator, or a way of it, that no residual network has: a clause."""


def room(shape: Sequence[int]) -> None:
    """Raise ValueError for a result that is too large, or none."""
    if min(shape, default=0) < 0 or math.prod(shape) > LARGEST:
        raise UnknownError(f"a node would give a tensor of {'x'.join(map(str, shape[:8]))}")


def given(value: Tensor | None) -> Tensor:
    """An input that must be there. Raises IndexError."""
    if value is None:
        raise IndexError
    return value


def broadcast(*shapes: Sequence[int]) -> list[int]:
    """The shape that shapes have together. Raises ValueError where they have none."""
    return list(np.broadcast_shapes(*map(tuple, shapes)))  # torch's own imports sympy, 33 MB


def axes_of(node: OnnxNode, values: Values, dimensions: int) -> list[int]:
    """Axes as they stand in an attribute, or (since opset 13) in the second input; all where nothing says."""
    axes = node.attributes.get("axes")
    if axes is None and len(values) > 1 and values[1] is not None:
        axes = [int(one) for one in values[1].reshape(-1)[:8]]
    return sorted(one % dimensions for one in axes) if axes else list(range(dimensions))


def _reshape(node: OnnxNode, values: Values) -> Tensor:
    x, shape = given(values[0]), [int(one) for one in given(values[1]).reshape(-1)[:8]]
    if not node.attributes.get("allowzero"):
        shape = [x.shape[i] if size == 0 else size for i, size in enumerate(shape)]
    return x.reshape(shape)


def _flatten(node: OnnxNode, values: Values) -> Tensor:
    x = given(values[0])
    axis = node.attributes.get("axis", 1) % (x.ndim + 1)
    return x.reshape(math.prod(x.shape[:axis]), -1)


def _squeeze(node: OnnxNode, values: Values) -> Tensor:
    x = given(values[0])
    named = "axes" in node.attributes or (len(values) > 1 and values[1] is not None)
    return x.squeeze(tuple(axes_of(node, values, x.ndim))) if named else x.squeeze()


def _unsqueeze(node: OnnxNode, values: Values) -> Tensor:
    x = given(values[0])
    axes = node.attributes.get("axes") or [int(one) for one in given(values[1]).reshape(-1)[:8]]
    for axis in sorted(one % (x.ndim + len(axes)) for one in axes):
        x = x.unsqueeze(axis)
    return x


def _expand(node: OnnxNode, values: Values) -> Tensor:
    x, shape = given(values[0]), [int(one) for one in given(values[1]).reshape(-1)[:8]]
    shape = broadcast(x.shape, shape)
    room(shape)
    return x.expand(shape)


def _constant(node: OnnxNode, values: Values) -> Tensor:
    for name, value in node.attributes.items():
        if isinstance(value, Stored):
            return value.read()
        if name.startswith("value") and isinstance(value, int | float | tuple):
            return torch.tensor(value)
    raise UnknownError(f"{node.said} holds no numbers")


def _constant_of_shape(node: OnnxNode, values: Values) -> Tensor:
    shape = [int(one) for one in given(values[0]).reshape(-1)[:8]]
    room(shape)
    value = node.attributes["value"].read() if "value" in node.attributes else torch.zeros(1)
    return value.reshape(()).expand(shape)


def _slice(node: OnnxNode, values: Values) -> Tensor:
    x = given(values[0])
    for axis, start, end, step in slices(node, values, x.ndim):
        where = range(x.shape[axis])[slice(start, None if end < -LARGEST else end, step)]
        if step > 0:  # a view: what is cut may be a constant of any size
            x = x[(slice(None),) * axis + (slice(where.start, where.stop, step),)]
        else:
            x = x.index_select(axis, torch.arange(where.start, where.stop, step))
    return x


def slices(node: OnnxNode, values: Values, dimensions: int) -> list[tuple[int, int, int, int]]:
    """(axis, start, end, step) of each axis that a Slice cuts."""

    def numbers(place: int, name: str) -> list[int] | None:
        if name in node.attributes:
            return list(node.attributes[name])
        value = values[place] if len(values) > place else None
        return None if value is None else [int(one) for one in value.reshape(-1)[:8]]

    starts, ends = numbers(1, "starts") or [], numbers(2, "ends") or []
    axes, steps = numbers(3, "axes") or list(range(len(starts))), numbers(4, "steps") or [1] * len(starts)
    return [(a % dimensions, s, e, by) for a, s, e, by in zip(axes, starts, ends, steps, strict=True)]


def _cast(node: OnnxNode, values: Values) -> Tensor:
    x, (wanted, *_) = given(values[0]), TYPES[node.attributes["to"]]
    return x if x.is_floating_point() and wanted.is_floating_point else x.to(wanted)  # what is wide stays wide


def _shape(node: OnnxNode, values: Values) -> Tensor:
    found = torch.tensor(given(values[0]).shape)
    return found[node.attributes.get("start", 0) : node.attributes.get("end")]


def _concat(node: OnnxNode, values: Values) -> Tensor:
    parts = [given(one) for one in values]
    room((sum(part.numel() for part in parts),))
    return torch.cat(parts, node.attributes["axis"])


def _gather(node: OnnxNode, values: Values) -> Tensor:
    x, at, axis = given(values[0]), given(values[1]), node.attributes.get("axis", 0)
    room((*x.shape, *at.shape))
    return x.index_select(axis, at.reshape(-1).long()).reshape(*x.shape[:axis], *at.shape, *x.shape[axis + 1 :])


def _transpose(node: OnnxNode, values: Values) -> Tensor:
    x = given(values[0])
    return x.permute(node.attributes.get("perm") or tuple(reversed(range(x.ndim))))


SHAPING: dict[str, Operator] = {
    "Cast": _cast,
    "Concat": _concat,
    "Constant": _constant,
    "ConstantOfShape": _constant_of_shape,
    "Expand": _expand,
    "Flatten": _flatten,
    "Gather": _gather,
    "Reshape": _reshape,
    "Shape": _shape,
    "Slice": _slice,
    "Squeeze": _squeeze,
    "Unsqueeze": _unsqueeze,
    "Transpose": _transpose,
}
