"""The second generation of Keras, as most of the files in the world were saved by it."""

from __future__ import annotations

import os
from functools import partial

os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"
os.environ["CUDA_VISIBLE_DEVICES"] = ""

import keras_common
import tf_keras
from common import main


def save(model, whole, files):
    model.save_weights(files["weights.h5"])
    model.save_weights(files["legacy h5"])
    whole.save(files["whole h5"])
    whole.save(files["keras"])


main(partial(keras_common.make, tf_keras, save), partial(keras_common.run, tf_keras))
