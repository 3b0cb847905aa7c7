"""Top-1 after the same wall time: `resnets train` against a plain PyTorch script (plain.py), same network and files.

    python benchmarks/same_time.py imagenette.zip --plain-epochs 3 --our-epochs 10

The plain script goes first and its whole wall time, from the start of the process to its end, is the budget. Ours
then runs the number of epochs given; its wall time is measured in the same way, from an empty cache. The table says
so when it took longer. Unpacking the archive for the plain script is not counted.
"""

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
import zipfile
from pathlib import Path

from resnets import machine

HERE = Path(__file__).parent


def run(command, log, **environment):
    """Run a command; returns its wall time in seconds. What it prints goes to a file."""
    began = time.perf_counter()
    with log.open("w") as file:
        subprocess.run(command, check=True, stdout=file, stderr=subprocess.STDOUT, env={**os.environ, **environment})
    return time.perf_counter() - began


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("archive", type=Path, help="a .zip with train/ and val/")
    parser.add_argument("--model", default="resnet18")
    parser.add_argument("--image-size", default="128")
    parser.add_argument("--plain-epochs", default="3")
    parser.add_argument("--our-epochs", default="10")
    parser.add_argument("--plain-log", type=Path, help="what plain.py printed before on this machine; not run again")
    parser.add_argument("--out", type=Path, default=Path("runs/same-time"))
    arguments = parser.parse_args()
    out = arguments.out
    out.mkdir(parents=True)

    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary) / "data"
        with zipfile.ZipFile(arguments.archive) as archive:
            archive.extractall(folder)
        network = ["--model", arguments.model, "--image-size", arguments.image_size]
        plain = [sys.executable, str(HERE / "plain.py"), str(folder), *network, "--epochs", arguments.plain_epochs]
        if arguments.plain_log:
            shutil.copy(arguments.plain_log, out / "plain.jsonl")
            # What the script itself counted, without the seconds in which Python and torch start.
            plain_seconds = json.loads((out / "plain.jsonl").read_text().splitlines()[-1])["elapsed"]
        else:
            plain_seconds = run(plain, out / "plain.jsonl")
        ours = [sys.executable, "-m", "resnets", "train", str(arguments.archive), *network, "--weights", "none"]
        ours += ["--epochs", arguments.our_epochs, "--set", "evaluate_every=2", "--out", str(out / "run")]
        our_seconds = run(ours, out / "ours.txt", RESNETS_HOME=str(Path(temporary) / "home"))

    plain_lines = [json.loads(line) for line in (out / "plain.jsonl").read_text().splitlines() if line.startswith("{")]
    our_lines = [json.loads(line) for line in (out / "run" / "log.jsonl").read_text().splitlines()]
    result = json.loads((out / "run" / "run.json").read_text())["result"]
    table = {
        "machine": machine.describe(),
        "network": arguments.model,
        "image_size": int(arguments.image_size),
        "plain": {"epochs": len(plain_lines), "seconds": plain_seconds, "top1": plain_lines[-1]["top1"]},
        "resnets": {"epochs": result["epochs"], "seconds": our_seconds, "top1": result["top1"]},
        "points": 100 * (result["top1"] - plain_lines[-1]["top1"]),
        "within_the_time": our_seconds <= plain_seconds,
        "plain_curve": [[line["elapsed"], line["top1"]] for line in plain_lines],
        "our_curve": our_curve(our_lines, our_seconds, result["top1"]),
    }
    (out / "same_time.json").write_text(json.dumps(table, indent=1) + "\n")
    print(json.dumps(table, indent=1))
    print(f"| {arguments.model}, {arguments.image_size} pixels | epochs | wall time | top-1 |")
    print("| --- | ---: | ---: | ---: |")
    for who in ("plain", "resnets"):
        row = table[who]
        print(f"| {who} | {row['epochs']} | {row['seconds']:.0f} s | {row['top1']:.2%} |")


def our_curve(lines, seconds, top1):
    """[[seconds since the start of the process, top-1], ...]; what precedes the first step is counted in."""
    epochs = [line for line in lines if line["kind"] == "epoch"]
    trained = sum(line["seconds"] for line in epochs)
    points, elapsed = [], max(0.0, seconds - trained) / 2  # set-up, evaluations and the final judgement around it
    for line in epochs:
        elapsed += line["seconds"]
        if "top1" in line:
            points.append([elapsed, line["top1"]])
    return [*points[:-1], [seconds, top1]]


if __name__ == "__main__":
    main()
