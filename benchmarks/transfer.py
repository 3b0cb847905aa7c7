"""The default command on small sets of photos: from random numbers, and from a body that others have trained.

    python benchmarks/transfer.py imagenette.zip resnet_50_1by2_nsfw.caffemodel

Five fixed pairs of classes, 125 photos each. Every command is a process of its own with an empty cache, whose registry
names the body (`auto = true`), so that the default is the plain `resnets train photos/`; its wall time counts
everything. Each model is judged on all photos of both classes in val/, which no training has seen. "errors gone"
is the share of the errors from scratch that the default does not make; "head alone" is the recipe `probe`.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from photos import PAIRS, PHOTOS, Photos

from resnets import machine

WAYS = {
    "from scratch": ["--weights", "none"],
    "head alone": ["--recipe", "probe"],
    "default": [],
}


def command(verb, *words, home):
    """Run a verb with its own cache; returns (its JSON document, wall time in seconds)."""
    began = time.perf_counter()
    line = [sys.executable, "-m", "resnets", verb, *map(str, words), "--json"]
    environment = {**os.environ, "RESNETS_HOME": str(home), "RESNETS_OFFLINE": "1"}
    done = subprocess.run(line, check=True, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, env=environment)
    return json.loads(done.stdout), time.perf_counter() - began


REGISTRY = """[[weights]]
tag = "body"
address = {address}
image_size = 224
resize_to = 256
channels = "BGR"
mean = [104, 117, 123]
std = [1, 1, 1]
levels = 255
auto = true
"""  # how open_nsfw's own script prepares pictures


def row(place, way, photos, test, body, more):
    """One training, judged on the photos that nobody has trained on."""
    home, out = place / f"home {way}", place / f"run {way}"
    home.mkdir()
    (home / "registry.toml").write_text(REGISTRY.format(address=json.dumps(str(body.resolve()))))
    result, seconds = command("train", photos, *WAYS[way], *more, "--out", out, home=home)
    judged, _ = command("evaluate", out, test, home=home)
    return {
        "way": way,
        "seconds": seconds,
        "top1": judged["top1"],
        "images": judged["images"],
        "held_out": result["top1"],
    }


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("archive", type=Path, help="a .zip with train/ and val/")
    parser.add_argument("body", type=Path, help="the .caffemodel of open_nsfw, beside its deploy.prototxt")
    parser.add_argument("--pairs", type=int, default=len(PAIRS))
    parser.add_argument("--ways", default=",".join(WAYS))
    parser.add_argument("more", nargs="*", help="further words for `resnets train`, behind --")
    arguments = parser.parse_args()
    print(json.dumps(machine.describe()))
    photos, rows = Photos(arguments.archive), []
    print("| classes | way | seconds | top-1 on unseen photos | on those held out |")
    print("| --- | --- | ---: | ---: | ---: |")
    for number, pair in enumerate(PAIRS[: arguments.pairs]):
        with tempfile.TemporaryDirectory() as temporary:
            place = Path(temporary)
            parts = photos.cut(place, pair, PHOTOS, seed=number)
            for way in arguments.ways.split(","):
                found = row(place, way, *parts, arguments.body, arguments.more)
                rows.append({"pair": pair, **found})
                print(
                    f"| {pair} | {way} | {found['seconds']:.0f} | {found['top1']:.2%} of {found['images']} | "
                    f"{found['held_out']:.2%} |",
                    flush=True,
                )
    summary(rows)


def summary(rows):
    """Medians, and the ratios of pairs: n is the number of pairs."""
    ways = {way: [row for row in rows if row["way"] == way] for way in WAYS}
    for way, found in ways.items():
        if found and ways["from scratch"]:
            gone = [1 - (1 - a["top1"]) / (1 - b["top1"]) for a, b in zip(found, ways["from scratch"], strict=True)]
            time_ = [a["seconds"] / b["seconds"] for a, b in zip(found, ways["from scratch"], strict=True)]
            print(
                f"{way}: n={len(found)}, errors gone {min(gone):.0%} to {max(gone):.0%}, "
                f"time {min(time_):.3f} to {max(time_):.3f} of from scratch"
            )


if __name__ == "__main__":
    main()
