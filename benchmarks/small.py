"""Small sets, as most people have them: 5 classes of 20 and of 50 photos, 2 of 125; five subsets of each.

    python benchmarks/small.py imagenette.zip resnet_50_1by2_nsfw.caffemodel
    python benchmarks/small.py imagenette.zip poor/model.safetensors --from-class 5 --ways "head alone,default"

Each set is trained from scratch (`--weights none`, the default before there were bodies), by the default command with
the body, and by the recipe `probe`, the head alone. Every command is a process of its own with an empty cache, whose
registry names the body (`auto = true`), so that the default is the plain `resnets train photos/`; its wall time counts
everything. Each model is judged on all photos of its classes in val/, which no training has seen.

Per run: top-1 on those and on the held-out ones, how far the last epoch lies below the best one (held-out, in points),
and how often the rate fell back. The last lines have means and spread of each kind; the share of the errors of another
way that the default does not make, its time as a share of theirs, and how often it is better.

A body that was trained on some of the classes is tried on the others: --from-class.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from itertools import combinations
from pathlib import Path

from photos import PAIRS, PHOTOS, Photos, parted

from resnets import machine
from resnets.weights.runlog import read_log

SCRATCH, HEAD, DEFAULT = "from scratch", "head alone", "default"
WAYS = {SCRATCH: ["--weights", "none"], HEAD: ["--recipe", "probe"], DEFAULT: []}
KINDS = {"5 x 20": (5, 20), "5 x 50": (5, 50), f"2 x {PHOTOS}": (2, PHOTOS)}
SUBSETS = 5
ENTRY = '[[weights]]\ntag = "body"\naddress = {address}\nauto = true\n'
CAFFE = 'image_size = 224\nresize_to = 256\nchannels = "BGR"\nmean = [104, 117, 123]\nstd = [1, 1, 1]\nlevels = 255\n'
# how open_nsfw's own script prepares pictures, which stands in no file of it


def sets(count, kind, first, subsets):
    """(classes, photos of each, seed) of these subsets of a kind, of classes from `first` to `count`."""
    classes, images = KINDS[kind]
    pairs = PAIRS if first == 0 else list(combinations(range(first, count), 2))[::2]
    for number in subsets:
        near = [first + (2 * number + i) % (count - first) for i in range(classes)]
        yield tuple(pairs[number]) if classes == 2 else tuple(near), images, number


def command(verb, *words, home):
    """Run a verb with its own cache; returns (its JSON document, wall time in seconds)."""
    began = time.perf_counter()
    line = [sys.executable, "-m", "resnets", verb, *map(str, words), "--json"]
    environment = {**os.environ, "RESNETS_HOME": str(home), "RESNETS_OFFLINE": "1"}
    done = subprocess.run(line, check=True, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, env=environment)
    return json.loads(done.stdout), time.perf_counter() - began


def row(place, way, photos, test, body, more):
    """One training, judged on the photos that nobody has trained on."""
    home, out = place / f"home {way}", place / f"run {way}"
    home.mkdir()
    entry = ENTRY.format(address=json.dumps(str(body.resolve())))
    (home / "registry.toml").write_text(entry + CAFFE * (body.suffix == ".caffemodel"))
    result, seconds = command("train", photos, *WAYS[way], *more, "--out", out, home=home)
    judged, _ = command("evaluate", out, test, home=home)
    looks = [line["top1"] for line in read_log(out) if "top1" in line] if (out / "log.jsonl").exists() else []
    return {
        "seconds": seconds,
        "top1": judged["top1"],
        "held_out": result["top1"],
        "below": 100 * (max(looks) - looks[-1]) if looks else 0.0,
        "fallbacks": len(result["fallbacks"]),
        "kept": (result["chosen"] or {}).get("kept", "") if way == DEFAULT else "",
    }


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("archive", type=Path, help="a .zip with train/ and val/")
    parser.add_argument("body", type=Path, help="the .caffemodel of open_nsfw beside its deploy.prototxt, or any model")
    parser.add_argument("--kinds", default=",".join(KINDS))
    parser.add_argument("--ways", default=",".join(WAYS))
    parser.add_argument("--subsets", default=",".join(map(str, range(SUBSETS))), help="which of each kind")
    parser.add_argument("--from-class", type=int, default=0)
    own, more = parted(sys.argv[1:])  # what stands behind -- goes to `resnets train`
    arguments = parser.parse_args(own)
    print(json.dumps(machine.describe()))
    photos, rows, ways = Photos(arguments.archive), [], arguments.ways.split(",")
    subsets = [int(number) for number in arguments.subsets.split(",")]
    print("| set | classes | way | seconds | top-1 unseen | held out | below its best | fallbacks | kept |")
    print("| --- | --- | --- | ---: | ---: | ---: | ---: | ---: | --- |")
    for kind in arguments.kinds.split(","):
        for chosen, images, seed in sets(len(photos.classes), kind, arguments.from_class, subsets):
            with tempfile.TemporaryDirectory() as temporary:
                parts = photos.cut(temporary, chosen, images, seed)
                for way in ways:
                    found = row(Path(temporary), way, *parts, arguments.body, more)
                    rows.append({"kind": kind, "seed": seed, "way": way, **found})
                    print(
                        f"| {kind} | {chosen} | {way} | {found['seconds']:.0f} | {found['top1']:.2%} | "
                        f"{found['held_out']:.2%} | {found['below']:.1f} | {found['fallbacks']} | {found['kept']} |",
                        flush=True,
                    )
        summary(kind, [one for one in rows if one["kind"] == kind], ways)


def summary(kind, rows, ways):
    """Means and spread of a kind, and the ways beside each other, set by set."""
    by_way = {way: [one for one in rows if one["way"] == way] for way in ways}
    for way, own in by_way.items():
        top1 = [one["top1"] for one in own]
        print(
            f"{kind}, {way}: n={len(own)}, top-1 {statistics.mean(top1):.2%} ({min(top1):.2%} to {max(top1):.2%}), "
            f"below its best {statistics.mean(one['below'] for one in own):.1f} points, "
            f"fallbacks {sum(one['fallbacks'] for one in own)}"
        )
    for other in (SCRATCH, HEAD):
        if other in by_way and DEFAULT in by_way:
            both = list(zip(by_way[other], by_way[DEFAULT], strict=True))
            gone = [1 - (1 - b["top1"]) / (1 - a["top1"]) for a, b in both if a["top1"] < 1] or [0.0]
            better, worse = (sum(sign * (b["top1"] - a["top1"]) > 0 for a, b in both) for sign in (1, -1))
            time_ = [b["seconds"] / a["seconds"] for a, b in both]
            print(
                f"{kind}, default against {other}: better in {better} and worse in {worse} of {len(both)}, errors gone "
                f"{min(gone):.0%} to {max(gone):.0%}, time {min(time_):.3f} to {max(time_):.3f}",
                flush=True,
            )


if __name__ == "__main__":
    main()
