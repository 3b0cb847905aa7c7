"""Images per second of one training epoch, from files to weights: ours against plain.py, alternating.

    python benchmarks/cifar_epoch.py cifar10.zip --rounds 3

Ours is opening the archive, decoding every training file into an empty cache, and the epoch; plain is its epoch, in
which two workers decode. Same files, same network (ResNet-20, option A), same image size, same batch of 128. Neither
side's evaluation counts.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

from resnets import machine

HERE = Path(__file__).parent


def plain(folder):
    command = [sys.executable, str(HERE / "plain.py"), str(folder), "--held-out", "test", "--train-only"]
    command += ["--model", "resnet20", "--image-size", "32", "--batch-size", "128", "--epochs", "1"]
    output = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    line = json.loads(output.splitlines()[-1])
    return line["images"] / line["train_seconds"]


def ours(archive, folder):
    command = [sys.executable, "-m", "resnets", "train", str(archive), "--model", "resnet20", "--epochs", "1"]
    command += ["--recipe", "paper-cifar", "--out", str(folder / "run")]  # batches of 128, whole images, no average
    environment = {**os.environ, "RESNETS_HOME": str(folder / "home")}
    subprocess.run(command, check=True, capture_output=True, env=environment)
    record = json.loads((folder / "run" / "run.json").read_text())
    print(record["result"], file=sys.stderr)
    lines = [json.loads(line) for line in (folder / "run" / "log.jsonl").read_text().splitlines()]
    epoch = next(line for line in lines if line["kind"] == "epoch")
    images = round(epoch["images_per_second"] * epoch["seconds"])
    return images / (record["opening_seconds"] + record["decoding"][0]["seconds"] + epoch["seconds"])


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("archive", type=Path, help="a .zip with train/ and test/")
    parser.add_argument("--rounds", type=int, default=3)
    arguments = parser.parse_args()
    figures = {"plain": [], "resnets": []}
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        with zipfile.ZipFile(arguments.archive) as archive:
            archive.extractall(folder / "data")
        for number in range(arguments.rounds):
            figures["plain"].append(plain(folder / "data"))
            figures["resnets"].append(ours(arguments.archive, folder / str(number)))
            print({who: round(values[-1], 1) for who, values in figures.items()}, file=sys.stderr, flush=True)
    medians = {who: statistics.median(values) for who, values in figures.items()}
    ratios = [a / b for a, b in zip(figures["resnets"], figures["plain"], strict=True)]
    print(
        json.dumps(
            {
                "machine": machine.describe(),
                "images_per_second": figures,
                "medians": medians,
                "ratio_of_medians": medians["resnets"] / medians["plain"],
                "ratios": ratios,
            },
            indent=1,
        )
    )


if __name__ == "__main__":
    main()
