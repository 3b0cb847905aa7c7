"""HDF5 read in plain Python, compared with its own library in all the ways in which a file may be laid out."""

from __future__ import annotations

import io
import itertools
import time
from typing import Any

import keras_files
import numpy as np
import pytest

from resnets.weights.formats.hdf5 import Hdf5Error, Node, open_hdf5

h5py = pytest.importorskip("h5py")
GOLDENS = ["v1.weights.h5", "v1_legacy.h5", "v2.weights.h5", "v2_legacy.h5"]


def opened(fill: Any, **options: Any) -> Node:
    return open_hdf5(memoryview(keras_files.h5(fill, **options)))


def assert_equal_to_h5py(ours: Node, theirs: Any) -> int:
    """How many arrays were compared, in this group and those within it."""
    assert set(ours.members) == set(theirs)
    for name, value in theirs.attrs.items():
        wanted = [x.decode() if isinstance(x, bytes) else x for x in np.atleast_1d(value)]
        assert ours.text(name) == wanted
    arrays = 0
    for name, value in theirs.items():
        if isinstance(value, h5py.Group):
            arrays += assert_equal_to_h5py(ours[name], value)
            continue
        array = ours[name].array()
        numbers = array.read()
        assert (array.shape, numbers.dtype) == (value.shape, value.dtype.newbyteorder("="))
        np.testing.assert_array_equal(numbers, value[()])
        arrays += 1
    return arrays


@pytest.mark.parametrize("name", GOLDENS)
def test_a_file_of_keras_holds_what_hdf5s_library_finds_in_it(shared_data, name):
    path = shared_data / "golden" / "keras" / name
    with h5py.File(path) as file:
        assert assert_equal_to_h5py(open_hdf5(memoryview(path.read_bytes())), file) > 70


def variety(file: Any) -> None:
    file.attrs["text"] = "größer"
    file.attrs["fixed"] = np.bytes_(b"abc")
    file.attrs["several"] = np.array([b"a", b"bcd"])
    file.attrs["heap"] = ["x", "", "zzz"]
    file.attrs["nothing"] = np.array([])
    for kind in ("<f4", ">f4", "<f2", ">f8", "i1", "<u2", ">i8", "u8"):
        file[f"a/b/{kind}"] = np.arange(24).reshape(3, 4, 2).astype(kind)
    file["scalar"], file["empty"] = np.float32(3), np.zeros((0, 3), np.float32)
    compact = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
    compact.set_layout(h5py.h5d.COMPACT)
    space = h5py.h5s.create_simple((5,))
    made = h5py.h5d.create(file.id, b"compact", h5py.h5t.IEEE_F32LE, space, dcpl=compact)
    made.write(h5py.h5s.ALL, h5py.h5s.ALL, np.arange(5, dtype=np.float32))


@pytest.mark.parametrize(
    ("version", "ordered"),
    list(itertools.product(["earliest", ("earliest", "v108"), "v110", "latest"], [False, True])),
)
def test_every_version_of_hdf5s_groups_and_headers_is_read(version, ordered):
    content = keras_files.h5(variety, libver=version, track_order=ordered)
    with h5py.File(io.BytesIO(content)) as file:
        assert assert_equal_to_h5py(open_hdf5(memoryview(content)), file) == 11


@pytest.mark.parametrize("shape", [(50, 33), (16, 10), (5, 3), (0, 7)])
@pytest.mark.parametrize(
    "options", [{}, {"compression": "gzip"}, {"shuffle": True}, {"compression": 9, "shuffle": True}], ids=str
)
def test_chunks_are_put_together(options, shape):
    values = np.random.default_rng(0).normal(size=shape).astype(np.float32)
    maximum = (None, None)
    root = opened(lambda file: file.create_dataset("a", data=values, chunks=(16, 10), maxshape=maximum, **options))
    np.testing.assert_array_equal(root["a"].array().read(), values)


def test_a_group_of_thousands_of_members_is_read_in_time():
    def fill(file):
        for number in range(2000):
            file[f"layers/layer_{number}/vars/0"] = np.float32(number)

    content = memoryview(keras_files.h5(fill))
    start = time.process_time()
    layers = open_hdf5(content)["layers"]
    values = [float(layers[name]["vars"]["0"].array().read()) for name in layers.members]
    assert sorted(values) == list(range(2000))
    assert time.process_time() - start < 8  # a burst takes minutes; the two seconds are the fuzz harness's to watch


def many_members(file: Any) -> None:
    for number in range(20):
        file[str(number)] = np.float32(number)


UNREAD = {  # what HDF5 can do besides: how it is made, options of the file, what the refusal names
    "lzf": (lambda f: f.create_dataset("a", data=np.arange(9.0), chunks=(3,), compression="lzf"), {}, "filter 32000"),
    "fletcher32": (lambda f: f.create_dataset("a", data=np.arange(9.0), chunks=(3,), fletcher32=True), {}, "filter 3"),
    "soft link": (lambda f: f.__setitem__("a", h5py.SoftLink("/b")), {}, "link by name"),
    "external link": (lambda f: f.__setitem__("a", h5py.ExternalLink("b.h5", "/b")), {}, "link by name"),
    "external": (lambda f: f.create_dataset("a", (3,), "f4", external=[("raw", 0, 12)]), {}, "another file"),
    "dense group": (many_members, {"track_order": True}, "dense groups"),
    "new chunks": (lambda f: f.create_dataset("a", data=np.arange(9.0), chunks=(3,)), {"libver": "v110"}, "layout 2"),
    "enumeration": (lambda f: f.__setitem__("a", np.array([True])), {}, "kind 8"),
    "compound": (lambda f: f.__setitem__("a", np.zeros(2, "f4,i4")), {}, "kind 6"),
    "text": (lambda f: f.__setitem__("a", ["x"]), {}, "text"),
    "nothing": (lambda f: f.__setitem__("a", h5py.Empty("f4")), {}, "empty"),
    "never written": (lambda f: f.create_dataset("a", (3,), "f4"), {}, "never written"),
}


@pytest.mark.parametrize("name", UNREAD)
def test_what_keras_never_writes_is_refused_by_name(name):
    fill, options, says = UNREAD[name]
    with pytest.raises(Hdf5Error, match=says):
        opened(fill, **options)["a"].array()


def test_attributes_in_dense_storage_are_refused():
    def fill(file):
        file["a"] = 1
        for number in range(20):
            file.attrs[f"x{number}"] = "y"

    with pytest.raises(Hdf5Error, match="dense attributes"):
        opened(fill, libver="latest").text("x1")
