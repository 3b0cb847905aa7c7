"""ONNX nodes, one by one: a list that grows, and values that write themselves into it as they are computed with."""

from __future__ import annotations

from typing import Any, Final

import numpy as np
import torch
from torch import Tensor

from resnets.machine import needs


class Nodes:
    """The nodes and constants of a graph that is being written."""

    def __init__(self) -> None:
        self.onnx: Final[Any] = needs("onnx", extra="export")
        self.nodes: list[Any] = []
        self.initializers: list[Any] = []

    def add(self, kind: str, *inputs: str, name: str | None = None, **attributes: Any) -> str:
        """One node with one output; the name of the output."""
        name = name or f"{kind}.{len(self.nodes)}"
        self.nodes.append(self.onnx.helper.make_node(kind, inputs, [name], name=name, **attributes))
        return name

    def constant(self, array: np.ndarray, name: str | None = None) -> str:
        """A stored array; its name."""
        name = name or f"constant.{len(self.initializers)}"
        self.initializers.append(self.onnx.numpy_helper.from_array(array, name))
        return name

    def bfloat16(self, tensor: Tensor, name: str) -> str:
        """A tensor that is stored in bfloat16 and used in float32; the name of the latter."""
        bits = tensor.to(torch.bfloat16).contiguous().view(torch.int16).numpy().tobytes()
        kind = self.onnx.TensorProto.BFLOAT16
        self.initializers.append(self.onnx.helper.make_tensor(f"{name}.stored", kind, tensor.shape, bits, raw=True))
        return self.add("Cast", f"{name}.stored", name=name, to=self.onnx.TensorProto.FLOAT)


class Value:
    """A float32, int64 or bool value of the graph; numbers and arithmetic with it become nodes."""

    def __init__(self, nodes: Nodes, name: str, dtype: type = np.float32) -> None:
        self.nodes, self.name, self.dtype = nodes, name, dtype

    def made(self, kind: str, *others: Any, dtype: type | None = None, **attributes: Any) -> Value:
        """What an operator makes of this value and others, which may be numbers."""
        names = (other.name if isinstance(other, Value) else self._number(other) for other in others)
        return Value(self.nodes, self.nodes.add(kind, self.name, *names, **attributes), dtype or self.dtype)

    def _number(self, number: float) -> str:
        return self.nodes.constant(np.array(number, self.dtype))

    def _reversed(self, kind: str, number: float) -> Value:
        return Value(self.nodes, self._number(number), self.dtype).made(kind, self)

    def __add__(self, other: Value | float) -> Value:
        return self.made("Add", other)

    def __sub__(self, other: Value | float) -> Value:
        return self.made("Sub", other)

    def __rsub__(self, other: float) -> Value:
        return self._reversed("Sub", other)

    def __mul__(self, other: Value | float) -> Value:
        return self.made("Mul", other)

    def __rmul__(self, other: float) -> Value:
        return self.made("Mul", other)

    def __truediv__(self, other: Value | float) -> Value:
        return self.made("Div", other)

    def __floordiv__(self, other: Value | float) -> Value:
        return self.made("Div", other)  # which cuts whole numbers off; none of these is below 0

    def __mod__(self, other: Value | float) -> Value:
        return self.made("Mod", other)

    def __matmul__(self, other: Value) -> Value:
        return self.made("MatMul", other)

    def __lt__(self, other: Value | float) -> Value:
        return self.made("Less", other, dtype=np.bool_)

    @property
    def T(self) -> Value:
        """Rows and columns exchanged, as a tensor has it."""
        return self.made("Transpose", perm=[1, 0])


class OnnxOps:
    """`resnets.inference.resample.Ops` as nodes."""

    def __init__(self, nodes: Nodes) -> None:
        self.nodes = nodes

    def size(self, x: Value, axis: int) -> Value:
        """See `Ops`."""
        return x.made("Shape", dtype=np.int64).made("Gather", axis, axis=0)

    def indices(self, x: Value, axis: int) -> Value:
        """See `Ops`."""
        return self.constant(np.array(0)).made("Range", self.size(x, axis), 1)

    def constant(self, array: np.ndarray) -> Value:
        """See `Ops`."""
        return Value(self.nodes, self.nodes.constant(array), array.dtype.type)

    def planes(self, x: Value) -> Value:
        """See `Ops`."""
        return self.real(x.made("Transpose", perm=[0, 3, 1, 2]))

    def real(self, x: Value) -> Value:
        """See `Ops`."""
        return x.made("Cast", dtype=np.float32, to=self.nodes.onnx.TensorProto.FLOAT)

    def minimum(self, x: Value, y: Value) -> Value:
        """See `Ops`."""
        return x.made("Min", y)

    def maximum(self, x: Value, y: Value) -> Value:
        """See `Ops`."""
        return x.made("Max", y)

    def where(self, condition: Value, x: Value, y: Value) -> Value:
        """See `Ops`."""
        return condition.made("Where", x, y, dtype=x.dtype)

    def clip(self, x: Value, low: float, high: float) -> Value:
        """See `Ops`."""
        return x.made("Clip", low, high)

    def absolute(self, x: Value) -> Value:
        """See `Ops`."""
        return x.made("Abs")

    def floor(self, x: Value) -> Value:
        """See `Ops`."""
        return x.made("Floor")

    def row_sums(self, x: Value) -> Value:
        """See `Ops`."""
        return x.made("ReduceSum", self.constant(np.array([1])), keepdims=1)

    def mirrored_channels(self, x: Value) -> Value:
        """See `Ops`."""
        return x.made("Gather", self.constant(np.array([2, 1, 0])), axis=1)

    def softmax(self, x: Value) -> Value:
        """See `Ops`."""
        return x.made("Softmax", axis=-1)
