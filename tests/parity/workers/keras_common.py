"""For the workers on Keras, of its second and its third generation: the same networks, other files."""

from __future__ import annotations

import h5py
import numpy as np
from common import LAST, Draw, images, refuse, save_io

FILES = {
    "weights.h5": ".weights.h5",
    "legacy h5": "_legacy.h5",
    "whole h5": "_whole.h5",
    "keras": ".keras",
}


def build(keras, network, size, classes=1000, activation=None):
    """A network of keras.applications; its images have one size, because Keras asks for it."""
    return getattr(keras.applications, network)(
        weights=None, input_shape=(size, size, 3), classes=classes, classifier_activation=activation
    )


def another(keras, network, model, size, activation=None):
    """The same network with the same weights, for images of another size or with a softmax."""
    other = build(keras, network, size, model.output_shape[-1], activation)
    other.set_weights(model.get_weights())
    return other


def logits_of(model, x):
    return model.predict_on_batch(np.ascontiguousarray(x.transpose(0, 2, 3, 1)))


def fill(model, network):
    """Random weights for every layer, by the layers' names, and logits with a standard deviation of 1."""
    draw = Draw(network)
    last = "_3_conv" if network.endswith("V2") else "_3_bn"
    for layer in model.layers:
        gain = LAST if layer.name.endswith(last) else 1.0
        if layer.name.endswith("_bn"):
            layer.set_weights(draw.norm(layer.gamma.shape[0], gain))
        elif layer.weights:
            values = [draw.kernel(tuple(layer.kernel.shape), out=-1, gain=gain)]
            if layer.use_bias:
                values.append(draw.bias(layer.bias.shape[0]))
            layer.set_weights(values)
    head = model.get_layer("predictions")
    spread = np.std(logits_of(model, images(model.input_shape[1])))
    head.set_weights([values / spread for values in head.get_weights()])


def make(keras, save, network, sizes, folder, files=FILES):
    """save(model, whole, files) writes the weights of `model`, which has no softmax, and all of `whole`, with it.

    files: what is written, by the end of its name
    """
    model = build(keras, network, sizes[0])
    fill(model, network)
    for size in sizes:
        save_io(folder, size, images(size), logits_of(another(keras, network, model, size), images(size)))
    paths = {container: folder / f"{network}{end}" for container, end in files.items()}
    save(model, another(keras, network, model, sizes[0], "softmax"), paths)
    return paths


def run(keras, path, network, batches):
    """load_weights into a network whose every variable was not a number."""
    with h5py.File(path) as file:
        legacy = "layer_names" in file.attrs
        items = []
        file.visititems(lambda name, item: items.append(item))
        shapes = [item.shape for item in items if isinstance(item, h5py.Dataset)]
    classes = next(shape[1] for shape in shapes if len(shape) == 2)  # the head's kernel
    model = build(keras, network, batches[0].shape[-1], classes)
    if legacy == path.name.endswith(".weights.h5"):
        refuse(f"{path.name} is named as the other layout")
    if len(shapes) != len(model.weights):
        refuse(f"the file has {len(shapes)} tensors, the network {len(model.weights)}")
    model.set_weights([np.full(values.shape, np.nan) for values in model.get_weights()])
    model.load_weights(str(path))
    for weight, values in zip(model.weights, model.get_weights(), strict=True):
        if np.isnan(values).any():
            refuse(f"the file left {weight.name} as it was")
    return [logits_of(another(keras, network, model, x.shape[-1]), x) for x in batches]
