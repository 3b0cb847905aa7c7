"""Caffe's networks against ours: the graph compared, and the way out and in again."""

from __future__ import annotations

import dataclasses
import re
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from caffe_files import (
    HE,
    NECK,
    TINY,
    layer,
    lively,
    model,
    pair,
    picture,
)

from resnets.architecture import ResNetSpec
from resnets.errors import ModelFileError
from resnets.weights.convert import read, write
from resnets.weights.open import open_file
from resnets.weights.recognise import recognise
from resnets.weights.worlds.caffe.reader import open_caffe
from resnets.weights.worlds.caffe.witness import run

# Out and in again.

NETWORKS = {
    "basic": TINY,
    "bottleneck": NECK,
    "he": HE,
    "resnext": dataclasses.replace(NECK, widths=(8, 16), groups=4, width_per_group=32),
    "d": dataclasses.replace(NECK, stem="deep", shortcut="avgpool"),
    "pre": dataclasses.replace(NECK, order="pre"),
    "pre d": dataclasses.replace(NECK, order="pre", stem="deep", shortcut="avgpool", bias="unnormed"),
    "cifar": dataclasses.replace(TINY, stem="cifar"),
    "wide": dataclasses.replace(TINY, stem="cifar", order="pre"),
    "plain": dataclasses.replace(TINY, shortcut="none"),
    "no relu": dataclasses.replace(TINY, stem_activation=False, bias="always"),
    "long": dataclasses.replace(HE, depths=(3, 4, 7), widths=(4, 4, 8), norm_eps=2e-5),
}


@pytest.mark.parametrize("spec", NETWORKS.values(), ids=NETWORKS)
def test_a_network_comes_back_bit_for_bit(tmp_path, spec):
    ours = model(spec, 48)
    write(ours, tmp_path / "net.prototxt", "caffe")
    again = read(tmp_path / "net.caffemodel")
    assert again.network.plan.spec == spec
    assert (again.classes, again.preprocessing) == (ours.classes, ours.preprocessing)
    theirs = again.network.state_dict()
    assert all(torch.equal(tensor, theirs[name]) for name, tensor in ours.network.state_dict().items())


@pytest.mark.parametrize("spec", NETWORKS.values(), ids=NETWORKS)
@pytest.mark.parametrize("side", [(32, 32), (33, 31), (38, 45)])
def test_a_written_network_runs_in_caffe_as_here(tmp_path, spec, side):
    path, _ = pair(tmp_path, spec)
    ours, x = lively(spec).double(), picture(2, 3, *side)
    theirs = run(open_caffe(path), x)
    with torch.no_grad():
        assert torch.allclose(theirs["logits"], ours(x), rtol=1e-9)
        for role, features in ours.features(x).items():
            last = role if role == "stem" else [name for name in theirs if name.startswith(role)][-1]
            assert torch.allclose(theirs[last], features, rtol=1e-9, atol=1e-12)
    assert len(theirs) == 2 + sum(spec.depths)


def test_layers_have_the_published_names(tmp_path):
    names = [one.name for one in open_caffe(pair(tmp_path)[0]).documents["graph"]]
    assert names[:12] == [
        *("conv1", "bn_conv1", "scale_conv1", "conv1_relu", "pool1"),
        *("res2a_branch1", "bn2a_branch1", "scale2a_branch1"),
        *("res2a_branch2a", "bn2a_branch2a", "scale2a_branch2a", "res2a_branch2a_relu"),
    ]
    assert names[-6:] == ["scale3b_branch2c", "res3b", "res3b_relu", "pool5", "fc5", "prob"]


@pytest.mark.parametrize(
    ("depths", "letters"),
    [
        ((3, 4, 6, 3), ["a b c", "a b c d", "a b c d e f", "a b c"]),
        ((3, 4, 23, 3), ["a b c", "a b1 b2 b3", "a " + " ".join(f"b{i}" for i in range(1, 23)), "a b c"]),
    ],
)
def test_units_are_lettered_as_published(tmp_path, depths, letters):
    path, _ = pair(tmp_path, dataclasses.replace(HE, depths=depths, widths=(4,) * 4))
    sums = [one.name for one in open_caffe(path).documents["graph"] if one.type == "Eltwise"]
    assert sums == [f"res{stage}{letter}" for stage, line in enumerate(letters, 2) for letter in line.split()]


@pytest.mark.parametrize(
    ("spec", "why"),
    [
        (dataclasses.replace(TINY, shortcut="pad", stem_width=4), "zeros"),
        (dataclasses.replace(NECK, depths=(2, 2), stride_unit="last"), "every second pixel"),
        (dataclasses.replace(NECK, conv_padding="same"), "SAME"),
        (dataclasses.replace(NECK, pool_padding="same"), "SAME"),
        (dataclasses.replace(NECK, pool_padding="zero"), "zeros around"),
    ],
)
def test_what_caffe_cannot_compute_is_refused_with_the_reason(tmp_path, spec, why):
    with pytest.raises(ModelFileError, match=f"No layer of Caffe is this network's .*{why}"):
        write(model(spec), tmp_path / "net.caffemodel", "caffe")
    assert not list(tmp_path.iterdir())


def test_a_failed_write_leaves_what_was_there(tmp_path):
    path, _ = pair(tmp_path)
    before = path.read_bytes()
    with pytest.raises(ModelFileError, match="does not end in"):
        write(model(), tmp_path / "net.pth", "caffe")
    with pytest.raises(ModelFileError, match="cannot be written"):
        write(model(), tmp_path / "nowhere" / "net.caffemodel", "caffe")
    assert path.read_bytes() == before
    assert len(list(tmp_path.iterdir())) == 2


# The graph against the network.


@pytest.mark.parametrize(
    ("spec", "old", "new", "says"),
    [
        (HE, ("res3a_branch1", "stride: 2"), "stride: 1", r"res3a_branch1 +stride 1x1 +stride 2x2"),
        (HE, ("res2a_branch2b", "pad: 1"), "pad: 2 dilation: 2", r"res2a_branch2b +pad 2x2 +pad 1x1"),
        (HE, ("pool1", "kernel_size: 3"), "kernel_size: 2", r"pool 1 +kernel 2x2 +kernel 3x3"),
        (NECK, ("pool1_padded", "pad: 1"), "pad: 0", r"crop 1 +Crop +no such layer"),
        (HE, ("bn3b_branch2c", "eps: 1e-05"), "eps: 0.001", r"bn3b_branch2c +eps 0.001 +eps 1e-05"),
        (
            HE,
            ("res3b_branch2b_relu", 'type: "ReLU"'),
            'type: "Dropout"',
            r"reads scale3b_branch2b +reads relu of scale",
        ),
        (
            HE,
            ("res3b", 'bottom: "res3a"'),
            'bottom: "pool1"',
            r"sum 3 +reads pool 1 and scale\w+ +reads relu of sum 2 and",
        ),
        (HE, ("res3b", 'type: "Eltwise"'), 'type: "Eltwise" eltwise_param { operation: MAX }', r"operation MAX"),
        (HE, ("res3b", 'type: "Eltwise"'), 'type: "Eltwise" eltwise_param { coeff: [1, 2] }', r"coefficients 1.0x2.0"),
        (
            HE,
            ("res3a_relu", 'type: "ReLU"'),
            'type: "ReLU" relu_param { negative_slope: 0.1 }',
            r"res3a_relu +ReLU +no such",
        ),
        (HE, ("pool5", "pool: AVE"), "pool: MAX", r"method MAX +method AVE"),
        (HE, ("prob", 'type: "Softmax"'), 'type: "LRN"', r"prob +LRN +no such layer"),
    ],
)
def test_a_graph_that_is_not_the_networks_is_refused_with_a_table(tmp_path, spec, old, new, says):
    path, text = pair(tmp_path, spec)
    name, setting = old
    start = text.index(f'name: "{name}"\n')
    assert setting in text[start:]
    path.with_suffix(".prototxt").write_text(text[:start] + text[start:].replace(setting, new, 1))
    with pytest.raises(ModelFileError, match=says) as caught:
        read(path)
    assert "the file says" in str(caught.value)


def test_another_spelling_of_the_same_graph_is_the_same(tmp_path):
    """Blobs with other names, a fixed last pool, sums the other way round, a Dropout; and a pool that rounds down."""
    path, text = pair(tmp_path, NECK)
    ours = read(path).network.plan.spec
    text = re.sub(r'(bottom|top): "(\w+)"', r'\1: "blob_\2"', text)
    text = text.replace("global_pooling: true", "kernel_size: 2 stride: 1")
    text = text.replace(
        'bottom: "blob_res3a"\n  bottom: "blob_res3b_branch2c"', 'bottom: "blob_res3b_branch2c" bottom: "blob_res3a"'
    )
    text = text.replace(
        'layer {\n  name: "fc5"', layer("drop", "Dropout", "blob_pool5", "blob_pool5") + 'layer {\n  name: "fc5"'
    )
    assert text.count("kernel_size: 2 stride: 1") == text.count("Dropout") == 1
    path.with_suffix(".prototxt").write_text(text)
    assert read(path).network.plan.spec == ours
    start, end = text.index('layer {\n  name: "pool1_size"'), text.index('layer {\n  name: "res2a_branch1"')
    text = (
        (text[:start] + text[end:])
        .replace("blob_pool1_padded", "blob_pool1")
        .replace("kernel_size: 3\n    stride: 2\n    pad: 1", "kernel_size: 3 stride: 2 pad: 1 round_mode: FLOOR", 1)
    )
    assert "FLOOR" in text
    path.with_suffix(".prototxt").write_text(text)
    assert read(path).network.plan.spec == ours


def test_the_head_is_the_last_fully_connected_layer_whatever_its_name(tmp_path):
    path, text = pair(tmp_path)
    path.write_bytes(path.read_bytes().replace(b"fc5", b"fcX"))
    path.with_suffix(".prototxt").write_text(text.replace('"fc5"', '"fcX"'))
    assert read(path).network.plan.num_classes == 5


def test_a_scale_without_shift_has_a_shift_of_zero(tmp_path):
    path, text = pair(tmp_path)
    start = text.index('name: "scale_conv1"')
    path.with_suffix(".prototxt").write_text(
        text[:start] + text[start:].replace("bias_term: true", "bias_term: false", 1)
    )
    tensors = {name: t for name, t in open_caffe(path).tensors.items() if name != "scale_conv1/1"}
    found = recognise(dataclasses.replace(open_caffe(path), tensors=tensors), "caffe")
    assert torch.equal(found.file.tensors[found.names["stem.norm.bias"]].read(), torch.zeros(8))


# How pictures are prepared.


def bare(folder: Path, spec: ResNetSpec = HE) -> Path:
    """A .caffemodel without our record of the preprocessing."""
    path, text = pair(folder, spec)
    path.with_suffix(".prototxt").write_text(re.sub("(?m)^#.*\n", "", text))
    return path


def test_files_of_others_want_what_he_trained_with(tmp_path):
    found = read(bare(tmp_path)).preprocessing
    assert (found.image_size, found.channels, found.mean_image) == (64, "BGR", None)
    assert found.std == (1 / 255,) * 3
    assert np.allclose(np.array(found.mean) * 255, (103.06, 115.90, 123.15), atol=0.01)


def mean_image(side: int) -> torch.Tensor:
    return torch.rand(3, side, side, generator=torch.Generator().manual_seed(2))


def test_a_mean_image_goes_out_and_comes_back(tmp_path, capsys):
    image = mean_image(64).numpy()
    ours = model(channels="BGR", mean_image=image)
    written = write(ours, tmp_path / "net.caffemodel", "caffe")
    assert [path.name for path in written] == ["net.caffemodel", "net.prototxt", "net_mean.binaryproto"]
    file = open_file(written[0])
    assert set(file.files) == set(written)
    shutil.copy(written[2], tmp_path / "other_mean.binaryproto")
    assert np.allclose(read(written[0]).preprocessing.mean_image, image, atol=1e-7)
    assert not capsys.readouterr().err


@pytest.mark.parametrize(("side", "image"), [(64, True), (70, True), (50, False)])
def test_the_mean_image_of_others_is_cut_as_caffe_cuts_it(tmp_path, side, image):
    weights = bare(tmp_path / "..", HE)
    other = tmp_path / "new"
    other.mkdir()
    write(model(size=side, mean_image=mean_image(side).numpy()), other / "x.caffemodel", "caffe")
    for name in (weights, weights.with_suffix(".prototxt")):
        shutil.copy(name, tmp_path)
    shutil.copy(other / "x_mean.binaryproto", tmp_path / "ResNet_mean.binaryproto")
    found = read(tmp_path / weights.name).preprocessing
    if image:
        start = (side - 64) // 2
        wanted = mean_image(side)[:, start : start + 64, start : start + 64]
        assert np.allclose(found.mean_image, wanted, atol=1e-6)
    else:
        assert found.mean_image is None
        assert np.allclose(found.mean, mean_image(side).mean((1, 2)), atol=1e-6)


@pytest.mark.parametrize("record", ['{"preprocessing": 3}', '{"preprocessing": {"mean_image": 1}}', "{", "{" * 10**5])
def test_a_damaged_record_is_refused(tmp_path, record):
    path = bare(tmp_path)
    text = path.with_suffix(".prototxt")
    text.write_text(f"# resnets {record}\n" + text.read_text())
    with pytest.raises(ModelFileError, match=r"makes no sense|damaged"):
        read(path)
