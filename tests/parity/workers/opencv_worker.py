"""OpenCV's dnn module, as a second reader of Caffe's files. It makes none."""

from __future__ import annotations

import cv2
from common import main, refuse


def make(network, sizes, folder):
    refuse("OpenCV reads Caffe's files and writes none")


def run(path, network, batches):
    """A .caffemodel with the .prototxt of the same name beside it. network: ResNet-N, or the layer that answers."""
    cv2.setNumThreads(2)
    net = cv2.dnn.readNetFromCaffe(str(path.with_suffix(".prototxt")), str(path))
    results = []
    for x in batches:
        net.setInput(x)
        results.append(net.forward("fc1000" if network.startswith("ResNet") else network).reshape(len(x), -1))
    return results


main(make, run)
