"""Bundles that we write: read again to the bit, whole or not there."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

import pytest
import torch

from resnets.errors import ModelFileError
from resnets.weights.formats.stored import Foreign, Stored
from resnets.weights.formats.tensorflow_file import open_tensorflow
from resnets.weights.formats.tensorflow_write import write_bundle

TENSORS = {
    "scope/weights": torch.randn(3, 3, 4, 8, generator=torch.Generator().manual_seed(0)),
    "scope/strided": torch.arange(24.0).reshape(2, 3, 4).permute(2, 0, 1),
    "half": torch.tensor([1.5, -2], dtype=torch.float16),
    "bfloat": torch.tensor([1.5, -2], dtype=torch.bfloat16),
    "double": torch.tensor([[1 / 3]], dtype=torch.float64),
    "int": torch.tensor([-1, 7], dtype=torch.int32),
    "step": torch.tensor(2**40),
    "empty": torch.zeros(0, 3),
}


def same(file: Foreign, tensors: Mapping[str, torch.Tensor]) -> bool:
    assert file.tensors.keys() == tensors.keys()
    read = {name: stored.read() for name, stored in file.tensors.items()}
    return all(read[name].dtype == t.dtype and torch.equal(read[name], t) for name, t in tensors.items())


def stored(tensors: Mapping[str, torch.Tensor]) -> dict[str, Stored]:
    return {name: Stored(tuple(t.shape), t.dtype, lambda t=t: t) for name, t in tensors.items()}


def test_what_is_written_is_read_again(tmp_path: Path) -> None:
    written = write_bundle(tmp_path / "net.ckpt", stored(TENSORS))
    assert [path.name for path in written] == ["net.ckpt.index", "net.ckpt.data-00000-of-00001"]
    assert sorted(tmp_path.iterdir()) == sorted(written)
    again = open_tensorflow(tmp_path / "net.ckpt")
    assert same(again, TENSORS)
    assert again.files == written


def test_a_failing_writer_leaves_what_was_there(tmp_path: Path) -> None:
    prefix = tmp_path / "net.ckpt"
    write_bundle(prefix, stored(TENSORS))

    def fail() -> torch.Tensor:
        raise ModelFileError("The source is gone.")

    with pytest.raises(ModelFileError, match="gone"):
        write_bundle(prefix, {**stored(TENSORS), "z": Stored((1,), torch.float32, fail)})
    assert len(list(tmp_path.iterdir())) == 2
    assert same(open_tensorflow(prefix), TENSORS)
    with pytest.raises(ModelFileError, match="cannot be written"):
        write_bundle(tmp_path / "no" / "such" / "folder", stored(TENSORS))


def test_the_index_comes_last(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An index without its data would be taken for a checkpoint; data without an index are not."""
    replace, order = os.replace, []
    monkeypatch.setattr(os, "replace", lambda old, new: (order.append(Path(new).suffix), replace(old, new)))
    write_bundle(tmp_path / "net.ckpt", stored(TENSORS))
    assert order == [".data-00000-of-00001", ".index"]
