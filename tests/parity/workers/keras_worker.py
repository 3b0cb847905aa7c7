"""Keras's own applications, on its torch backend: every layout of its files."""

from __future__ import annotations

import os
from functools import partial

os.environ["KERAS_BACKEND"] = "torch"

import h5py
import keras
import keras_common
from common import main
from keras.src.legacy.saving import legacy_h5_format


def save(model, whole, files):
    """Keras 3 still reads weights in the layout of Keras 2, and has a function left that writes it."""
    model.save_weights(files["weights.h5"])
    with h5py.File(files["legacy h5"], "w") as file:
        legacy_h5_format.save_weights_to_hdf5_group(file, model)
    whole.save(files["whole h5"])
    whole.save(files["keras"])


main(partial(keras_common.make, keras, save), partial(keras_common.run, keras))
