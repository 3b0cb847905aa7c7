"""torch's checkpoints, read without unpickling: equal to torch.load, harmless, and bounded."""

from __future__ import annotations

import argparse
import collections
import datetime
import os
import pickle
import re
import subprocess
import time
import warnings
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from resnets import create
from resnets.errors import ModelFileError
from resnets.weights.formats.torch_file import open_torch, write_torch

FORMATS = {"zip": True, "legacy": False}


def saved(path: Path, value: object, new: bool = True, protocol: int = 2) -> Path:
    torch.save(value, path, _use_new_zipfile_serialization=new, pickle_protocol=protocol)
    return path


def flattened(value: object, name: str = "", top: bool = True) -> Iterator[tuple[str, Tensor]]:
    if isinstance(value, Tensor):
        yield name, value.detach()
    elif isinstance(value, dict | list | tuple):
        for key, child in value.items() if isinstance(value, dict) else enumerate(value):
            yield from flattened(child, str(key) if top else f"{name}/{key}", False)


def assert_equal(path: Path, expected: object) -> None:
    file = open_torch(path)
    tensors = dict(flattened(expected))
    assert list(file.tensors) == list(tensors)
    for name, tensor in tensors.items():
        stored = file.tensors[name]
        assert (stored.shape, stored.dtype) == (tuple(tensor.shape), tensor.dtype), name
        read = stored.read()
        assert (read.shape, read.dtype) == (tensor.shape, tensor.dtype), name
        assert read.is_contiguous(), name
        assert bits(read) == bits(tensor), name


def bits(tensor: Tensor) -> bytes:
    return bytes(tensor.contiguous().reshape(-1).view(torch.uint8).numpy())


def read_all(path: Path) -> None:
    for stored in open_torch(path).tensors.values():
        stored.read()


def refusal(path: Path) -> str:
    """The message, which does not take long."""
    start = time.process_time()
    with pytest.raises(ModelFileError) as caught:
        read_all(path)
    assert time.process_time() - start < 8  # a burst takes minutes; the two seconds are the fuzz harness's to watch
    message = str(caught.value)
    assert str(path) in message
    assert message.isprintable()
    return message


def trained() -> dict[str, Any]:
    """A checkpoint as training scripts write it: weights, optimizer, schedule, arguments."""
    network = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Conv2d(4, 2, 1))
    optimizer = torch.optim.Adam(network.parameters())
    network(torch.randn(2, 3, 5, 5)).sum().backward()
    optimizer.step()
    return {"epoch": 7, "state_dict": network.state_dict(), "optimizer": optimizer.state_dict(), "best": [0.5, None]}


def shared() -> dict[str, Tensor]:
    base = torch.arange(60, dtype=torch.float32).reshape(3, 4, 5)
    return {
        "base": base,
        "again": base,
        "transposed": base.transpose(0, 2),
        "sliced": base[1:, ::2, 3],
        "column": base[:, 0, :1],
        "last": base[2, 3, 4],
        "expanded": base[:1].expand(6, 4, 5),
        "diagonal": base[0].diagonal(),
        "empty slice": base[3:],
    }


def all_types() -> dict[str, Tensor]:
    types = [torch.float64, torch.float32, torch.float16, torch.bfloat16]
    types += [torch.int64, torch.int32, torch.int16, torch.int8, torch.uint8, torch.bool, torch.complex64]
    return {str(dtype): torch.arange(-3, 9).to(dtype).reshape(3, 4).t() for dtype in types}


CONTENTS: dict[str, Callable[[], object]] = {
    "trained": trained,
    "shared": shared,
    "all types": all_types,
    "nothing-sized": lambda: {
        "a": torch.zeros(0),
        "b": torch.zeros(2, 0, 3),
        "c": torch.tensor(4.0),
        "d": torch.ones(1),
    },
    "nested": lambda: {"a": [{"b": (torch.ones(2), 1)}, torch.zeros(1)], 5: {"c": torch.tensor(True)}},
    "a list": lambda: [torch.ones(2), torch.zeros(3, dtype=torch.half)],
    "parameters": lambda: dict(nn.BatchNorm2d(4).named_parameters()),
    "module prefixes": lambda: nn.DataParallel(nn.Linear(2, 3)).state_dict(),
    "text": lambda: {"ключ.weight": torch.ones(2), "note": "…" * 300, "long": 2**70, "raw": b"\x00" * 300},
}


@pytest.mark.parametrize("protocol", [1, 2, 3, 4, 5])
@pytest.mark.parametrize("new", FORMATS.values(), ids=FORMATS)
@pytest.mark.parametrize("content", CONTENTS)
def test_equal_to_torch_load(tmp_path: Path, content: str, new: bool, protocol: int) -> None:
    path = saved(tmp_path / "c.pth", CONTENTS[content](), new, protocol)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch warns of protocols that its own reader may not know
        expected = torch.load(path, weights_only=protocol == 2)
    assert_equal(path, expected)


def test_newer_types(tmp_path: Path) -> None:  # which torch itself cannot read back from a legacy file
    newer = {str(dtype): torch.arange(6).to(dtype).reshape(2, 3).t() for dtype in (torch.uint16, torch.uint64)}
    assert_equal(saved(tmp_path / "c.pth", newer), newer)
    assert_equal(saved(tmp_path / "c.pth", newer, new=False), newer)


def test_the_published_cifar_checkpoint(shared_data: Path) -> None:
    path = shared_data / "weights" / "resnet20-cifar10-akamaster.th"
    assert_equal(path, torch.load(path, map_location="cpu", weights_only=True))
    file = open_torch(path)
    assert (file.container, file.files) == ("torch", (path,))
    assert file.documents == {"checkpoint": {"best_prec1": pytest.approx(91.78)}}
    assert file.tensors["state_dict/module.conv1.weight"].shape == (16, 3, 3, 3)


def test_a_tensor_is_in_memory_of_its_own(tmp_path: Path) -> None:
    stored = open_torch(saved(tmp_path / "c.pth", {"a": torch.zeros(3)})).tensors["a"]
    stored.read().fill_(7)
    assert stored.read().tolist() == [0, 0, 0]


class Custom:
    """Somebody's class, as checkpoints have them beside the weights."""

    def __init__(self) -> None:
        self.log = [1, 2]


class List(list[int]):
    pass


@pytest.mark.parametrize("new", FORMATS.values(), ids=FORMATS)
def test_odd_objects_beside_the_tensors_are_passed_over(tmp_path: Path, new: bool) -> None:
    odd = {
        "args": argparse.Namespace(lr=0.1, arch="resnet50"),
        "loss": np.float64(0.5),
        "array": np.arange(3),
        "when": datetime.datetime(2020, 1, 1),
        "function": subprocess.run,
        "set": {1, 2},
        "frozen": frozenset({3}),
        "custom": Custom(),
        "list": List([1]),
        "where": Path("x"),
        "counts": collections.Counter("aab"),
        "default": collections.defaultdict(list, {"b": [torch.zeros(2)]}),
        "dtype": torch.float32,
        "device": torch.device("cpu"),
        "size": torch.Size([1, 2]),
        "criterion": nn.CrossEntropyLoss(weight=torch.ones(2)),
        (1, 2): "a tuple as a key",
        "state_dict": {"fc.weight": torch.ones(2, 3)},
    }
    path = saved(tmp_path / "c.pth", odd, new)
    with pytest.raises(pickle.UnpicklingError):
        torch.load(path, weights_only=True)
    assert_equal(path, {"default": odd["default"], "state_dict": odd["state_dict"]})
    facts = open_torch(path).documents["checkpoint"]
    assert facts["args"] == {"lr": 0.1, "arch": "resnet50"}


class Evil:
    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[object, tuple[object, ...]]:
        return os.mkdir, (str(self.path),)


@pytest.mark.parametrize("new", FORMATS.values(), ids=FORMATS)
def test_nothing_is_executed(tmp_path: Path, new: bool) -> None:
    path = saved(tmp_path / "c.pth", {"evil": Evil(tmp_path / "made"), "a": torch.ones(2)}, new)
    assert_equal(path, {"a": torch.ones(2)})
    assert not (tmp_path / "made").exists()
    torch.load(path, weights_only=False)
    assert (tmp_path / "made").exists(), "the file was not as malicious as the test believes"


# What is refused, with the mend.


@pytest.mark.parametrize("new", FORMATS.values(), ids=FORMATS)
def test_a_whole_module(tmp_path: Path, new: bool) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that the source of a container cannot be found
        module = nn.Sequential(nn.Linear(2, 3), nn.BatchNorm1d(3))
        path = saved(tmp_path / "c.pth", {"model": module, "ema": {"0.weight": torch.ones(2)}}, new)
    assert_equal(path, {"model": module.state_dict(), "ema": {"0.weight": torch.ones(2)}})
    found = open_torch(path).documents["modules"]
    assert found.keys() == {"model/0.", "model/1."}
    assert found["model/1."]["class"] == "torch.nn.modules.batchnorm.BatchNorm1d"
    assert found["model/1."]["eps"] == 1e-5


def test_a_torchscript_program(tmp_path: Path) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch calls it deprecated; the files are still there
        torch.jit.trace(nn.Linear(2, 3), torch.zeros(1, 2)).save(str(tmp_path / "c.pt"))
    assert "torch.jit.load" in refusal(tmp_path / "c.pt")


@pytest.mark.parametrize("new", FORMATS.values(), ids=FORMATS)
def test_no_tensors(tmp_path: Path, new: bool) -> None:
    assert "no tensors" in refusal(saved(tmp_path / "c.pth", {"epoch": 3}, new))


@pytest.mark.parametrize("new", FORMATS.values(), ids=FORMATS)
def test_tensors_that_are_not_plain(tmp_path: Path, new: bool) -> None:
    sparse = {"a": {"b": torch.eye(3).to_sparse()}}
    assert "'a/b' is no plain tensor" in refusal(saved(tmp_path / "c.pth", sparse, new))
    negative = {"a": torch.ones(3, dtype=torch.complex64).conj().imag}
    assert negative["a"].is_neg()
    assert "'a' is no plain tensor" in refusal(saved(tmp_path / "c.pth", negative, new))


def test_files_of_other_kinds(tmp_path: Path) -> None:
    path = tmp_path / "c.pth"
    assert "no such file" in refusal(path)
    assert "no such file" in refusal(tmp_path)
    path.write_bytes(b"")
    assert "empty" in refusal(path)
    path.write_bytes(pickle.dumps({"a": 1}, protocol=2))
    assert "not of torch.save" in refusal(path)
    path.write_bytes(b"hello")
    refusal(path)
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("photo.jpg", b"x")
    assert "not of torch.save" in refusal(path)


def rezipped(path: Path, changes: dict[str, bytes], compression: int = zipfile.ZIP_STORED) -> Path:
    with zipfile.ZipFile(path) as old:
        contents = {name: old.read(name) for name in old.namelist()}
    with zipfile.ZipFile(path, "w", compression) as new:
        for name, content in contents.items():
            new.writestr(name, changes.get(name.partition("/")[2], content))
    return path


def test_a_big_endian_file(tmp_path: Path) -> None:
    path = rezipped(saved(tmp_path / "c.pth", {"a": torch.ones(2)}), {"byteorder": b"big"})
    assert "big-endian" in refusal(path)
    content = saved(path, {"a": torch.ones(2)}, new=False).read_bytes()
    marked = re.sub(b"(little_endianq.)\x88", b"\\1\x89", content)
    assert marked != content
    path.write_bytes(marked)
    assert "big-endian" in refusal(path)


def test_a_compressed_archive(tmp_path: Path) -> None:
    path = rezipped(saved(tmp_path / "c.pth", {"a": torch.zeros(1000)}), {}, zipfile.ZIP_DEFLATED)
    assert "its archive is compressed" in refusal(path)


@pytest.mark.parametrize("wide", [False, True])
def test_large_archives_have_64_bit_directories(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, wide: bool) -> None:
    path = saved(tmp_path / "c.pth", {"a": torch.ones(100)})
    if wide:
        monkeypatch.setattr("zipfile.ZIP64_LIMIT", 300)
    assert (b"PK\x06\x06" in rezipped(path, {}).read_bytes()) == wide
    assert_equal(path, {"a": torch.ones(100)})


def test_damage_is_noticed_where_there_is_a_checksum(tmp_path: Path) -> None:
    numbers = torch.arange(1000.0)
    path = saved(tmp_path / "c.pth", {"a": numbers, "b": torch.ones(2)})

    def damage() -> None:
        content = bytearray(path.read_bytes())
        content[content.index(numbers.numpy().tobytes()) + 500] ^= 1
        path.write_bytes(content)

    damage()
    assert "checksum" in refusal(path)
    assert open_torch(path).tensors["b"].read().tolist() == [1, 1]
    torch.serialization.set_crc32_options(False)
    try:
        saved(path, {"a": numbers, "b": torch.ones(2)})
    finally:
        torch.serialization.set_crc32_options(True)
    assert_equal(path, {"a": numbers, "b": torch.ones(2)})


# Writing.


@pytest.fixture
def state() -> dict[str, Tensor]:
    network = create("resnet20", num_classes=3)
    return dict(network.state_dict())


def test_a_written_file_comes_back_and_is_plain(tmp_path: Path, state: dict[str, Tensor]) -> None:
    path = tmp_path / "c.pth"
    write_torch(path, state)
    loaded = torch.load(path, weights_only=True)
    assert type(loaded) is dict
    assert list(loaded) == list(state)
    assert_equal(path, state)
    content = path.read_bytes()
    write_torch(path, state)
    assert path.read_bytes() == content, "equal states give equal files"
    assert [entry.name for entry in tmp_path.iterdir()] == ["c.pth"]


def test_only_the_tensors_are_written(tmp_path: Path) -> None:
    big = torch.zeros(1000, 1000)
    parameter = nn.Parameter(torch.ones(2, 3))
    write_torch(tmp_path / "c.pth", {"a": big[3:5], "b": parameter.t()})
    assert (tmp_path / "c.pth").stat().st_size < 20_000
    assert_equal(tmp_path / "c.pth", {"a": big[3:5], "b": parameter.detach().t().contiguous()})


def test_a_full_disk_leaves_the_old_file(tmp_path: Path) -> None:
    resource = pytest.importorskip("resource", reason="limits the size of files as Unix does")
    path = tmp_path / "c.pth"
    path.write_bytes(b"old")
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, before[1]))
    try:
        with pytest.raises(ModelFileError, match=r"c\.pth cannot be written \(File too large\)"):
            write_torch(path, {"a": torch.zeros(100_000)})
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert {entry.name: entry.read_bytes() for entry in tmp_path.iterdir()} == {"c.pth": b"old"}
