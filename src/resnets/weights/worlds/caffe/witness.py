"""Runs a Caffe network as Caffe's layers define it, in float64, from the file's own graph and blobs.

It knows layers, not residual networks: blobs by name, one layer after the other, in place where a layer's top is
its bottom. Only the roles of what it reports are read off the published layer names (`res3b1`, `res3b1_relu`).
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from resnets.weights.formats.stored import Foreign, unusable
from resnets.weights.worlds.caffe.layer import CaffeLayer

_UNIT = re.compile(r"(?:res|bn|scale)(\d{1,4})([a-z]\d*)(?=_|$)")  # stages are counted from 2, units by letters
_OUTSIDE = torch.finfo(torch.float32).min  # what a maximum starts from


def run(file: Foreign, x: Tensor) -> dict[str, Tensor]:
    """(N, C, H, W) float64, as fed to the network's input -> the activations of our roles, float64.

    "stem" is what the first unit reads, "stageS.unitU" what a unit gives, "logits" what the last fully connected
    layer gives, or the layer that the file's documents name. Raises ModelFileError for layers that no residual
    network has, and for blobs that do not fit.
    """
    graph: list[CaffeLayer] = file.documents.get("wired", file.documents["graph"])
    logits = file.documents.get("logits", "")
    last_use = {name: i for i, layer in enumerate(graph) for name in layer.bottoms}
    blobs = dict.fromkeys(graph[0].bottoms, x) if graph else {}
    found: dict[str, Tensor] = {}
    units: dict[str, dict[str, int]] = {}  # by stage: the letters, counted
    for i, layer in enumerate(graph):
        missing = [name for name in layer.bottoms if name not in blobs]
        if missing or layer.type not in _LAYERS:
            why = f"reads {missing[0]!r}, which no layer before it gives" if missing else "is of no type that is known"
            raise unusable(file.path, f"the layer {layer.name!r} ({layer.type}) {why}")
        bottoms = [blobs[name] for name in layer.bottoms]
        unit = _UNIT.match(layer.name)
        if unit and not units:
            found["stem"] = bottoms[0]
        try:
            top = _LAYERS[layer.type](layer, bottoms)
        except (RuntimeError, IndexError) as problem:
            why = f"the layer {layer.name!r} does not fit what it reads, {tuple(bottoms[0].shape)}"
            raise unusable(file.path, why) from problem
        if unit:
            letters = units.setdefault(unit[1], {})
            letters.setdefault(unit[2], len(letters) + 1)
            found[f"stage{int(unit[1]) - 1}.unit{letters[unit[2]]}"] = top  # until its last layer has run
        if layer.type == "InnerProduct" or layer.name == logits:
            found["logits"] = top.flatten(1)
        blobs |= dict.fromkeys(layer.tops, top)
        for name in layer.bottoms:
            if last_use[name] == i and name not in layer.tops:
                blobs.pop(name, None)
    return found


def _blob(layer: CaffeLayer, index: int) -> Tensor:
    return layer.blobs[index].read().double()


def _convolution(layer: CaffeLayer, bottoms: list[Tensor]) -> Tensor:
    s = layer.settings
    bias = _blob(layer, 1) if s["bias"] else None
    return F.conv2d(bottoms[0], _blob(layer, 0), bias, s["stride"], s["pad"], s["dilation"], s["groups"])


def _batch_norm(layer: CaffeLayer, bottoms: list[Tensor]) -> Tensor:
    """Mean and variance are sums, divided by the third blob; where that is 0, nothing was summed yet."""
    count = _blob(layer, 2)
    scale = torch.where(count == 0, 0.0, 1 / count)
    mean, variance = _blob(layer, 0) * scale, _blob(layer, 1) * scale
    return (bottoms[0] - _channels(mean)) / _channels(variance + layer.settings["eps"]).sqrt()


def _scale(layer: CaffeLayer, bottoms: list[Tensor]) -> Tensor:
    scaled = bottoms[0] * _channels(_blob(layer, 0))
    return scaled + _channels(_blob(layer, 1)) if layer.settings["bias"] else scaled


def _channels(values: Tensor) -> Tensor:
    return values.reshape(1, -1, 1, 1)


def _pooling(layer: CaffeLayer, bottoms: list[Tensor]) -> Tensor:
    """Caffe's windows: their number is rounded up, and what of one lies beyond the padding counts for nothing.

    A window larger than the map, which Caffe refuses to run, is taken to be the whole map: the last pool of a
    file made for 224 pixels then is what it is there, at every smaller size.
    """
    x, s = bottoms[0], layer.settings
    size = (x.shape[2], x.shape[3])
    if s["global"]:
        axes = [_Axis(n, n, 1, 0, True) for n in size]
    else:
        each = zip(size, s["kernel"], s["stride"], s["pad"], strict=True)
        axes = [_Axis(n, k if p else min(k, n), step, p, s["ceil"]) for n, k, step, p in each]
    high, wide = axes
    around = (wide.pad, wide.behind, high.pad, high.behind)
    kernel, stride = (high.kernel, wide.kernel), (high.stride, wide.stride)
    if s["method"] == "MAX":
        pooled = F.max_pool2d(F.pad(x, around, value=_OUTSIDE), kernel, stride)
    elif s["method"] == "AVE":
        pooled = F.avg_pool2d(F.pad(x, around), kernel, stride, divisor_override=1)
    else:
        raise RuntimeError("stochastic pooling is for training")
    pooled = pooled[:, :, : high.windows, : wide.windows]
    return pooled if s["method"] == "MAX" else pooled / (high.places()[:, None] * wide.places())


@dataclass(frozen=True)
class _Axis:
    """A pool along one axis: `size` pixels, `pad` before and behind them."""

    size: int
    kernel: int
    stride: int
    pad: int
    ceil: bool

    @property
    def windows(self) -> int:
        rest = self.size + 2 * self.pad - self.kernel
        windows = (-(-rest // self.stride) if self.ceil else rest // self.stride) + 1
        beyond = self.pad and (windows - 1) * self.stride >= self.size + self.pad  # the last begins past the picture
        return windows - 1 if beyond else windows

    @property
    def behind(self) -> int:
        """What is missing behind the pixels for the last window to be whole."""
        return max((self.windows - 1) * self.stride + self.kernel - self.size - self.pad, 0)

    def places(self) -> Tensor:
        """By how many each window's sum is divided: its pixels and what it covers of the padding."""
        starts = [i * self.stride - self.pad for i in range(self.windows)]
        ends = [min(start + self.kernel, self.size + self.pad) for start in starts]
        return torch.tensor([end - start for start, end in zip(starts, ends, strict=True)], dtype=torch.float64)


def _eltwise(layer: CaffeLayer, bottoms: list[Tensor]) -> Tensor:
    operation, coefficients = layer.settings["operation"], layer.settings["coefficients"]
    if operation == "SUM":
        terms = zip(coefficients or [1.0] * len(bottoms), bottoms, strict=True)
        return torch.stack([c * x for c, x in terms]).sum(0)
    stacked = torch.stack(bottoms)
    return stacked.prod(0) if operation == "PROD" else stacked.amax(0)


def _inner_product(layer: CaffeLayer, bottoms: list[Tensor]) -> Tensor:
    return F.linear(bottoms[0].flatten(1), _blob(layer, 0), _blob(layer, 1) if layer.settings["bias"] else None)


def _crop(layer: CaffeLayer, bottoms: list[Tensor]) -> Tensor:
    """The first bottom cut to the size of the second, from an axis on."""
    x, like = bottoms
    axis, offset = layer.settings["axis"], layer.settings["offset"] or (0,)
    for i, dimension in enumerate(range(axis, x.ndim)):
        x = x.narrow(dimension, offset[i if len(offset) > 1 else 0], like.shape[dimension])
    return x


def _same(layer: CaffeLayer, bottoms: list[Tensor]) -> Tensor:
    return bottoms[0]


_LAYERS: dict[str, Callable[[CaffeLayer, list[Tensor]], Tensor]] = {
    "Convolution": _convolution,
    "BatchNorm": _batch_norm,
    "Scale": _scale,
    "ReLU": lambda layer, bottoms: F.leaky_relu(bottoms[0], layer.settings["slope"]),
    "Pooling": _pooling,
    "Eltwise": _eltwise,
    "InnerProduct": _inner_product,
    "Softmax": lambda layer, bottoms: bottoms[0].softmax(1),
    "Crop": _crop,
    "Dropout": _same,
    "Flatten": lambda layer, bottoms: bottoms[0].flatten(1),
    "Split": _same,
}
