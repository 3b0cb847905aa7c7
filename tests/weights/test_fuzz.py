"""Every reader answers to every damaged file: with its tensors or with its own error, within 2 s and 1 GB.

500 inputs for each container; `pytest -m slow` reads 20,000, or as many as RESNETS_FUZZ says.
"""

from __future__ import annotations

import importlib
import io
import os
import sys
from argparse import Namespace
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import NamedTuple

import keras_files
import pytest
import torch
from caffe_files import SAVED, recorded, small_pair
from fuzz import Inside, fuzz, read_all, rezipped
from replicas import conv
from safetensors.torch import save
from tensorflow_files import BY_TENSORFLOW, OLD_BY_TENSORFLOW, retabled
from test_structure import Early
from torch import nn

from resnets.errors import ModelFileError
from resnets.weights.formats.onnx_file import open_onnx
from resnets.weights.formats.stored import Foreign
from resnets.weights.formats.torch_file import open_torch
from resnets.weights.recognise import recognise

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="limits the memory of a process as Linux does")


class Container(NamedTuple):
    """make: a good file (or suffix -> content, for a format of several); reader: "module:function" of the library."""

    make: Callable[[], bytes | Mapping[str, bytes]]
    suffix: str
    reader: str
    inside: Inside | None = None


def _state() -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    return {
        "conv1.weight": torch.randn(8, 3, 3, 3, generator=generator),
        "bn1.weight": torch.ones(8, dtype=torch.bfloat16),
        "bn1.num_batches_tracked": torch.tensor(7),
        "fc.weight": torch.randn(8, 10, generator=generator).t()[2:],
        "fc.bias": torch.zeros(10, dtype=torch.float16),
        "mask": torch.ones(3, 0, dtype=torch.bool),
    }


def _torch_zip() -> bytes:
    file = io.BytesIO()
    torch.save({"epoch": 3, "state_dict": _state()}, file)
    return file.getvalue()


def _torch_legacy() -> bytes:
    file = io.BytesIO()
    torch.save({"epoch": 3, "state_dict": _state()}, file, _use_new_zipfile_serialization=False)
    return file.getvalue()


def _torch_modules() -> bytes:
    """A whole network as a module, beside what a training script says of it."""
    file = io.BytesIO()
    network = nn.Sequential(*(conv(3, 4, 7, 2), nn.BatchNorm2d(4), nn.ReLU(), nn.MaxPool2d(3, 2, 1)), *_units())
    said = {"args": Namespace(bn_eps=1e-5, dilation=False), "class_to_idx": {"cat": 0, "dog": 1}}
    torch.save({"model": network, "epoch": 3, **said}, file)
    return file.getvalue()


def _units() -> list[nn.Module]:
    return [Early(4, 4, 1), Early(4, 8, 2), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 2)]


def guessed(path: Path) -> Foreign:
    """A file of torch as its network is recognised, names of classes included; of a table of misfits the first line."""
    file = open_torch(path)
    try:
        found = recognise(file)
    except ModelFileError as refused:
        raise ModelFileError(str(refused).partition("\n")[0]) from refused
    found.dialect.classes(found.file, found.plan.num_classes)
    return found.file


def _onnx() -> bytes:
    onnx_files = pytest.importorskip("onnx_files", reason="needs the package onnx")
    return onnx_files.graph_of(*onnx_files.keras_like(2), ("n", 40, 40, 3)).SerializeToString()


def matched(path: Path) -> Foreign:
    """An ONNX file as its network is recognised; of a table of what differs the first line."""
    try:
        found = recognise(open_onnx(path))
    except ModelFileError as refused:
        raise ModelFileError(str(refused).partition("\n")[0]) from refused
    found.dialect.classes(found.file, found.plan.num_classes)
    return found.file


def _safetensors() -> bytes:
    return save({name: tensor.contiguous() for name, tensor in _state().items()}, {"format": "pt"})


FORMATS, WORLDS = "resnets.weights.formats", "resnets.weights.worlds"
KERAS = {  # made when a test asks for them, as h5py may be missing
    "old": lambda: keras_files.h5(keras_files.full_model),
    "new": lambda: keras_files.h5(keras_files.keras3, libver="latest"),
    "chunked": lambda: keras_files.h5(keras_files.chunked),
    "archive": lambda: keras_files.archive(keras_files.h5(keras_files.keras3), keras_files.config()),
}
CONTAINERS = {
    **{
        f"keras-{kind}": Container(
            make, ".h5", f"{WORLDS}.keras.reader:open_keras", rezipped if kind == "archive" else None
        )
        for kind, make in KERAS.items()
    },
    "caffe": Container(small_pair, ".caffemodel", f"{WORLDS}.caffe.reader:open_caffe"),
    "caffe-alone": Container(lambda: recorded(SAVED), ".caffemodel", f"{WORLDS}.caffe.reader:open_caffe"),
    "torch-zip": Container(_torch_zip, ".pth", f"{FORMATS}.torch_file:open_torch", rezipped),
    "torch-legacy": Container(_torch_legacy, ".pth", f"{FORMATS}.torch_file:open_torch"),
    "torch-modules": Container(_torch_modules, ".pth", "test_fuzz:guessed", rezipped),
    "onnx": Container(_onnx, ".onnx", "test_fuzz:matched"),
    "safetensors": Container(_safetensors, ".safetensors", f"{FORMATS}.safetensors_file:open_safetensors"),
    "tensorflow": Container(lambda: BY_TENSORFLOW, "", f"{FORMATS}.tensorflow_file:open_tensorflow", retabled),
    "tensorflow-old": Container(
        lambda: OLD_BY_TENSORFLOW, ".ckpt", f"{FORMATS}.tensorflow_file:open_tensorflow", retabled
    ),
}


@pytest.mark.parametrize(
    "count", [500, pytest.param(int(os.environ.get("RESNETS_FUZZ", 20_000)), marks=pytest.mark.slow, id="many")]
)
@pytest.mark.parametrize("name", CONTAINERS)
def test_damaged_files_are_read_or_refused(name: str, count: int, tmp_path: Path) -> None:
    container = CONTAINERS[name]
    module, _, function = container.reader.partition(":")
    reader = getattr(importlib.import_module(module), function)
    outcome = fuzz(
        read_all(reader),
        container.make(),
        container.suffix,
        count,
        seed=count,
        keep=tmp_path,
        inside=container.inside,
    )
    assert outcome.opened + outcome.refused == count
    assert min(outcome.opened, outcome.refused) >= count // 50, f"too one-sided to mean much: {outcome}"


# The harness itself: what it must find.


def _misbehave(path: Path) -> None:
    """A reader that does what the first byte says."""
    match path.read_bytes()[:1]:
        case b"C":
            raise ModelFileError("It is bad.")
        case b"D":
            raise ModelFileError(f"{path} is bad\n{path}.")
        case b"E":
            raise KeyError("x")
        case b"F":
            os.abort()
        case b"G":
            bytearray(2**34)  # more than the limit and what an earlier test may have left in this process
        case b"H":
            while True:
                pass


@pytest.mark.parametrize(
    ("byte", "says"),
    [
        (b"C", "does not name the file"),
        (b"D", "one line"),
        (b"E", "KeyError"),
        (b"F", "signal 6"),
        (b"G", "MemoryError"),
        (b"H", "took more than 0.5 s"),
    ],
)
def test_the_harness_finds(byte: bytes, says: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    if byte == b"H":
        monkeypatch.setattr("fuzz.SECONDS", 0.5)
    with pytest.raises(AssertionError, match=says):
        fuzz(_misbehave, b"zzz", ".bin", 1, 0, keep=tmp_path, inside=lambda *_: byte)  # seed 0 takes the hook
    assert [path.read_bytes() for path in tmp_path.rglob("input.bin")] == [byte]


def test_the_harness_counts_answers_and_goes_on_after_a_crash(tmp_path: Path) -> None:
    outcome = fuzz(lambda path: None, b"A" * 500, ".bin", 700, 0, keep=tmp_path)
    assert (outcome.opened, outcome.refused) == (700, 0)

    def crash_unless_damaged(path: Path) -> None:
        if path.read_bytes() == b"A" * 500:
            os.abort()

    with pytest.raises(AssertionError) as caught:
        fuzz(crash_unless_damaged, {".a": b"A" * 500, ".b": b"B" * 500}, ".a", 30, 0, keep=tmp_path)
    assert 5 < str(caught.value).count("signal 6") < 25
