"""Ten photos of one class for each of the other: what does each way to make up for that do to the rare class?

    python benchmarks/imbalance.py imagenette.zip
    python benchmarks/imbalance.py imagenette.zip --weights resnet_50_1by2_nsfw.caffemodel -- --set pays=0

Pairs of classes, 200 photos of the first and 20 of the second. Each way is one `resnets train --set KEY=VALUE` in a
process of its own; what is judged are all photos of both classes in val/, as many of one as of the other (about).

Per run: the recall of the common and of the rare class, and the balanced accuracy, their mean. The last lines have the
means over the pairs, and the differences to the training that makes up for nothing, pair by pair.
"""

import argparse
import json
import statistics
import sys
import tempfile
from pathlib import Path

from photos import PAIRS, Photos, parted
from small import command

from resnets import machine

PLAIN = "as it is"
WAYS = {
    PLAIN: "class_weights=none",
    "weights": "class_weights=balanced",
    "sampler": "sampler=balanced",
    "logits": "logit_adjustment=1",
}
SIZES = (200, 20)


def recalls(place, photos, test, way, words):
    """Name of a class -> its recall, after a training in this way."""
    out, home = place / f"run {way}", place / f"home {way}"
    home.mkdir()
    command("train", photos, *words, "--set", WAYS[way], "--out", out, home=home)
    judged, _ = command("evaluate", out, test, home=home)
    return {row["name"]: row["recall"] for row in judged["per_class"]}


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("archive", type=Path, help="a .zip with train/ and val/")
    parser.add_argument("--weights", default="none", help="the body to start from")
    parser.add_argument("--ways", default=",".join(WAYS))
    parser.add_argument("--pairs", type=int, default=len(PAIRS), help="how many pairs of classes")
    parser.add_argument("--from-class", type=int, default=0, help="the first class of the first pair")
    own, more = parted(sys.argv[1:])  # what stands behind -- goes to `resnets train`
    arguments = parser.parse_args(own)
    print(json.dumps(machine.describe()))
    photos, ways, found = Photos(arguments.archive), arguments.ways.split(","), {}
    words = ["--weights", arguments.weights, *more]
    print("| pair | way | recall, common | recall, rare | balanced |\n| --- | --- | ---: | ---: | ---: |")
    pairs = [pair for pair in PAIRS if pair[0] >= arguments.from_class][: arguments.pairs]
    for seed, pair in enumerate(pairs):
        with tempfile.TemporaryDirectory() as temporary:
            parts = photos.cut(temporary, pair, SIZES, seed)
            for way in ways:
                by_name = recalls(Path(temporary), *parts, way, words)
                common, rare = (by_name[photos.classes[number]] for number in pair)
                found.setdefault(way, []).append((common, rare))
                print(f"| {pair} | {way} | {common:.1%} | {rare:.1%} | {(common + rare) / 2:.1%} |", flush=True)
    for way, rows in found.items():
        balanced = [sum(row) / 2 for row in rows]
        line = f"{way}: n={len(rows)}, rare {statistics.mean(row[1] for row in rows):.1%}, balanced "
        line += f"{statistics.mean(balanced):.1%} ({min(balanced):.1%} to {max(balanced):.1%})"
        if way != PLAIN and PLAIN in found:
            for name, place in (("rare", 1), ("common", 0)):
                gains = [100 * (row[place] - plain[place]) for row, plain in zip(rows, found[PLAIN], strict=True)]
                line += f"; {name} {statistics.mean(gains):+.1f} points ({min(gains):+.1f} to {max(gains):+.1f})"
        print(line)


if __name__ == "__main__":
    main()
