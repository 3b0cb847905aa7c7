"""A plan as Caffe's layers, under the names of He's published files.

What a row says, a layer says, with three exceptions. A norm is two layers, BatchNorm and Scale. Caffe rounds the
number of a pool's windows up, so that a pool of torch, with its padding, has one row and one column less at even
sizes: they are cut off by a Crop to the size of a 2x2 pool, which is right at every size. And the last pool is
global, where He's files have the 7x7 that fits pictures of 224 pixels alone.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from resnets.architecture import Plan, Row, Unit
from resnets.errors import ModelFileError
from resnets.weights.formats.prototxt import Message, Word

LayerOf = Callable[[str], str]  # our state name -> the name of the layer that has it

_REASONS = {
    "subsample": "has no layer that takes every second pixel at odd and even sizes alike",
    "pad": "has no layer that adds channels of zeros",
    "conv same": "pads all sides alike, and TensorFlow's SAME does not",
    "max_pool same": "pads all sides alike, and TensorFlow's SAME does not",
    "max_pool zero": "pools over what lies in the picture, never over zeros around it",
    "avg_pool 1": "pads all sides alike, so that no average of 2x2 pixels keeps the size",
}


def net(plan: Plan, layer_of: LayerOf, name: str, shape: Sequence[int]) -> Message:
    """The NetParameter of a plan, without weights. shape: (N, C, H, W) of the input that it declares.

    Raises ModelFileError for what no layer of Caffe computes.
    """
    layers = _Layers(layer_of, plan.spec.norm_eps)
    layers.add("data", "Input", (), input_param=[{"shape": [{"dim": list(shape)}]}])
    layers.run(plan.stem)
    for stage in plan.stages:
        for unit in stage:
            _unit(layers, unit)
    layers.run(plan.head)
    layers.add("prob", "Softmax", (layers.blob,))
    return {"name": [name], "layer": layers.layers}


def _unit(layers: _Layers, unit: Unit) -> None:
    convolution = next(row for row in unit.branch if row.kind == "conv")
    name = layers.layer_of(f"{convolution.role}.weight").partition("_branch")[0]
    rows = list(unit.branch)
    if unit.shares_preactivation:
        layers.run(rows[:2])
        rows = rows[2:]
    start = layers.blob
    layers.run(unit.shortcut)
    shortcut, layers.blob = layers.blob, start
    layers.run(rows)
    if unit.residual:
        layers.add(name, "Eltwise", (shortcut, layers.blob))
    if unit.after and unit.after[-1].kind == "relu":
        layers.add(f"{name}_relu", "ReLU", (layers.blob,), layers.blob)


class _Layers:
    """Makes layers one after the other; `blob` is what the last one gives."""

    def __init__(self, layer_of: LayerOf, eps: float) -> None:
        self.layer_of, self.eps = layer_of, eps
        self.layers: list[Message] = []
        self.blob = ""

    def add(self, name: str, kind: str, bottoms: Sequence[str], top: str = "", **param: Any) -> None:
        self.blob = top or name
        self.layers.append({"name": [name], "type": [kind], "bottom": list(bottoms), "top": [self.blob], **param})

    def run(self, rows: Sequence[Row]) -> None:
        """Layers of rows that stand one after the other."""
        for i, row in enumerate(rows):
            for what in (row.kind, f"{row.kind} {row.padding}", f"{row.kind} {row.stride}"):
                if what in _REASONS:
                    raise ModelFileError(f"No layer of Caffe is this network's {row.role}: Caffe {_REASONS[what]}.")
            follows = i > 0 and rows[i - 1].kind == "conv"
            getattr(self, f"_{row.kind}")(row, follows)

    def _conv(self, row: Row, _: bool) -> None:
        param: Message = {
            "num_output": [row.out_channels],
            "kernel_size": [row.kernel],
            "stride": [row.stride],
            "pad": [row.padding],
            "bias_term": [row.bias],
        }
        if row.groups > 1:
            param["group"] = [row.groups]
        if row.dilation > 1:
            param["dilation"] = [row.dilation]
        self.add(self.layer_of(f"{row.role}.weight"), "Convolution", (self.blob,), convolution_param=[param])

    def _norm(self, row: Row, follows: bool) -> None:
        """In place behind a convolution, whose output nobody else reads."""
        top = self.blob if follows else ""
        param = {"use_global_stats": [True], "eps": [self.eps]}
        self.add(self.layer_of(f"{row.role}.running_mean"), "BatchNorm", (self.blob,), top, batch_norm_param=[param])
        scale = self.layer_of(f"{row.role}.weight")
        self.add(scale, "Scale", (self.blob,), self.blob, scale_param=[{"bias_term": [True]}])

    def _relu(self, row: Row, _: bool) -> None:
        self.add(f"{self.blob}_relu", "ReLU", (self.blob,), self.blob)

    def _max_pool(self, row: Row, _: bool) -> None:
        start, name = self.blob, "pool1"
        window = {"pool": [Word("MAX")], "kernel_size": [row.kernel], "stride": [row.stride]}
        if row.padding == "ceil":
            self.add(name, "Pooling", (start,), pooling_param=[window])
            return
        self.add(f"{name}_padded", "Pooling", (start,), pooling_param=[{**window, "pad": [row.padding]}])
        self.add(f"{name}_size", "Pooling", (start,), pooling_param=[{**window, "kernel_size": [row.stride]}])
        self.add(name, "Crop", (f"{name}_padded", f"{name}_size"), crop_param=[{"axis": [2], "offset": [0]}])

    def _avg_pool(self, row: Row, _: bool) -> None:
        window = {"pool": [Word("AVE")], "kernel_size": [row.kernel], "stride": [row.stride]}
        convolution = self.layer_of(f"{row.role.removesuffix('.pool')}.conv.weight")
        self.add(f"{convolution}_pool", "Pooling", (self.blob,), pooling_param=[window])

    def _global_pool(self, row: Row, _: bool) -> None:
        window = {"pool": [Word("AVE")], "global_pooling": [True]}
        self.add("pool5", "Pooling", (self.blob,), pooling_param=[window])

    def _linear(self, row: Row, _: bool) -> None:
        param = {"num_output": [row.out_channels], "bias_term": [row.bias]}
        self.add(self.layer_of(f"{row.role}.weight"), "InnerProduct", (self.blob,), inner_product_param=[param])
