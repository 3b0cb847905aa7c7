"""The real frameworks, each in a virtual environment of its own, made once and kept.

    python tests/parity/environments.py            # make all of them
    python tests/parity/environments.py caffe timm # or some

They lie in the folder that RESNETS_PARITY_HOME names (default ~/.cache/resnets/parity), one folder each. A
stamp beside a finished one holds what it was made of: the same pins again cost nothing, other pins make it
anew. pip is used as the user has set it up.
"""

from __future__ import annotations

import functools
import json
import os
import shutil
import subprocess
import sys
import venv
from dataclasses import asdict, dataclass
from pathlib import Path

TORCH = ("torch==2.13.0", "numpy==2.4.6")


@dataclass(frozen=True)
class Environment:
    """What one environment is made of.

    packages    installed with what they need
    bare        installed without: torchvision's wheels ask for one exact build of torch, which need not be the
                CPU build that is there, and timm asks for torchvision
    python      the version of Python, or None for the one that runs this
    """

    packages: tuple[str, ...]
    bare: tuple[str, ...] = ()
    python: str | None = None


ENVIRONMENTS = {
    "caffe": Environment(("kendryte-caffe==1.0.0.20210829", "protobuf==3.20.3", "numpy==1.23.5"), python="3.8"),
    "opencv": Environment(("opencv-python-headless==4.14.0.94", "numpy==2.4.6")),
    "slim": Environment(("tensorflow-cpu==2.21.0", "tf-keras==2.21.0", "tf-slim==1.1.0")),
    "keras": Environment(("keras==3.15.1", "h5py==3.16.0", *TORCH)),
    "torchvision": Environment((*TORCH, "pillow==13.0.0", "safetensors==0.8.0"), bare=("torchvision==0.28.0",)),
    "timm": Environment(
        (*TORCH, "pillow==13.0.0", "safetensors==0.8.0", "huggingface_hub==2.4.0", "pyyaml==6.0.3"),
        bare=("torchvision==0.28.0", "timm==1.0.31"),
    ),
    "onnx": Environment(
        (
            *TORCH,
            "pillow==13.0.0",
            "pyyaml==6.0.3",
            "safetensors==0.8.0",
            "huggingface_hub==2.4.0",
            "onnxscript==0.7.2",
            "onnx==1.23.2",
        ),
        bare=("torchvision==0.28.0", "timm==1.0.31"),
    ),
    "layouts": Environment(
        (
            *TORCH,
            *("pillow==13.0.0", "pyyaml==6.0.3", "safetensors==0.8.0", "huggingface_hub==2.4.0", "six==1.17.0"),
            *("lightning==2.6.6", "python-fasthtml==0.14.14", "ipython==9.18.1", "opencv-python-headless==5.0.0.93"),
            *("tensorboard==2.21.0", "tensorboardX==2.6.5", "imageio==2.38.1", "scipy==1.17.1"),
            *("matplotlib==3.11.2", "pandas==3.1.1", "scikit-learn==1.9.1", "importlib_metadata==10.2.0"),
            *("platformdirs==4.14.8", "gdown==6.5.1"),
            *("model-index==0.1.11", "rich==15.0.0", "einops==0.8.2", "addict==2.4.0", "yapf==0.43.0", "mat4py==0.6.0"),
            *("termcolor==3.3.0", "munch==4.0.0", "h5py==3.16.0", "cloudpickle==3.1.3", "dill==0.4.1"),
            *("tqdm==4.70.1", "requests==2.34.2"),
        ),
        bare=(
            *("torchvision==0.28.0", "timm==1.0.31", "fastai==2.8.12", "fastcore==2.2.41", "fastdownload==0.0.8"),
            *("fastprogress==1.1.6", "fasttransform==0.0.5", "plum-dispatch==2.10.1", "beartype==0.23.1"),
            *("pretrainedmodels==0.7.4", "pytorchcv==0.0.74", "segmentation-models-pytorch==0.6.0"),
            *("lightly==1.6.0", "d2l==1.0.3", "robustness==1.2.1.post2", "cox==0.2", "mmpretrain==1.2.0"),
            *("mmengine==0.10.7", "mmcv-lite==2.2.0", "modelindex==0.0.2", "torchreid==0.2.5"),
        ),
    ),
    "tf2onnx": Environment(("tensorflow-cpu==2.21.0", "keras==3.15.1", "tf2onnx==1.17.0", "onnx==1.23.2")),
    "transformers": Environment(("transformers==5.23.0", "safetensors==0.8.0", *TORCH)),
}

SHARED = {
    "tf_keras": "slim",
    "keras_early": "keras",
    "keras_source": "keras",
}  # workers that run in the environment of another


class Unavailable(Exception):
    """This machine lacks something that pip cannot install; the message says what."""


def home() -> Path:
    """The folder of all environments and of the figures of the last run."""
    return Path(os.environ.get("RESNETS_PARITY_HOME") or Path.home() / ".cache" / "resnets" / "parity")


def python_of(name: str) -> Path:
    """The Python of a framework's environment, which is made first if it is not there (minutes, once).

    Raises Unavailable when its Python is missing and subprocess.CalledProcessError when pip fails.
    """
    name = SHARED.get(name, name)
    wanted = ENVIRONMENTS[name]
    folder = home() / name
    python, stamp = folder / "bin" / "python", folder / "made-of.json"
    recipe = json.dumps(asdict(wanted))
    if stamp.is_file() and stamp.read_text() == recipe:
        return python
    shutil.rmtree(folder, ignore_errors=True)
    if wanted.python:
        subprocess.run([interpreter(wanted.python), "-m", "venv", folder], check=True)
    else:
        venv.create(folder, with_pip=True, symlinks=True)
    pip = [python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    subprocess.run([*pip, *wanted.packages], check=True)
    if wanted.bare:
        subprocess.run([*pip, "--no-deps", *wanted.bare], check=True)
    stamp.write_text(recipe)
    return python


@functools.cache
def interpreter(version: str) -> Path:
    """A Python of this version that runs: on the PATH, or one of pyenv's. Raises Unavailable."""
    candidates = [shutil.which(f"python{version}")]
    if pyenv := shutil.which("pyenv"):
        root = subprocess.run([pyenv, "root"], capture_output=True, text=True).stdout.strip()
        candidates += sorted(Path(root, "versions").glob(f"{version}.*/bin/python{version}"))
    for candidate in filter(None, candidates):  # pyenv puts commands on the PATH that only say where to look
        if subprocess.run([candidate, "--version"], capture_output=True).returncode == 0:
            return Path(candidate)
    raise Unavailable(f"Python {version} is not here: put python{version} on the PATH, or `pyenv install {version}`")


if __name__ == "__main__":
    for environment in sys.argv[1:] or ENVIRONMENTS:
        print(environment, python_of(environment), flush=True)
