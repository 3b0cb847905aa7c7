"""An ONNX graph as the steps of a network: what each does and reads, with its tensors, whatever exporters put around.

What only copies (Identity, Dropout, casts, the flattening of one number a channel) is gone, paddings belong to what
they pad, constants are computed when they are asked for, and what scales channels is a norm. The axes of every value
are followed, so that a graph that keeps the channels last gives the same steps.
"""

from __future__ import annotations

from collections import Counter
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
    known,
    needed,
    number,
    padding_of,
    scales,
    strides_of,
    vector,
)
from resnets.weights.worlds.onnx.ops import pads_of, pair
from resnets.weights.worlds.onnx.shaping import UnknownError, axes_of
from resnets.weights.worlds.topology import PICTURE


class Steps:
    """Reads a graph. Raises ValueError, with the first node that does not fit.

    steps   in the order in which they run
    given   by step: the name of the value that it gives, and whether its channels are last
    last    whether the picture comes with its channels last
    """

    def __init__(self, graph: OnnxGraph) -> None:
        self.steps: list[Step] = []
        self.given: dict[int, tuple[str, bool]] = {}
        self._values: dict[str, Value | Constant | Sizes] = {
            name: Constant(stored.read, stored) for name, stored in graph.tensors.items()
        }
        if len(graph.inputs) != 1:
            raise ValueError(f"it has {len(graph.inputs)} inputs, and a network has one")
        ((self.input, _),) = graph.inputs.items()
        nodes = needed(graph)
        self._uses = Counter(name for node in nodes for name in node.inputs)
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
        values = values[:1] if node.op == "CastLike" else values  # the second says its type alone
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
            found = self._step(node, values, flows)
        self._values |= dict.fromkeys(node.outputs[:1], found)

    def _step(self, node: OnnxNode, values: Sequence[Any], flows: Sequence[Value]) -> Value:
        x = flows[0]
        padded = any(x.zeros) and node.op not in ("Pad", "Conv", "MaxPool", "AveragePool", "Transpose", *COPIES)
        padded |= x.least and node.op in ("Conv", "AveragePool")
        if padded or (node.op in KINDS and values[0] is not x):
            raise UnknownError(f"{node.said} reads what no such layer of a residual network does")
        if node.op in COPIES and node.attributes.get("to", 1) in REAL:
            return x
        if node.op in FLATTENS:
            return self._flat(node, x)
        if node.op in ANSWERS and x.flat:
            return x
        if node.op in ARITHMETIC:
            return self._sum(node, flows) if len(flows) == len(node.inputs) else self._affine(node, values, x)
        if node.op not in KINDS:
            raise UnknownError(f"{node.said} has no place in a residual network")
        made: Value = getattr(self, f"_{KINDS[node.op]}")(node, values, x)
        return made

    def _add(self, node: OnnxNode, step: Step, x: Value, **changes: Any) -> Value:
        self.steps.append(step)
        number = len(self.steps) - 1
        self.given[number] = (node.outputs[0], x.last)
        return replace(x, step=number, zeros=(0, 0, 0, 0), least=False, **changes)

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
        return self._add(node, Step(node.said, "conv", (x.step,), settings, tensors), x)

    def _around(self, node: OnnxNode, x: Value, kernel: Sequence[int], stride: Sequence[int]) -> tuple[Any, ...]:
        """Pads as (top, left, bottom, right), or the name of a rule that depends on the size."""
        how = node.attributes.get("auto_pad", "NOTSET")
        if how in ("NOTSET", "VALID"):
            (top, bottom), (left, right) = pads_of(node, (1, 1), kernel, stride)
            return tuple(one + more for one, more in zip((top, left, bottom, right), x.zeros, strict=True))
        if any(x.zeros):
            raise UnknownError(f"{node.said} pads what is padded")
        return (how,)

    def _pool(self, node: OnnxNode, values: Sequence[Any], x: Value) -> Value:
        self._first(node, x)
        kernel, stride = pair(node, "kernel_shape"), pair(node, "strides")
        if (
            kernel == (1, 1)
            and not any(x.zeros)
            and self._around(node, x, kernel, stride) in ((0,) * 4, ("SAME_UPPER",))
        ):
            return self._subsampled(node, x, stride)
        if pair(node, "dilations") != (1, 1):
            raise UnknownError(f"{node.said} dilates, and no pool of a residual network does")
        average, own = node.op == "AveragePool", any(node.attributes.get("pads") or ())
        settings: dict[str, Any] = {
            "method": "average" if average else "max",
            "kernel": kernel,
            "stride": stride,
            "pads": self._around(node, x, kernel, stride),
            "ceil": bool(node.attributes.get("ceil_mode", 0)),
            "zeros": (any(x.zeros) and not x.least)
            or (average and own and bool(node.attributes.get("count_include_pad", 0))),
        }
        if any(x.zeros) and own:
            raise UnknownError(f"{node.said} pads what is padded")
        return self._add(node, Step(node.said, "pool", (x.step,), settings), x)

    def _subsampled(self, node: OnnxNode, x: Value, stride: tuple[int, int]) -> Value:
        """Every n-th row and column; what an earlier step took of one of them joins it."""
        before = self.steps[x.step] if x.step != PICTURE else None
        if before and before.kind == "subsample" and 1 in before.settings["stride"]:
            (a, b), (c, d) = before.settings["stride"], stride
            self.steps[x.step] = replace(before, settings={"stride": (a * c, b * d)})
            self.given[x.step] = (node.outputs[0], x.last)
            return x
        return self._add(node, Step(node.said, "subsample", (x.step,), {"stride": stride}), x)

    def _slice(self, node: OnnxNode, values: Sequence[Any], x: Value) -> Value:
        stride = strides_of(node, values, x.last)
        return x if stride == (1, 1) else self._subsampled(node, x, stride)

    def _mean(self, node: OnnxNode, values: Sequence[Any], x: Value) -> Value:
        """The mean over height and width."""
        if node.op == "ReduceMean":
            if axes_of(node, known(values), 4) != ([1, 2] if x.last else [2, 3]):
                raise UnknownError(f"{node.said} is a mean over other axes than height and width")
        else:
            self._first(node, x)
        return self._add(node, Step(node.said, "pool", (x.step,), {"method": "mean"}), x, flat=True)

    def _flat(self, node: OnnxNode, x: Value) -> Value:
        """One number a channel. An average that is flattened is the mean of all, since so many a layer reads."""
        step = self.steps[x.step] if x.step != PICTURE else None
        if step and step.kind == "pool" and step.settings["method"] == "average" and not any(step.settings["pads"]):
            self.steps[x.step] = replace(step, settings={"method": "mean"})
        elif not x.flat:
            raise UnknownError(f"{node.said} has no place in a residual network")
        return replace(x, flat=True)

    def _pad(self, node: OnnxNode, values: Sequence[Any], x: Value) -> Value:
        channels, around, least = padding_of(node, values, x.last)
        if least != x.least and any(x.zeros):
            raise UnknownError(f"{node.said} pads what is padded")
        if any(channels):
            if any(around) or any(x.zeros) or least:
                raise UnknownError(f"{node.said} pads channels and pixels at once")
            settings = {"before": channels[0], "behind": channels[1]}
            return self._add(node, Step(node.said, "pad", (x.step,), settings), x)
        top, left, bottom, right = (one + more for one, more in zip(x.zeros, around, strict=True))
        return replace(x, zeros=(top, left, bottom, right), least=least)

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
        alone = self._uses[self.given[x.step][0]] == 1
        shifts = node.op not in ("Mul", "Div")
        if shifts and before.kind in ("linear", "conv") and "bias" not in before.tensors and (alone or x.flat):
            return self._joined(node, x, replace(before, tensors={**before.tensors, "bias": Constant(lambda: shift)}))
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
            tensors["bias"] = self._constant(node, values, 2)
        return self._add(node, Step(node.said, "linear", (x.step,), {}, tensors), x)

    def _first(self, node: OnnxNode, x: Value) -> None:
        if x.last:
            raise UnknownError(f"{node.said} reads channels where pixels are")

    def _constant(self, node: OnnxNode, values: Sequence[Any], place: int, dimensions: int = 1) -> Constant:
        if len(values) <= place or not isinstance(values[place], Constant):
            raise UnknownError(f"{node.said} has a weight that is no constant")
        found: Constant = values[place]
        if len(found.shape) != dimensions or not min(found.shape):
            raise UnknownError(f"{node.said} has a weight of the shape {found.shape}")
        return found
