"""Caffe's files in every form that Caffe itself writes, and the graph as Caffe runs it."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
import torch
from caffe_files import (
    HEAD,
    OLD,
    OLD_LOGITS,
    SAVED,
    SAVED_LOGITS,
    files,
    layer,
    pair,
    picture,
    recorded,
)

from resnets.errors import ModelFileError
from resnets.weights.convert import read
from resnets.weights.formats.protobuf import field
from resnets.weights.recognise import recognise
from resnets.weights.worlds.caffe.graph import MAX_LAYERS
from resnets.weights.worlds.caffe.reader import MAX_TEXT_BYTES, open_caffe
from resnets.weights.worlds.caffe.schema import MAX_FIELDS, MAX_LIST
from resnets.weights.worlds.caffe.witness import run

# Files.


@pytest.mark.parametrize(("text", "logits", "side"), [(SAVED, SAVED_LOGITS, (10, 11)), (OLD, OLD_LOGITS, (8, 8))])
def test_what_caffe_wrote_gives_what_caffe_gave(tmp_path, text, logits, side):
    """A snapshot of training, and the older form of layers: from the .caffemodel alone."""
    found = run(open_caffe(files(tmp_path, weights=recorded(text))), picture(2, 3, *side))
    assert torch.allclose(found["logits"], torch.tensor(logits).double(), atol=2e-6, rtol=0)


def test_a_model_alone_has_its_graph_in_it(tmp_path):
    """In single precision, of which the shortest spelling is meant: 1e-05, not 0.00000999999974."""
    path, _ = pair(tmp_path)
    with_text = open_caffe(path).documents
    path.with_suffix(".prototxt").unlink()
    alone = open_caffe(path).documents
    assert [vars(one) | {"blobs": ()} for one in alone["graph"]] == [
        vars(one) | {"blobs": ()} for one in with_text["graph"]
    ]
    assert alone["input"] == with_text["input"]
    assert alone["graph"][1].settings == {"eps": 1e-5}


def test_shapes_of_four_dimensions_are_those_of_today(tmp_path):
    shapes = {name: stored.shape for name, stored in open_caffe(files(tmp_path, weights=recorded(OLD))).tensors.items()}
    assert shapes == dict(
        zip(
            ("c/0", "c/1", "d/0", "d/1", "fc/0", "fc/1"),
            ((2, 3, 3, 3), (2,), (2, 2, 1, 1), (2,), (3, 2), (3,)),
            strict=True,
        )
    )


def test_the_golden_runs_as_caffe_ran_it(shared_data):
    io = np.load(shared_data / "golden/caffe/tiny50_io.npz")
    found = run(open_caffe(shared_data / "golden/caffe/tiny50.prototxt"), torch.from_numpy(io["x"]).double())
    assert np.abs(found["logits"].numpy() - io["logits"]).max() < 1e-5
    assert list(found)[:5] == ["stem", *(f"stage1.unit{u}" for u in (1, 2, 3)), "stage2.unit1"]
    assert len(found) == 18


def test_either_file_may_be_named(tmp_path):
    path, _ = pair(tmp_path)
    for name in (path, path.with_suffix(".prototxt")):
        file = open_caffe(name)
        assert set(file.files) == {path, path.with_suffix(".prototxt")}
        assert file.path == name
        assert file.documents["input"] == (1, 3, 64, 64)
        assert file.tensors["conv1/0"].shape == (8, 3, 7, 7)


@pytest.mark.parametrize(
    ("model", "texts", "taken"),
    [
        ("ResNet-50-model", ["ResNet-50-deploy", "ResNet-101-deploy", "solver"], "ResNet-50-deploy"),
        ("net", ["net", "net-deploy"], "net"),
        ("net_iter_100", ["net_deploy", "train_val", "solver"], "net_deploy"),
        ("net_iter_100", ["other"], "other"),
        ("net_iter_100", ["one", "two"], None),
        ("net_iter_100", [], None),
    ],
)
def test_the_partner_is_found(tmp_path, model, texts, taken):
    made, text = pair(tmp_path / ".." / tmp_path.name)
    weights = made.rename(tmp_path / f"{model}.caffemodel")
    (tmp_path / "net.prototxt").unlink()
    for name in texts:
        (tmp_path / f"{name}.prototxt").write_text(text)
    found = [path.stem for path in open_caffe(weights).files if path.suffix == ".prototxt"]
    assert found == ([taken] if taken else [])
    if taken:
        assert weights in open_caffe(tmp_path / f"{taken}.prototxt").files


def test_a_graph_alone_is_refused(tmp_path):
    (tmp_path / "net.prototxt").write_text(HEAD + layer("a", "ReLU", "data", "a"))
    with pytest.raises(ModelFileError, match=r"no \.caffemodel beside it"):
        open_caffe(tmp_path / "net.prototxt")


def test_the_graph_is_that_of_the_test_phase(tmp_path):
    text = (
        layer("d", "Data", "", "data", "include { phase: TRAIN }")
        + layer("r", "ReLU", "data", "r")
        + layer("bn", "BatchNorm", "r", "a", "include { phase: TRAIN } batch_norm_param { use_global_stats: false }")
        + layer("bn", "BatchNorm", "r", "a", "include { phase: TEST }")
        + layer("x", "ReLU", "a", "x", "exclude { phase: TEST }")
        + layer("loss", "SoftmaxWithLoss", "a label", "loss")
        + layer("top1", "Accuracy", "a label", "top1")
    )
    graph = open_caffe(files(tmp_path, text)).documents["graph"]
    assert [(one.name, one.type) for one in graph] == [("r", "ReLU"), ("bn", "BatchNorm")]


def test_weights_of_layers_that_the_graph_lacks_are_passed_over(tmp_path):
    """As in Caffe, where a model that was trained with more heads is deployed with one."""
    path, text = pair(tmp_path)
    whole = open_caffe(path).tensors
    path.with_suffix(".prototxt").write_text(text.replace('"fc5"', '"other"'))
    assert set(whole) - set(open_caffe(path).tensors) == {"fc5/0", "fc5/1"}


def test_settings_are_the_same_however_they_are_spelled(tmp_path):
    def settings(kind: str, param: str) -> dict:
        return dict(open_caffe(files(tmp_path, layer("a", kind, "data", "a", param))).documents["graph"][0].settings)

    sizes = {"kernel": (3, 5), "stride": (2, 2), "pad": (1, 2), "dilation": (1, 1)}
    convolution = {"channels": 4, "groups": 1, "bias": True, **sizes}
    for spelled in ("kernel_h: 3 kernel_w: 5 pad_h: 1 pad_w: 2", "kernel_size: [3, 5] pad: 1 pad: 2"):
        assert settings("Convolution", f"convolution_param {{ num_output: 4 stride: 2 {spelled} }}") == convolution
    pooling = {"method": "MAX", "kernel": (3, 3), "stride": (1, 1), "pad": (0, 0), "global": False, "ceil": True}
    assert settings("Pooling", "pooling_param { kernel_size: 3 }") == pooling
    for spelled in ("round_mode: FLOOR", "round_mode: 1", "ceil_mode: false"):
        assert settings("Pooling", f"pooling_param {{ kernel_size: 3 {spelled} }}") == {**pooling, "ceil": False}
    assert settings("BatchNorm", "") == settings("BatchNorm", "batch_norm_param { eps: 1e-5 }") == {"eps": 1e-5}


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ('name: "solver" base_lr: 0.1', "describes no layers"),
        (layer("a", "ReLU", "data", "a") + 'layers { name: "b" type: RELU }', "two versions"),
        ('layers { layer { name: "a" } }', "V0"),
        (layer("a", "ReLU", "data", "a") * 2, "two of its layers"),
        (layer("a", "BatchNorm", "d", "a", "batch_norm_param { use_global_stats: false }"), "set it to true"),
        (layer("a", "Convolution", "d", "a", "convolution_param { axis: 2 }"), "axis is '2'"),
        (layer("a", "Convolution", "d", "a", "convolution_param { pad: -1 }"), "whole number"),
        (layer("a", "Convolution", "d", "a", "convolution_param { pad: [1, 2, 3] }"), "more than two"),
        (layer("a", "Convolution", "d", "a", "convolution_param: 3"), "should be messages"),
        (layer("a", "InnerProduct", "d", "a", "inner_product_param { transpose: true }"), "transpose"),
        (layer("a", "Pooling", "d", "a", "pooling_param { pool: 7 }"), "one of MAX, AVE"),
        (layer("a", "ReLU", "d", "a", "relu_param { negative_slope: nan }"), "should be a number"),
        (layer("a", "ReLU", "d", "a", "bottom: 3"), "no name"),
        ("layer { name: 'a\\n' bottom: 'd' }", "is called"),
        ("layer {}" * (MAX_LAYERS + 1), "layers, which no network has"),
        ("#" * (MAX_TEXT_BYTES + 1), "bytes, which no network"),
    ],
)
def test_graphs_that_mean_nothing_here_are_refused(tmp_path, text, says):
    path = files(tmp_path, text)
    for named in (path, path.with_suffix(".prototxt")):
        with pytest.raises(ModelFileError, match=says) as caught:
            open_caffe(named)
        assert str(named) in str(caught.value)


def blob(shape: bytes, *data: bytes) -> bytes:
    """A .caffemodel whose one layer "a" has one blob."""
    numbers = b"".join(field(5, piece) for piece in data)
    return field(100, field(1, "a") + field(2, "Scale") + field(3, "data") + field(7, shape + numbers))


@pytest.mark.parametrize(
    ("weights", "says"),
    [
        (b"", "nothing is in it"),
        (b"\x00" * 40, "number 0"),
        (blob(field(7, field(1, 3)), b"\0" * 8), "should have 12 bytes"),
        (blob(field(7, field(1, 2**40) * 2), b"\0" * 8), "should have"),
        (blob(field(7, field(1, 2)), b"\0" * 4, b"\0" * 4), "in one piece"),
        (blob(field(7, field(1, 1) * 9), b"\0" * 4), "9 dimensions"),
        (blob(field(7, field(1, 1)) + field(5, 3)), "wrong type"),
        (field(8, b"") * (MAX_FIELDS + 1), "fields"),
        (field(8, field(1, bytes(MAX_LIST + 1))), "its dim is of the wrong type"),
        (field(1, "net")[:-1], "longer than its message"),
    ],
)
def test_damaged_weights_are_refused_with_the_name_of_the_file(tmp_path, weights, says):
    path = files(tmp_path, layer("a", "Scale", "data", "a"))
    path.write_bytes(weights)
    for named in (path, path.with_suffix(".prototxt")):
        with pytest.raises(ModelFileError, match=says) as caught:
            open_caffe(named)
        assert str(named) in str(caught.value)
        assert ("in net.caffemodel beside it" in str(caught.value)) == (named != path)


# The emulation.


def caffe_pool(x: np.ndarray, kernel: int, stride: int, pad: int, ceil: bool, largest: bool) -> np.ndarray:
    """pooling_layer.cpp for one map, window by window."""
    rounded = math.ceil if ceil else math.floor
    counts = []
    for size in x.shape:
        count = rounded((size + 2 * pad - kernel) / stride) + 1
        counts.append(count - 1 if pad and (count - 1) * stride >= size + pad else count)
    out = np.zeros(counts)
    for place in itertools.product(*map(range, counts)):
        starts = [i * stride - pad for i in place]
        ends = [min(start + kernel, size + pad) for start, size in zip(starts, x.shape, strict=True)]
        area = math.prod(end - start for start, end in zip(starts, ends, strict=True))
        window = x[tuple(slice(max(s, 0), min(e, n)) for s, e, n in zip(starts, ends, x.shape, strict=True))]
        out[place] = window.max() if largest else window.sum() / area
    return out


@pytest.mark.parametrize("largest", [True, False])
@pytest.mark.parametrize(
    ("kernel", "stride", "pad"), [(3, 2, 0), (3, 2, 1), (2, 2, 0), (3, 3, 2), (5, 3, 1), (2, 1, 1)]
)
def test_pools_count_their_windows_as_caffe_does(tmp_path, kernel, stride, pad, largest):
    for ceil, side in itertools.product((True, False), ((7, 10), (8, 9))):
        param = f"pool: {'MAX' if largest else 'AVE'} kernel_size: {kernel} stride: {stride} pad: {pad}"
        mode = "" if ceil else "round_mode: FLOOR"
        file = open_caffe(
            files(tmp_path, layer("res2a", "Pooling", "data", "a", f"pooling_param {{ {param} {mode} }}"))
        )
        found = run(file, picture(1, 1, *side))["stage1.unit1"]
        wanted = caffe_pool(picture(*side).numpy(), kernel, stride, pad, ceil, largest)
        assert found.shape[2:] == wanted.shape
        assert np.allclose(found[0, 0], wanted)


def test_a_last_pool_made_for_larger_pictures_is_the_whole_map(tmp_path):
    path, text = pair(tmp_path)
    right = run(open_caffe(path), picture(1, 3, 40, 33))["logits"]
    path.with_suffix(".prototxt").write_text(text.replace("global_pooling: true", "kernel_size: 7 stride: 1"))
    assert torch.equal(run(open_caffe(path), picture(1, 3, 40, 33))["logits"], right)


def test_a_factor_of_zero_means_that_nothing_was_summed(tmp_path):
    path, _ = pair(tmp_path)
    file = open_caffe(path)
    where = file.tensors["bn_conv1/2"]
    assert where.read() == 1
    weights = path.read_bytes()
    start = weights.index(b"bn_conv1")
    at = weights.index(np.float32(1).tobytes(), start + file.tensors["bn_conv1/0"].shape[0] * 8)
    path.write_bytes(weights[:at] + bytes(4) + weights[at + 4 :])
    prepared = recognise(open_caffe(path), "caffe")
    for leaf in ("running_mean", "running_var"):
        name = prepared.names[f"stem.norm.{leaf}"]
        assert torch.equal(prepared.file.tensors[name].read(), torch.zeros(8))
    ours = read(path).network.double()
    x = picture(2, 3, 64, 64)
    with torch.no_grad():
        assert torch.allclose(run(open_caffe(path), x)["logits"], ours(x), rtol=1e-9)


def test_the_emulation_says_which_layer_it_cannot_run(tmp_path):
    for text, says in (
        (layer("a", "LRN", "data", "a"), "'a' .LRN. is of no type"),
        (layer("a", "ReLU", "data", "a") + layer("b", "Eltwise", "a c", "b"), "'b' .Eltwise. reads 'c'"),
        (layer("a", "InnerProduct", "data", "a"), "'a' does not fit"),
        (layer("a", "Pooling", "data", "a", "pooling_param { pool: STOCHASTIC kernel_size: 2 }"), "'a' does not fit"),
    ):
        with pytest.raises(ModelFileError, match=says):
            run(open_caffe(files(tmp_path, text)), picture(1, 3, 8, 8))
