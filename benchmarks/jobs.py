"""Whole jobs, from files to a judged network: `resnets train` beside plain.py, each from its start to its end.

    python benchmarks/jobs.py imagenette.zip cifar10.zip --rounds 3

The same files in the same folders, the same network, image size, batch and number of epochs, random weights, every
epoch judged on the held-out pictures. A side's time is that of its process: Python's start, reading and decoding into
an empty cache, epochs, judging; for ours calibration, model file and report besides. Sides take turns. What plain.py
needs stands there.
"""

import argparse
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
import zipfile
from pathlib import Path

from photos import Photos

from resnets import machine

HERE = Path(__file__).parent
PHOTOS, HELD_OUT = 150, 30  # of each class
CASES = {  # name: (model, image size, batch, epochs, words for `resnets train`)
    "resnet18": ("resnet18", 224, 64, 3, ["--set", "min_steps=0"]),
    "resnet50": ("resnet50", 224, 32, 3, ["--set", "min_steps=0"]),
    "resnet20": ("resnet20", 32, 128, 1, ["--recipe", "paper-cifar"]),
}
CIFAR = "resnet20"


def photos(archive, folder):
    """Lay out train/ and val/ with so many photos of each class; returns (folder, name of what is held out)."""
    source = Photos(archive)
    whole, rest = source.cut(folder / "drawn", range(len(source.classes)), PHOTOS, seed=0)
    for label in rest.iterdir():
        for file in sorted(label.iterdir())[HELD_OUT:]:
            file.unlink()
    made = folder / "photos"
    made.mkdir()
    shutil.move(whole, made / "train")
    shutil.move(rest, made / "val")
    return made, "val"


def cifar(archive, folder):
    """Unpack an archive of train/ and test/; returns (folder, name of what is held out)."""
    with zipfile.ZipFile(archive) as file:
        file.extractall(folder / "cifar")
    return folder / "cifar", "test"


def timed(command, **environment):
    """(wall time in seconds, what it printed)."""
    began, line = time.perf_counter(), [*map(str, command)]
    quiet = {"stdout": subprocess.PIPE, "stderr": subprocess.DEVNULL}
    done = subprocess.run(line, check=True, env=os.environ | environment, **quiet)
    return time.perf_counter() - began, done.stdout.decode()


def plain(case, data, held_out, place):
    """(seconds, top-1) of the tutorials' way."""
    model, size, batch, epochs, _ = CASES[case]
    words = ["--held-out", held_out, "--model", model, "--image-size", size, "--batch-size", batch, "--epochs", epochs]
    seconds, printed = timed([sys.executable, HERE / "plain.py", data, *words])
    return seconds, json.loads(printed.splitlines()[-1])["top1"]


def ours(case, data, held_out, place):
    """(seconds, top-1) of ours."""
    model, size, batch, epochs, more = CASES[case]
    words = ["--weights", "none", "--model", model, "--image-size", size, "--epochs", epochs, *more]
    words += ["--set", f"batch_size={batch}", "--out", place / "run", "--json"]
    command = [sys.executable, "-m", "resnets", "train", data, *words]
    seconds, printed = timed(command, RESNETS_HOME=str(place / "home"))
    return seconds, json.loads(printed)["top1"]


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("photos", type=Path, help="a .zip with train/ and val/")
    parser.add_argument("cifar", type=Path, help="a .zip with train/ and test/")
    parser.add_argument("--cases", nargs="+", default=list(CASES), choices=list(CASES))
    parser.add_argument("--rounds", type=int, default=3)
    arguments = parser.parse_args()
    print(json.dumps(machine.describe()))
    print("| network | plain script, s | resnets train, s | ratio | top-1 of both |")
    print("| --- | ---: | ---: | ---: | ---: |")
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        places = {}
        for case in arguments.cases:
            lay, archive = (cifar, arguments.cifar) if case == CIFAR else (photos, arguments.photos)
            if lay not in places:
                places[lay] = lay(archive, folder)
            found = {plain: [], ours: []}
            for number in range(arguments.rounds):
                for side, runs in found.items():
                    with tempfile.TemporaryDirectory(dir=folder) as place:
                        runs.append(side(case, *places[lay], Path(place)))
                    print(f"{case}, round {number}, {side.__name__}: {runs[-1]}", file=sys.stderr, flush=True)
            seconds = {side: [one for one, _ in runs] for side, runs in found.items()}
            top1 = [statistics.mean(one for _, one in runs) for runs in found.values()]
            ratios = [a / b for a, b in zip(seconds[plain], seconds[ours], strict=True)]
            middle = [f"{statistics.median(runs):.0f}" for runs in seconds.values()]
            spread = f"{statistics.median(ratios):.2f} ({min(ratios):.2f} to {max(ratios):.2f})"
            print(f"| {case} | {' | '.join(middle)} | {spread} | {top1[0]:.1%}, {top1[1]:.1%} |", flush=True)


if __name__ == "__main__":
    main()
