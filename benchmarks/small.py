"""Small sets, as most people have them: 5 classes of 20 and of 50 photos, 2 of 125; five subsets of each.

    python benchmarks/small.py imagenette.zip resnet_50_1by2_nsfw.caffemodel

Each set is trained from scratch (`--weights none`, the default before there were bodies) and by the default command
with the body; every model is judged on all photos of its classes in val/. Per run: top-1 on those and on the held-out
ones, how far the last epoch lies below the best one (held-out, in points), and how often the rate fell back. The last
lines have means, spread, and how often the default is better than from scratch.
"""

import argparse
import json
import statistics
import tempfile
from pathlib import Path

from photos import PAIRS, PHOTOS, Photos
from transfer import row

from resnets import machine
from resnets.weights.runlog import read_log

KINDS = {"5 x 20": (5, 20), "5 x 50": (5, 50), f"2 x {PHOTOS}": (2, PHOTOS)}
SUBSETS = 5


def sets(photos, kind):
    """(classes, photos of each, seed) of the subsets of a kind; those of two classes are the pairs of transfer.py."""
    classes, images = KINDS[kind]
    for number in range(SUBSETS):
        chosen = PAIRS[number] if classes == 2 else [(2 * number + i) % len(photos.classes) for i in range(classes)]
        yield chosen, images, number


def below_best(run):
    """(points of held-out top-1 that the last epoch lies below the best, fallbacks); 0 where there are no epochs."""
    found = [line["top1"] for line in read_log(run) if "top1" in line] if (run / "log.jsonl").exists() else []
    fallbacks = json.loads((run / "run.json").read_text())["result"]["fallbacks"]
    return (100 * (max(found) - found[-1]) if found else 0.0), len(fallbacks)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("archive", type=Path, help="a .zip with train/ and val/")
    parser.add_argument("body", type=Path, help="the .caffemodel of open_nsfw, beside its deploy.prototxt")
    parser.add_argument("--kinds", nargs="*", default=list(KINDS))
    parser.add_argument("--ways", nargs="*", default=["from scratch", "default"])
    parser.add_argument("more", nargs="*", help="further words for `resnets train`, behind --")
    arguments = parser.parse_args()
    print(json.dumps(machine.describe()))
    photos, rows = Photos(arguments.archive), []
    print("| set | way | seconds | top-1 unseen | held out | below its best | fallbacks |")
    print("| --- | --- | ---: | ---: | ---: | ---: | ---: |")
    for kind in arguments.kinds:
        for chosen, images, seed in sets(photos, kind):
            with tempfile.TemporaryDirectory() as temporary:
                parts = photos.cut(temporary, chosen, images, seed)
                for way in arguments.ways:
                    found = row(Path(temporary), way, *parts, arguments.body, arguments.more)
                    points, fallbacks = below_best(Path(temporary) / f"run {way}")
                    rows.append({"kind": kind, "seed": seed, **found, "below": points, "fallbacks": fallbacks})
                    print(
                        f"| {kind}, {seed} | {way} | {found['seconds']:.0f} | {found['top1']:.2%} | "
                        f"{found['held_out']:.2%} | {points:.1f} | {fallbacks} |",
                        flush=True,
                    )
    for kind in arguments.kinds:
        for way in arguments.ways:
            own = [one for one in rows if (one["kind"], one["way"]) == (kind, way)]
            top1 = [one["top1"] for one in own]
            print(
                f"{kind}, {way}: n={len(own)}, top-1 {statistics.mean(top1):.2%} ({min(top1):.2%} to {max(top1):.2%}), "
                f"below its best {statistics.mean(one['below'] for one in own):.1f} points, "
                f"fallbacks {sum(one['fallbacks'] for one in own)}"
            )
    pairs = [[one["top1"] for one in rows if one["way"] == way] for way in arguments.ways]
    if len(pairs) == 2:
        print(f"{arguments.ways[1]} is better in {sum(b > a for a, b in zip(*pairs, strict=True))} of {len(pairs[0])}")


if __name__ == "__main__":
    main()
