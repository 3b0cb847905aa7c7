"""TF-Slim's own ResNets on TensorFlow's CPU build: checkpoints of both versions."""

from __future__ import annotations

import os
import sys

os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"
os.environ["CUDA_VISIBLE_DEVICES"] = ""

import tf_keras.src.legacy_tf_layers

# tf_slim looks for these layers where they were before they moved.
sys.modules["tf_keras.legacy_tf_layers"] = tf_keras.src.legacy_tf_layers

import numpy as np  # noqa: E402
import tensorflow as tf  # noqa: E402
import tf_slim  # noqa: E402
from common import LAST, Draw, images, main, refuse, save_io  # noqa: E402
from tf_slim.nets import resnet_v1, resnet_v2  # noqa: E402

tf1 = tf.compat.v1
tf1.disable_eager_execution()


def build(network, classes):
    """(images, logits) of a network of tf_slim.nets, for images of any size, in a graph of its own."""
    tf1.reset_default_graph()
    module = resnet_v1 if "_v1_" in network else resnet_v2
    x = tf1.placeholder(tf.float32, (None, None, None, 3))
    with tf_slim.arg_scope(module.resnet_arg_scope()):
        y, _ = getattr(module, network)(x, num_classes=classes, is_training=False)
    return x, tf.reshape(y, (-1, classes))


def session():
    return tf1.Session(config=tf1.ConfigProto(intra_op_parallelism_threads=2, inter_op_parallelism_threads=1))


def random_values(network):
    """{variable: value} for every variable of the network."""
    draw = Draw(network)
    norms = {}
    values = {}
    for variable in tf1.global_variables(network):
        scope, _, kind = variable.op.name.rpartition("/")
        shape = variable.shape.as_list()
        last = ("_v1_" in network and "/conv3/BatchNorm" in scope) or ("_v2_" in network and scope.endswith("/conv3"))
        gain = LAST if last else 1.0
        if kind == "weights":
            values[variable] = draw.kernel(shape, out=-1, gain=gain)
        elif kind == "biases":
            values[variable] = draw.bias(*shape)
        else:
            if scope not in norms:
                norm = draw.norm(*shape, gain=gain)
                norms[scope] = dict(zip(("gamma", "beta", "moving_mean", "moving_variance"), norm, strict=True))
            values[variable] = norms[scope][kind]
    return values


def load(values, running):
    """Set variables, all in one step: each step of a session costs a look at the whole graph."""
    fed = {variable.initializer.inputs[1]: value for variable, value in values.items()}
    running.run([variable.initializer for variable in values], fed)


def logits_of(x, y, values, running):
    return running.run(y, {x: values.transpose(0, 2, 3, 1)})


def make(network, sizes, folder):
    """A bundle (.index, .data-*) and a checkpoint of the first version, one file."""
    x, y = build(network, 1000)
    step = tf1.train.get_or_create_global_step()
    with session() as running:
        load(values := {**random_values(network), step: 1000}, running)
        spread = np.std(logits_of(x, y, images(sizes[0]), running))
        load({v: values[v] / spread for v in tf1.global_variables(f"{network}/logits")}, running)
        for size in sizes:
            save_io(folder, size, images(size), logits_of(x, y, images(size), running))
        bundle = tf1.train.Saver().save(running, str(folder / f"{network}.ckpt"), write_meta_graph=False)
        old = tf1.train.Saver(tf1.global_variables(network), write_version=tf1.train.SaverDef.V1)
        single = old.save(running, str(folder / f"{network}_v1.ckpt"), write_meta_graph=False, write_state=False)
    return {"bundle": f"{bundle}.index", "single file": single}


def run(path, network, batches):
    """A checkpoint, named as TensorFlow names it (without .index), with the graph's names and shapes, no others."""
    held = {name: tuple(shape) for name, shape in tf.train.list_variables(str(path))}
    classes = held[f"{network}/logits/weights"][-1]
    x, y = build(network, classes)
    wanted = {variable.op.name: tuple(variable.shape.as_list()) for variable in tf1.global_variables()}
    if held != wanted:
        refuse(f"the checkpoint and the graph differ in {sorted(set(held.items()) ^ set(wanted.items()))}")
    with session() as running:
        tf1.train.Saver().restore(running, str(path))
        return [logits_of(x, y, values, running) for values in batches]


main(make, run)
