"""Keras' first ResNet-50, built layer by layer under its names, since keras.applications builds it no more."""

from __future__ import annotations

import os
from functools import partial

os.environ["KERAS_BACKEND"] = "torch"

import h5py
import keras
import numpy as np
from common import LAST, Draw, images, main, refuse, save_io
from keras.src.legacy.saving import legacy_h5_format

LAYERS = keras.layers
DEPTHS = {2: 3, 3: 4, 4: 6, 5: 3}


def build(padded, size, activation=None, classes=1000):
    """padded: whether there are zeros around the picture that is pooled."""
    given = LAYERS.Input((size, size, 3))
    x = LAYERS.ZeroPadding2D((3, 3))(given)
    x = LAYERS.Conv2D(64, (7, 7), strides=(2, 2), name="conv1")(x)
    x = LAYERS.Activation("relu")(LAYERS.BatchNormalization(name="bn_conv1")(x))
    x = LAYERS.ZeroPadding2D((1, 1))(x) if padded else x
    x = LAYERS.MaxPooling2D((3, 3), strides=(2, 2))(x)
    for stage, depth in DEPTHS.items():
        for unit in range(depth):
            x = block(x, f"{stage}{'abcdef'[unit]}_branch", 32 * 2 ** (stage - 1), unit == 0, 2 if stage > 2 else 1)
    x = LAYERS.Flatten()(LAYERS.AveragePooling2D((7, 7), name="avg_pool")(x))
    return keras.Model(given, LAYERS.Dense(classes, activation=activation, name=f"fc{classes}")(x))


def block(x, name, filters, first, stride):
    """The stride is in the first 1x1 of the first unit of a stage."""
    shortcut, strides = x, (stride, stride) if first else (1, 1)
    for part, kernel, out, by in (
        ("2a", 1, filters, strides),
        ("2b", 3, filters, (1, 1)),
        ("2c", 1, 4 * filters, (1, 1)),
    ):
        x = LAYERS.Conv2D(
            out, (kernel, kernel), strides=by, padding="same" if kernel > 1 else "valid", name=f"res{name}{part}"
        )(x)
        x = LAYERS.BatchNormalization(name=f"bn{name}{part}")(x)
        x = LAYERS.Activation("relu")(x) if part != "2c" else x
    if first:
        shortcut = LAYERS.Conv2D(4 * filters, (1, 1), strides=strides, name=f"res{name}1")(shortcut)
        shortcut = LAYERS.BatchNormalization(name=f"bn{name}1")(shortcut)
    return LAYERS.Activation("relu")(LAYERS.add([x, shortcut]))


def make(network, sizes, folder):
    """network: "padded" or "bare"."""
    model = build(network == "padded", sizes[0])
    draw = Draw(network)
    for layer in model.layers:
        gain = LAST if layer.name.endswith("2c") and layer.name.startswith("bn") else 1.0
        if layer.name.startswith("bn"):
            layer.set_weights(draw.norm(layer.gamma.shape[0], gain))
        elif layer.weights:
            layer.set_weights([draw.kernel(tuple(layer.kernel.shape), out=-1), draw.bias(layer.bias.shape[0])])
    x = images(sizes[0])
    save_io(folder, sizes[0], x, model.predict_on_batch(np.ascontiguousarray(x.transpose(0, 2, 3, 1))))
    whole = build(network == "padded", sizes[0], "softmax")
    whole.set_weights(model.get_weights())
    files = {
        "weights": folder / "e.weights.h5",
        "legacy": folder / "e.h5",
        "whole": folder / "w.h5",
        "keras": folder / "w.keras",
    }
    model.save_weights(files["weights"])
    with h5py.File(files["legacy"], "w") as file:
        legacy_h5_format.save_weights_to_hdf5_group(file, model)
    whole.save(files["whole"])
    whole.save(files["keras"])
    return files


main(make, partial(refuse, "Keras builds this network no more"))
