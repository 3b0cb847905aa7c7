"""The registry against what its sources' own packages say: `pytest -m parity tests/weights/test_registry_sources.py`.

Needs torchvision, timm, transformers and Keras beside torch, each for its own tests; downloads nothing.
"""

from __future__ import annotations

import contextlib
import importlib.util
import math
import sys
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from resnets import plan
from resnets.weights.registry import Entry, entry_of, tags

pytestmark = [pytest.mark.parity, pytest.mark.filterwarnings("default")]
LICENCES = {"apache-2.0": "Apache-2.0", "bsd-3-clause": "BSD-3-Clause", "cc-by-nc-4.0": "CC-BY-NC-4.0"}


def of(source: str) -> list[Entry]:
    return [entry for tag in tags(f"{source}:*") if (entry := entry_of(tag))]


def rest(entry: Entry) -> str:
    return entry.tag.partition(":")[2]


@pytest.fixture(scope="module")
def torchvision() -> ModuleType:
    """torchvision, also where its operators were built for another torch: none of them is needed here."""
    if importlib.util.find_spec("torchvision") is None:
        pytest.skip("torchvision is not installed")
    with contextlib.suppress(RuntimeError):  # an operator that is not there
        import torchvision.models

        return torchvision
    for name in [name for name in sys.modules if name.startswith("torchvision")]:
        del sys.modules[name]
    global _operators  # they vanish with the library that defines them
    _operators = torch.library.Library("torchvision", "DEF")
    _operators.define("nms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
    _operators.define("qnms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
    import torchvision.models

    return torchvision


@pytest.fixture(scope="module")
def timm(torchvision: ModuleType) -> ModuleType:
    return pytest.importorskip("timm")


@pytest.fixture(scope="module")
def keras() -> ModuleType:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("KERAS_BACKEND", "torch")
        return pytest.importorskip("keras")


def test_every_weight_of_torchvisions_family_is_here_as_torchvision_has_it(torchvision: ModuleType) -> None:
    models = torchvision.models
    seen = set()
    for name in models.list_models(module=models):
        if models.get_model_builder(name).__module__ != models.resnet.__name__:
            continue
        for weight in models.get_model_weights(name):
            entry = entry_of(f"torchvision:{name}:{weight.name}")
            assert entry is not None, weight
            seen.add(entry.tag)
            assert (entry_of(f"torchvision:{name}") is entry) is (weight is models.get_model_weights(name).DEFAULT)
            assert entry.address == weight.url
            measured = weight.meta["_metrics"]["ImageNet-1K"]
            assert (entry.top1, entry.top5) == pytest.approx((measured["acc@1"] / 100, measured["acc@5"] / 100))
            assert plan(entry.network).parameters == weight.meta["num_params"]
            wanted, ours = weight.transforms(), entry.preprocessing
            assert ([ours.image_size], [ours.resize_to]) == (wanted.crop_size, wanted.resize_size)
            assert (list(ours.mean), list(ours.std)) == (wanted.mean, wanted.std)
            assert (ours.interpolation, ours.resize) == (wanted.interpolation.value, "shorter")
    assert seen == set(tags("torchvision:*"))


@pytest.mark.parametrize("entry", of("timm"), ids=lambda entry: entry.tag)
def test_timm_has_the_same_settings_and_the_same_network(timm: ModuleType, entry: Entry) -> None:
    name = rest(entry)
    settings = timm.models.get_pretrained_cfg(name)
    assert settings.hf_hub_id == entry.address
    assert LICENCES[settings.license] == entry.licence
    default = timm.models.get_pretrained_cfg(name.partition(".")[0]).tag
    assert (entry_of(entry.tag.partition(".")[0]) is entry) is (default == settings.tag)
    size = (settings.test_input_size or settings.input_size)[1]
    resize_to = math.floor(size / (settings.test_crop_pct or settings.crop_pct))
    ours = entry.preprocessing
    assert settings.crop_mode == "center"
    assert (ours.image_size, ours.resize_to, ours.interpolation) == (size, resize_to, settings.interpolation)
    assert (ours.mean, ours.std) == (settings.mean, settings.std)
    with torch.device("meta"):
        network = timm.create_model(name)
    assert plan(entry.network).parameters == sum(p.numel() for p in network.parameters())
    assert not any(isinstance(m, torch.nn.GroupNorm) for m in network.modules())


@pytest.mark.parametrize("entry", of("keras"), ids=lambda entry: entry.tag)
def test_keras_has_the_same_file_and_the_same_pictures(keras: ModuleType, entry: Entry) -> None:
    from keras.src.applications import resnet

    name = rest(entry)
    file = f"{name}_weights_tf_dim_ordering_tf_kernels.h5"
    assert (entry.address, entry.md5) == (resnet.BASE_WEIGHTS_PATH + file, resnet.WEIGHTS_HASHES[name][0])
    module = keras.applications.resnet_v2 if name.endswith("v2") else keras.applications.resnet
    pixels = np.random.default_rng(0).integers(0, 256, (1, 224, 224, 3), np.uint8)
    wanted = module.preprocess_input(pixels.astype(np.float32), data_format="channels_last").transpose(0, 3, 1, 2)
    ours = entry.preprocessing.normalise(torch.from_numpy(pixels)).numpy()
    np.testing.assert_allclose(ours, wanted, rtol=0, atol=2e-5)


@pytest.mark.parametrize(("name", "network"), [("ResNet50", "keras_resnet50"), ("ResNet101V2", "keras_resnet101v2")])
def test_keras_counts_the_same_parameters(keras: ModuleType, name: str, network: str) -> None:
    model = getattr(keras.applications, name)(weights=None)
    assert plan(network).parameters == sum(int(np.prod(weight.shape)) for weight in model.trainable_weights)


@pytest.mark.parametrize("entry", of("hf"), ids=lambda entry: entry.tag)
def test_transformers_makes_the_same_network_and_the_same_pictures(torchvision: ModuleType, entry: Entry) -> None:
    transformers: Any = pytest.importorskip("transformers")
    basic = entry.network in ("resnet18", "resnet34")
    depths = {18: [2, 2, 2, 2], 26: [2, 2, 2, 2], 101: [3, 4, 23, 3], 152: [3, 8, 36, 3]}
    config = transformers.ResNetConfig(
        depths=depths.get(int(entry.network.removeprefix("resnet")), [3, 4, 6, 3]),
        hidden_sizes=[64, 128, 256, 512] if basic else [256, 512, 1024, 2048],
        layer_type="basic" if basic else "bottleneck",
        num_labels=1000,
    )
    with torch.device("meta"):
        network = transformers.ResNetForImageClassification(config)
    assert plan(entry.network).parameters == sum(p.numel() for p in network.parameters())
    from transformers.models.convnext.image_processing_convnext import ConvNextImageProcessor

    pixels = np.random.default_rng(0).integers(0, 256, (320, 320, 3), np.uint8)
    process = ConvNextImageProcessor(  # as the preprocessor_config.json of these repositories
        size={"shortest_edge": 224}, crop_pct=0.875, resample=3, image_mean=[0.485, 0.456, 0.406],
        image_std=[0.229, 0.224, 0.225],
    )  # fmt: skip
    wanted = process(Image.fromarray(pixels), return_tensors="pt")["pixel_values"]
    picture = entry.preprocessing.pixels(Image.fromarray(pixels))
    ours = entry.preprocessing.normalise(torch.from_numpy(picture)[None])
    assert ours.shape == wanted.shape
    assert (ours - wanted).abs().max() < 3 / 255 / 0.224  # two levels: one resampling in whole numbers, one not
