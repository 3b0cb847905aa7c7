"""What the configurations of timm's and Hugging Face's folders say beyond the tensors: followed, or refused."""

from __future__ import annotations

import dataclasses
import errno
import json
import math
import os
from pathlib import Path
from typing import Any

import pytest
import torch
from replicas import V2, HuggingFace, Layered, foreign
from test_convert import model_of, tiny
from torch import nn

from resnets.architecture import CATALOG, plan
from resnets.data.preprocess import Preprocessing
from resnets.errors import ModelFileError
from resnets.network import ResNet
from resnets.weights import load
from resnets.weights.convert import exported, write
from resnets.weights.open import open_file
from resnets.weights.worlds import DIALECTS
from resnets.weights.worlds.huggingface import witness as huggingface
from resnets.weights.worlds.timm import witness as timm
from resnets.weights.worlds.torch.folder import FILES, write_folder

PICTURE = torch.zeros(1, 3, 32, 32, dtype=torch.float64)
SETTINGS = {"input_size": [3, 64, 64], "crop_pct": 0.5}


def changed(folder: Path, name: str, **values: Any) -> Path:
    """A model folder with other values in one of its documents; None takes a key out."""
    document = json.loads((folder / name).read_text()) | values
    (folder / name).write_text(json.dumps({key: value for key, value in document.items() if value is not None}))
    return folder


@pytest.fixture
def hugging_face(tmp_path) -> Path:
    """The folder of a small network."""
    write(model_of(tiny("resnet18")), tmp_path / "folder", "huggingface")
    return tmp_path / "folder"


@pytest.fixture(scope="module")
def timms(tmp_path_factory) -> Path:
    """timm's folder of a ResNet-18, for tests that leave it as it is."""
    folder = tmp_path_factory.mktemp("timm") / "folder"
    write(model_of(CATALOG["resnet18"]), folder, "timm")
    return folder


def in_timm(folder: Path, **config: Any) -> tuple[Preprocessing, tuple[str, ...]]:
    """What the dialect makes of a folder with another config.json: (preprocessing, classes), or it refuses."""
    file = open_file(folder)
    document = file.documents["config"] | config
    file = dataclasses.replace(file, documents={"config": {k: v for k, v in document.items() if v is not None}})
    dialect, p = DIALECTS["timm"], plan("resnet18", num_classes=5)
    dialect.check(file, p, {"head.linear.weight": "fc.weight"})
    return dialect.preprocessing(file, p.spec), dialect.classes(file, 5)


# Folders


@pytest.mark.parametrize("broken", ["config.json", "preprocessor_config.json"])
def test_a_folder_without_all_its_documents_has_no_weights_either(tmp_path, monkeypatch, broken):
    """Each file is whole or not there: what cannot be written leaves the one before, and no weights come."""
    (tmp_path / broken).write_text("{}")
    file, _ = exported(model_of(tiny("resnet18")), tmp_path, "huggingface")
    replace = os.replace

    def full_disk(part, place):
        if Path(place).name == broken:
            raise OSError(errno.ENOSPC, "No space left on device")
        replace(part, place)

    monkeypatch.setattr(os, "replace", full_disk)
    with pytest.raises(ModelFileError, match=f"{broken} cannot be written"):
        write_folder(tmp_path, file)
    assert {path.name for path in tmp_path.iterdir()} == {"config.json", broken}
    assert (tmp_path / broken).read_text() == "{}"


def test_the_weights_are_named_first(tmp_path):
    written = write(model_of(tiny("resnet18")), tmp_path / "folder", "huggingface")
    assert [path.name for path in written] == ["model.safetensors", "config.json", "preprocessor_config.json"]


def test_a_folder_may_be_named_as_timm_names_its_own(tmp_path):
    assert write(model_of(tiny("resnet18")), tmp_path / "resnet18.a1_in1k", "huggingface")[0].is_file()
    assert load(tmp_path / "resnet18.a1_in1k").network.plan.spec == tiny("resnet18")


@pytest.mark.parametrize("suffix", [*FILES, ".PTH"])
def test_a_folder_named_like_a_file_is_refused(tmp_path, suffix):
    with pytest.raises(ModelFileError, match="looks like a file"):
        write(model_of(tiny("resnet18")), tmp_path / f"net{suffix}", "huggingface")
    assert list(tmp_path.iterdir()) == []


# Networks that the other world has not

FOREIGN_TO_TRANSFORMERS = {
    "groups=4, width_per_group=32": {"groups": 4, "width_per_group": 32},
    "width_per_group=128": {"width_per_group": 128},
    "stem='cifar'": {"stem": "cifar"},
    "bias='always'": {"bias": "always"},
}


@pytest.mark.parametrize("words", FOREIGN_TO_TRANSFORMERS)
def test_what_transformers_has_no_class_for_is_neither_written_nor_read(tmp_path, monkeypatch, words):
    model = model_of(dataclasses.replace(tiny("resnet50"), **FOREIGN_TO_TRANSFORMERS[words]))
    with pytest.raises(ModelFileError, match=f"huggingface has no network with {words}"):
        write(model, tmp_path / "folder", "huggingface")
    assert list(tmp_path.iterdir()) == []

    with monkeypatch.context() as patch:
        patch.setattr("resnets.weights.worlds.huggingface.names.ALWAYS", {})
        write(model, tmp_path / "folder", "huggingface")
    with pytest.raises(ModelFileError, match=words):
        load(tmp_path / "folder")


@pytest.mark.parametrize(
    ("name", "conv", "words"),
    [
        ("resnet.embedder.embedder", nn.Conv2d(3, 8, 3, bias=False), r"embedder is \(8, 3, 3, 3\)"),
        ("resnet.encoder.stages.0.layers.0.layer.1", nn.Conv2d(4, 4, 3, groups=2, bias=False), r"is \(4, 2, 3, 3\)"),
    ],
)
def test_transformers_emulation_has_its_groups_and_its_stem(name, conv, words):
    module = HuggingFace()
    module.get_submodule(name).convolution = conv
    with pytest.raises(ModelFileError, match=words):
        huggingface.run(foreign(module.double(), config={}), PICTURE)


def test_transformers_emulation_has_its_widths():
    module = HuggingFace()
    layer = module.resnet.encoder.stages[0].layers[0].layer
    layer[0].convolution, layer[0].normalization = nn.Conv2d(8, 6, 1, bias=False), nn.BatchNorm2d(6)
    layer[1].convolution, layer[1].normalization = nn.Conv2d(6, 6, 3, bias=False), nn.BatchNorm2d(6)
    layer[2].convolution = nn.Conv2d(6, 16, 1, bias=False)
    with pytest.raises(ModelFileError, match="6 wide inside"):
        huggingface.run(foreign(module.double(), config={}), PICTURE)


@pytest.mark.parametrize("name", ["resnet10", "resnetv2_200", "resnext29_8x64d", "resnet50_v1", "resnet20"])
def test_what_timm_does_not_register_is_not_written(tmp_path, name):
    with torch.device("meta"):
        network = ResNet(plan(name, num_classes=5))
    model = dataclasses.replace(model_of(tiny("resnet18")), network=network)
    with pytest.raises(ModelFileError, match=f"timm has no network that is {name}"):
        DIALECTS["timm"].documents(model)


# What timm's configurations say


@pytest.mark.parametrize(
    "arguments",
    [
        {"in_chans": 3, "num_classes": 5, "global_pool": "avg"},  # what timm itself writes
        {"layers": [2, 2, 2, 2], "channels": [64, 128, 256, 512], "stem_type": "", "avg_down": False},
        {"aa_layer": None, "output_stride": 32, "act_layer": "relu", "drop_rate": 0.1},
        None,
    ],
    ids=str,
)
def test_timms_arguments_that_show_or_change_nothing_are_fine(timms, arguments):
    in_timm(timms, model_args=arguments, global_pool="avg")
    timm.run(foreign(Layered(), config={"model_args": arguments, "global_pool": "avg"}), PICTURE)


@pytest.mark.parametrize(
    ("key", "config"),
    [
        ("aa_layer", {"model_args": {"aa_layer": "blurpc"}}),
        ("act_layer", {"model_args": {"layers": [1], "act_layer": "silu"}}),
        ("output_stride", {"model_args": {"output_stride": 8}}),
        ("replace_stem_pool", {"model_args": {"replace_stem_pool": True}}),
        ("global_pool", {"model_args": {"global_pool": "max"}}),
        ("global_pool", {"global_pool": "avgmax"}),
        ("global_pool", {"pretrained_cfg": {**SETTINGS, "global_pool": "max"}}),
    ],
    ids=str,
)
def test_timms_arguments_that_change_the_graph_are_refused(timms, key, config):
    with pytest.raises(ModelFileError, match=f"sets {key}, which is another graph"):
        in_timm(timms, **config)
    with pytest.raises(ModelFileError, match=f"sets {key}, which is not emulated"):
        timm.run(foreign(Layered(), config=config), PICTURE)


@pytest.mark.parametrize("key", ["stem_type", "avg_down"])
def test_of_resnetv2_names_do_not_show_every_stem_and_shortcut(timms, key):
    config = {"architecture": "resnetv2_50", "model_args": {key: "fixed"}}
    file = dataclasses.replace(open_file(timms), documents={"config": config})
    with pytest.raises(ModelFileError, match=f"sets {key}, which is another graph"):
        DIALECTS["timm"].check(file, plan("resnetv2_50"), {})
    with pytest.raises(ModelFileError, match=f"sets {key}, which is not emulated"):
        timm.run(foreign(V2(), config=config), PICTURE)


@pytest.mark.parametrize("config", [{"model_args": [1]}, {"model_args": "x"}, {"pretrained_cfg": [1]}], ids=str)
def test_timms_tables_are_tables(timms, config):
    with pytest.raises(ModelFileError, match="are tables"):
        in_timm(timms, **config)


def test_timms_crop_modes(timms):
    shorter, _ = in_timm(timms, pretrained_cfg=SETTINGS)
    stretched, _ = in_timm(timms, pretrained_cfg={**SETTINGS, "crop_mode": "squash"})
    assert (shorter.resize, shorter.image_size, shorter.resize_to) == ("shorter", 64, 128)
    assert stretched == dataclasses.replace(shorter, resize="stretch")


def test_stretched_pictures_travel_in_timms_folder(tmp_path, capsys):
    model = model_of(CATALOG["resnet18"])
    model = dataclasses.replace(model, preprocessing=Preprocessing(image_size=64, resize_to=80, resize="stretch"))
    write(model, tmp_path / "folder", "timm")
    assert load(tmp_path / "folder").preprocessing == model.preprocessing
    assert "cannot say" not in capsys.readouterr().err


@pytest.mark.parametrize(
    "settings",
    [
        {"crop_mode": "border"},
        {"input_size": [3, 64, 96]},
        {"input_size": [3]},
        {"input_size": 64},
        {"crop_pct": 0},
        {"crop_pct": 1e-320},
        {"crop_pct": math.nan},
        {"crop_pct": "1"},
    ],
    ids=str,
)
def test_timms_settings_that_cannot_be_followed_are_refused(timms, settings):
    with pytest.raises(ModelFileError, match=r"pretrained_cfg cannot be followed \("):
        in_timm(timms, pretrained_cfg={**SETTINGS, **settings})


@pytest.mark.parametrize(
    ("labels", "known"),
    [
        (["a", "b", "c", "d", "e"], True),
        (["a", "b", "c", "d", "e", "a"], False),
        (["a", "b", "c", "d", "d"], False),
        (["a", "b", "c"], False),
        ("abcde", False),
    ],
)
def test_timms_labels_are_one_for_each_output(timms, labels, known):
    _, classes = in_timm(timms, label_names=labels)
    assert classes == (tuple(labels) if known else ("0", "1", "2", "3", "4"))


# What Hugging Face's configurations say


def test_labels_that_stay_equal_when_numbered_become_numbers(hugging_face):
    labels = {str(i): name for i, name in enumerate(["x", "x", "x (0)", "y", "z"])}
    assert load(changed(hugging_face, "config.json", id2label=labels)).classes == ("0", "1", "2", "3", "4")


def pictures(folder: Path, **values: Any) -> Preprocessing:
    """The preprocessing under another preprocessor_config.json, of which only these are set."""
    (folder / "preprocessor_config.json").write_text(json.dumps({"size": 64, "crop_pct": 0.5} | values))
    return load(folder).preprocessing


@pytest.mark.parametrize(
    ("values", "scale", "shift"),
    [
        ({}, 1, 0),
        ({"rescale_factor": 1 / 255, "do_rescale": True}, 1, 0),
        ({"rescale_factor": 1 / 127.5, "rescale_offset": True}, 2, -1),
        ({"rescale_factor": 0.5 / 255, "image_mean": [0.1] * 3}, 0.5, 0),
        ({"do_rescale": False, "image_mean": [124, 116, 104], "image_std": [58, 57, 57]}, 255, 0),
        ({"rescale_factor": 1 / 127.5, "rescale_offset": True, "do_normalize": False}, 2, -1),
        ({"do_normalize": False}, 1, 0),
    ],
    ids=str,
)
def test_rescaling_is_followed(hugging_face, values, scale, shift):
    p = pictures(hugging_face, **{"image_mean": [0.2, 0.3, 0.4], "image_std": [0.5, 0.6, 0.7], **values})
    normalised = values.get("do_normalize", True)
    mean = values.get("image_mean", [0.2, 0.3, 0.4]) if normalised else [0] * 3
    std = values.get("image_std", [0.5, 0.6, 0.7]) if normalised else [1] * 3
    for channel in range(3):
        for value in (0.0, 0.25, 1.0):
            wanted = (scale * value + shift - mean[channel]) / std[channel]
            assert (value - p.mean[channel]) / p.std[channel] == pytest.approx(wanted, abs=1e-9)
    if not values:
        assert (p.mean, p.std) == ((0.2, 0.3, 0.4), (0.5, 0.6, 0.7))  # to the bit


@pytest.mark.parametrize(
    ("values", "resize", "resize_to", "image_size"),
    [
        ({}, "shorter", 128, 64),
        ({"do_center_crop": False}, "shorter", 128, 64),  # ConvNext's processor crops where it resizes
        ({"size": {"shortest_edge": 80}, "crop_size": {"height": 64, "width": 64}}, "shorter", 80, 64),
        ({"size": 80, "crop_size": 64, "do_center_crop": True}, "shorter", 80, 64),
        ({"size": {"height": 80, "width": 80}, "crop_size": 64}, "stretch", 80, 64),
        ({"size": {"height": 80, "width": 80}, "crop_size": 64, "do_center_crop": False}, "stretch", 80, 80),
        ({"size": {"height": 80, "width": 80}}, "stretch", 80, 80),
        ({"size": 400}, "stretch", 400, 400),
        ({"crop_size": None, "do_center_crop": None}, "shorter", 128, 64),
    ],
    ids=str,
)
def test_resizing_and_cropping_are_followed(hugging_face, values, resize, resize_to, image_size):
    p = pictures(hugging_face, **values)
    assert (p.resize, p.resize_to, p.image_size) == (resize, resize_to, image_size)


@pytest.mark.parametrize(
    "values",
    [
        {"do_resize": False},
        {"do_center_crop": False, "crop_pct": None, "crop_size": 64},
        {"do_center_crop": True},
        {"size": {"height": 64, "width": 96}},
        {"size": {"shortest_edge": 64, "longest_edge": 64}},
        {"size": {}},
        {"size": [64]},
        {"size": 80, "crop_size": {"height": 64, "width": 72}},
        {"size": 64, "crop_size": 80},
        {"resample": 0},
        {"resample": [2]},
        {"crop_pct": 0},
        {"crop_pct": 1e-320},
        {"rescale_factor": 0},
        {"rescale_factor": 1e-320},
        {"rescale_factor": 10**400},
        {"rescale_factor": "1"},
        {"do_rescale": False, "image_mean": [300] * 3},
        {"image_mean": 0.5},
    ],
    ids=lambda values: str(values)[:60],
)
def test_what_cannot_be_followed_is_refused(hugging_face, values):
    with pytest.raises(ModelFileError, match=r"preprocessor_config.json cannot be followed \(") as problem:
        pictures(hugging_face, **values)
    assert "\n" not in str(problem.value)
