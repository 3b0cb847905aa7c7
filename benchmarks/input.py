"""Images per second of the input alone: decoding each epoch (torch.utils.data, Pillow) against decoding once.

    python benchmarks/input.py imagenette.zip --image-size 128 --rounds 3

plain: ImageFolder with torchvision's transforms, two workers, every epoch. first: ours from an empty cache, decoding
included. later: every further epoch of ours, augmentation included. Alternating rounds; medians.
"""

import argparse
import json
import os
import statistics
import sys
import tempfile
import time
import zipfile
from pathlib import Path

from resnets import machine


def plain_rate(folder, size, batch_size):
    from plain import DataLoader, datasets, pipelines

    loader = DataLoader(
        datasets.ImageFolder(f"{folder}/train", pipelines(size)[0]), batch_size, shuffle=True, num_workers=2
    )
    began = time.perf_counter()
    count = sum(len(images) for images, _ in loader)
    return count / (time.perf_counter() - began)


def our_rates(archive, size, batch_size, home):
    """(first epoch, later epochs) in images per second."""
    os.environ["RESNETS_HOME"] = str(home)
    import dataclasses

    from resnets.data.batches import CachedBatches
    from resnets.data.cache import cached
    from resnets.data.labels import class_names
    from resnets.data.open import open_source
    from resnets.data.preprocess import Preprocessing
    from resnets.data.split import split
    from resnets.training.recipe import load_recipe
    from resnets.training.setup import augmentation, label_indices

    began = time.perf_counter()
    source = open_source(archive)
    samples = split(source).train
    preprocessing = Preprocessing.evaluation(size)
    augment = augmentation(load_recipe("quick"), size)
    roomy = dataclasses.replace(preprocessing, image_size=preprocessing.resize_to)
    cache = cached(source, samples, roomy)
    decoded = time.perf_counter()
    again = cached(source, samples, roomy)  # opened and compared with its checksums, as every later run does
    if again.reused:
        rate = again.images.nbytes / 2**20 / again.seconds
        size = again.images.nbytes >> 20
        print(f"the cache of {size} MiB is opened in {again.seconds:.2f} s, {rate:.0f} MiB/s", file=sys.stderr)
    del again
    opened = time.perf_counter()
    labels, keys = label_indices(cache, class_names(samples)), [sample.key for sample in cache.samples]
    batches = CachedBatches(cache.images, labels, keys, batch_size, seed=0)
    count = batches.steps * batches.batch_size
    for batch in batches.epoch(0):
        augment(batch.images, batch.dice, size, preprocessing)
    second = time.perf_counter()
    first = second - (opened - decoded)
    for batch in batches.epoch(1):
        augment(batch.images, batch.dice, size, preprocessing)
    return count / (first - began), count / (time.perf_counter() - second)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("archive", type=Path, help="a .zip with train/ and val/ or test/")
    parser.add_argument("--image-size", type=int, default=128)
    parser.add_argument("--batch-size", type=int, default=64)
    parser.add_argument("--rounds", type=int, default=3)
    arguments = parser.parse_args()
    machine.keep_memory()
    figures = {"plain": [], "first": [], "later": []}
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        with zipfile.ZipFile(arguments.archive) as archive:
            archive.extractall(folder / "data")
        for number in range(arguments.rounds):
            figures["plain"].append(plain_rate(folder / "data", arguments.image_size, arguments.batch_size))
            rates = our_rates(arguments.archive, arguments.image_size, arguments.batch_size, folder / str(number))
            figures["first"].append(rates[0])
            figures["later"].append(rates[1])
            print({who: round(values[-1]) for who, values in figures.items()}, file=sys.stderr, flush=True)
    medians = {who: statistics.median(values) for who, values in figures.items()}
    ratios = {who: medians[who] / medians["plain"] for who in ("first", "later")}
    print(json.dumps({"machine": machine.describe(), "images_per_second": medians, "ratios": ratios}, indent=1))


if __name__ == "__main__":
    main()
