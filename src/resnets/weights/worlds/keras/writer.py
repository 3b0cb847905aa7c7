"""Writes the weights of a model as Keras reads them: .weights.h5 of Keras 3, and the older .h5.

Keras 3 looks for a layer by its class and its number among the layers of that class; Keras 2 (and Keras 3 for an
older .h5) by its place among those that have weights. Both need the layers in the order in which the model has them.
"""

from __future__ import annotations

import io
from collections.abc import Iterable, Iterator, Mapping, Sequence
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np

from resnets.errors import ModelFileError
from resnets.weights.formats.stored import Stored
from resnets.whole import whole

VARIABLES = {
    "conv2d": ("kernel", "bias"),
    "batch_normalization": ("gamma", "beta", "moving_mean", "moving_variance"),
    "dense": ("kernel", "bias"),
}
MAX_ATTRIBUTE_BYTES = 64512  # Keras splits what is longer, as an object header of HDF5 holds no more

Layers = Sequence[tuple[str, str]]


def write_keras(path: Path, layers: Layers, tensors: Mapping[str, Stored]) -> None:
    """Write a file: .weights.h5 as Keras 3 has it where the name ends so, else the older .h5, as of Keras 2.

    layers: (class, name) of every layer of the model in its order, the class as Keras numbers it ("conv2d"),
    those without weights too; tensors: "LAYER/VARIABLE". Whole, or not at all.

    Raises ModelFileError where h5py is not installed or the file cannot be written.
    """
    try:
        h5py = import_module("h5py")
    except ImportError as problem:
        raise ModelFileError('Writing files of Keras needs h5py: pip install "resnets[convert]".') from problem
    content = io.BytesIO()  # on a full disk, HDF5's library does not raise: it crashes
    with h5py.File(content, "w") as file:
        (_write_new if path.name.endswith(".weights.h5") else _write_old)(file, layers, tensors)
    with whole(path) as part:
        part.write(content.getbuffer())


def numbered(layers: Iterable[tuple[str, str]]) -> Iterator[tuple[str, str, str]]:
    """(group, class, name) of each layer: the classes' names with a number from the second of a class on."""
    seen: dict[str, int] = {}
    for kind, name in layers:
        number = seen[kind] = seen.get(kind, -1) + 1
        yield f"{kind}_{number}" if number else kind, kind, name


def _write_new(file: Any, layers: Layers, tensors: Mapping[str, Stored]) -> None:
    file.create_group("vars").attrs["name"] = "resnet"
    for group, kind, name in numbered(layers):
        variables = file.create_group(f"layers/{group}/vars")
        variables.attrs["name"] = name
        for number, (_, stored) in enumerate(_weights(kind, name, tensors)):
            variables[str(number)] = stored.read().numpy()


def _write_old(file: Any, layers: Layers, tensors: Mapping[str, Stored]) -> None:
    file.attrs["backend"], file.attrs["keras_version"] = "tensorflow", "2.15.0"  # without, it is read as Keras 1
    _list(file, "layer_names", [name for _, name in layers])
    for kind, name in (*layers, ("", "top_level_model_weights")):
        group = file.create_group(name)
        weights = {f"{name}/{variable}:0": stored for variable, stored in _weights(kind, name, tensors)}
        _list(group, "weight_names", list(weights))
        for weight, stored in weights.items():
            group[weight] = stored.read().numpy()


def _weights(kind: str, layer: str, tensors: Mapping[str, Stored]) -> Iterator[tuple[str, Stored]]:
    for variable in VARIABLES.get(kind, ()):
        if f"{layer}/{variable}" in tensors:
            yield variable, tensors[f"{layer}/{variable}"]


def _list(group: Any, attribute: str, names: list[str]) -> None:
    array = np.array([name.encode() for name in names], dtype="S" if names else float)  # as Keras types an empty list
    parts = -(-array.nbytes // MAX_ATTRIBUTE_BYTES)
    if parts <= 1:
        group.attrs[attribute] = array
        return
    for number, part in enumerate(np.array_split(array, parts + 1)):  # one more, as the parts differ by one name
        group.attrs[f"{attribute}{number}"] = part
