"""An ONNX graph as the steps of a network: what each does and reads, with its tensors, whatever exporters put around.

What only copies (Identity, Dropout, casts, the flattening of one number a channel) is gone, paddings belong to what
they pad, constants are computed when they are asked for, and what scales channels is a norm. The axes of every value
are followed, so that a graph that keeps the channels last gives the same steps.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import torch

from resnets.weights.formats.onnx_file import OnnxGraph, OnnxNode
from resnets.weights.worlds.onnx.flow import (
    ANSWERS,
    ARITHMETIC,
    COPIES,
    FIRST,
    FLATTENS,
    KINDS,
    LAST,
    REAL,
    Constant,
    Constants,
    Sizes,
    Step,
    Value,
    affine,
    axes_turned,
    comes_last,
    is_real,
    known,
    number,
    readers,
    scales,
    vector,
)
from resnets.weights.worlds.onnx.ops import pair
from resnets.weights.worlds.onnx.shaping import UnknownError
from resnets.weights.worlds.onnx.windows import Windows
from resnets.weights.worlds.topology import PICTURE


class Steps(Windows):
    """Reads a graph. Raises ValueError, with the first node that does not fit.

    last    whether the picture comes with its channels last
    """

    def __init__(self, graph: OnnxGraph) -> None:
        super().__init__()
        self._values: dict[str, Value | Constant | Sizes] = {
            name: Constant(stored.read, stored) for name, stored in graph.tensors.items()
        }
        if len(graph.inputs) != 1:
            raise ValueError(f"it has {len(graph.inputs)} inputs, and a network has one")
        ((self.input, _),) = graph.inputs.items()
        nodes = graph.needed
        self._uses = readers(nodes)
        self.last = comes_last(nodes, self.input)
        self._values[self.input] = Value(PICTURE, self.last)
        self._relus: dict[int, int] = {}  # by what they read; a graph may have one for each reader
        self._constants = Constants()
        for node in nodes:
            self._read(node)

    def _read(self, node: OnnxNode) -> None:
        values = [self._values.get(name) if name else None for name in node.inputs]
        missing = [name for name, value in zip(node.inputs, values, strict=True) if name and value is None]
        if missing:
            raise ValueError(f"{node.said} reads {missing[0][:80]!r}, which no node before it gives")
        if node.op == "CastLike":  # the second says its type alone
            if not is_real(values[1:]):
                raise UnknownError(f"{node.said} makes whole numbers")
            values = values[:1]
        flows = [value for value in values if isinstance(value, Value)]
        found: Value | Constant | Sizes
        if node.domain not in ("", "ai.onnx"):
            raise UnknownError(f"{node.said} is an operator of {node.domain[:40]!r}, and no residual network has one")
        if not flows:
            sized = any(isinstance(value, Sizes) for value in values)
            constants = [value for value in values if not isinstance(value, Sizes | Value)]
            found = Sizes() if sized else self._constants.of(node, constants)
        elif node.op == "Shape":
            found = Sizes()
        else:
            found = self._understood(node, values, flows)
        self._values |= dict.fromkeys(node.outputs[:1], found)

    def _understood(self, node: OnnxNode, values: Sequence[Any], flows: Sequence[Value]) -> Value:
        try:
            return self._step(node, values, flows)
        except UnknownError:
            raise
        except (ValueError, ArithmeticError, LookupError, RuntimeError, TypeError) as problem:
            raise UnknownError(f"{node.said} makes no sense") from problem

    def _step(self, node: OnnxNode, values: Sequence[Any], flows: Sequence[Value]) -> Value:
        x = flows[0]
        padded = any(x.zeros) and node.op not in ("Pad", "Conv", "MaxPool", "AveragePool", "Transpose", *COPIES)
        padded |= x.least and node.op in ("Conv", "AveragePool")
        if padded or (node.op in KINDS and values[0] is not x):
            raise UnknownError(f"{node.said} reads what no such layer of a residual network does")
        if node.op in COPIES and node.attributes.get("to", 1) in REAL:
            return x
        if x.answered or (x.flat and KINDS.get(node.op, "linear") not in ("linear", "conv", "transpose")):
            raise UnknownError(f"{node.said} stands behind all layers of a network")
        if node.op in FLATTENS:
            return self._flat(node, x)
        if node.op in ANSWERS and x.flat and x.step != PICTURE and self.steps[x.step].kind in ("linear", "conv"):
            return replace(x, answered=True)
        if node.op == "Sum" and len(values) == 1:
            return x
        if node.op in ARITHMETIC:
            return self._sum(node, flows) if len(flows) == len(node.inputs) else self._affine(node, values, x)
        if node.op not in KINDS:
            raise UnknownError(f"{node.said} has no place in a residual network")
        made: Value = getattr(self, f"_{KINDS[node.op]}")(node, values, x)
        return made

    def _transpose(self, node: OnnxNode, values: Sequence[Any], x: Value) -> Value:
        if x.flat and len(axes_turned(node)) == 4:
            return x
        if axes_turned(node) != (FIRST if x.last else LAST):
            raise UnknownError(f"{node.said} turns axes as no residual network does")
        return replace(x, last=not x.last)

    def _relu(self, node: OnnxNode, values: Sequence[Any], x: Value) -> Value:
        if node.op == "Clip":
            ends: tuple[tuple[int, str, float], ...] = ((1, "min", -torch.inf), (2, "max", torch.inf))
            low, high = (number(node, known(values), *end) for end in ends)
            if (low, high) != (0, torch.inf):
                raise UnknownError(f"{node.said} cuts at {low:g} and {high:g}, and a ReLU at 0 alone")
        if x.step in self._relus:
            return replace(x, step=self._relus[x.step])
        self._relus[x.step] = len(self.steps)
        return self._add(node, Step(node.said, "relu", (x.step,)), x)

    def _conv(self, node: OnnxNode, values: Sequence[Any], x: Value) -> Value:
        self._first(node, x)
        weight = self._constant(node, values, 1, 4)
        shape = weight.shape
        stride = pair(node, "strides")
        settings = {
            "kernel": tuple(shape[2:]),
            "stride": stride,
            "pads": self._around(node, x, tuple(shape[2:]), stride),
            "dilation": pair(node, "dilations"),
            "groups": node.attributes.get("group", 1),
        }
        tensors = {"weight": weight}
        if len(values) > 2 and values[2] is not None:
            tensors["bias"] = self._constant(node, values, 2)
            if tensors["bias"].shape != shape[:1]:
                raise UnknownError(f"{node.said} has a bias of the shape {tensors['bias'].shape}")
        return self._add(node, Step(node.said, "conv", (x.step,), settings, tensors), x)

    def _flat(self, node: OnnxNode, x: Value) -> Value:
        """One number a channel. An average that is flattened is the mean of all, since so many a layer reads."""
        step = self.steps[x.step] if x.step != PICTURE else None
        if step and step.kind == "pool" and step.settings["method"] == "average" and not any(step.settings["pads"]):
            self.steps[x.step] = replace(step, settings={"method": "mean"})
        elif not x.flat:
            raise UnknownError(f"{node.said} has no place in a residual network")
        return replace(x, flat=True)

    def _sum(self, node: OnnxNode, flows: Sequence[Value]) -> Value:
        if node.op not in ("Add", "Sum") or len({value.last for value in flows}) > 1 or any(v.flat for v in flows):
            raise UnknownError(f"{node.said} joins two paths, and a residual network adds them")
        if any(any(value.zeros) for value in flows):
            raise UnknownError(f"{node.said} adds what is padded")
        return self._add(node, Step(node.said, "add", tuple(value.step for value in flows)), flows[0])

    def _norm(self, node: OnnxNode, values: Sequence[Any], x: Value) -> Value:
        if node.attributes.get("training_mode"):
            raise UnknownError(f"{node.said} is still being trained; export the network in evaluation mode")
        self._first(node, x)
        leaves = ("weight", "bias", "running_mean", "running_var")
        tensors = {leaf: self._constant(node, values, place) for place, leaf in enumerate(leaves, start=1)}
        settings = {"eps": node.attributes.get("epsilon", 1e-5)}
        return self._add(node, Step(node.said, "norm", (x.step,), settings, tensors), x)

    def _affine(self, node: OnnxNode, values: Sequence[Any], x: Value) -> Value:
        """A value and a constant: the bias of a linear layer, or a norm that only scales, or a part of one."""
        place = next(i for i, value in enumerate(values) if isinstance(value, Value))
        if len(values) != 2 or (place and node.op in ("Sub", "Div")) or not isinstance(values[1 - place], Constant):
            raise UnknownError(f"{node.said} has no place in a residual network")
        if x.step == PICTURE:
            raise UnknownError(f"{node.said} prepares the pictures, which a model does outside of its network")
        numbers = values[1 - place]().double()
        before = self.steps[x.step]
        found = vector(numbers, x)
        if found is None:
            raise UnknownError(f"{node.said} reads numbers of the shape {tuple(numbers.shape)}, and not one a channel")
        scale, shift = affine(node.op, found)
        alone = self._uses(self.given[x.step][0]) == 1
        shifts = node.op not in ("Mul", "Div")
        if shifts and before.kind in ("linear", "conv") and "bias" not in before.tensors and (alone or x.flat):
            spread = shift.expand(before.tensors["weight"].shape[0])
            return self._joined(node, x, replace(before, tensors={**before.tensors, "bias": Constant(lambda: spread)}))
        if before.kind == "norm" and "running_var" not in before.tensors and alone:
            weight, bias = (before.tensors[leaf]() for leaf in ("weight", "bias"))
            return self._joined(node, x, replace(before, tensors=scales(weight * scale, bias * scale + shift)))
        if x.flat:
            raise UnknownError(f"{node.said} changes what the head gives")
        return self._add(node, Step(node.said, "norm", (x.step,), {}, scales(scale, shift)), x)

    def _joined(self, node: OnnxNode, x: Value, step: Step) -> Value:
        self.steps[x.step] = step
        self.given[x.step] = (node.outputs[0], x.last)
        return x

    def _linear(self, node: OnnxNode, values: Sequence[Any], x: Value) -> Value:
        if not x.flat:
            raise UnknownError(f"{node.said} reads pictures, and a head reads one number a channel")
        settings = node.attributes
        if settings.get("transA") or settings.get("alpha", 1.0) != 1 or settings.get("beta", 1.0) != 1:
            raise UnknownError(f"{node.said} is no linear layer")
        weight = self._constant(node, values, 1, 2)
        tensors = {"weight": weight if settings.get("transB") else Constant(lambda: weight().mT)}
        if len(values) > 2 and values[2] is not None:
            bias = values[2]
            if not isinstance(bias, Constant) or math.prod(bias.shape) not in (1, tensors["weight"].shape[0]):
                raise UnknownError(f"{node.said} has a bias that is not one a class")
            tensors["bias"] = Constant(lambda: bias().reshape(-1))
        return self._add(node, Step(node.said, "linear", (x.step,), {}, tensors), x)

    def _constant(self, node: OnnxNode, values: Sequence[Any], place: int, dimensions: int = 1) -> Constant:
        if len(values) <= place or not isinstance(values[place], Constant):
            raise UnknownError(f"{node.said} has a weight that is no constant")
        found: Constant = values[place]
        if len(found.shape) != dimensions or not min(found.shape):
            raise UnknownError(f"{node.said} has a weight of the shape {found.shape}")
        return found
