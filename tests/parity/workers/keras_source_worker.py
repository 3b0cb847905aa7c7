"""A network of Keras that was written as source: it is run, given weights, and asked."""

from __future__ import annotations

import os
import runpy

os.environ["KERAS_BACKEND"] = "torch"

import numpy as np
from common import main, refuse


def make(network, sizes, folder):
    refuse("the source is there already")


def run(path, network, batches):
    """path: weights; network: the file of source."""
    results = []
    for x in batches:
        model = runpy.run_path(network)["resnet"](side=x.shape[-1])
        model.load_weights(path)
        results.append(model.predict_on_batch(np.ascontiguousarray(x.transpose(0, 2, 3, 1))))
    return results


main(make, run)
