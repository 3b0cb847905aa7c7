"""Reading shards: ours beside the webdataset package, on the same shards.

    pip install webdataset
    python benchmarks/shards.py imagenette.zip --image-size 128 --rounds 3

Both give uint8 pictures of the same size, decoded and cut by Pillow. Ours reads by the index, in threads, as the first
pass of a training does; webdataset streams and decodes in as many worker processes of a DataLoader, as it documents.
A round is one pass over all shards (or the first --images of them), the sides in turns; starting workers is counted.
"""

import argparse
import json
import statistics
import tempfile
import time
from pathlib import Path

import numpy as np
import torch

from resnets import machine
from resnets.data.open import open_source
from resnets.data.pack import pack
from resnets.data.preprocess import Preprocessing
from resnets.data.threads import in_order


def ours(folder, preprocessing, count):
    source = open_source(folder, quiet=True)
    samples = source.samples[:count]

    def read(sample):
        return preprocessing.read(source.read(sample.key))

    done = 0
    with in_order(read, samples, machine.cores()) as blocks:
        for _, results in blocks:
            done += len(results)
    return done


class Cut:
    """Shorter side to a size, the centre cut: as torchvision's transforms do it."""

    def __init__(self, size, to):
        self.size, self.to = size, to

    def __call__(self, picture):
        picture = picture.convert("RGB")
        width, height = picture.size
        scale = self.to / min(width, height)
        width, height = round(width * scale), round(height * scale)
        left, top = (width - self.size) // 2, (height - self.size) // 2
        cut = picture.resize((width, height)).crop((left, top, left + self.size, top + self.size))
        return torch.from_numpy(np.asarray(cut).copy())


def theirs(folder, preprocessing, count):
    import webdataset as wds

    shards = sorted(map(str, Path(folder).glob("*.tar")))
    cut = Cut(preprocessing.image_size, preprocessing.resize_to)
    data = wds.WebDataset(shards, shardshuffle=False, empty_check=False).decode("pil")
    data = data.to_tuple("jpg;jpeg;png;img", "cls").map_tuple(cut, int).batched(64)
    done = 0
    for images, _ in wds.WebLoader(data, batch_size=None, num_workers=machine.cores()):
        done += len(images)
        if done >= count:
            break
    return done


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("data")
    parser.add_argument("--image-size", type=int, default=128)
    parser.add_argument("--images", type=int, default=10**9)
    parser.add_argument("--rounds", type=int, default=3)
    arguments = parser.parse_args()
    preprocessing = Preprocessing.evaluation(arguments.image_size)
    rates = {"ours": [], "webdataset": []}
    with tempfile.TemporaryDirectory() as folder:
        pack(open_source(arguments.data), Path(folder) / "shards", 64 * 10**6)
        for number in range(arguments.rounds):
            sides = [("ours", ours), ("webdataset", theirs)]
            for name, side in sides[:: -1 if number % 2 else 1]:
                began = time.perf_counter()
                count = side(str(Path(folder) / "shards"), preprocessing, arguments.images)
                rates[name].append(count / (time.perf_counter() - began))
    print(json.dumps(machine.describe()))
    ratios = [one / other for one, other in zip(rates["ours"], rates["webdataset"], strict=True)]
    for name, values in rates.items():
        print(f"{name}: {statistics.median(values):,.0f} images/s ({min(values):,.0f} to {max(values):,.0f})")
    print(f"ratio: {statistics.median(ratios):.2f} ({min(ratios):.2f} to {max(ratios):.2f}), n = {len(ratios)}")


if __name__ == "__main__":
    main()
