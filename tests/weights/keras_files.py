"""Small files in each layout that Keras has had, as its own versions write them, made with HDF5's own library."""

from __future__ import annotations

import io
import json
import zipfile
from collections.abc import Mapping
from typing import Any

import numpy as np
import pytest

Weights = Mapping[str, np.ndarray]

LAYERS = {  # layer -> class
    "conv1_conv": "Conv2D",
    "conv1_bn": "BatchNormalization",
    "conv1_relu": "Activation",
    "conv2_block1_1_conv": "Conv2D",
    "predictions": "Dense",
}


def weights() -> dict[str, np.ndarray]:
    """ "LAYER/VARIABLE" -> numbers, in the order in which Keras has them."""
    random = np.random.default_rng(0)
    shapes = {
        "conv1_conv/kernel": (3, 3, 3, 4),
        "conv1_conv/bias": (4,),
        **{f"conv1_bn/{name}": (4,) for name in ("gamma", "beta", "moving_mean", "moving_variance")},
        "conv2_block1_1_conv/kernel": (1, 1, 4, 4),
        "predictions/kernel": (4, 5),
        "predictions/bias": (5,),
    }
    return {name: random.normal(size=shape).astype(np.float32) for name, shape in shapes.items()}


def h5(fill: Any, **options: Any) -> bytes:
    """The bytes of an HDF5 file that `fill` fills."""
    h5py = pytest.importorskip("h5py")
    content = io.BytesIO()
    with h5py.File(content, "w", **options) as file:
        fill(file)
    return content.getvalue()


def legacy(group: Any, suffix: str = ":0", split: bool = False, nested: str = "") -> None:
    """Keras 2. split: as where a list of names is too long for one attribute; nested: the model within the model."""
    names = list(LAYERS)
    if nested:
        group.attrs["layer_names"] = [nested.encode(), b"predictions"]
    elif split:
        group.attrs["layer_names0"], group.attrs["layer_names1"] = (
            np.array([name.encode() for name in part]) for part in (names[:2], names[2:])
        )
    else:
        group.attrs["layer_names"] = np.array([name.encode() for name in names])
    groups: dict[str, list[str]] = {}
    for name, values in weights().items():
        layer = name.partition("/")[0]
        owner = nested if nested and layer != "predictions" else layer
        group.require_group(owner)[name + suffix] = values
        groups.setdefault(owner, []).append(name + suffix)
    for owner in groups if nested else names:
        group.require_group(owner).attrs["weight_names"] = np.array([n.encode() for n in groups.get(owner, [])] or [])


def full_model(file: Any) -> None:
    """Keras 2, with the configuration and the optimiser's state beside the weights."""
    file.attrs["model_config"] = json.dumps(config())
    file["optimizer_weights/adam/iteration"] = np.int64(3)
    legacy(file.create_group("model_weights"))


def keras3(file: Any, named: bool = True, inside: str = "") -> None:
    """Keras 3; before 3.4 without the names of layers. inside: the group of the model within the model."""
    seen: dict[str, int] = {}
    for layer, kind in LAYERS.items():
        snake = {"Conv2D": "conv2d", "BatchNormalization": "batch_normalization"}.get(kind, kind.lower())
        number = seen[snake] = seen.get(snake, -1) + 1
        place = inside if layer != "predictions" else ""
        group = file.create_group(f"{place}layers/{snake}{f'_{number}' if number else ''}/vars")
        if named:
            group.attrs["name"] = layer
        ours = [values for name, values in weights().items() if name.startswith(layer + "/")]
        for index, values in enumerate(ours):
            group[str(index)] = values
    file["optimizer/vars/0"] = np.int64(3)


def config(nested: bool = False) -> dict[str, Any]:
    """The configuration of the model, the names of whose layers `LAYERS` gives."""
    layers = [{"class_name": kind, "config": {"name": name}} for name, kind in LAYERS.items()]
    if nested:
        inner = {"class_name": "Functional", "config": {"name": "base", "layers": layers[:-1]}}
        layers = [inner, layers[-1]]
    return {"class_name": "Functional", "config": {"name": "net", "layers": layers}}


def archive(content: bytes, document: Any, compression: int = zipfile.ZIP_STORED) -> bytes:
    """A .keras file."""
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", compression) as zipped:
        zipped.writestr("metadata.json", json.dumps({"keras_version": "3.3.3"}))
        zipped.writestr("config.json", json.dumps(document))
        zipped.writestr("model.weights.h5", content)
    return out.getvalue()


def chunked(file: Any) -> None:
    """Keras 3 names no layout, and other writers compress."""
    group = file.create_group("layers/dense/vars")
    group.attrs["name"] = "predictions"
    values = np.arange(60, dtype=np.float32).reshape(12, 5)
    group.create_dataset("0", data=values, chunks=(5, 2), compression="gzip", shuffle=True)
    group.create_dataset("1", data=np.arange(5, dtype=">f4"), chunks=(3,))
