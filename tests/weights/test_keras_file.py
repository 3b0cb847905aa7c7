"""Keras's files: every layout gives the same names and numbers, and none does harm."""

from __future__ import annotations

import io
import re
import time
import zipfile
from pathlib import Path
from typing import Any

import keras_files
import numpy as np
import pytest
import torch
from fuzz import read_all

from resnets.errors import ModelFileError
from resnets.weights.worlds.keras.reader import open_keras

pytest.importorskip("h5py")


# Files that were made to harm


def refused(tmp_path: Path, content: bytes, says: str) -> None:
    """The reader, or one of its tensors, refuses the content within two seconds, in one sentence."""
    path = tmp_path / "bomb.h5"
    path.write_bytes(content)
    start = time.process_time()
    with pytest.raises(ModelFileError, match=says) as caught:
        read_all(open_keras)(path)
    assert time.process_time() - start < 8  # a burst takes minutes; the two seconds are the fuzz harness's to watch
    assert str(path) in str(caught.value)
    assert str(caught.value).isprintable()


def layer(file: Any, number: int = 0) -> Any:
    group = file.create_group(f"layers/dense_{number}/vars")
    group.attrs["name"] = f"dense_{number}"
    return group


def test_tensors_that_share_their_bytes_are_refused(tmp_path):
    def fill(file):
        big = np.ones(200_000, np.float32)
        layer(file)["0"] = big
        for number in range(1, 20):
            layer(file, number)["0"] = file["layers/dense_0/vars/0"]

    refused(tmp_path, keras_files.h5(fill), "larger than the file can hold")


def test_zeros_that_were_compressed_by_a_thousand_are_refused(tmp_path):
    def fill(file):
        for number in range(9):
            values = np.zeros((16, 2**16, 2), np.float32)
            layer(file, number).create_dataset("0", data=values, chunks=(1, 2**16, 2), compression=9)

    content = keras_files.h5(fill)
    assert len(content) < 2**20
    refused(tmp_path, content, "larger than the file can hold")


def test_a_shape_without_numbers_is_refused(tmp_path):
    def fill(file):
        layer(file).create_dataset("0", (2**20, 2**20), "f4", chunks=(2**10, 2**10))

    refused(tmp_path, keras_files.h5(fill), "which no network has")


def test_chunks_without_end_are_refused(tmp_path):
    def fill(file):
        layer(file).create_dataset("0", (2**10, 2**10), "f4", chunks=(1, 1))

    refused(tmp_path, keras_files.h5(fill), "more parts than any network")


def test_a_chunk_that_is_missing_is_refused(tmp_path):
    def fill(file):
        layer(file).create_dataset("0", (4, 2**10), "f4", chunks=(1, 2**10))[:3] = np.ones((3, 2**10))

    refused(tmp_path, keras_files.h5(fill) + bytes(2**12), "1 chunks of a tensor were never written")


def test_groups_that_go_in_circles_are_refused(tmp_path):
    def fill(file):
        group = file.create_group("layers/model")
        for number in range(9):
            group[f"again{number}"] = group

    refused(tmp_path, keras_files.h5(fill), "more parts than any network|too deep")


def test_one_text_under_many_names_is_refused(tmp_path):
    length, others = 60_000, 3_000
    names = ["a" * length, *["b"] * others]
    content = keras_files.h5(lambda file: file.attrs.__setitem__("layer_names", names))
    elements = re.search(length.to_bytes(4, "little") + rb".{12}\x01\0\0\0", content, re.DOTALL)
    assert elements
    start = elements.start()
    shared = content[start : start + 16] * (others + 1)  # length, place and number in the heap of the first
    refused(tmp_path, content[:start] + shared + content[start + len(shared) :], "texts overlap")


@pytest.mark.parametrize("entry", ["model.weights.h5", "config.json"])
def test_an_archive_that_unpacks_to_far_more_is_refused(tmp_path, entry):
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as zipped:
        for name in ("model.weights.h5", "config.json"):
            zipped.writestr(name, bytes(2**26) if name == entry else b"{}")
    refused(tmp_path, out.getvalue(), "larger than that of any network")


def test_an_archive_of_very_many_entries_is_refused(tmp_path):
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as zipped:
        for number in range(2000):
            zipped.writestr(str(number), b"")
    refused(tmp_path, out.getvalue(), "more than 1000 entries")


def test_damaged_weights_in_an_archive_are_noticed(tmp_path):
    content = bytearray(keras_files.archive(keras_files.h5(keras_files.keras3), keras_files.config()))
    spot = content.index(keras_files.weights()["predictions/kernel"].tobytes())
    content[spot] ^= 1
    refused(tmp_path, bytes(content), "checksum")


@pytest.mark.parametrize("content", [b"", b"\x89HDF\r\n\x1a\n", b"PK\x03\x04", b"PK" * 50])
def test_a_stump_is_refused(tmp_path, content):
    refused(tmp_path, content, "cannot be")


@pytest.mark.parametrize("document", ["[1]", "{", "[" * 5000])
def test_a_configuration_that_makes_no_sense_is_refused(tmp_path, document):
    refused(tmp_path, keras_files.h5(lambda file: file.attrs.__setitem__("model_config", document)), "configuration")


@pytest.mark.parametrize("config", [{"config": 3}, {"config": {"layers": [{}]}}, {"config": {"name": "own class"}}])
def test_a_configuration_without_layers_does_no_harm(tmp_path, config):
    (tmp_path / "net.keras").write_bytes(keras_files.archive(keras_files.h5(keras_files.keras3), config))
    assert open_keras(tmp_path / "net.keras").tensors.keys() == keras_files.weights().keys()


def test_hdf5_without_weights_is_refused(tmp_path):
    refused(tmp_path, keras_files.h5(lambda file: file.__setitem__("x", 1)), "no weights of Keras")


# Keras's layouts


def saved(name: str) -> tuple[bytes, str]:
    """(content, suffix) of the same weights in a layout."""
    h5, keras3, legacy = keras_files.h5, keras_files.keras3, keras_files.legacy
    unnamed = {False: h5(lambda f: keras3(f, named=False)), True: h5(lambda f: keras3(f, False, "layers/functional/"))}
    zipped = keras_files.archive
    return {
        "keras 2": lambda: (h5(legacy), ".h5"),
        "keras 3, old layout": lambda: (h5(lambda f: legacy(f, "")), ".h5"),
        "keras 2, long lists": lambda: (h5(lambda f: legacy(f, split=True)), ".h5"),
        "keras 2, model within a model": lambda: (h5(lambda f: legacy(f, nested="base")), ".h5"),
        "keras 2, whole model": lambda: (h5(keras_files.full_model), ".h5"),
        "keras 3": lambda: (h5(keras3), ".weights.h5"),
        "keras 3, model within a model": lambda: (h5(lambda f: keras3(f, True, "layers/functional/")), ".weights.h5"),
        "archive": lambda: (zipped(h5(keras3), keras_files.config()), ".keras"),
        "archive, compressed": lambda: (zipped(h5(keras3), keras_files.config(), zipfile.ZIP_DEFLATED), ".keras"),
        "archive before 3.4": lambda: (zipped(unnamed[False], keras_files.config()), ".keras"),
        "archive before 3.4, model within a model": lambda: (zipped(unnamed[True], keras_files.config(True)), ".keras"),
    }[name]()


LAYOUTS = [
    *("keras 2", "keras 3, old layout", "keras 2, long lists", "keras 2, model within a model"),
    *("keras 2, whole model", "keras 3", "keras 3, model within a model", "archive", "archive, compressed"),
    *("archive before 3.4", "archive before 3.4, model within a model"),
]


@pytest.mark.parametrize("name", LAYOUTS)
def test_every_layout_gives_the_same_names_and_numbers(tmp_path, name):
    content, suffix = saved(name)
    path = tmp_path / f"net{suffix}"
    path.write_bytes(content)
    file = open_keras(path)
    wanted = keras_files.weights()
    assert file.tensors.keys() == wanted.keys()
    for key, values in wanted.items():
        assert (file.tensors[key].shape, file.tensors[key].dtype) == (values.shape, torch.float32)
        np.testing.assert_array_equal(file.tensors[key].read().numpy(), values)
    assert bool(file.documents) == ("archive" in name or "whole" in name)
    assert (file.container, file.files) == ("keras", (path,))


def test_layers_are_told_by_their_stored_names_and_not_by_their_numbers(tmp_path):
    def fill(file):
        for number, name in enumerate(["second", "first"]):
            group = file.create_group(f"layers/conv2d{f'_{number}' if number else ''}/vars")
            group.attrs["name"] = name
            group["0"] = np.full((1, 1, 2, 2), number, np.float32)

    (tmp_path / "net.weights.h5").write_bytes(keras_files.h5(fill))
    tensors = open_keras(tmp_path / "net.weights.h5").tensors
    assert {name: float(stored.read()[0, 0, 0, 0]) for name, stored in tensors.items()} == {
        "second/kernel": 0,
        "first/kernel": 1,
    }


def test_two_layers_of_one_name_are_refused(tmp_path):
    def fill(file):
        for number in range(2):
            layer(file, number).attrs["name"] = "dense"
            file[f"layers/dense_{number}/vars/0"] = np.ones((2, 3))

    refused(tmp_path, keras_files.h5(fill), "two of its variables are called 'dense/kernel'")
