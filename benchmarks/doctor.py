"""Does `resnets doctor` find what is wrong? Plants known faults in a copy of a data set, runs it, and counts.

    python benchmarks/doctor.py imagenette.zip copy/
    python benchmarks/doctor.py digits copy/
    python benchmarks/doctor.py imagenette.zip cifar10.zip --labels 200

Planted are 200 exact and 100 near duplicates (a third each recompressed, resized, cropped by 5 % of the sides; every
second one into the other split), 100 labels swapped for another at random, and 50 broken files. What the data set
already held of duplicates is reported beside the planted ones and is for the eye to judge: see `unplanned` in the
output, and the pictures of `--html`.

With `--labels`, that many small sets are drawn from the data sets in turn, and their labels are looked at as they are
and with 5 % of them swapped: how much is suspected where nothing is wrong, how often it speaks where something is, and
how much of it is found?
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
from resnets.diagnosis.files import look_through
from resnets.diagnosis.labels import check
from resnets.machine import describe, keep_memory

EXACT, NEAR, SWAPPED, BROKEN = 200, 100, 100, 50
TINY = 32  # pixels
SIZES = (60, 600)  # images of a small set
MISTAKES = 0.05  # share of the labels of a small set that are swapped
LARGE = 300  # images, from which on a small set's mistakes should be spoken of


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


def small_set(samples, random):
    """2 to 10 classes of `samples`, between `SIZES` images, of one class up to ten times as many as of another."""
    by_class = {}
    for sample in samples:
        by_class.setdefault(sample.label, []).append(sample)
    classes = random.permutation(sorted(by_class))[: random.integers(2, 11)]
    images, unevenness = random.integers(SIZES[0], SIZES[1] + 1), np.exp(random.uniform(0, np.log(10)))
    weights = unevenness ** random.uniform(0, 1, len(classes))
    counts = np.maximum(5, np.round(images * weights / weights.sum())).astype(int)
    return [
        by_class[name][i]
        for name, number in zip(classes, counts, strict=True)
        for i in random.permutation(len(by_class[name]))[:number]
    ]


def swap(labels, random, share=MISTAKES):
    """The labels with a share of them swapped for any other of the set, and where."""
    classes, swapped = sorted(set(labels)), list(labels)
    where = random.permutation(len(labels))[: round(share * len(labels))].tolist()
    for i in where:
        swapped[i] = str(random.choice([name for name in classes if name != labels[i]]))
    return swapped, where


def look_at_labels(sources, seed):
    """One small set as it is, and with swapped labels: what was suspected and found."""
    random = np.random.default_rng(seed)
    source = sources[seed % len(sources)]
    looks = look_through(source, small_set(source.samples, random))
    labels = [sample.label for sample in looks.samples]
    swapped, where = swap(labels, random)
    clean, wrong = check(looks.thumbs, labels, len(labels)), check(looks.thumbs, swapped, len(labels))
    first = {suspect.index for suspect in wrong.suspects[: 2 * len(where)]}
    return {
        "seed": seed,
        "data": Path(source.name).name,
        "images": len(labels),
        "classes": len(set(labels)),
        "accuracy": clean.accuracy,
        "able": clean.able,
        "false": len(clean.suspects) / len(labels),
        "listed": len(wrong.suspects) / len(labels),
        "right": sum(suspect.index in where for suspect in wrong.suspects) / max(1, len(wrong.suspects)),
        "promised": wrong.found / wrong.planted,
        "found": len(first & set(where)) / len(where),
    }


def summary(rows):
    """The three figures, by size and classes. `found` is among twice as many suspects as were swapped."""
    bands = {"all": rows, f"{LARGE} images and more": [row for row in rows if row["images"] >= LARGE]}
    bands[f"fewer than {LARGE}"] = [row for row in rows if row["images"] < LARGE]
    for low, high in ((2, 3), (4, 6), (7, 10)):
        of_these = [row for row in bands[f"{LARGE} images and more"] if low <= row["classes"] <= high]
        bands[f"{LARGE} images and more, {low} to {high} classes"] = of_these
    return {
        name: {
            "sets": len(own),
            "accuracy": np.mean([row["accuracy"] for row in own]),
            "false_alarms": np.mean([row["false"] for row in own]),
            "most_false_alarms": max(row["false"] for row in own),
            "speaks": np.mean([row["listed"] > 0 for row in own]),
            "found": np.mean([row["found"] for row in own]),
            "half_found": np.mean([row["found"] >= 0.5 for row in own]),
            "listed": np.mean([row["listed"] for row in own]),
            "right": np.mean([row["right"] for row in own if row["listed"]] or [0.0]),
            "promised": np.mean([row["promised"] for row in own]),
        }
        for name, own in bands.items()
        if own
    }


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("data", nargs="+", help="an archive, a folder or a name; then a new folder for the copy")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--labels", type=int, default=0, help="small sets to look at the labels of")
    arguments = parser.parse_args()
    if arguments.labels:
        sources = [open_source(data) for data in arguments.data]
        rows = []
        for seed in range(arguments.seed, arguments.seed + arguments.labels):
            rows.append(look_at_labels(sources, seed))
            print(json.dumps(rows[-1]), flush=True)
        print(json.dumps({"machine": describe(), **summary(rows)}, indent=2))
        return
    data, copy = arguments.data
    planted = plant(data, copy, arguments.seed)
    keep_memory()
    start, processor = time.perf_counter(), time.process_time()
    document = doctor(copy).document()
    seconds, processor = time.perf_counter() - start, time.process_time() - processor
    print(json.dumps({"seed": arguments.seed, "seconds": seconds, "processor": processor, **count(planted, document)}))


if __name__ == "__main__":
    main()
