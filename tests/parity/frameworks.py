"""Which real networks are compared, and how a worker is asked for one."""

from __future__ import annotations

import functools
import json
import os
import subprocess
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from environments import python_of

from resnets.weights import convert
from resnets.weights.model import Model

WORKERS = Path(__file__).parent / "workers"
THREADS = "2"


@dataclass(frozen=True)
class Framework:
    """One real framework.

    name        of its worker
    dialect     what resnets calls its files
    networks    by the framework's own names; the first is the one that rules are broken in
    sizes       224 and an odd one, as far as the network takes it
    written     what resnets writes for it, each a path in an empty folder
    others      further frameworks that read the same files
    """

    name: str
    dialect: str
    networks: tuple[str, ...]
    written: tuple[str, ...]
    sizes: tuple[int, int] = (224, 193)
    others: tuple[str, ...] = ()


FRAMEWORKS = (
    Framework(
        "torchvision",
        "torchvision",
        ("resnet50", "resnet101", "resnet18", "resnext50_32x4d", "wide_resnet50_2"),
        ("model.pth", "model.safetensors"),
    ),
    Framework("timm", "timm", ("resnet50", "resnet101", "resnet50d", "resnetv2_50", "resnext50_32x4d"), ("hub",)),
    Framework("transformers", "huggingface", ("resnet-50", "resnet-101", "resnet-18", "resnet-50-v1"), ("pretrained",)),
    # Caffe's last pool has 7x7 pixels, so that the last stage must: 217 is odd all the way down to it.
    Framework(
        "caffe", "caffe", ("ResNet-50", "ResNet-101"), ("model.caffemodel",), sizes=(224, 217), others=("opencv",)
    ),
    Framework("slim", "tf_slim", ("resnet_v1_50", "resnet_v1_101", "resnet_v2_50", "resnet_v2_101"), ("model.ckpt",)),
    Framework(
        "keras", "keras", ("ResNet50", "ResNet101", "ResNet50V2", "ResNet101V2"), ("model.weights.h5", "model.h5")
    ),
    Framework("tf_keras", "keras", ("ResNet50", "ResNet50V2"), ("model.h5",)),
)


class Made:
    """What a framework made: its files, images and logits, and the model that resnets reads from the first file."""

    def __init__(self, framework: Framework, network: str, folder: Path) -> None:
        self.framework, self.network, self.folder = framework, network, folder
        work(framework.name, "make", network, ",".join(map(str, framework.sizes)), folder)
        made = json.loads((folder / "made.json").read_text())
        self.files = {container: Path(path) for container, path in made.items()}

    def io(self, size: int) -> tuple[np.ndarray, np.ndarray]:
        """(images (2, 3, size, size), the framework's logits (2, classes))."""
        io = np.load(self.folder / f"io_{size}.npz")
        return io["x"], io["logits"]

    def run(self, path: Path, framework: str) -> dict[int, np.ndarray]:
        """The logits that a framework gives with a file, by the images' size."""
        sizes = self.framework.sizes
        work(framework, "run", path, self.network, ",".join(map(str, sizes)), self.folder)
        return {size: np.load(self.folder / f"result_{size}.npz")["logits"] for size in sizes}

    @functools.cached_property
    def model(self) -> Model:
        return convert.read(next(iter(self.files.values())))

    @functools.cached_property
    def ours(self) -> dict[int, np.ndarray]:
        """The logits of resnets with the first file, by the images' size."""
        return {size: logits_of(self.model.network, self.io(size)[0]) for size in self.framework.sizes}


def logits_of(network: torch.nn.Module, x: np.ndarray) -> np.ndarray:
    torch.set_num_threads(int(THREADS))
    with torch.no_grad():
        return network(torch.from_numpy(x)).numpy()


def work(framework: str, *arguments: str | Path) -> None:
    """Run a framework's worker in its environment. Raises AssertionError with what it said when it fails."""
    settings = {"OMP_NUM_THREADS": THREADS, "MKL_NUM_THREADS": THREADS, "HF_HUB_OFFLINE": "1"}
    command = [python_of(framework), WORKERS / f"{framework}_worker.py", *arguments]
    done = subprocess.run(
        [str(word) for word in command], env={**os.environ, **settings}, capture_output=True, text=True
    )
    assert done.returncode == 0, f"{' '.join(map(str, command[1:]))}\n{done.stderr[-3000:]}"
