"""What it costs to read anybody's weights: seconds and memory for a ResNet-50 of 100 MB in every dialect.

    python benchmarks/convert.py [--rounds 3]

Each dialect's file is written by this library from the same random weights (its equality with what the real
frameworks write is the parity tests' business), then converted to a model file by a fresh process. Memory is
that process's peak above what it holds once torch is imported, and in all once the file is read; seconds are the
conversion's own, without the start of Python and torch.
"""

from __future__ import annotations

import argparse
import json
import platform
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

import torch

import resnets
from resnets.data.preprocess import Preprocessing
from resnets.inference import as_classifier
from resnets.inference.export import write as export
from resnets.weights import Model, save
from resnets.weights.convert import write

FILES = {
    "resnets": ("resnet50", "model.safetensors"),
    "torchvision": ("resnet50", "torchvision.pth"),
    "torchvision (safetensors)": ("resnet50", "torchvision.safetensors"),
    "timm": ("resnet50", "timm"),
    "huggingface": ("resnet50", "huggingface"),
    "caffe": ("caffe_resnet50", "caffe.caffemodel"),
    "tf_slim": ("slim_resnet_v1_50", "slim.ckpt"),
    "keras": ("keras_resnet50", "keras.weights.h5"),
    "keras (legacy)": ("keras_resnet50", "keras.h5"),
    "tutorial": ("tutorial_resnet18", "tutorial.pth"),
    "onnx": ("resnet50", "exported.onnx"),
}
WORKER = """
import json, sys, time
from pathlib import Path
import torch

def held(what):
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(what))

Path("/proc/self/clear_refs").write_text("5")  # the peak so far is forgotten: it was that of importing torch
before = held("VmRSS")
start = time.perf_counter()
from resnets.weights.transfer import open_source
job = open_source(sys.argv[1])
read = time.perf_counter() - start
reading = held("VmHWM")
job.check(Path(sys.argv[2]), None, None)
job.write(Path(sys.argv[2]))
both = time.perf_counter() - start
peak = held("VmHWM")
print(json.dumps({"read": read, "convert": both, "megabytes": (peak - before) / 1024, "reading": reading / 1024}))
"""


def make(folder: Path, dialect: str, network: str, name: str) -> Path:
    net = resnets.create(network, seed=0)
    model = Model(net.eval(), tuple(map(str, range(net.plan.num_classes))), Preprocessing.evaluation(224))
    path = folder / name
    if dialect == "resnets":
        save(path, model)
    elif dialect == "onnx":
        export(path, as_classifier(model), precision="float32", raw=True)
    else:
        write(model, path, dialect.partition(" ")[0])
    return path


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=3)
    rounds = parser.parse_args().rounds
    print(
        f"{platform.processor() or platform.machine()}, Python {platform.python_version()}, torch {torch.__version__}"
    )
    print(
        f"{'dialect':26} {'network':18} {'MB':>6} {'read s':>7} {'convert s':>9} {'peak MB':>8} {'reading, in all':>15}"
        f"   medians of {rounds}"
    )
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        for dialect, (network, name) in FILES.items():
            path = make(folder, dialect, network, name)
            parts = [
                p
                for p in folder.rglob("*")
                if p.is_file() and p.relative_to(folder).parts[0].startswith(name.split(".")[0])
            ]
            size = sum(p.stat().st_size for p in parts) / 1e6
            results = []
            for _ in range(rounds):
                command = [sys.executable, "-c", WORKER, str(path), str(folder / "out.safetensors")]
                results.append(json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout))
            middle = {key: statistics.median(result[key] for result in results) for key in results[0]}
            print(
                f"{dialect:26} {network:18} {size:6.0f} {middle['read']:7.2f} {middle['convert']:9.2f} "
                f"{middle['megabytes']:8.0f} {middle['reading']:15.0f}",
                flush=True,
            )
            for part in parts:
                part.unlink()


if __name__ == "__main__":
    main()
