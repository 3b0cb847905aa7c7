"""Our recipes beside Imagenette's public leaderboard: random weights, 128 pixels, judged as the photos are.

    python benchmarks/leaderboard.py imagenette.zip --epochs 5 --seeds 5
    python benchmarks/leaderboard.py imagenette.zip --epochs 20 --seeds 1

The leaderboard (fastai/imagenette on GitHub, its README) has 85.77 % for 5 and 91.57 % for 20 epochs, means of 5 runs.
Each of ours is one `resnets train` in a process of its own, whose top-1 is that of the weights at the end on all of
val/: one view of each photo, no choice by it. The photos of the archive at hand were recompressed, which theirs were
not. With --out the runs are kept, and those that are there are not made again. What follows -- goes to `resnets train`.
"""

import argparse
import json
import statistics
import sys
import tempfile
from pathlib import Path

from photos import parted
from small import command

from resnets import machine

THEIRS = {5: 85.77, 20: 91.57}


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("archive", type=Path, help="a .zip with train/ and val/")
    parser.add_argument("--model", default="resnet18d")
    parser.add_argument("--recipe", default="quick")
    parser.add_argument("--epochs", type=int, default=5)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--out", type=Path, help="a folder that keeps the runs")
    own, more = parted(sys.argv[1:])
    arguments = parser.parse_args(own)
    print(json.dumps(machine.describe()))
    words = ["--weights", "none", "--model", arguments.model, "--recipe", arguments.recipe, "--image-size", 128]
    words += ["--epochs", arguments.epochs, *more]
    print("resnets train", arguments.archive.name, *words, flush=True)
    print("| seed | top-1, % | training, s |\n| ---: | ---: | ---: |")
    found = []
    with tempfile.TemporaryDirectory() as temporary:
        place = arguments.out or Path(temporary)
        for seed in range(arguments.seeds):
            run = place / f"{arguments.model}-{arguments.recipe}-{arguments.epochs}-{seed}"
            if not (run / "report.html").exists():  # the last thing that a run writes
                command("train", arguments.archive, *words, "--seed", seed, "--out", run, home=place / "home")
            record = json.loads((run / "run.json").read_text())
            found.append(100 * record["result"]["top1"])
            print(f"| {seed} | {found[-1]:.2f} | {record['result']['seconds']:.0f} |", flush=True)
    spread = f", standard deviation {statistics.stdev(found):.2f}" if len(found) > 1 else ""
    theirs = THEIRS.get(arguments.epochs)
    beside = f"; the leaderboard {theirs} %, {statistics.mean(found) - theirs:+.2f} points" if theirs else ""
    print(f"mean of {len(found)}: {statistics.mean(found):.2f} %{spread}{beside}")


if __name__ == "__main__":
    main()
