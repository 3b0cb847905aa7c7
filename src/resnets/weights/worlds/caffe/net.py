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
from resnets.architecture.rows import INPUT, readers
from resnets.errors import ModelFileError
from resnets.weights.formats.prototxt import Message, Word

LayerOf = Callable[[str], str]  # our state name -> the name of the layer that has it

_REASONS = {
    "subsample": "has no layer that takes every second pixel at odd and even sizes alike",
    "pad": "has no layer that adds channels of zeros",
    "conv same": "pads all sides alike, and TensorFlow's SAME does not",
    "max_pool same": "pads all sides alike, and TensorFlow's SAME does not",
    "max_pool 0": "rounds the number of a pool's windows up",
    "max_pool zero": "pools over what lies in the picture, never over zeros around it",
    "avg_pool 1": "pads all sides alike, so that no average of 2x2 pixels keeps the size",
}


def net(plan: Plan, layer_of: LayerOf, name: str, shape: Sequence[int]) -> Message:
    """The NetParameter of a plan, without weights. shape: (N, C, H, W) of the input that it declares.

    Raises ModelFileError for what no layer of Caffe computes.
    """
    layers = _Layers(layer_of, plan)
    layers.add("data", "Input", (), input_param=[{"shape": [{"dim": list(shape)}]}])
    layers.blobs[INPUT] = "data"
    layers.run(plan.stem)
    for unit in (unit for stage in plan.stages for unit in stage):
        layers.run(_as_he_does(unit))
    layers.run(plan.head)
    layers.add("prob", "Softmax", (layers.blobs[plan.head[-1].role],))
    return {"name": [name], "layer": layers.layers}


def _as_he_does(unit: Unit) -> list[Row]:
    """The rows of a unit in the order of He's files: the shortcut stands before what reads the same as it."""
    shortcut = list(unit.shortcut)
    others = [row for row in unit.rows if row not in shortcut]
    at = next((i for i, row in enumerate(others) if unit.fork in row.reads), 0)
    return others[:at] + shortcut + others[at:]


class _Layers:
    """Makes layers one after the other; `blobs` has what each row gives."""

    def __init__(self, layer_of: LayerOf, plan: Plan) -> None:
        self.layer_of, self.eps = layer_of, plan.spec.norm_eps
        self.ends = {unit.rows[-1].role for stage in plan.stages for unit in stage}
        self.kinds, self.reading = {row.role: row.kind for row in plan.rows}, readers(plan.rows)
        self.layers: list[Message] = []
        self.blobs: dict[str, str] = {}

    def add(self, name: str, kind: str, bottoms: Sequence[str], top: str = "", **param: Any) -> str:
        """A layer; the name of the blob that it gives."""
        self.layers.append({"name": [name], "type": [kind], "bottom": list(bottoms), "top": [top or name], **param})
        return top or name

    def run(self, rows: Sequence[Row]) -> None:
        """Layers of rows, whatever each of them reads."""
        for row in rows:
            for what in (row.kind, f"{row.kind} {row.padding}", f"{row.kind} {row.stride}"):
                if what in _REASONS:
                    raise ModelFileError(f"No layer of Caffe is this network's {row.role}: Caffe {_REASONS[what]}.")
            self.blobs[row.role] = getattr(self, f"_{row.kind}")(row, self.blobs[row.reads[0]])

    def _alone(self, row: Row) -> bool:
        """Whether nobody else reads what a row reads, nor is it what another unit gives out: it may work in place."""
        (read,) = row.reads
        return len(self.reading[read]) == 1 and read.rpartition(".")[0] == row.role.rpartition(".")[0]

    def _conv(self, row: Row, x: str) -> str:
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
        return self.add(self.layer_of(f"{row.role}.weight"), "Convolution", (x,), convolution_param=[param])

    def _norm(self, row: Row, x: str) -> str:
        """In place behind a convolution."""
        top = x if self._alone(row) and self.kinds[row.reads[0]] == "conv" else ""
        param = {"use_global_stats": [True], "eps": [self.eps]}
        y = self.add(self.layer_of(f"{row.role}.running_mean"), "BatchNorm", (x,), top, batch_norm_param=[param])
        scale = self.layer_of(f"{row.role}.weight")
        return self.add(scale, "Scale", (y,), y, scale_param=[{"bias_term": [True]}])

    def _relu(self, row: Row, x: str) -> str:
        name = self._unit(row) if row.role in self.ends else x
        return self.add(f"{name}_relu", "ReLU", (x,), x if self._alone(row) else "")

    def _add(self, row: Row, x: str) -> str:
        return self.add(self._unit(row), "Eltwise", (self.blobs[row.reads[1]], x))

    def _unit(self, row: Row) -> str:
        """The name of a row's unit: 'res2a'."""
        return self.layer_of(f"{row.role.rpartition('.')[0]}.conv1.weight").partition("_branch")[0]

    def _max_pool(self, row: Row, x: str) -> str:
        name = "pool1"
        window = {"pool": [Word("MAX")], "kernel_size": [row.kernel], "stride": [row.stride]}
        if row.padding == "ceil":
            return self.add(name, "Pooling", (x,), pooling_param=[window])
        self.add(f"{name}_padded", "Pooling", (x,), pooling_param=[{**window, "pad": [row.padding]}])
        self.add(f"{name}_size", "Pooling", (x,), pooling_param=[{**window, "kernel_size": [row.stride]}])
        return self.add(name, "Crop", (f"{name}_padded", f"{name}_size"), crop_param=[{"axis": [2], "offset": [0]}])

    def _avg_pool(self, row: Row, x: str) -> str:
        window = {"pool": [Word("AVE")], "kernel_size": [row.kernel], "stride": [row.stride]}
        convolution = self.layer_of(f"{row.role.removesuffix('.pool')}.conv.weight")
        return self.add(f"{convolution}_pool", "Pooling", (x,), pooling_param=[window])

    def _global_pool(self, row: Row, x: str) -> str:
        window = {"pool": [Word("AVE")], "global_pooling": [True]}
        return self.add("pool5", "Pooling", (x,), pooling_param=[window])

    def _linear(self, row: Row, x: str) -> str:
        param = {"num_output": [row.out_channels], "bias_term": [row.bias]}
        return self.add(self.layer_of(f"{row.role}.weight"), "InnerProduct", (x,), inner_product_param=[param])
