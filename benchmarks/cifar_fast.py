"""How long does `cifar-fast` take for the accuracy of `paper-cifar`? Both on the same files, in turns.

    python benchmarks/cifar_fast.py cifar10.zip

Each recipe has its own network: the paper's ResNet-20, and the WRN-16-2 that the fast one is meant for. The paper's is
reduced to --paper-epochs of its 164, its steps down at one half and three quarters of them.
Every run is one `resnets train` in a process of its own with an empty cache, and its wall time is that of the process.
Top-1 is that of the weights at the end on all test images. With --out the runs are kept, and those that are there are
not made again.
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

PAPER, FAST = "paper-cifar", "cifar-fast"


def run(archive, recipe, words, seed, place):
    """(top-1, wall time in seconds) of a training; the second is kept beside the run."""
    out = place / f"{recipe}-{seed}"
    kept = place / f"{recipe}-{seed}.seconds"
    if not kept.exists():
        home = place / f"home-{recipe}-{seed}"
        _, seconds = command(
            "train", archive, "--recipe", recipe, *words, "--weights", "none", "--seed", seed, "--out", out, home=home
        )
        kept.write_text(repr(seconds))
    return json.loads((out / "run.json").read_text())["result"]["top1"], float(kept.read_text())


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("archive", type=Path, help="a .zip with train/ and test/")
    parser.add_argument("--paper-model", default="resnet20")
    parser.add_argument("--fast-model", default="wrn_16_2")
    parser.add_argument("--paper-epochs", type=int, default=40)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--out", type=Path, help="a folder that keeps the runs")
    own, more = parted(sys.argv[1:])  # what stands behind -- goes to the fast one
    arguments = parser.parse_args(own)
    print(json.dumps(machine.describe()))
    ways = {
        PAPER: ["--model", arguments.paper_model, "--epochs", arguments.paper_epochs],
        FAST: ["--model", arguments.fast_model, *more],
    }
    found = {recipe: [] for recipe in ways}
    print("| recipe | seed | top-1, % | wall time, s |\n| --- | ---: | ---: | ---: |")
    with tempfile.TemporaryDirectory() as temporary:
        place = arguments.out or Path(temporary)
        for seed in range(arguments.seeds):
            for recipe, words in ways.items():
                once = [*words, "--set", f"evaluate_every={10**6}"]
                top1, seconds = run(arguments.archive, recipe, once, seed, place)
                found[recipe].append((100 * top1, seconds))
                print(f"| {recipe} | {seed} | {100 * top1:.2f} | {seconds:.0f} |", flush=True)
    for recipe, runs in found.items():
        top1 = [one for one, _ in runs]
        print(f"{recipe}: {statistics.mean(top1):.2f} % ({min(top1):.2f} to {max(top1):.2f}), n = {len(runs)}")
    share = statistics.median(b / a for (_, a), (_, b) in zip(found[PAPER], found[FAST], strict=True))
    print(f"time of {FAST}: {share:.3f} = 1/{1 / share:.1f} of {PAPER}'s")


if __name__ == "__main__":
    main()
