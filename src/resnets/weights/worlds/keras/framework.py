"""Keras: the graph of its keras.applications with the sizes that a file's variables show.

In float32, because Keras computes its norms in nothing wider (`result_type("float64", "float32")` is float32).
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from importlib import import_module
from itertools import count, takewhile
from typing import Any

import torch
from torch import Tensor

from resnets.weights.formats.stored import Foreign
from resnets.weights.worlds.reference import SINGLE, Reference, UnfitError


def reference(file: Foreign) -> Reference:
    """The network of a file of weights under the names of keras.applications.

    Raises UnfitError for other names, and for a file with a graph of its own, which Keras would not just read.
    """
    if "keras" in file.documents:
        raise UnfitError("the file brings a graph of its own, and Keras can be made to run code by one")
    if "early" in file.documents:
        raise UnfitError("Keras builds its first ResNet-50 no more")
    if "conv2_block1_1_conv/kernel" not in file.tensors:
        raise UnfitError("its layers do not have the names of keras.applications")
    head = next(name.partition("/")[0] for name, stored in file.tensors.items() if len(stored.shape) == 2)
    os.environ.setdefault("KERAS_BACKEND", "torch")  # which is here already
    keras = import_module("keras")
    if keras.config.image_data_format() != "channels_last":
        raise UnfitError("Keras is set to channels_first")
    body, roles = _body(keras, file)
    for layer in body.layers:
        for variable in layer.weights:
            variable.assign(file.tensors[f"{layer.name}/{variable.name}"].read().numpy())
    weight, bias = (file.tensors[f"{head}/{leaf}"].read().double() for leaf in ("kernel", "bias"))

    def run(x: Tensor) -> Mapping[str, Tensor]:
        outputs = body(x.permute(0, 2, 3, 1).float().numpy(), training=False)
        arrays = {role: keras.ops.convert_to_numpy(outputs[layer]) for role, layer in roles.items()}
        found = {role: torch.from_numpy(array.copy()).double().movedim(-1, 1) for role, array in arrays.items()}
        found["logits"] = found.pop("pooled") @ weight + bias
        return found

    name = f"Keras {keras.__version__} on {keras.backend.backend()}"
    return Reference(name, run, {"keras": keras.__version__}, SINGLE)


def _body(keras: Any, file: Foreign) -> tuple[Any, dict[str, str]]:
    """(the model up to the head, whose outputs are keyed by layer; the layer of each role)."""
    resnet = import_module("keras.src.applications.resnet")
    v2 = "post_bn/gamma" in file.tensors
    stages = _numbered(file, "conv{}_block1_1_conv/kernel", first=2)
    units = {s: _numbered(file, f"conv{s}_block{{}}_1_conv/kernel", first=1) for s in stages}
    residual = resnet.stack_residual_blocks_v2 if v2 else resnet.stack_residual_blocks_v1

    def stack(x: Any) -> Any:
        for s in stages:
            filters = file.tensors[f"conv{s}_block1_1_conv/kernel"].shape[-1]
            keeps = s == stages[-1 if v2 else 0]  # the one stage that does not halve
            x = residual(x, filters, len(units[s]), stride1=1 if keeps else 2, name=f"conv{s}")
        return x

    model = resnet.ResNet(stack, v2, True, include_top=False, weights=None, input_shape=(None, None, 3), pooling="avg")
    roles = {"stem": "pool1_pool"}
    roles |= {f"stage{s - 1}.unit{u}": f"conv{s}_block{u}_out" for s in stages for u in units[s]}
    roles["pooled"] = "avg_pool"
    outputs = {layer: model.get_layer(layer).output for layer in roles.values()}
    return keras.Model(model.input, outputs), roles


def _numbered(file: Foreign, pattern: str, first: int) -> list[int]:
    return list(takewhile(lambda n: pattern.format(n) in file.tensors, count(first)))
