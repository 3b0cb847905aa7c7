"""The emulations of the torch worlds against small modules that are built as those worlds build theirs."""

from __future__ import annotations

import pytest
import torch
from replicas import (
    LAYERED,
    STAGED,
    TRANSFORMED,
    V2,
    Akamaster,
    HuggingFace,
    Layered,
    Tutorial,
    foreign,
    trained,
)
from torch import Tensor, nn

from resnets.errors import ModelFileError
from resnets.weights.worlds.akamaster import witness as akamaster
from resnets.weights.worlds.huggingface import witness as huggingface
from resnets.weights.worlds.timm import witness as timm
from resnets.weights.worlds.torchvision import witness as torchvision
from resnets.weights.worlds.tutorial import witness as tutorial

SIZES = [(32, 32), (37, 41)]


def watched(module: nn.Module, names: dict[str, str], x: Tensor) -> dict[str, Tensor]:
    """What submodules give, by role, and the logits."""
    found = {}
    for name, role in names.items():
        module.get_submodule(name).register_forward_hook(lambda _, __, y, role=role: found.__setitem__(role, y.clone()))
    with torch.no_grad():
        found["logits"] = module(x)
    return found


def compare(emulation, module: nn.Module, names: dict[str, str], size: tuple[int, int], **documents) -> None:
    x = torch.randn(2, 3, *size, generator=torch.Generator().manual_seed(4), dtype=torch.float64)
    wanted = watched(trained(module), names, x)
    given = emulation.run(foreign(module, **documents), x)
    assert given.keys() == wanted.keys()
    for role, activation in wanted.items():
        assert given[role].dtype == torch.float64
        torch.testing.assert_close(
            given[role], activation, rtol=0, atol=1e-11 * float(activation.abs().max()), msg=role
        )
        assert activation.std() > 1e-3, "a dead network proves nothing"


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("options", [{}, {"inner": 4}, {"inner": 8, "groups": 4}], ids=str)
def test_torchvision(options, size):
    compare(torchvision, Layered(**options), LAYERED, size)


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("options", [{}, {"deep": True}, {"deep": True, "averaged": True, "inner": 4}], ids=str)
def test_timm(options, size):
    compare(timm, Layered(**options), LAYERED, size, config={"architecture": "resnet50", "model_args": {"layers": [1]}})


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("options", [{}, {"inner": 4}, {"inner": 4, "deep": True}], ids=str)
def test_timms_resnetv2(options, size):
    compare(timm, V2(**options), STAGED, size)


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize(
    "config",
    [
        {"layer_type": "basic"},
        {},
        {"downsample_in_bottleneck": True},
        {"downsample_in_bottleneck": True, "layer_type": "basic"},
        {"downsample_in_first_stage": True},
    ],
    ids=str,
)
def test_hugging_face(config, size):
    compare(huggingface, HuggingFace(**config), TRANSFORMED, size, config=config)


@pytest.mark.parametrize("size", [(32, 32), (33, 33)])
def test_akamaster(size):
    names = {"stem": "stem", **{name: role for name, role in LAYERED.items() if name != "maxpool"}}
    compare(akamaster, Akamaster(), names, size)


@pytest.mark.parametrize("size", SIZES)
def test_tutorial(size):
    units = {f"bigblock{s}.{u}": f"stage{s}.unit{u + 1}" for s in (1, 2) for u in (0, 1)}
    compare(tutorial, Tutorial(), {"b1": "stem", **units}, size)


def test_what_is_not_emulated_is_refused():
    x = torch.zeros(1, 3, 32, 32, dtype=torch.float64)
    with pytest.raises(ModelFileError, match=r"sets aa_layer, which is not emulated"):
        timm.run(foreign(Layered(), config={"model_args": {"aa_layer": "avg"}}), x)
    with pytest.raises(ModelFileError, match=r"activation is gelu"):
        huggingface.run(foreign(HuggingFace(), config={"hidden_act": "gelu"}), x)
    headless = Layered().double()
    del headless.fc
    with pytest.raises(ModelFileError, match=r"weights\.pth cannot be used: it has no fc\.weight"):
        torchvision.run(foreign(headless), x)
