"""Does the heat say the truth? Cover the hottest fifth of a picture, then a random fifth, and see what the class loses.

    python benchmarks/explain.py runs/imagenette-resnet18 imagenette.zip [--images 200] [--seed 0]

The images are drawn at random from the held-out split, whatever the network says of them; the class is the one that it
names. Covered pixels get the mean colour, which is zero to the network. The random fifth is the hottest fifth's own
mask, turned by a random quarter, perhaps mirrored, and moved (around the edges) to a random place, so that both are of
the same size and blockiness. The share of images on which the hottest fifth costs the class more comes with Wilson's
95 % interval. The same share over ten random fifths for each image, and the share of images where the hottest fifth
costs more than their mean, show how much of it is the luck of one draw.

Four ways to make the map: both methods of `resnets explain`, and Grad-CAM without what makes its map finer, the dense
reading and the true places of the cells.
"""

from __future__ import annotations

import argparse
import math

import numpy as np
import torch
import torch.nn.functional as F

import resnets
from resnets.data.cache import cached
from resnets.data.open import open_source
from resnets.evaluation.held_out import choose
from resnets.explanation.heat import METHODS, centres, grad_cam, heat, spread
from resnets.inference import Classifier
from resnets.machine import keep_memory

FIFTH = 0.2
DRAWS = 10


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("model", help="a trained network")
    parser.add_argument("data", help="photos with their classes")
    parser.add_argument("--images", type=int, default=200)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    keep_memory()

    classifier = resnets.load(arguments.model)
    source = open_source(arguments.data)
    split, samples = choose(source, classifier.provenance, None)
    random = np.random.default_rng(arguments.seed)
    drawn = sorted(random.choice(len(samples), arguments.images, replace=False))
    pixels = cached(source, [samples[i] for i in drawn], classifier.preprocessing).images
    logits = classifier.logits(pixels)
    classes = logits.argmax(dim=1).numpy()
    before = classifier.probabilities(logits).numpy()[np.arange(len(pixels)), classes]
    print(f"{len(pixels)} images of {split}, seed {arguments.seed}; probability {before.mean():.3f} on average\n")
    print("| map | hottest costs more | 95 % | over ten draws | more than their mean | hottest costs | random costs |")
    print("| --- | --- | --- | --- | --- | --- | --- |")

    maps = {method: heat(classifier, pixels, classes, method) for method in METHODS}
    stretched, placed = coarse(classifier, pixels, classes)
    for name, found in {**maps, "grad-cam, 1 cell a stride": placed, "the same, stretched": stretched}.items():
        hottest = top(found)
        lost = before - answer(classifier, cover(classifier, pixels, hottest), classes)
        covered = (cover(classifier, pixels, moved(hottest, random)) for _ in range(DRAWS))
        others = np.stack([before - answer(classifier, one, classes) for one in covered])
        share = float((lost > others[0]).mean())
        low, high = wilson(share, len(pixels))
        print(
            f"| {name} | {share:.1%} | {low:.1%} to {high:.1%} | {(lost > others).mean():.1%} "
            f"| {(lost > others.mean(axis=0)).mean():.1%} | {lost.mean():.3f} | {others.mean():.3f} |",
            flush=True,
        )


def coarse(classifier: Classifier, pixels: np.ndarray, classes: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Grad-CAM at the network's own resolution: stretched over the picture, and with each cell where it looks."""
    network, size = classifier.network, pixels.shape[1]
    found = []
    for first in range(0, len(pixels), 8):
        x = classifier.preprocessing.normalise(torch.from_numpy(pixels[first : first + 8].copy()))
        found.append(grad_cam(network, x, torch.from_numpy(classes[first : first + 8])).relu())
    cells = torch.cat(found)
    stretched = F.interpolate(cells[:, None], (size, size), mode="bilinear")[:, 0]
    return stretched.numpy(), spread(cells.numpy(), centres(network.plan, size), size)


def top(maps: np.ndarray) -> np.ndarray:
    """(N, S, S) -> the hottest fifth of each, True; of equals the first."""
    flat = maps.reshape(len(maps), -1)
    hottest = np.argsort(-flat, axis=1, kind="stable")[:, : round(FIFTH * flat.shape[1])]
    masks = np.zeros(flat.shape, bool)
    np.put_along_axis(masks, hottest, True, axis=1)
    return masks.reshape(maps.shape)


def moved(masks: np.ndarray, random: np.random.Generator) -> np.ndarray:
    """Each mask turned, mirrored and moved at random."""
    turned = [np.rot90(mask, random.integers(4))[:: random.choice([-1, 1])] for mask in masks]
    return np.stack([np.roll(mask, random.integers(0, len(mask), 2), (0, 1)) for mask in turned])


def cover(classifier: Classifier, pixels: np.ndarray, masks: np.ndarray) -> np.ndarray:
    """The pictures with the mean colour where the masks are True."""
    covered = np.array(pixels)
    mean = classifier.preprocessing.mean
    colour = mean if classifier.preprocessing.channels == "RGB" else mean[::-1]
    covered[masks] = np.rint(255 * np.array(colour))
    return covered


def answer(classifier: Classifier, pixels: np.ndarray, classes: np.ndarray) -> np.ndarray:
    """The probability of each picture's class."""
    found = classifier.probabilities(classifier.logits(pixels)).numpy()
    return found[np.arange(len(pixels)), classes]


def wilson(share: float, count: int, z: float = 1.96) -> tuple[float, float]:
    """Wilson's interval for a share of `count`."""
    middle = (share + z**2 / (2 * count)) / (1 + z**2 / count)
    half = z / (1 + z**2 / count) * math.sqrt(share * (1 - share) / count + (z / (2 * count)) ** 2)
    return middle - half, middle + half


if __name__ == "__main__":
    main()
