"""Top-1 after the same wall time: `resnets train` beside timm's train.py, torchvision's reference and a plain script.

    python benchmarks/peers.py imagenette.zip --timm TIMM/train.py --torchvision VISION/train.py
    python benchmarks/peers.py imagenette.zip --timm TIMM/train.py --sides resnets,timm --minutes 30 --seeds 1

The same files, the same network, random weights, the processor alone, everybody's own defaults: schedule, rate, batch,
augmentation. Ours is `resnets train --minutes M`, from an empty cache. The others are told epochs, not minutes: each
gets the whole number of epochs whose time is nearest to M minutes, by a first run of one epoch. A schedule with a
length of its own (torchvision's steps of 30 of 90 epochs, timm's warm-up of 5 of 300) keeps its shares of that. Wall
time is that of the process, from its start to its end, judging on val/ included, and is printed; unpacking the archive
for the others is not counted. Sides take turns. A result that --out has already is not measured again, so that the
whole can be done in parts. The others need torchvision and timm beside a CPU torch (plain.py says how to import them),
and their scripts: train.py of timm's repository, references/classification/train.py of torchvision's.
"""

import argparse
import csv
import json
import os
import re
import statistics
import subprocess
import sys
import tempfile
import time
import zipfile
from pathlib import Path

from resnets import machine

HERE = Path(__file__).parent
OURS = "resnets"


class Sides:
    """Who is compared: how each is called, and where its answer stands."""

    def __init__(self, arguments, data):
        self.arguments, self.data = arguments, data
        self.network = ["--model", arguments.model]

    def resnets(self, place, seed, minutes):
        """Minutes are ours to keep."""
        size, out = self.arguments.image_size, place / "run"
        words = ["--weights", "none", "--image-size", size, "--minutes", minutes, "--seed", seed, "--out", out]
        command = [sys.executable, "-m", "resnets", "train", self.arguments.archive, *self.network, *words]
        seconds = timed(command, place, RESNETS_HOME=str(place / "home"))
        result = json.loads((out / "run.json").read_text())["result"]
        log = [json.loads(line) for line in (out / "log.jsonl").read_text().splitlines()]
        looks = [line["top1"] for line in log if line["kind"] == "epoch" and "top1" in line]
        return seconds, result["top1"], [*looks[:-1], result["top1"]], result["epochs"]

    def plain(self, place, seed, epochs):
        """One JSON line an epoch."""
        size = self.arguments.image_size
        words = ["--image-size", size, "--epochs", epochs, "--seed", seed]
        seconds = timed([sys.executable, HERE / "plain.py", self.data, *self.network, *words], place)
        lines = [json.loads(line) for line in log_of(place).splitlines() if line.startswith("{")]
        return seconds, lines[-1]["top1"], [line["top1"] for line in lines], epochs

    def torchvision(self, place, seed, epochs):
        """It prints what it found after each epoch, and takes no seed: its runs differ by themselves."""
        size = self.arguments.image_size
        words = ["--data-path", self.data, "--device", "cpu", "--workers", 2, "--epochs", epochs]
        words += ["--lr-step-size", max(1, epochs // 3), "--output-dir", place]
        words += ["--train-crop-size", size, "--val-crop-size", size, "--val-resize-size", round(size * 256 / 224)]
        script = self.arguments.torchvision
        seconds = timed([sys.executable, script, *self.network, *words], place, PYTHONPATH=str(script.parent))
        found = [float(value) / 100 for value in re.findall(r"Test:  Acc@1 ([\d.]+)", log_of(place))]
        return seconds, found[-1], found, epochs

    def timm(self, place, seed, epochs):
        """It writes summary.csv."""
        size = self.arguments.image_size
        words = ["--data-dir", self.data, "--val-split", "val", "--num-classes", 10, "--device", "cpu", "--workers", 2]
        words += ["--img-size", size, "--epochs", epochs, "--warmup-epochs", round(epochs * 5 / 300), "--seed", seed]
        words += ["--output", place, "--experiment", "run"]
        seconds = timed([sys.executable, self.arguments.timm, *self.network, *words], place)
        with (place / "run" / "summary.csv").open() as file:
            found = [float(row["eval_top1"]) / 100 for row in csv.DictReader(file)]
        return seconds, found[-1], found, epochs


def timed(command, place, **environment):
    """Run a command; returns its wall time in seconds. What it prints goes to log.txt."""
    began = time.perf_counter()
    paths = os.pathsep.join(filter(None, (environment.pop("PYTHONPATH", ""), os.environ.get("PYTHONPATH", ""))))
    environment = {**os.environ, **environment, "PYTHONPATH": paths}
    with (place / "log.txt").open("w") as file:
        subprocess.run([*map(str, command)], check=True, stdout=file, stderr=subprocess.STDOUT, env=environment)
    return time.perf_counter() - began


def log_of(place):
    """What a run printed."""
    return (place / "log.txt").read_text()


class Results:
    """What was measured so far, one JSON line each, on this disk."""

    def __init__(self, path):
        self.path = path
        self.lines = [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []

    def find(self, **about):
        """The line that is about this, or None."""
        return next((line for line in self.lines if about.items() <= line.items()), None)

    def keep(self, line):
        """Write a line down."""
        self.lines.append(line)
        with self.path.open("a") as file:
            file.write(json.dumps(line) + "\n")

    def take(self, side, seed, minutes, epochs, measure):
        """The line of a run, which is measured now if it is not there."""
        about = {"side": side, "seed": seed, "minutes": minutes}
        if (line := self.find(**about)) is None:
            with tempfile.TemporaryDirectory() as temporary:
                seconds, top1, looks, epochs = measure(Path(temporary), seed, epochs)
            line = {**about, "epochs": epochs, "seconds": seconds, "top1": top1, "looks": looks}
            self.keep(line)
        print(f"{side}, seed {seed}: {line['epochs']} epochs, {line['seconds']:.0f} s, {line['top1']:.2%}", flush=True)
        return line


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("archive", type=Path, help="a .zip with train/ and val/")
    parser.add_argument("--model", default="resnet18")
    parser.add_argument("--image-size", type=int, default=128)
    parser.add_argument("--minutes", type=float, default=10)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--sides", default="resnets,timm,torchvision,plain")
    parser.add_argument("--timm", type=Path, help="timm's train.py")
    parser.add_argument("--torchvision", type=Path, help="torchvision's references/classification/train.py")
    parser.add_argument("--out", type=Path, default=Path("runs/peers"))
    arguments = parser.parse_args()
    arguments.out.mkdir(parents=True, exist_ok=True)
    results, minutes = Results(arguments.out / "results.jsonl"), arguments.minutes
    with tempfile.TemporaryDirectory() as temporary, zipfile.ZipFile(arguments.archive) as archive:
        archive.extractall(temporary)
        sides = Sides(arguments, Path(temporary))
        epochs = {OURS: minutes}
        for side in arguments.sides.split(","):
            if side != OURS:
                one = results.take(side, 0, 0, 1, getattr(sides, side))  # one epoch, to know how long it takes
                epochs[side] = max(1, round(60 * minutes / one["seconds"]))
                if epochs[side] == 1 and not results.find(side=side, seed=0, minutes=minutes):
                    results.keep({**one, "minutes": minutes})  # the first run was of that length
        for seed in range(arguments.seeds):
            for side in arguments.sides.split(","):
                results.take(side, seed, minutes, epochs[side], getattr(sides, side))
    print(json.dumps(machine.describe()))
    print(f"| {arguments.model}, {arguments.image_size} pixels | n | epochs | wall time | top-1 | lowest and highest |")
    print("| --- | ---: | ---: | ---: | ---: | ---: |")
    for side in arguments.sides.split(","):
        lines = [line for line in results.lines if (line["side"], line["minutes"]) == (side, minutes)]
        top1, seconds = ([line[key] for line in lines] for key in ("top1", "seconds"))
        known = ", ".join(sorted({str(line["epochs"]) for line in lines}))
        means = f"{statistics.mean(seconds):.0f} s | {statistics.mean(top1):.2%}"
        print(f"| {side} | {len(lines)} | {known} | {means} | {min(top1):.2%} to {max(top1):.2%} |")


if __name__ == "__main__":
    main()
