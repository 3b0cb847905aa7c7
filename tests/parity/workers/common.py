"""What all workers share: random weights under which everything matters, test images, and the command line.

A worker runs in the environment of its framework and knows nothing of resnets:

    python NAME_worker.py make NETWORK SIZES FOLDER      # the real network, its native files, io_SIZE.npz
    python NAME_worker.py run FILE NETWORK SIZES FOLDER  # FILE loaded strictly, result_SIZE.npz

`make` writes made.json, {container: path of a file that a user would name, ...}, and for each size (224,193) an
io_SIZE.npz with "x" (N, 3, H, W) and "logits" (N, classes) before any softmax, float32. `run` takes the same
images and writes a result_SIZE.npz with "logits". Plain numpy on Python 3.8: Caffe's environment has nothing newer.
"""

from __future__ import annotations

import json
import sys
import zlib
from pathlib import Path

import numpy as np

LAST = 0.15  # scale of what a unit adds to its input: a hundred layers neither fade nor make noise of rounding


class Draw:
    """Random weights, the same for the same network's name."""

    def __init__(self, network):
        self.random = np.random.default_rng(zlib.crc32(network.encode()))

    def kernel(self, shape, out=0, gain=1.0):
        """Weights of a convolution or a linear layer, whose outputs lie on the axis `out`.

        What comes out is as large as the (rectified) input. Each output's weights add up to zero, because
        the common mean of rectified inputs would otherwise drown what differs between images.
        """
        inputs = tuple(axis for axis in range(len(shape)) if axis != out % len(shape))
        weight = self.random.normal(size=shape)
        weight -= weight.mean(inputs, keepdims=True)
        return (gain * (3 * shape[out] / weight.size) ** 0.5 * weight).astype(np.float32)

    def bias(self, channels):
        return self.random.normal(0, 0.1, channels).astype(np.float32)

    def norm(self, channels, gain=1.0):
        """(gamma, beta, mean, variance): variances of 0.001 to 1 show a wrong epsilon; the gammas make up for them."""
        variance = 10 ** self.random.uniform(-3, 0, channels)
        gamma = gain * self.random.uniform(0.6, 1.4, channels) * np.sqrt(variance)
        beta = 0.2 * gain * self.random.normal(size=channels)
        mean = 0.2 * self.random.normal(size=channels)
        return [values.astype(np.float32) for values in (gamma, beta, mean, variance)]


def images(size):
    """Two test images, (2, 3, size, size): noise over a coarse pattern, so that images and their parts differ."""
    random = np.random.default_rng(size)
    coarse = random.normal(size=(2, 3, 8, 8)).repeat(-(-size // 8), 2).repeat(-(-size // 8), 3)
    return (coarse[:, :, :size, :size] + random.normal(size=(2, 3, size, size))).astype(np.float32)


def save_io(folder, size, x, logits):
    """Keep images (N, 3, H, W) and their logits (N, classes)."""
    np.savez(Path(folder) / f"io_{size}.npz", x=x, logits=np.asarray(logits, np.float32))


def refuse(problem):
    """End with a sentence on stderr."""
    raise SystemExit(f"{Path(sys.argv[0]).stem}: {problem}")


def main(make, run):
    """The verbs: make(network, sizes, folder) -> {container: path}, run(path, network, batches) -> [logits, ...]."""
    verb, *file, network, sizes, folder = sys.argv[1:]
    folder, sizes = Path(folder), [int(size) for size in sizes.split(",")]
    if verb == "make":
        folder.mkdir(parents=True, exist_ok=True)
        files = make(network, sizes, folder)
        made = {container: str(path) for container, path in files.items()}
        (folder / "made.json").write_text(json.dumps(made))
    else:
        results = run(Path(file[0]), network, [np.load(folder / f"io_{size}.npz")["x"] for size in sizes])
        for i, size in enumerate(sizes):
            np.savez(folder / f"result_{size}.npz", logits=np.asarray(results[i], np.float32))
