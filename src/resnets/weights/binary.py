"""A head of one output, a yes or no by a sigmoid, as one of two classes: the same answers by a softmax."""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor

from resnets.architecture import plan
from resnets.weights.formats.stored import Stored, unusable
from resnets.weights.recognise import HEAD, Recognised


def is_binary(found: Recognised) -> bool:
    """Whether a recognised file has a head of one output."""
    return not found.headless and found.plan.num_classes == 1


def as_two_classes(found: Recognised) -> Recognised:
    """The same file with a head of two outputs, of which the first is 0: softmax(0, z) is (1 - sigmoid(z), sigmoid(z)).

    Raises ModelFileError for a file whose head stands in a graph of its own, too.
    """
    if found.file.container == "caffe":
        raise unusable(found.file.path, "its head has one output, which Caffe's graph says, too: two are needed")
    p, tensors = found.plan, dict(found.file.tensors)
    for leaf in ("weight", "bias"):
        if (name := found.names.get(f"{HEAD}{leaf}")) is not None:
            tensors[name] = _with_zeros(tensors[name], axis=-1 if found.dialect.transposed else 0)
    two = plan(p.spec, num_classes=2, in_channels=p.in_channels, output_stride=p.output_stride)
    return replace(found, file=replace(found.file, tensors=tensors), plan=two)


def _with_zeros(stored: Stored, axis: int) -> Stored:
    """A tensor behind zeros of its shape."""

    def read() -> Tensor:
        tensor = stored.read()
        return torch.cat([torch.zeros_like(tensor), tensor], axis)

    shape = list(stored.shape)
    shape[axis] *= 2
    return replace(stored, shape=tuple(shape), read=read)
