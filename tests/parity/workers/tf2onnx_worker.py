"""tf2onnx, and Keras' own export, which calls it, of keras.applications' networks."""

from __future__ import annotations

import os

os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"
os.environ["KERAS_BACKEND"] = "tensorflow"

import keras
import keras_common
import tensorflow as tf
import tf2onnx
from common import main, refuse

FILES = {"tf2onnx": ".onnx", "tf2onnx, channels first": "_nchw.onnx", "Keras' export": "_keras.onnx"}


def make(network, sizes, folder):
    """The network of this name in keras.applications, by tf2onnx with channels last and first, and by Keras."""

    def save(model, whole, files):
        spec = (tf.TensorSpec((None, *model.input_shape[1:]), tf.float32, name="x"),)
        function = tf.function(lambda x: model(x, training=False), input_signature=spec)
        for container, first in zip(FILES, ([], ["x"]), strict=False):
            options = {"opset": 17, "inputs_as_nchw": first, "output_path": str(files[container])}
            tf2onnx.convert.from_function(function, spec, **options)
        model.export(str(files["Keras' export"]), format="onnx", verbose=False)

    return keras_common.make(keras, save, network, sizes, folder, FILES)


def run(path, network, batches):
    refuse("ONNX Runtime runs these files, wherever they are tested")


main(make, run)
