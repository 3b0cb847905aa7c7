"""A layer of a Caffe network as plain data: what a file's graph is handed on as, to names and witness alike."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from resnets.weights.formats.stored import Stored


@dataclass(frozen=True)
class CaffeLayer:
    """One layer of a graph.

    settings, by type (sizes are pairs of height and width):
    Convolution   channels, kernel, stride, pad, dilation, groups, bias
    InnerProduct  channels, bias
    BatchNorm     eps
    Scale         bias
    Pooling       method (MAX or AVE), kernel, stride, pad, global, ceil
    Eltwise       operation, coefficients
    ReLU          slope
    Crop          axis, offset
    blobs: the tensors as the file lays them out; none where the graph is not that of a file with weights.
    """

    name: str
    type: str
    bottoms: tuple[str, ...]
    tops: tuple[str, ...]
    settings: Mapping[str, Any]
    blobs: tuple[Stored, ...] = field(default=(), repr=False)
