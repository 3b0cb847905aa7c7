"""Bare .safetensors files: equal to the library's reading, bounded, and written as the library reads them."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from resnets import create
from resnets.errors import ModelFileError
from resnets.weights.formats.safetensors_file import open_safetensors, write_safetensors

TYPES = [torch.float64, torch.float32, torch.float16, torch.bfloat16]
TYPES += [torch.int64, torch.int32, torch.int16, torch.int8, torch.uint8, torch.bool]
TENSORS = {
    **{str(dtype): torch.arange(-2, 4).to(dtype).reshape(2, 3) for dtype in TYPES},
    "scalar": torch.tensor(4.0),
    "empty": torch.zeros(2, 0, 3),
    "имя/{}": torch.ones(1),
}


def refusal(path: Path) -> str:
    start = time.process_time()
    with pytest.raises(ModelFileError) as caught:
        open_safetensors(path)
    assert time.process_time() - start < 8  # a burst takes minutes; the two seconds are the fuzz harness's to watch
    assert str(path) in str(caught.value)
    assert str(caught.value).isprintable()
    return str(caught.value)


def crafted(path: Path, header: Any, content: bytes = b"") -> Path:
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    path.write_bytes(len(text).to_bytes(8, "little") + text + content)
    return path


def entry(shape: list[int], start: int, end: int, dtype: str = "F32") -> dict[str, object]:
    return {"dtype": dtype, "shape": shape, "data_offsets": [start, end]}


def test_what_the_library_writes(tmp_path: Path) -> None:
    path = tmp_path / "m.safetensors"
    save_file(TENSORS, path, {"format": "pt", "by": "somebody"})
    file = open_safetensors(path)
    assert (file.path, file.container, file.files) == (path, "safetensors", (path,))
    assert file.documents == {"metadata": {"format": "pt", "by": "somebody"}}
    assert file.tensors.keys() == TENSORS.keys()
    for name, stored in file.tensors.items():
        assert (stored.shape, stored.dtype) == (tuple(TENSORS[name].shape), TENSORS[name].dtype)
        assert torch.equal(stored.read(), TENSORS[name])
    save_file(TENSORS, path)
    assert open_safetensors(path).documents == {}


def test_a_tensor_is_in_memory_of_its_own(tmp_path: Path) -> None:
    save_file({"a": torch.zeros(3)}, tmp_path / "m.safetensors")
    stored = open_safetensors(tmp_path / "m.safetensors").tensors["a"]
    stored.read().fill_(7)
    assert stored.read().tolist() == [0, 0, 0]


@pytest.mark.parametrize(
    ("header", "content"),
    [
        ({"a": entry([2], 0, 8), "b": entry([2], 0, 8)}, bytes(8)),
        ({"a": entry([2], 4, 12)}, bytes(12)),
        ({"a": entry([2], 0, 8)}, bytes(7)),
        ({"a": entry([2], 0, 8)}, bytes(9)),
        ({"a": entry([3], 0, 8)}, bytes(8)),
        ({"a": entry([0, 2**62], 0, 0)}, b""),
        ({"a": entry([1] * 9, 0, 4)}, bytes(4)),
        ({"a": entry([4], 0, 4, "F8_E4M3")}, bytes(4)),
        ({"a\n": entry([4], 0, 4, "F8_E4M3")}, bytes(4)),
        ({"a": entry([-1], 0, 4)}, bytes(4)),
        ({}, b""),
        ({"__metadata__": {"a": "b"}}, b""),
        (b"[" * 100_000, b""),
        (b" " * 5_000_000, b""),
        (b'{"__metadata__":{' + b",".join(b'"%d":""' % i for i in range(300_000)) + b"}}", b""),
    ],
)
def test_what_no_network_is_made_of(tmp_path: Path, header: Any, content: bytes) -> None:
    refusal(crafted(tmp_path / "m.safetensors", header, content))


def test_many_tensors_are_many_but_no_end(tmp_path: Path) -> None:
    names = {f"{i}": entry([0], 0, 0) for i in range(100_000)}
    assert "directory" in refusal(crafted(tmp_path / "m.safetensors", names))
    few = dict(list(names.items())[:10_000])
    assert len(open_safetensors(crafted(tmp_path / "m.safetensors", few)).tensors) == 10_000


def test_files_of_other_kinds(tmp_path: Path) -> None:
    path = tmp_path / "m.safetensors"
    assert "no such file" in refusal(path)
    assert "no such file" in refusal(tmp_path)
    for content in (b"", b"short", b"PK\x03\x04 and more", bytes(100), b"\xff" * 100):
        path.write_bytes(content)
        refusal(path)


def test_a_written_file_is_what_the_library_reads(tmp_path: Path) -> None:
    path = tmp_path / "m.safetensors"
    state = create("resnet20", num_classes=3).state_dict()
    write_safetensors(path, state, {"format": "pt"})
    loaded = load_file(path)
    assert loaded.keys() == state.keys()
    assert all(torch.equal(loaded[name], state[name]) for name in state)
    with safe_open(path, framework="pt") as file:
        assert file.metadata() == {"format": "pt"}
    content = path.read_bytes()
    assert int.from_bytes(content[:8], "little") % 8 == 0, "tensors begin at a multiple of 8, as the format asks"
    write_safetensors(path, state, {"format": "pt"})
    assert path.read_bytes() == content, "equal states give equal files"
    assert [entry.name for entry in tmp_path.iterdir()] == ["m.safetensors"]


def test_views_and_every_type_are_written(tmp_path: Path) -> None:
    path = tmp_path / "m.safetensors"
    write_safetensors(path, {**TENSORS, "view": torch.arange(6).reshape(2, 3).t()[1:]}, {})
    loaded = load_file(path)
    assert all(torch.equal(loaded[name], tensor) for name, tensor in TENSORS.items())
    assert loaded["view"].tolist() == [[1, 4], [2, 5]]


def test_a_full_disk_leaves_the_old_file(tmp_path: Path) -> None:
    resource = pytest.importorskip("resource", reason="limits the size of files as Unix does")
    path = tmp_path / "m.safetensors"
    path.write_bytes(b"old")
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, before[1]))
    try:
        with pytest.raises(ModelFileError, match=r"m\.safetensors cannot be written \(File too large\)"):
            write_safetensors(path, {"a": torch.zeros(100_000)}, {})
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert {entry.name: entry.read_bytes() for entry in tmp_path.iterdir()} == {"m.safetensors": b"old"}
