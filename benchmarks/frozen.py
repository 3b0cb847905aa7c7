"""A head on a trained body: ours against the ordinary loop over a frozen backbone, as tutorials have it.

    python benchmarks/frozen.py imagenette.zip resnet_50_1by2_nsfw.caffemodel

Both start from the same files, two classes of 125 photos, and end with a trained head; each side runs in a process of
its own, the sides alternate, and what counts begins when everything is imported and the body is loaded. Ordinary: a
DataLoader with two workers, Pillow, the network in float32 without gradients, SGD on the head, every epoch anew.
Ours: decode, look once, and fit (`resnets.training`), with an empty cache.
"""

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import torch
from photos import PAIRS, PHOTOS, Photos
from PIL import Image

from resnets import machine
from resnets.data.cache import cached
from resnets.data.open import open_source
from resnets.training import probe
from resnets.training.features import seen
from resnets.weights.body import load_body


def ordinary(folder, body, epochs):
    """Returns (the share of the training images that the head knows at the end, seconds)."""
    network, size = body.network.eval().requires_grad_(False), body.preprocessing.image_size
    mean, std = (torch.tensor(values).view(3, 1, 1) for values in (body.preprocessing.mean, body.preprocessing.std))
    files = sorted(folder.rglob("*.JPEG"))
    classes = sorted({file.parent.name for file in files})

    class Files(torch.utils.data.Dataset):
        def __len__(self):
            return len(files)

        def __getitem__(self, index):
            image = Image.open(files[index]).convert("RGB")
            ratio = body.preprocessing.resize_to / min(image.size)
            image = image.resize([round(side * ratio) for side in image.size], Image.Resampling.BILINEAR)
            left, top = ((side - size) // 2 for side in image.size)
            pixels = torch.from_numpy(np.array(image.crop((left, top, left + size, top + size)))).permute(2, 0, 1) / 255
            pixels = pixels.flip(0) if body.preprocessing.channels == "BGR" else pixels
            return (pixels - mean) / std, classes.index(files[index].parent.name)

    began = time.perf_counter()
    loader = torch.utils.data.DataLoader(Files(), batch_size=32, shuffle=True, num_workers=2)
    head = torch.nn.Linear(network.plan.head[-1].in_channels, len(classes))
    optimiser = torch.optim.SGD(head.parameters(), lr=0.01, momentum=0.9)
    for _ in range(epochs):
        right = 0
        for x, labels in loader:
            with torch.no_grad():
                features = network.features(x)[network.stage_names[-1]].mean((2, 3))
            logits = head(features)
            optimiser.zero_grad()
            torch.nn.functional.cross_entropy(logits, labels).backward()
            optimiser.step()
            right += int((logits.argmax(1) == labels).sum())
    return right / len(files), time.perf_counter() - began


def ours(folder, body, _):
    """The same of ours."""
    from sklearn import linear_model  # noqa: F401  (as on the other side, imports do not count)

    machine.keep_memory()
    began = time.perf_counter()
    source = open_source(folder)
    cache = cached(source, source.samples, body.preprocessing)
    features = seen(body.network, body.preprocessing, cache.images, "cpu", "looking")
    classes = sorted({sample.label for sample in cache.samples})
    labels = np.array([classes.index(sample.label) for sample in cache.samples])
    head = probe.fit(features, labels, len(classes))
    return float((head.logits(features).argmax(1) == labels).mean()), time.perf_counter() - began


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("archive", type=Path, help="a .zip with train/ and val/")
    parser.add_argument("body", type=Path)
    parser.add_argument("--epochs", type=int, default=20)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--side", choices=["ordinary", "ours"], help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.side:
        side = {"ordinary": ordinary, "ours": ours}[arguments.side]
        print(json.dumps(side(arguments.archive, load_body(arguments.body).model, arguments.epochs)))
        return
    print(json.dumps(machine.describe()))
    seconds = {"ordinary": [], "ours": []}
    with tempfile.TemporaryDirectory() as temporary:
        photos, _ = Photos(arguments.archive).cut(temporary, PAIRS[0], PHOTOS, seed=0)
        for number in range(arguments.rounds):
            for side, found in seconds.items():
                words = [photos, arguments.body, "--side", side, "--epochs", arguments.epochs]
                home = {"RESNETS_HOME": f"{temporary}/home{number}", "PATH": "/usr/bin:/bin"}
                out = subprocess.run(
                    [sys.executable, __file__, *map(str, words)], check=True, stdout=subprocess.PIPE, env=home
                )
                known, took = json.loads(out.stdout)
                found.append(took)
                print(f"{side}: {took:.1f} s, knows {known:.1%} of its training images", flush=True)
    ratios = [a / b for a, b in zip(*seconds.values(), strict=True)]
    print(f"n={len(ratios)}: ratio {statistics.median(ratios):.0f} ({min(ratios):.0f} to {max(ratios):.0f})")


if __name__ == "__main__":
    main()
