"""The memory of `resnets predict` for few files and for many: it should not depend on their number.

    python benchmarks/memory.py [--files 1000 40000]

A random ResNet-18 at 32 pixels names links to one small JPEG, into a parquet; each number of files in a fresh process,
of which the peak resident memory is printed: as the process itself knows it, since what the system tells its parent
(`ru_maxrss`) begins with the parent's own.
"""

import argparse
import os
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
from PIL import Image

import resnets
from resnets.data.preprocess import Preprocessing
from resnets.machine import describe
from resnets.weights import Model, save

PREDICT = """
import sys
from resnets.cli.main import main
code = main(sys.argv[1:])
with open("/proc/self/status") as file:
    print(next(int(line.split()[1]) / 1000 for line in file if line.startswith("VmHWM")), code)
"""


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--files", type=int, nargs="+", default=[1000, 40000])
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder)
        network = resnets.create("resnet18", num_classes=10, seed=0)
        save(place / "model.safetensors", Model(network, tuple("abcdefghij"), Preprocessing.evaluation(32)))
        pixels = np.random.default_rng(0).integers(0, 256, (48, 64, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(place / "photo.jpg")
        print(f"{describe()['processor']}, {describe()['cores']} cores")
        for count in arguments.files:
            photos = place / f"photos{count}"
            photos.mkdir()
            for number in range(count):
                os.link(place / "photo.jpg", photos / f"{number}.jpg")
            words = ["predict", place / "model.safetensors", photos, "--out", place / f"{count}.parquet"]
            command = [sys.executable, "-c", PREDICT, *map(str, words)]
            done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, check=True)
            megabytes, code = done.stdout.split()[-2:]
            print(f"{count:,} files: peak {float(megabytes):.0f} MB, exit status {code}", flush=True)


if __name__ == "__main__":
    main()
