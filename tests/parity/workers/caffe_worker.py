"""Real Caffe: the published ResNet-50 and ResNet-101, layer names and all, with random weights."""

from __future__ import annotations

import os

os.environ["GLOG_minloglevel"] = "2"  # noqa: SIM112 (its name; Caffe tells every layer otherwise)

import caffe
import numpy as np
from caffe.proto import caffe_pb2
from common import LAST, Draw, images, main, refuse, save_io
from google.protobuf import text_format

DEPTHS = {"ResNet-50": (3, 4, 6, 3), "ResNet-101": (3, 4, 23, 3)}
WITH_WEIGHTS = ("Convolution", "BatchNorm", "Scale", "InnerProduct")


def prototxt(network, size):
    """The published deploy file for images of this size."""
    parts = [f'name: "{network}"', 'input: "data"', *(f"input_dim: {side}" for side in (1, 3, size, size))]

    def layer(kind, name, bottoms, top, parameters=""):
        bottom = " ".join(f'bottom: "{blob}"' for blob in bottoms)
        parts.append(f'layer {{ name: "{name}" type: "{kind}" {bottom} top: "{top}" {parameters} }}')

    def relu(blob):
        layer("ReLU", f"{blob}_relu", [blob], blob)

    def normed(bottom, top, suffix, outputs, kernel, stride, bias="false"):
        shape = f"num_output: {outputs} kernel_size: {kernel} stride: {stride} pad: {kernel // 2} bias_term: {bias}"
        layer("Convolution", top, [bottom], top, f"convolution_param {{ {shape} }}")
        layer("BatchNorm", f"bn{suffix}", [top], top, "batch_norm_param { use_global_stats: true }")
        layer("Scale", f"scale{suffix}", [top], top, "scale_param { bias_term: true }")

    # ResNet-50 was published with a bias in its first layer, 101 and 152 without.
    normed("data", "conv1", "_conv1", 64, 7, 2, bias="true" if network == "ResNet-50" else "false")
    relu("conv1")
    layer("Pooling", "pool1", ["conv1"], "pool1", "pooling_param { kernel_size: 3 stride: 2 pool: MAX }")
    below = "pool1"
    for stage, depth in enumerate(DEPTHS[network], start=2):
        width = 2 ** (stage + 4)
        for unit in range(depth):
            # The units are a, b, c; in the two long stages of 101 and 152 they are a, b1, b2.
            numbered = network != "ResNet-50" and stage in (3, 4) and unit > 0
            name = f"{stage}b{unit}" if numbered else f"{stage}{'abcdef'[unit]}"
            stride = 2 if unit == 0 and stage > 2 else 1
            short = below
            if unit == 0:
                short = f"res{name}_branch1"
                normed(below, short, f"{name}_branch1", width * 4, 1, stride)
            a, b, c = (f"res{name}_branch2{letter}" for letter in "abc")
            normed(below, a, f"{name}_branch2a", width, 1, stride)
            relu(a)
            normed(a, b, f"{name}_branch2b", width, 3, 1)
            relu(b)
            normed(b, c, f"{name}_branch2c", width * 4, 1, 1)
            below = f"res{name}"
            layer("Eltwise", below, [short, c], below)
            relu(below)
    layer("Pooling", "pool5", [below], "pool5", "pooling_param { kernel_size: 7 stride: 1 pool: AVE }")
    layer("InnerProduct", "fc1000", ["pool5"], "fc1000", "inner_product_param { num_output: 1000 }")
    layer("Softmax", "prob", ["fc1000"], "prob")
    return "\n".join(parts) + "\n"


def fill(net, network):
    """Random weights for a net; a BatchNorm's sums go with a factor of their own, as Caffe's training leaves them."""
    draw = Draw(network)
    norms = {}
    for name, blobs in net.params.items():
        if name.startswith("bn"):
            gain = LAST if name.endswith("branch2c") else 1.0
            norm = norms[name[2:]] = draw.norm(len(blobs[0].data), gain)
            factor = draw.random.choice([1.0, 0.5, 999.982])
            values = [norm[2] * factor, norm[3] * factor, factor]
        elif name.startswith("scale"):
            values = norms[name[5:]][:2]
        else:
            values = [draw.kernel(blobs[0].data.shape), draw.bias(len(blobs[0].data))]
        for i, blob in enumerate(blobs):
            blob.data[...] = values[i]


def logits_of(net, x):
    net.blobs["data"].reshape(*x.shape)
    net.blobs["data"].data[...] = x
    net.forward()
    return net.blobs["fc1000"].data.reshape(len(x), -1).copy()


def make(network, sizes, folder):
    """A .caffemodel and the .prototxt of its name."""
    graph, weights = folder / f"{network}.prototxt", folder / f"{network}.caffemodel"
    graph.write_text(prototxt(network, sizes[0]))
    net = caffe.Net(str(graph), caffe.TEST)
    fill(net, network)
    spread = np.std(logits_of(net, images(sizes[0])))
    for blob in net.params["fc1000"]:
        blob.data[...] = blob.data / spread
    for size in sizes:
        save_io(folder, size, images(size), logits_of(net, images(size)))
    net.save(str(weights))
    return {"caffemodel": weights, "prototxt": graph}


def run(path, network, batches):
    """A .caffemodel and the .prototxt of its name, which must go together and have the published names."""
    graph = path.with_suffix(".prototxt")
    net = caffe.Net(str(graph), str(path), caffe.TEST)
    held = caffe_pb2.NetParameter()
    held.ParseFromString(path.read_bytes())
    shapes = {layer.name: [tuple(blob.shape.dim) for blob in layer.blobs] for layer in held.layer if layer.blobs}
    asked = {name: [blob.data.shape for blob in blobs] for name, blobs in net.params.items()}
    if shapes != asked:  # Caffe itself would leave a layer that the file lacks as it was
        refuse(f"the .caffemodel and the .prototxt differ: {sorted(set(shapes) ^ set(asked))}")
    published = text_format.Parse(prototxt(network, 224), caffe_pb2.NetParameter())
    odd = set(net.params) ^ {layer.name for layer in published.layer if layer.type in WITH_WEIGHTS}
    if odd:
        refuse(f"the layers are not named as published: {sorted(odd)}")
    return [logits_of(net, x) for x in batches]


main(make, run)
