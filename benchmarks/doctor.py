"""Does `resnets doctor` find what is wrong? Plants known faults in a copy of a data set, runs it, and counts.

    python benchmarks/doctor.py imagenette.zip copy/
    python benchmarks/doctor.py digits copy/

Planted are 200 exact and 100 near duplicates (a third each recompressed, resized, cropped by 5 % of the sides; every
second one into the other split), 100 labels swapped for another at random, and 50 broken files. What the data set
already held of duplicates is reported beside the planted ones and is for the eye to judge: see `unplanned` in the
output, and the pictures of `--html`.
"""

import argparse
import io
import json
import time
from pathlib import Path

import numpy as np
from PIL import Image

from resnets.data import decode
from resnets.data.open import open_source
from resnets.data.split import split
from resnets.diagnosis import doctor
from resnets.machine import keep_memory

EXACT, NEAR, SWAPPED, BROKEN = 200, 100, 100, 50
TINY = 32  # pixels


def recompressed(picture, random):
    """As JPEG; tiny pictures, in which one level of grey is a feature, more carefully."""
    buffer = io.BytesIO()
    low, high = (40, 90) if min(picture.size) >= TINY else (80, 95)
    picture.save(buffer, "jpeg", quality=int(random.integers(low, high)))
    return buffer.getvalue()


def resized(picture, random):
    """To 50 to 90 % of its sides; tiny pictures, of which nothing would be left, to 150 to 300 %."""
    share = random.uniform(0.5, 0.9) if min(picture.size) >= TINY else random.uniform(1.5, 3)
    sides = [round(side * share) for side in picture.size]
    return recompressed(picture.resize(sides, Image.Resampling.BICUBIC), random)


def cropped(picture, random):
    """95 % of each side, from anywhere."""
    width, height = (max(1, round(0.95 * side)) for side in picture.size)
    left = int(random.integers(0, picture.size[0] - width + 1))
    top = int(random.integers(0, picture.size[1] - height + 1))
    return recompressed(picture.crop((left, top, left + width, top + height)), random)


def broken(data, random, kind):
    """One of five ways in which files break."""
    if kind == 0:
        return data[: int(len(data) * random.uniform(0.2, 0.9))]
    if kind == 1:
        return b""
    if kind == 2:
        return b"<!DOCTYPE html><title>404 Not Found</title>"
    if kind == 3:
        return random.bytes(len(data))
    return data[:20] + random.bytes(200)


def plant(data, folder, seed=0, exact=EXACT, near=NEAR, swapped=SWAPPED, broken_files=BROKEN):
    """Write a copy of `data` with faults to `folder`; returns what was planted, all as keys of the copy.

    {"exact": [[original, copy], ...], "near": [[original, copy, how], ...], "swapped": {key: true class}, "broken": []}
    """
    random = np.random.default_rng(seed)
    source, folder = open_source(data), Path(folder)
    splits = split(source)
    held_out = {sample.key for sample in splits.held_out}
    samples = list(source.samples)
    classes = sorted({sample.label for sample in samples})
    order = iter(random.permutation(len(samples)))
    found = {"exact": [], "near": [], "swapped": {}, "broken": []}
    number = iter(range(10**6))

    def home(sample):
        return "val" if sample.key in held_out else "train"

    def write(key, content):
        (folder / key).parent.mkdir(parents=True, exist_ok=True)
        (folder / key).write_bytes(content)
        return key

    def place(sample, other=False, suffix=""):
        """Where a file goes: its own name, or a new one in the other split."""
        side = home(sample)
        if other:
            side = "val" if side == "train" else "train"
        name = Path(sample.key).name if not suffix else f"n{random.integers(10**8):08}_{next(number)}{suffix}"
        return f"{side}/{sample.label}/{name}"

    swap = {samples[next(order)].key for _ in range(swapped)}
    for sample in samples:
        key = place(sample)
        if sample.key in swap:
            wrong = random.choice([name for name in classes if name != sample.label])
            key = key.replace(f"/{sample.label}/", f"/{wrong}/")
            found["swapped"][key] = sample.label
        write(key, source.read(sample.key))

    for i in range(exact):
        sample = samples[next(order)]
        suffix = Path(sample.key).suffix
        copy = write(place(sample, other=i % 2 == 0, suffix=suffix), source.read(sample.key))
        found["exact"].append([place(sample), copy])
    for i in range(near):
        sample = samples[next(order)]
        how = (recompressed, resized, cropped)[i % 3]
        picture = decode.decode(source.read(sample.key))
        copy = write(place(sample, other=i % 2 == 0, suffix=".jpg"), how(picture, random))
        found["near"].append([place(sample), copy, how.__name__])
    for i in range(broken_files):
        sample = samples[next(order)]
        suffix = Path(sample.key).suffix
        found["broken"].append(write(place(sample, suffix=suffix), broken(source.read(sample.key), random, i % 5)))
    return found


def count(planted, document):
    """What of the planted is in the doctor's document, and what of its duplicates was not planted."""
    groups = {"exact": [], "near": []}
    for finding in document["findings"]:
        if finding["kind"] in ("leak", "duplicates"):
            groups["exact"] += finding["groups"]
        elif finding["kind"] in ("near-leak", "near-duplicates"):
            groups["near"] += finding["groups"]
    together = {}  # key -> all keys that are in a group with it
    for group in groups["exact"] + groups["near"]:
        for key in group:
            together.setdefault(key, set()).update(group)
    related = [set(pair[:2]) for pair in planted["exact"] + planted["near"]]
    unplanned = [group for group in groups["exact"] + groups["near"] if not any(pair <= set(group) for pair in related)]
    named = {finding["kind"]: finding["paths"] for finding in document["findings"]}
    suspects = named.get("suspected-labels", [])[:200]
    missed = [how for one, other, how in planted["near"] if other not in together.get(one, ())]
    return {
        "broken": [len(set(planted["broken"]) & set(named.get("unreadable", ()))), len(planted["broken"])],
        "exact": [sum(other in together.get(one, ()) for one, other in planted["exact"]), len(planted["exact"])],
        "near": [len(planted["near"]) - len(missed), len(planted["near"])],
        "missed": sorted(missed),
        "images": document["images"],
        "unplanned": unplanned,
        "swapped": [len(set(suspects) & set(planted["swapped"])), len(planted["swapped"])],
        "false_broken": sorted(set(named.get("unreadable", ())) - set(planted["broken"])),
    }


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("data", help="an archive, a folder or a name")
    parser.add_argument("copy", type=Path, help="a new folder for the copy with the faults")
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    planted = plant(arguments.data, arguments.copy, arguments.seed)
    keep_memory()
    start, processor = time.perf_counter(), time.process_time()
    document = doctor(arguments.copy).document()
    seconds, processor = time.perf_counter() - start, time.process_time() - processor
    print(json.dumps({"seed": arguments.seed, "seconds": seconds, "processor": processor, **count(planted, document)}))


if __name__ == "__main__":
    main()
