"""What flows through an ONNX graph: the steps of a network, the values between them, and constants."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from resnets.weights.formats.onnx_file import OnnxNode
from resnets.weights.formats.stored import Stored
from resnets.weights.worlds.onnx.ops import evaluate
from resnets.weights.worlds.onnx.shaping import LARGEST, SHAPING, UnknownError, slices

FIRST, LAST = (0, 3, 1, 2), (0, 2, 3, 1)  # of a Transpose that puts the channels first, or last
LEAST = -3e38  # what a maximum starts from
ALL = 2**30  # an end of a Slice that is no end
COPIES = ("Identity", "Dropout", "Cast", "CastLike")
FLATTENS = ("Flatten", "Reshape", "Squeeze", "Unsqueeze")
ANSWERS = ("Softmax", "LogSoftmax")
ARITHMETIC = ("Add", "Sub", "Mul", "Div", "Sum")
KINDS = {
    "Conv": "conv", "BatchNormalization": "norm", "Relu": "relu", "Clip": "relu", "MaxPool": "pool",
    "AveragePool": "pool", "GlobalAveragePool": "mean", "ReduceMean": "mean", "Gemm": "linear", "MatMul": "linear",
    "Transpose": "transpose", "Slice": "slice", "Pad": "pad",
}  # fmt: skip
COMPUTED = (*SHAPING, *COPIES, "Add", "Div", "Mul", "Neg", "Reciprocal", "Sqrt", "Sub")  # with constants alone
REAL = (1, 10, 11, 16)  # types of a Cast that is none


@dataclass(frozen=True)
class Constant:
    """Numbers that are read, or computed, when they are asked for. stored: where they lie, unless computed."""

    read: Callable[[], Tensor]
    stored: Stored | None = None

    def __call__(self) -> Tensor:
        """The numbers."""
        return self.read()

    @property
    def shape(self) -> tuple[int, ...]:
        """Their dimensions, for which nothing is read that is stored."""
        return self.stored.shape if self.stored else tuple(self().shape)

    def named(self) -> Stored:
        """As a tensor of a file."""
        if self.stored:
            return self.stored
        found = self()
        dtype = torch.float32 if found.dtype == torch.float64 else found.dtype
        kept: dict[str, Any] = {"copy": True, "memory_format": torch.contiguous_format}
        return Stored(tuple(found.shape), dtype, lambda: self().to(dtype, **kept))


@dataclass(frozen=True)
class Step:
    """One step of a network.

    said        its node, as errors call it
    kind        conv, norm, relu, pool, subsample, pad, add or linear
    reads       numbers of steps, or PICTURE
    settings    of conv: kernel, stride, pads, dilation, groups; pool: method ("max", "average", or "mean" of all of
                the picture), kernel, stride, pads, ceil, zeros; subsample: stride; pad: before, behind; norm: eps
    tensors     of conv and linear: weight (as we lay it out), bias; norm: weight, bias and, unless it only scales,
                running_mean, running_var
    """

    said: str
    kind: str
    reads: tuple[int, ...]
    settings: Mapping[str, Any] = field(default_factory=dict)
    tensors: Mapping[str, Constant] = field(default_factory=dict)


@dataclass(frozen=True)
class Value:
    """What flows between nodes: the step that gives it, its channels' place, and what still belongs to it.

    last    whether its channels are the last axis
    flat    whether it is one number a channel
    zeros   rows and columns of zeros around it: top, left, bottom, right
    least   whether these are no zeros, but less than all numbers
    answered    whether a softmax was made of it, behind which nothing comes
    """

    step: int
    last: bool = False
    flat: bool = False
    zeros: tuple[int, int, int, int] = (0, 0, 0, 0)
    least: bool = False
    answered: bool = False


class Sizes:
    """A value that follows from sizes alone."""


class Constants:
    """Computes what a graph computes of constants, each once and when it is asked for; together they are bounded."""

    def __init__(self) -> None:
        self.left = LARGEST

    def of(self, node: OnnxNode, values: Sequence[Constant | None]) -> Constant:
        """What a node makes of constants. Raises ValueError, when it is called, for what cannot be computed."""
        found: list[Tensor] = []

        def compute() -> Tensor:
            if not found:
                if node.op not in COMPUTED:
                    raise UnknownError(f"{node.said} computes with constants alone")
                try:
                    found.append(evaluate(node, [None if value is None else value() for value in values]))
                except RecursionError:
                    raise UnknownError(f"{node.said} ends a chain of constants that is too long") from None
                self.left -= found[0].numel()
                if self.left < 0:
                    raise UnknownError(f"it computes more than {LARGEST:,} numbers of constants")
            return found[0]

        return Constant(compute)


def readers(nodes: Sequence[OnnxNode]) -> Callable[[str], int]:
    """How many nodes read a value, under whatever name copies give it."""
    roots: dict[str, str] = {}
    for node in nodes:
        if node.op in COPIES and node.inputs and node.outputs:
            roots[node.outputs[0]] = roots.get(node.inputs[0], node.inputs[0])
    count = Counter(roots.get(name, name) for node in nodes if node.op not in COPIES for name in node.inputs)
    return lambda name: count[roots.get(name, name)]


def is_real(values: Sequence[Any]) -> bool:
    """Whether what a CastLike is like has a floating point type; what flows has."""
    (like,) = values
    return isinstance(like, Value) or (isinstance(like, Constant) and like().is_floating_point())


def axes_turned(node: OnnxNode) -> tuple[int, ...]:
    """How a Transpose turns the axes; () for another node, or where it does not say."""
    given = node.attributes.get("perm") if node.op == "Transpose" else None
    return given if isinstance(given, tuple) else ()


def comes_last(nodes: Sequence[OnnxNode], picture: str) -> bool:
    """Whether the picture has its channels last: the first that does not only pad it puts them first."""
    names = {picture}
    for node in nodes:
        if names.intersection(node.inputs[:1]) and node.op != "Shape":
            if node.op != "Pad" and node.op not in COPIES:
                return axes_turned(node) == FIRST
            names.update(node.outputs)
    return False


def number(node: OnnxNode, constants: Sequence[Tensor | None], place: int, name: str, default: float) -> float:
    """A number that is an attribute, or (since opset 11) an input."""
    given = node.attributes.get(name)
    value = constants[place] if len(constants) > place else None
    if value is not None and value.numel() != 1:
        raise UnknownError(f"{node.said} reads {value.numel()} numbers for its {name}")
    return float(given if isinstance(given, int | float) else default if value is None else value)


def known(values: Sequence[Any]) -> list[Tensor | None]:
    """The constants among the inputs of a node; None for the others."""
    return [value() if isinstance(value, Constant) else None for value in values]


def vector(numbers: Tensor, x: Value) -> Tensor | None:
    """Numbers that are broadcast along the channels of a value as a vector, (C,) or (1,); None for others."""
    shape = tuple(numbers.shape)
    axis = -1 if x.last or x.flat else -3
    if not numbers.numel():
        return None
    if numbers.numel() == 1 or (len(shape) >= -axis and shape[axis] == numbers.numel()):
        return numbers.reshape(-1)
    return None


def strides_of(node: OnnxNode, values: Sequence[Any], last: bool) -> tuple[int, int]:
    """Of which rows and columns a Slice takes each n-th. Raises UnknownError for one that cuts a piece out."""
    step = {2: 1, 3: 1}
    for axis, start, end, by in slices(node, known(values), 4):
        place = {0: 0, 1: 2, 2: 3, 3: 1}[axis] if last else axis
        if start != 0 or end < ALL or by < 1 or (by > 1 and place not in step):
            raise UnknownError(f"{node.said} cuts a piece out")
        step[place] = step.get(place, 1) * by
    return step[2], step[3]


def padding_of(
    node: OnnxNode, values: Sequence[Any], last: bool
) -> tuple[tuple[int, int], tuple[int, int, int, int], bool]:
    """(channels before and behind, rows and columns at the top, left, bottom, right, whether these are no zeros, but
    less than all numbers) that a Pad adds.

    Raises UnknownError for one that adds something else.
    """
    constants = known(values)
    amounts = node.attributes.get("pads") or (
        [] if constants[1] is None else [int(one) for one in constants[1].reshape(-1)[:16]]
    )
    fill = number(node, constants, 2, "value", 0.0)
    odd = (fill and not fill <= LEAST) or node.attributes.get("mode", "constant") != "constant"
    if len(amounts) != 8 or len(constants) > 3 or odd or not all(0 <= one <= 2**14 for one in amounts):
        raise UnknownError(f"{node.said} pads as no residual network does")
    if amounts[0] or amounts[4]:
        raise UnknownError(f"{node.said} adds pictures")
    c, h, w = (3, 1, 2) if last else (1, 2, 3)
    around = (amounts[h], amounts[w], amounts[h + 4], amounts[w + 4])
    return (amounts[c], amounts[c + 4]), around, fill != 0


def affine(op: str, numbers: Tensor) -> tuple[Tensor, Tensor]:
    """What a value is multiplied by, and what is added then, by an operator and a constant vector."""
    one, nothing = torch.ones(1, dtype=torch.float64), torch.zeros(1, dtype=torch.float64)
    return {"Mul": (numbers, nothing), "Div": (1 / numbers, nothing), "Sub": (one, -numbers)}.get(op, (one, numbers))


def scales(weight: Tensor, bias: Tensor) -> dict[str, Constant]:
    """The tensors of a norm that only scales."""
    weight, bias = (one.expand(max(len(weight), len(bias))) for one in (weight, bias))
    return {"weight": Constant(lambda: weight), "bias": Constant(lambda: bias)}
