"""Whole modules, as `torch.save(model, ...)` writes them: read as data, with what their settings say."""

from __future__ import annotations

import subprocess
import sys

import pytest
import torch
from replicas import Block, conv, trained
from test_structure import Kuangliu, early
from torch import nn

from resnets.errors import ModelFileError
from resnets.weights.certificate import certificate
from resnets.weights.convert import classifier_of, read
from resnets.weights.formats.torch_file import open_torch
from resnets.weights.open import open_file
from resnets.weights.recognise import recognise


class Torchvision(nn.Module):
    """torchvision's ResNet of bottlenecks, thin."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1, self.bn1, self.relu = conv(3, 8, 7, 2), nn.BatchNorm2d(8), nn.ReLU(inplace=True)
        self.maxpool = nn.MaxPool2d(3, 2, 1)
        self.layer1 = nn.Sequential(Block(8, 32, 1, inner=8), Block(32, 32, 1, inner=8))
        self.layer2 = nn.Sequential(Block(32, 64, 2, inner=16), Block(64, 64, 1, inner=16))
        self.avgpool, self.fc = nn.AdaptiveAvgPool2d((1, 1)), nn.Linear(64, 5)

    def forward(self, x):
        x = self.layer2(self.layer1(self.maxpool(self.relu(self.bn1(self.conv1(x))))))
        return self.fc(self.avgpool(x).flatten(1))


X = torch.randn(2, 3, 65, 64, generator=torch.Generator().manual_seed(0))
WRAPPED = {
    "alone": lambda module: module,
    "in a dictionary": lambda module: {"model": module, "epoch": 3},
    "DataParallel": nn.DataParallel,
    "in a module": lambda module: nn.ModuleDict({"backbone": module}),
}


@pytest.mark.parametrize("wrapped", WRAPPED)
@pytest.mark.parametrize("make", [Torchvision, Kuangliu, early])
def test_its_network_is_the_one_that_was_saved(tmp_path, wrapped, make):
    module = trained(make()).float()
    torch.save(WRAPPED[wrapped](module), tmp_path / "net.pth")
    with torch.no_grad():
        theirs, ours = module(X), read(tmp_path / "net.pth").network(X)
    assert torch.allclose(ours, theirs, rtol=1e-4, atol=float(theirs.abs().max()) * 1e-6)


def test_its_tensors_are_those_of_its_state_dict_in_their_order(tmp_path):
    module = trained(Torchvision()).float()
    torch.save(module, tmp_path / "net.pth")
    found = open_torch(tmp_path / "net.pth")
    assert list(found.tensors) == list(module.state_dict())
    assert all(torch.equal(found.tensors[name].read(), tensor) for name, tensor in module.state_dict().items())


def test_no_class_of_it_is_looked_up(tmp_path):
    """The file opens where nobody has its classes."""
    torch.save(trained(Torchvision()).float(), tmp_path / "net.pth")
    code = f"from resnets.weights.convert import read; print(len(read({str(tmp_path / 'net.pth')!r}).classes))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "5"


def changed(change):
    module = trained(Torchvision()).float()
    change(module)
    return module


def strides_in_the_first(module):
    module.layer2[0].conv1.stride, module.layer2[0].conv2.stride = (2, 2), (1, 1)


def epsilons(module):
    for layer in module.modules():
        if isinstance(layer, nn.BatchNorm2d):
            layer.eps = 1e-3


@pytest.mark.parametrize("change", [strides_in_the_first, epsilons])
def test_what_its_settings_say_is_taken(tmp_path, change):
    module = changed(change)
    torch.save(module, tmp_path / "net.pth")
    found = recognise(open_file(tmp_path / "net.pth"))
    ours = classifier_of(found).network
    with torch.no_grad():
        theirs = module(X)
        assert torch.allclose(ours(X), theirs, rtol=1e-4, atol=float(theirs.abs().max()) * 1e-6)
    proof = certificate(found.file, found.dialect.name, ours, use_framework=False)
    assert proof["holds"], proof["verdict"]
    assert proof["seen"].keys() == {"strides", "dilation", "pool", "activation", "epsilon"}
    assert proof["seen"]["strides"].endswith("(its modules)")
    assert {"order", "shortcuts"} <= proof["assumed"].keys()


class Functional(Torchvision):
    """Its pool is a function."""

    def __init__(self) -> None:
        super().__init__()
        del self.maxpool

    def maxpool(self, x):
        return nn.functional.max_pool2d(x, 3, 2, 1)


def test_a_pool_that_is_no_module_is_assumed(tmp_path):
    module = trained(Functional()).float()
    torch.save(module, tmp_path / "net.pth")
    with torch.no_grad():
        theirs, ours = module(X), read(tmp_path / "net.pth").network(X)
    assert torch.allclose(ours, theirs, rtol=1e-4, atol=float(theirs.abs().max()) * 1e-6)


def dilated(module):
    module.layer2[0].conv2.stride, module.layer2[0].conv2.dilation = (1, 1), (2, 2)


def other_activation(module):
    module.layer1[0].relu = nn.SiLU()


def other_pool(module):
    module.maxpool = nn.MaxPool2d(2, 2)


def no_pool(module):
    module.maxpool = nn.Identity()


def one_epsilon(module):
    module.bn1.eps = 1e-3


def unpadded(module):
    module.layer1[1].conv2.padding = (0, 0)


def averaged_pool(module):
    module.maxpool = nn.AvgPool2d(3, 2, 1)


def two_pools(module):
    module.last = nn.MaxPool2d(3, 2, 1)


def wide_pool(module):
    module.maxpool = nn.MaxPool2d([3, 5], 2, 1)


def spread_pool(module):
    module.maxpool = nn.MaxPool2d(3, 2, 1, dilation=2)


def circular(module):
    module.layer1[1].conv2.padding_mode = "circular"


class Standardised(nn.Conv2d):
    """A convolution that is none."""


def standardised(module):
    module.layer1[1].conv2.__class__ = Standardised


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (dilated, r"has the (stride|dilation) \[., .\], where stage2.unit1.conv2 has"),
        (other_activation, "it has a module 'SiLU'"),
        (other_pool, r"its pools are \[\(2, 2, 0, False\)\]"),
        (no_pool, r"its pools are \['Identity'\]"),
        (averaged_pool, r"its pools are \['AvgPool2d'\]"),
        (two_pools, r"its pools are \[\(3, 2, 1, False\), \(3, 2, 1, False\)\]"),
        (wide_pool, r"its pools are \[\(\[3, 5\], 2, 1, False\)\]"),
        (spread_pool, "dilation 2"),
        (circular, "has the padding_mode 'circular'"),
        (standardised, "is of a class test_torch_modules.Standardised, which is unknown"),
        (one_epsilon, r"the epsilons \[1e-05, 0.001\]"),
        (unpadded, r"has the padding \[0, 0\], where stage1.unit2.conv2 has 1"),
    ],
)
def test_what_is_another_graph_is_refused_by_name(tmp_path, change, words):
    torch.save(changed(change), tmp_path / "net.pth")
    with pytest.raises(ModelFileError, match=words):
        read(tmp_path / "net.pth")


def test_a_module_within_itself_is_no_endless_work(tmp_path):
    module = nn.Module()
    module._modules["again"] = module
    torch.save(module, tmp_path / "net.pth")
    with pytest.raises(ModelFileError, match="nests modules deeper"):
        read(tmp_path / "net.pth")


def test_modules_that_double_at_each_level_are_no_endless_work(tmp_path):
    module = nn.Module()
    for _ in range(18):
        outer = nn.Module()
        outer._modules |= {str(n): module for n in range(10)}
        module = outer
    torch.save(module, tmp_path / "net.pth")
    with pytest.raises(ModelFileError, match="has more of them"):
        read(tmp_path / "net.pth")


def test_files_of_nothing_but_modules_are_no_endless_work(tmp_path):
    """All of a file's modules are counted together."""
    module = nn.Identity()
    for _ in range(4):
        outer = nn.Module()
        outer._modules |= {str(n): module for n in range(10)}
        module = outer
    torch.save({"w": torch.ones(3), **{f"m{n}": module for n in range(300)}}, tmp_path / "net.pth")
    with pytest.raises(ModelFileError, match="has more of them"):
        open_torch(tmp_path / "net.pth")


@pytest.mark.parametrize("beside", [nn.BCEWithLogitsLoss(), nn.Upsample(2), nn.Sequential(nn.BatchNorm2d(4, eps=1e-3))])
def test_modules_beside_a_state_dict_say_nothing_of_its_network(tmp_path, beside):
    module = trained(Torchvision()).float()
    torch.save({"state_dict": module.state_dict(), "criterion": beside}, tmp_path / "net.pth")
    found = recognise(open_file(tmp_path / "net.pth"))
    proof = certificate(found.file, found.dialect.name, classifier_of(found).network, use_framework=False)
    assert proof["holds"]
    assert proof["seen"] == {}


@pytest.mark.parametrize("beside", [nn.MSELoss(), nn.Dropout(0.1), nn.Identity()])
def test_modules_in_a_network_that_compute_nothing_of_it(tmp_path, beside):
    module = changed(lambda module: setattr(module, "criterion", beside))
    module.register_buffer("pix_mean", torch.ones(3, 1, 1), persistent=False)
    torch.save(module, tmp_path / "net.pth")
    with torch.no_grad():
        assert torch.allclose(read(tmp_path / "net.pth").network(X), module(X), rtol=1e-3, atol=1e-3)


def test_an_activation_that_no_module_shows_is_assumed(tmp_path):
    torch.save(trained(Kuangliu()).float(), tmp_path / "net.pth")
    found = recognise(open_file(tmp_path / "net.pth"))
    proof = certificate(found.file, found.dialect.name, classifier_of(found).network, use_framework=False)
    assert {"activation", "order", "shortcuts"} <= proof["assumed"].keys()
    assert {"strides", "epsilon"} <= proof["seen"].keys()


def test_what_the_modules_contradict_is_said_where_the_user_names_a_network(tmp_path, capsys):
    torch.save(changed(other_activation), tmp_path / "net.pth")
    spec = recognise_plain(tmp_path)
    read(tmp_path / "net.pth", network=spec)
    assert "it has a module 'SiLU', which no residual network here has; the network that was named decides" in (
        capsys.readouterr().err
    )


def recognise_plain(tmp_path):
    torch.save(Torchvision().state_dict(), tmp_path / "plain.pth")
    return read(tmp_path / "plain.pth").network.plan.spec
