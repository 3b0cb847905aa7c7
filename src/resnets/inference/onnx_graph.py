"""The steps of a network as an ONNX model, node by node: what is exported, and what other engines run.

Nothing is traced: a step becomes the few nodes that say the same, with the names of the plan's roles. Only plain
operators of the standard, so that ONNX Runtime, OpenVINO and whoever reads the file agree on it.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from resnets import __version__
from resnets.architecture import Row
from resnets.architecture.rows import INPUT
from resnets.data.preprocess import Preprocessing
from resnets.errors import ResnetsError
from resnets.inference.lower import OUTPUT, Graph, Step
from resnets.inference.onnx_nodes import Nodes, OnnxOps, Value
from resnets.inference.quantize import BEFORE_ADD, POOLED, Quantisation, quantised_weight, stored, weight_scales
from resnets.inference.resample import normalised, probabilities, resized

IMAGES = "images"
PROBABILITIES = "probabilities"
OPSET = 17
LARGEST = 2**31 - 1  # bytes of a protobuf message
_IR_VERSION = 8  # what came with OPSET: a newer one would shut out runtimes that could run the model
_LARGEST_BIAS = float(1 << 30)  # quantised, it leaves room for the sum of products in 32 bits


def model(
    graph: Graph,
    *,
    precision: str = "float32",
    quantisation: Quantisation | None = None,
    preprocessing: Preprocessing | None = None,
    temperature: float = 1.0,
    metadata: Mapping[str, str] | None = None,
    opset: int = OPSET,
) -> Any:
    """An onnx.ModelProto that holds everything in itself.

    precision         float32; bfloat16: the convolutions' weights are stored so (half the size), and it is the
                      runtime's own setting in what they are multiplied; int8: needs `quantisation`
    preprocessing     None: input "input" (N, C, H, W) float32, normalised, of any H and W; output "logits" (N, classes)
                      Else: input "images" (N, H, W, 3) uint8 RGB of any H and W; outputs "probabilities" and "logits"
    temperature       logits are divided by it before the softmax

    Raises ResnetsError when the package onnx is missing, or for a network beyond the 2 GB of an ONNX file.
    """
    weights = sum(step.weight.numel() for step in graph.steps)
    size = weights * {"float32": 4, "bfloat16": 2, "int8": 1}[precision]
    if size > LARGEST:
        raise ResnetsError(f"An ONNX file holds 2 GB and these weights take {size / 1e9:.1f}: export to .pt2.")
    if precision == "int8" and quantisation is None:
        raise ValueError("int8 needs a quantisation")
    writer = _Writer(graph, precision, quantisation if precision == "int8" else None)
    nodes = writer.nodes
    helper, kinds = nodes.onnx.helper, nodes.onnx.TensorProto
    answers = [OUTPUT]
    if preprocessing is None:
        entry = helper.make_tensor_value_info(INPUT, kinds.FLOAT, ["N", graph.input_shape[0], "H", "W"])
        writer.network(INPUT)
    else:
        entry = helper.make_tensor_value_info(IMAGES, kinds.UINT8, ["N", "H", "W", 3])
        ops = OnnxOps(nodes)
        pixels = resized(ops, Value(nodes, IMAGES, np.uint8), preprocessing)
        writer.network(normalised(ops, pixels, preprocessing).name)
        named = probabilities(ops, Value(nodes, OUTPUT), temperature)
        answers.insert(0, nodes.add("Identity", named.name, name=PROBABILITIES))
    exits = [helper.make_tensor_value_info(name, kinds.FLOAT, ["N", graph.num_classes]) for name in answers]
    body = helper.make_graph(nodes.nodes, "resnets", [entry], exits, nodes.initializers)
    made = helper.make_model(
        body,
        producer_name="resnets",
        producer_version=__version__,
        ir_version=_IR_VERSION,
        opset_imports=[helper.make_opsetid("", opset)],
    )
    helper.set_model_props(made, dict(metadata or {}))
    return made


class _Writer:
    """Writes the steps, one after the other."""

    def __init__(self, graph: Graph, precision: str, quantisation: Quantisation | None) -> None:
        self.nodes = Nodes()
        self.graph, self.precision = graph, precision
        self.quantisation = quantisation
        self.stored = frozenset() if quantisation is None else stored(graph, quantisation)
        self.int8_head = quantisation is not None and OUTPUT not in quantisation.floats
        if self.int8_head:
            self.stored |= {graph.steps[-1].input}
        self.values: dict[str, str] = {}  # of a step's result -> of the node that gives it to its readers

    def network(self, entry: str) -> None:
        """All steps; `entry` is the value that holds the normalised images."""
        self.values[INPUT] = self.on_grid(entry, INPUT) if INPUT in self.stored else entry
        for step in self.graph.steps:
            x = self.values[step.input]
            if step.kind == "conv":
                y = self.convolution(step, x)
            else:
                y = getattr(self, step.kind)(step, x)
                y = self.on_grid(y, step.name) if step.name in self.stored else y
            self.values[step.name] = y

    def convolution(self, step: Step, x: str) -> str:
        """Convolution, addition, ReLU."""
        row, quantised = step.row, self.quantisation is not None and step.name not in self.quantisation.floats
        if quantised:
            weight, bias = self.int8(step)
        else:
            bias = self.nodes.constant(step.bias.numpy(), f"{step.name}.bias")
            weight = f"{step.name}.weight"
            if self.precision == "bfloat16":
                self.nodes.bfloat16(step.weight, weight)
            else:
                self.nodes.constant(step.weight.numpy(), weight)
        y = self.nodes.add(
            "Conv",
            *(x, weight, bias),
            name=step.name,
            kernel_shape=[row.kernel] * 2,
            strides=[row.stride] * 2,
            dilations=[row.dilation] * 2,
            group=row.groups,
            **_padding(row),
        )
        if step.addend is not None:
            # Runtimes take an addition into the convolution when its result is on a grid of its own before.
            y = self.on_grid(y, step.name + BEFORE_ADD) if quantised else y
            y = self.nodes.add("Add", y, self.values[step.addend], name=f"{step.name}.add")
        y = self.activated(step, y)
        return self.on_grid(y, step.name) if step.name in self.stored or (quantised and not step.addend) else y

    def int8(self, step: Step) -> tuple[str, str]:
        """Weight and bias of a quantised convolution: int8 with a scale for each channel, and int32."""
        assert self.quantisation is not None
        source, _ = self.quantisation.grid(step.input)
        # A channel of next to no weight has next to no scale, on which its bias would not fit into 32 bits.
        scales = weight_scales(step.weight).maximum(step.bias.abs() / (source * _LARGEST_BIAS))
        weight = (step.weight / scales.reshape(-1, 1, 1, 1)).round().clamp(-127, 127).numpy().astype(np.int8)
        bias = (step.bias.double() / (scales.double() * source)).round().numpy().astype(np.int32)
        return (
            self.real(f"{step.name}.weight", weight, scales.numpy(), np.zeros(len(scales), np.int8)),
            self.real(f"{step.name}.bias", bias, (scales * source).numpy(), np.zeros(len(scales), np.int32)),
        )

    def real(self, name: str, stored: np.ndarray, scales: np.ndarray, zeros: np.ndarray) -> str:
        """A stored array of whole numbers as the real numbers that they stand for, channel by channel."""
        parts = ((stored, "stored"), (scales, "scale"), (zeros, "zero"))
        return self.nodes.add(
            "DequantizeLinear",
            *(self.nodes.constant(array, f"{name}.{part}") for array, part in parts),
            name=name,
            axis=0,
        )

    def on_grid(self, y: str, value: str) -> str:
        """A value rounded to its grid: as uint8, and back."""
        assert self.quantisation is not None
        scale, zero = self.quantisation.grid(value)
        grid = (
            self.nodes.constant(np.array(scale, np.float32), f"{value}.scale"),
            self.nodes.constant(np.array(zero, np.uint8), f"{value}.zero"),
        )
        whole = self.nodes.add("QuantizeLinear", y, *grid, name=f"{value}.uint8")
        return self.nodes.add("DequantizeLinear", whole, *grid, name=f"{value}.real")

    def activated(self, step: Step, y: str) -> str:
        """The ReLU of a step that has one."""
        return self.nodes.add("Relu", y, name=f"{step.name}.relu") if step.relu else y

    def relu(self, step: Step, x: str) -> str:
        """A ReLU that no step before could take along."""
        return self.nodes.add("Relu", x, name=step.name)

    def add(self, step: Step, x: str) -> str:
        """An addition that no convolution could take along."""
        assert step.addend is not None
        return self.activated(step, self.nodes.add("Add", x, self.values[step.addend], name=step.name))

    def affine(self, step: Step, x: str) -> str:
        """A norm that no convolution could take in."""
        scale, shift = (
            self.nodes.constant(t.reshape(-1, 1, 1).numpy(), f"{step.name}.{what}")
            for t, what in ((step.weight, "weight"), (step.bias, "bias"))
        )
        y = self.nodes.add("Add", self.nodes.add("Mul", x, scale), shift, name=step.name)
        return self.activated(step, y)

    def max_pool(self, step: Step, x: str) -> str:
        """Outside counts as minus infinity, but for the rule 'zero'."""
        row = step.row
        if row.padding == "zero":
            x = self.nodes.add("Pad", x, self.nodes.constant(np.array([0, 0, 1, 1, 0, 0, 1, 1])))
        sizes = {"kernel_shape": [row.kernel] * 2, "strides": [row.stride] * 2}
        return self.nodes.add("MaxPool", x, name=step.name, **sizes, **_padding(row))

    def avg_pool(self, step: Step, x: str) -> str:
        """Only pixels that exist are averaged; padding at the far end keeps the size where the stride is 1."""
        sizes = {"kernel_shape": [2, 2], "strides": [step.row.stride] * 2}
        return self.nodes.add("AveragePool", x, name=step.name, auto_pad="SAME_UPPER", count_include_pad=0, **sizes)

    def subsample(self, step: Step, x: str) -> str:
        """Every stride-th pixel."""
        if step.row.stride == 1:
            return x
        starts, ends, axes, strides = ([0, 0], [np.iinfo(np.int64).max] * 2, [2, 3], [step.row.stride] * 2)
        bounds = (self.nodes.constant(np.array(numbers)) for numbers in (starts, ends, axes, strides))
        return self.nodes.add("Slice", x, *bounds, name=f"{step.name}.subsample")

    def pad(self, step: Step, x: str) -> str:
        """Every stride-th pixel, and zeros for the channels that are new."""
        before, behind = step.row.zero_channels
        widths = np.array([0, before, 0, 0, 0, behind, 0, 0])
        return self.nodes.add("Pad", self.subsample(step, x), self.nodes.constant(widths), name=step.name)

    def head(self, step: Step, x: str) -> str:
        """The mean over height and width, and the linear layer."""
        bias = self.nodes.constant(step.bias.numpy(), f"{step.name}.bias")
        mean = self.nodes.add("Flatten", self.nodes.add("GlobalAveragePool", x))
        if self.int8_head:
            mean, scales = self.on_grid(mean, POOLED), weight_scales(step.weight)
            whole, zeros = quantised_weight(step.weight).numpy(), np.zeros(len(scales), np.int8)
            weight = self.real(f"{step.name}.weight", whole, scales.numpy(), zeros)
        else:
            weight = self.nodes.constant(step.weight.numpy(), f"{step.name}.weight")
        return self.nodes.add("Gemm", mean, weight, bias, name=step.name, transB=1)


def _padding(row: Row) -> dict[str, Any]:
    """The attributes that say a row's padding; SAME_UPPER is TensorFlow's rule, an odd rest right and below."""
    match row.padding:
        case "same":
            return {"auto_pad": "SAME_UPPER"}
        case "ceil":
            return {"ceil_mode": 1}
        case "zero":
            return {}
    return {"pads": [row.padding] * 4}
