"""Reads the weights that Keras saves: .h5 of all its versions, .weights.h5, and .keras archives.

Old files have a group for each layer, and its attribute `weight_names` lists the variables. In those of Keras 3
groups bear the names of classes, numbered in the order in which a model has them, and variables have numbers.
Which layer it is says the attribute "name" of the group `vars`, and nothing else does: where it is missing
(before Keras 3.4) the configuration in the same archive is asked, and without one the group's name is kept.
"""

from __future__ import annotations

import contextlib
import itertools
import json
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from resnets.weights.formats.hdf5 import Dataset, Hdf5Error, Node, damaged, open_hdf5, unsupported
from resnets.weights.formats.stored import MAX_TENSORS, Foreign, Stored, mapped, unusable
from resnets.weights.formats.zip import START, members

WEIGHTS, CONFIG = "model.weights.h5", "config.json"  # in a .keras archive
MAX_ENTRIES = 1000  # of an archive, which has three, and a few more with assets
MAX_CONFIG_BYTES = 8 * 2**20  # the configuration of a ResNet-152 has 300 kB
MAX_UNPACKED_BYTES = 2**28  # of weights that are compressed, which they are only where somebody zipped them again
MAX_DEPTH = 16  # of models within models
MAX_NAME = 300  # characters of "LAYER/VARIABLE"

# Which variable a number of Keras 3 is, by the dimensions of all variables of a layer; others keep their numbers.
_VARIABLES: dict[tuple[int, ...], tuple[str, ...]] = {
    (4,): ("kernel",),
    (2,): ("kernel",),
    (4, 1): ("kernel", "bias"),
    (2, 1): ("kernel", "bias"),
    (1, 1, 1, 1): ("gamma", "beta", "moving_mean", "moving_variance"),
}
_NOT_WEIGHTS = ("optimizer", "metrics", "compile_metrics", "seed_generator")

Arrays = Iterator[tuple[str, Dataset]]


def open_keras(path: Path) -> Foreign:
    """The variables as "LAYER/VARIABLE" in every layout; documents["keras"] is the model's configuration, if known.

    Raises ModelFileError.
    """
    try:
        data = mapped(path)
        text: bytes | str | None = None
        if bytes(data[: len(START)]) == START:
            data, text = _archived(data)
        root = open_hdf5(data)
        if text is None:
            text = "".join(root.text("model_config") or ())
        config = _config(text) if text else {}
        if "model_weights" in root:
            root = root["model_weights"]
        if "theano" in "".join(root.text("backend") or ()):
            raise Hdf5Error(
                "Keras wrote it on Theano, where a convolution turns its kernels by half: load and save it once with "
                "Keras on TensorFlow"
            )
        layers = _listed(root, "layer_names")
        tensors: dict[str, Stored] = {}
        for name, array in _new(root, dict(_numbered(config)), "") if layers is None else _old(root, layers):
            if len(name) > MAX_NAME or not name.isprintable():
                raise damaged("a layer has a name that cannot be shown")
            if name in tensors:
                raise Hdf5Error(f"two of its variables are called {name!r}; save one network alone")
            tensors[name] = _stored(path, array)
            if len(tensors) > MAX_TENSORS:
                raise Hdf5Error(f"it has more than {MAX_TENSORS:,} tensors, which no network has")
        if not tensors:
            raise Hdf5Error("it is HDF5, but there are no weights of Keras in it")
    except OSError as problem:
        raise unusable(path, f"it cannot be read ({problem.strerror}); check its permissions") from problem
    except ValueError as problem:
        raise unusable(path, str(problem)) from problem
    return Foreign(path, "keras", tensors, {"keras": config} if config else {}, (path,))


def _archived(data: memoryview) -> tuple[memoryview, bytes | None]:
    """(the bytes of the weights, those of the configuration) of a .keras archive."""
    found = members(data, MAX_ENTRIES)
    if WEIGHTS not in found:
        raise unsupported(f"an archive without {WEIGHTS}")
    weights = found[WEIGHTS]
    config = bytes(found[CONFIG].unpacked(MAX_CONFIG_BYTES)) if CONFIG in found else None
    return weights.unpacked(MAX_UNPACKED_BYTES if weights.packed else len(data)), config


def _stored(path: Path, array: Dataset) -> Stored:
    def read() -> Tensor:
        try:
            return torch.from_numpy(array.read())
        except Hdf5Error as problem:
            raise unusable(path, str(problem)) from problem

    return Stored(array.shape, torch.from_numpy(np.empty(0, array.dtype.newbyteorder("="))).dtype, read)


def _config(text: bytes | str) -> dict[str, Any]:
    try:
        config = json.loads(text)
    except (ValueError, RecursionError) as problem:
        raise damaged("its configuration is no JSON document") from problem
    if not isinstance(config, dict):
        raise damaged("its configuration is no JSON object")
    return config


def _listed(group: Node, name: str) -> list[str] | None:
    """A list of names among the attributes. Keras splits one that is too long: layer_names0, layer_names1, ..."""
    names = group.text(name)
    for number in itertools.count() if names is None else ():
        part = group.text(f"{name}{number}")
        if part is None:
            break
        names = names or []
        names += part
    return names


def _old(root: Node, layers: list[str]) -> Arrays:
    for layer in layers:
        group = _at(root, layer)
        weights = _listed(group, "weight_names") or []
        nested = len({weight.rpartition("/")[0] for weight in weights}) > 1  # the group is a model, not a layer
        for weight in weights:
            above, _, variable = weight.rpartition("/")
            owner = above.rpartition("/")[2] if nested else layer
            yield f"{owner}/{re.sub(':[0-9]+$', '', variable)}", _at(group, weight).array()


def _at(group: Node, path: str) -> Node:
    for part in path.split("/"):
        group = group[part]
    return group


def _new(group: Node, names: Mapping[str, str], path: str) -> Arrays:
    """The variables under a group of Keras 3. names: what the configuration calls the layer of a path."""
    if path.count("/") > 2 * MAX_DEPTH:
        raise damaged("its models lie too deep in each other")
    for member in group.members:
        if member in _NOT_WEIGHTS:
            continue
        node = group[member]
        if member == "vars":
            yield from _variables(node, names, path)
        elif not node.is_array:
            yield from _new(node, names, f"{path}/{member}")


def _variables(group: Node, names: Mapping[str, str], path: str) -> Arrays:
    arrays = {member: group[member].array() for member in sorted(group.members)}
    if not arrays:
        return
    path = path.replace("/_layer_checkpoint_dependencies", "/layers")  # as Keras 2.12 has them
    stored = group.text("name")
    layer = stored[0] if stored else names.get(path, path.rpartition("/")[2])
    variables = _VARIABLES.get(tuple(len(array.shape) for array in arrays.values()), tuple(arrays))
    for variable, array in zip(variables, arrays.values(), strict=True):
        yield f"{layer}/{variable}", array


def _numbered(config: Mapping[str, Any], above: str = "") -> Iterator[tuple[str, str]]:
    """(path, name) of each layer of a configuration: classes are numbered in the order in which it has them."""
    seen: dict[str, int] = {}
    if above.count("/") > 2 * MAX_DEPTH:
        raise damaged("its models lie too deep in each other")
    with contextlib.suppress(KeyError, TypeError, AttributeError):  # a configuration that does not say
        for layer in config["config"]["layers"]:
            kind = re.sub("(?<=.)(?=[A-Z][a-z])|(?<=[a-z])(?=[A-Z])", "_", layer["class_name"]).lower()
            path = f"{above}/layers/{kind}" + (f"_{seen[kind]}" if kind in seen else "")
            seen[kind] = seen.get(kind, 0) + 1
            yield path, str(layer["config"]["name"])
            yield from _numbered(layer, path)
