"""The frameworks themselves against our emulations, where they are installed (they need not be)."""

from __future__ import annotations

import importlib
import warnings
from pathlib import Path

import numpy as np
import pytest
import torch
from replicas import HuggingFace, Layered, foreign, trained

from resnets.weights.formats.stored import Foreign
from resnets.weights.open import open_file
from resnets.weights.worlds import emulation, framework
from resnets.weights.worlds.reference import UnfitError

KEEP: list[torch.library.Library] = []  # what is defined in one is gone when it is


def installed(name: str) -> None:
    """Skip the test where a framework is not there."""
    if importlib.util.find_spec(name) is None:
        pytest.skip(f"{name} is not installed")


def package(name: str):
    """A framework, imported."""
    installed(name)
    if not KEEP:  # torchvision's wheel wants two operators of its own build of torch
        KEEP.append(torch.library.Library("torchvision", "FRAGMENT"))
        for operator in ("nms", "qnms"):
            if not hasattr(torch.ops.torchvision, operator):
                KEEP[0].define(f"{operator}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return importlib.import_module(name)


def agree(file: Foreign, dialect: str, tolerance: float = 1e-12, sizes=((64, 64), (65, 63))) -> str:
    """Compare framework and emulation in every role; the framework's name."""
    theirs, ours = framework(file, dialect), emulation(file, dialect)
    assert theirs is not None
    for size in sizes:
        x = torch.randn(2, 3, *size, generator=torch.Generator().manual_seed(5), dtype=torch.float64)
        given, wanted = theirs.run(x), ours.run(x)
        assert given.keys() == wanted.keys()
        for role, activation in wanted.items():
            assert given[role].dtype == torch.float64
            difference = (given[role] - activation).abs().max() / activation.abs().max()
            assert difference < tolerance, (role, float(difference))
    return theirs.name


@pytest.mark.parametrize(
    "options",
    [{}, {"width_per_group": 128, "bottleneck": True}, {"groups": 32, "width_per_group": 4, "bottleneck": True}],
    ids=str,
)
def test_torchvision(options):
    theirs = package("torchvision").models.resnet
    bottleneck = options.pop("bottleneck", False)
    block = theirs.Bottleneck if bottleneck else theirs.BasicBlock
    module = trained(theirs.ResNet(block, [2, 1, 1, 1], num_classes=7, **options))
    assert agree(foreign(module), "torchvision").startswith("torchvision 0.")


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("resnet18d", {"layers": [1, 1, 1, 1]}),
        ("resnet50d", {"layers": [1, 2, 1, 1]}),
        ("resnet26t", {"layers": [1, 1, 1, 1]}),
        ("resnext50_32x4d", {"layers": [1, 1, 1, 1]}),
        ("resnetv2_18", {"layers": [1, 2, 1, 1]}),
        ("resnetv2_50", {"layers": [1, 2, 1, 1], "channels": [64, 128, 64, 64]}),
        ("resnetv2_50d", {"layers": [1, 2, 1, 1], "channels": [64, 128, 64, 64]}),
    ],
)
def test_timm(name, options):
    module = trained(package("timm").create_model(name, num_classes=7, **options))
    file = foreign(module, config={"architecture": name, "model_args": options})
    assert agree(file, "timm").startswith("timm 1.")


@pytest.mark.parametrize(
    "config",
    [
        {"layer_type": "basic"},
        {},
        {"downsample_in_bottleneck": True},
        {"downsample_in_first_stage": True, "downsample_in_bottleneck": True},
    ],
    ids=str,
)
def test_transformers(config):
    theirs = package("transformers")
    sizes = {"embedding_size": 8, "hidden_sizes": [16, 24], "depths": [2, 2]}
    module = trained(theirs.ResNetForImageClassification(theirs.ResNetConfig(**config, **sizes, num_labels=7)))
    assert agree(foreign(module, config={**config, **sizes}), "huggingface").startswith("transformers ")


@pytest.mark.parametrize("name", ["v1.weights.h5", "v1_legacy.h5", "v2.weights.h5", "v2_legacy.h5"])
def test_keras(shared_data, name):
    installed("keras")
    file = open_file(shared_data / "golden" / "keras" / name)
    assert agree(file, "keras", 1e-5).startswith("Keras 3.")
    io = np.load(shared_data / "golden" / "keras" / f"{name[:2]}_io.npz")
    found = framework(file, "keras").run(torch.from_numpy(io["x"]).permute(0, 3, 1, 2).double())
    assert np.abs(found["logits"].numpy() - io["logits"]).max() < 1e-5


def test_opencv(shared_data):
    installed("cv2")
    file = open_file(shared_data / "golden" / "caffe" / "tiny50.caffemodel")
    assert agree(file, "caffe", 1e-5, sizes=[(64, 64), (63, 63)]).startswith("OpenCV 4.")


# What is not handed to a framework ---------------------------------------------------------------------


@pytest.mark.parametrize(
    ("config", "why"),
    [
        ({}, "no config.json"),
        ({"architecture": "hf-hub:somebody/model"}, "more than one of timm's architectures"),
        ({"architecture": "resnet18", "model_args": {"checkpoint_path": "evil.pth"}}, "more than one"),
        ({"architecture": "resnet18", "model_args": {"layers": [10**9] * 4}}, "other depths"),
    ],
)
def test_timm_is_handed_names_and_sizes_alone(config, why):
    with pytest.raises(UnfitError, match=why):
        framework(foreign(Layered(), config=config), "timm")


def test_transformers_builds_no_deeper_than_the_tensors_are():
    with pytest.raises(UnfitError, match="other depths"):
        framework(foreign(HuggingFace(), config={"depths": [10**9]}), "huggingface")
    with pytest.raises(UnfitError, match=r"no config\.json"):
        framework(foreign(HuggingFace()), "huggingface")


def test_keras_is_handed_no_graph():
    file = Foreign(Path("net.keras"), "keras", {}, {"keras": {"class_name": "Functional"}}, ())
    with pytest.raises(UnfitError, match="a graph of its own"):
        framework(file, "keras")


def test_worlds_without_a_framework_have_none():
    assert framework(foreign(Layered()), "akamaster") is None
    assert framework(foreign(Layered()), "tutorial") is None
