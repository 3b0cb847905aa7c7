"""What a certificate holds for, and that every broken rule breaks it, with the right role named first."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import math
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from replicas import Akamaster, foreign, trained

from resnets.architecture import CATALOG, ResNetSpec
from resnets.data.preprocess import Preprocessing
from resnets.network import ResNet, create
from resnets.weights import Model
from resnets.weights.certificate import certificate, certify
from resnets.weights.convert import exported, model_of, read, write
from resnets.weights.formats.stored import Foreign, Stored
from resnets.weights.formats.torch_file import write_torch
from resnets.weights.open import open_file
from resnets.weights.recognise import recognise
from resnets.weights.worlds import emulation, framework
from resnets.weights.worlds.reference import Reference, UnfitError

SMALL = {"depths": (2, 2), "widths": (8, 16), "stem_width": 8}
KEYS = {
    *("holds", "max_abs", "relative", "argmax_agreement", "reference", "tolerance", "first_difference", "verdict"),
    *("remarks", "assumed", "seen", "source", "target", "units", "inputs", "versions"),
}


def tiny(name: str, **fields) -> ResNetSpec:
    return dataclasses.replace(CATALOG[name], **{**SMALL, **fields})


def network_of(spec: ResNetSpec) -> ResNet:
    return trained(create(spec, num_classes=5, seed=1)).float()


def again(network: ResNet, **fields) -> ResNet:
    """The same weights under another rule."""
    other = create(dataclasses.replace(network.plan.spec, **fields), num_classes=network.plan.num_classes)
    other.load_state_dict(network.state_dict())
    return other.eval()


def source_of(network: ResNet, dialect: str) -> Foreign:
    """The foreign file that a network becomes, as it is read again."""
    model = Model(network, tuple("abcde"), Preprocessing.evaluation(64))
    file, target = exported(model, Path("weights"), dialect)
    return target.prepare(file)


def proof(file: Foreign, dialect: str, network: ResNet) -> dict:
    return certificate(file, dialect, network, use_framework=False)


def akamaster() -> tuple[Foreign, ResNet]:
    """A file that nobody writes, and the network that it is."""
    module = trained(Akamaster()).float()
    spec = ResNetSpec(depths=(2, 2, 1), widths=(8, 16, 32), stem="cifar", stem_width=8, shortcut="pad", pad_side="both")
    network = create(spec, num_classes=5).eval()
    state = {}
    for name, tensor in module.state_dict().items():
        first, *rest = name.split(".")
        if first.startswith("layer"):
            unit, part, leaf = rest
            ours = f"stage{first[-1]}.unit{int(unit) + 1}.{part.replace('bn', 'norm')}.{leaf}"
        else:
            ours = {"conv1": "stem.conv", "bn1": "stem.norm", "linear": "head.linear"}[first] + f".{rest[0]}"
        state[ours] = tensor
    network.load_state_dict(state)
    return foreign(module), network


# What holds -------------------------------------------------------------------------------------------

HOLDS = {
    "torchvision": ("torchvision", tiny("resnet18")),
    "torchvision resnext": ("torchvision", tiny("resnet50", groups=4, width_per_group=32)),
    "huggingface": ("huggingface", tiny("resnet50")),
    "huggingface v1": ("huggingface", tiny("resnet50_v1")),
    "huggingface basic": ("huggingface", tiny("resnet18")),
    "tutorial": ("tutorial", tiny("tutorial_resnet18")),
}


@pytest.mark.parametrize(("dialect", "spec"), HOLDS.values(), ids=HOLDS)
def test_it_holds_for_a_right_conversion(dialect, spec):
    network = network_of(spec)
    document = proof(source_of(network, dialect), dialect, network)
    assert document.keys() == KEYS
    assert document["holds"], document["verdict"]
    assert document["reference"] == f"resnets' emulation of {dialect} in float64"
    assert document["tolerance"] == 1e-9
    assert document["max_abs"] < 1e-10
    assert document["argmax_agreement"] == 1
    assert document["first_difference"] is None
    assert document["inputs"] == [[2, 3, 64, 64], [2, 3, 65, 63]]
    units = ["stem", "stage1.unit1", "stage1.unit2", "stage2.unit1", "stage2.unit2"]
    assert [unit["role"] for unit in document["units"]] == units
    assert max(unit["relative"] for unit in document["units"]) < 1e-11
    assert json.loads(json.dumps(document, allow_nan=False)) == document


WRITTEN = {
    "caffe": ("caffe", "net.caffemodel", tiny("caffe_resnet50")),
    "tf_slim v1": ("tf_slim", "net.ckpt", tiny("slim_resnet_v1_50")),
    "tf_slim v2": ("tf_slim", "net.ckpt", tiny("slim_resnet_v2_50")),
    "keras v1": ("keras", "net.weights.h5", tiny("keras_resnet50")),
    "keras v2": ("keras", "net.weights.h5", tiny("keras_resnet50v2")),
}


@pytest.mark.parametrize(("dialect", "name", "spec"), WRITTEN.values(), ids=WRITTEN)
def test_it_holds_for_a_written_file(tmp_path, dialect, name, spec):
    network = network_of(spec)
    paths = write(Model(network, tuple("abcde"), Preprocessing.evaluation(64)), tmp_path / name, dialect)
    file = recognise(open_file(paths[0]), dialect).file
    document = certificate(file, dialect, network, paths, [], use_framework=False)
    assert document["holds"], document["verdict"]
    assert document["tolerance"] == 1e-9
    assert document["max_abs"] < 1e-10
    assert [len(document[side]["files"]) for side in ("source", "target")] == [0, len(paths)]
    changed = again(network)
    changed.state_dict()["stage2.unit1.norm1.running_var"].mul_(1 + 1e-5)
    assert proof(file, dialect, changed)["first_difference"] == "stage2.unit1"


GOLDENS = {
    "caffe": ("caffe", "caffe/tiny50.caffemodel", 1e-6),  # whose statistics are divided by a factor
    "keras v1": ("keras", "keras/v1.weights.h5", 1e-9),
    "keras v2": ("keras", "keras/v2_legacy.h5", 1e-9),
    "tf_slim v1": ("tf_slim", "tf_slim/v1.ckpt", 1e-9),
    "tf_slim v2": ("tf_slim", "tf_slim/v2.ckpt", 1e-9),
}


@pytest.mark.parametrize(("dialect", "name", "tolerance"), GOLDENS.values(), ids=GOLDENS)
def test_it_holds_for_the_files_of_real_frameworks(shared_data, dialect, name, tolerance):
    found = recognise(open_file(shared_data / "golden" / name))
    network = model_of(found).network
    document = proof(found.file, dialect, network)
    assert document["holds"], document["verdict"]
    assert document["tolerance"] == tolerance
    epsilon = network.plan.spec.norm_eps * 1.2
    broken = proof(found.file, dialect, again(network, norm_eps=epsilon))
    pre = network.plan.spec.order == "pre"  # whose stem has no norm
    assert broken["first_difference"] == ("stage1.unit1" if pre else "stem")


def test_option_a_holds():
    file, network = akamaster()
    document = proof(file, "akamaster", network)
    assert document["holds"], document["verdict"]
    assert document["inputs"] == [[2, 3, 32, 32], [2, 3, 33, 33]]


def test_the_network_and_its_mode_stay_as_they_are():
    network = network_of(tiny("resnet18"))
    file = source_of(network, "torchvision")
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    network.train()
    assert proof(file, "torchvision", network)["holds"], "running statistics are used, whatever the mode"
    assert network.training
    assert all(torch.equal(tensor, before[name]) for name, tensor in network.state_dict().items())


# What does not ----------------------------------------------------------------------------------------

BROKEN = {
    "the stride's place": ("torchvision", tiny("resnet50"), {"stride_conv": "first"}, "stage2.unit1"),
    "epsilon, hardly": ("torchvision", tiny("resnet18"), {"norm_eps": 1.001e-5}, "stem"),
    "epsilon": ("torchvision", tiny("resnet18"), {"norm_eps": 1e-3}, "stem"),
    "pool padding, ceil": ("torchvision", tiny("resnet18"), {"pool_padding": "ceil"}, "stem"),
    "pool padding, same": ("torchvision", tiny("resnet18"), {"pool_padding": "same"}, "stem"),
    "pool padding, zero": ("tutorial", tiny("tutorial_resnet18"), {"pool_padding": "zero"}, "stem"),
    "a relu in the stem": ("tutorial", tiny("tutorial_resnet18"), {"stem_activation": True}, "stem"),
    "the stride's unit": ("huggingface", tiny("resnet18"), {"stride_unit": "last"}, "stage1.unit2"),
    "padding": ("huggingface", tiny("resnet50"), {"conv_padding": "same"}, "stem"),
}


@pytest.mark.parametrize(("dialect", "spec", "rule", "first"), BROKEN.values(), ids=BROKEN)
def test_a_broken_rule_is_named_by_its_first_role(dialect, spec, rule, first):
    network = network_of(spec)
    file = source_of(network, dialect)
    document = proof(file, dialect, again(network, **rule))
    assert not document["holds"]
    assert document["first_difference"] == first
    assert first in document["verdict"]


def test_the_side_of_option_a_is_named():
    file, network = akamaster()
    document = proof(file, "akamaster", again(network, pad_side="end"))
    assert not document["holds"]
    assert document["first_difference"] == "stage2.unit1"


@pytest.mark.parametrize(
    ("tensor", "first"),
    [
        ("stem.conv.bias", "stem"),
        ("stage1.unit2.conv1.bias", "stage1.unit2"),
        ("stage2.unit1.shortcut.conv.bias", "stage2.unit1"),
        ("stage2.unit2.norm2.running_mean", "stage2.unit2"),
        ("head.linear.bias", "logits"),
    ],
)
def test_one_zeroed_number_is_named(tensor, first):
    network = network_of(tiny("tutorial_resnet18"))
    file = source_of(network, "tutorial")
    other = again(network)
    other.state_dict()[tensor][3] = 0
    document = proof(file, "tutorial", other)
    assert not document["holds"]
    assert document["first_difference"] == first


def test_blue_and_red_are_not_confused():
    network = network_of(tiny("resnet18"))
    file = source_of(network, "torchvision")
    other = again(network)
    other.state_dict()["stem.conv.weight"].copy_(network.stem.conv.weight.detach().flip(1))
    assert proof(file, "torchvision", other)["first_difference"] == "stem"


def test_transposed_kernels_are_noticed():
    network = network_of(tiny("resnet50"))
    file = source_of(network, "torchvision")
    other = again(network)
    other.state_dict()["stage2.unit2.conv2.weight"].copy_(network.stage2.unit2.conv2.weight.detach().mT)
    assert proof(file, "torchvision", other)["first_difference"] == "stage2.unit2"


# What cannot be compared ------------------------------------------------------------------------------


def given(network: ResNet, change) -> Reference:
    """A reference that is right, but for what `change` does to its activations."""
    right = emulation(source_of(network, "torchvision"), "torchvision").run
    return Reference("a changed one", lambda x: change(right(x)), {})


def without(found, role):
    return {name: activation for name, activation in found.items() if name != role}


@pytest.mark.parametrize(
    ("change", "first", "why"),
    [
        (lambda found: without(found, "stage1.unit2"), "stage1.unit2", "the source has no such unit"),
        (lambda found: without(found, "logits"), "logits", "the source has no such unit"),
        (lambda found: {**found, "stage3.unit1": found["stem"]}, "stage3.unit1", "a unit that our network has not"),
        (lambda found: {**found, "stem": found["stem"] * math.nan}, "stem", "the source gives values that are not"),
        (lambda found: {**found, "stage2.unit1": found["stage1.unit1"]}, "stage2.unit1", r"\(2, 8, .* and our network"),
        (lambda found: {**found, "logits": found["logits"] * 0}, "logits", "differ"),
    ],
)
def test_what_cannot_be_compared_does_not_hold(change, first, why):
    network = network_of(tiny("resnet18"))
    found = certify(given(network, change), network, [torch.ones(2, 3, 64, 64).double()])
    assert not found.holds
    document = found.to_dict()
    assert document["first_difference"] == first
    with pytest.raises(AssertionError, match=why):
        raise AssertionError(document["verdict"])
    json.dumps(document, allow_nan=False)


def test_our_own_infinities_do_not_hold():
    network = network_of(tiny("resnet18"))
    file = source_of(network, "torchvision")
    other = again(network)
    other.state_dict()["stage1.unit2.conv1.weight"].fill_(math.inf)
    document = proof(file, "torchvision", other)
    assert document["first_difference"] == "stage1.unit2"
    assert "our network gives values that are not finite" in document["verdict"]
    assert document["max_abs"] is None
    assert document["argmax_agreement"] == 0


def test_a_source_that_cannot_be_executed_does_not_hold():
    network = network_of(tiny("resnet18"))
    file = source_of(network, "torchvision")
    tensors = {name: stored for name, stored in file.tensors.items() if name != "layer1.1.bn1.weight"}
    document = proof(dataclasses.replace(file, tensors=tensors), "torchvision", network)
    assert not document["holds"]
    assert "the source cannot be executed" in document["verdict"]
    assert "layer1.1.bn1.weight" in document["verdict"]


def test_zeros_equal_zeros():
    network = network_of(tiny("resnet18"))
    network.head.linear.weight.data.zero_()
    network.head.linear.bias.data.zero_()
    document = proof(source_of(network, "torchvision"), "torchvision", network)
    assert document["holds"]
    assert document["relative"] == 0


def test_what_has_to_be_rounded_is_allowed_the_last_digit():
    network = network_of(tiny("resnet18"))
    file = source_of(network, "torchvision")

    def wider(stored: Stored) -> Stored:
        """Digits that a float32 has no place for."""
        values = stored.read().double() * (1 + 2e-8)
        return Stored(stored.shape, torch.float64, lambda: values)

    weights = {name: wider(stored) for name, stored in file.tensors.items() if stored.dtype == torch.float32}
    document = proof(dataclasses.replace(file, tensors={**file.tensors, **weights}), "torchvision", network)
    assert document["holds"]
    assert document["tolerance"] == 1e-6
    assert 1e-9 < document["relative"] < 1e-6


# Files and frameworks ---------------------------------------------------------------------------------


def test_source_and_target_are_named_by_their_hashes(tmp_path):
    module = trained(Akamaster()).float()
    write_torch(tmp_path / "net.th", dict(module.state_dict()))
    model = read(tmp_path / "net.th", dialect="akamaster")
    (tmp_path / "out.safetensors").write_bytes(b"ours")
    file = dataclasses.replace(foreign(module), files=(tmp_path / "net.th",))
    document = certificate(file, "akamaster", model.network, [tmp_path / "out.safetensors"])
    assert document["holds"], document["verdict"]
    (source,) = document["source"]["files"]
    assert source["name"] == "net.th"
    assert source["sha256"] == hashlib.sha256((tmp_path / "net.th").read_bytes()).hexdigest()
    assert document["target"]["files"] == [
        {"name": "out.safetensors", "bytes": 4, "sha256": hashlib.sha256(b"ours").hexdigest()}
    ]
    assert document["remarks"] == [], "nobody can install that framework, so there is nothing to say"
    turned = certificate(file, "akamaster", model.network, source_files=[tmp_path / "out.safetensors"])
    assert turned["source"]["files"] == document["target"]["files"]


def pretend(monkeypatch, build) -> None:
    """torchvision as an installed framework that does this."""
    name = "resnets.weights.worlds.torchvision.framework"
    monkeypatch.setitem(sys.modules, name, SimpleNamespace(reference=build))


def test_the_framework_itself_comes_first(monkeypatch):
    network = network_of(tiny("resnet18"))
    file = source_of(network, "torchvision")
    run = emulation(file, "torchvision").run
    pretend(monkeypatch, lambda file: Reference("torchvision 9.9", run, {"torchvision": "9.9"}, tolerance=1e-4))
    document = certificate(file, "torchvision", network)
    assert document["holds"]
    assert document["reference"] == "torchvision 9.9"
    assert document["tolerance"] == 1e-4
    assert document["versions"]["torchvision"] == "9.9"
    (remark,) = document["remarks"]
    assert remark.startswith("resnets' emulation of torchvision in float64 agrees within ")
    assert proof(file, "torchvision", network)["reference"] == "resnets' emulation of torchvision in float64"


def test_what_float32_hides_the_emulation_shows(monkeypatch):
    network = network_of(tiny("resnet18"))
    file = source_of(network, "torchvision")
    other = again(network, norm_eps=1.0001e-5)
    blind = emulation(source_of(network, "torchvision"), "torchvision").run
    pretend(monkeypatch, lambda file: Reference("torchvision 9.9", blind, {}, tolerance=1e-4))
    document = certificate(file, "torchvision", other)
    assert not document["holds"]
    assert document["first_difference"] == "stem"
    assert document["reference"] == "resnets' emulation of torchvision in float64"
    assert document["remarks"] == ["torchvision 9.9 computes in float32 and shows no difference."]


def test_a_framework_that_disagrees_is_believed(monkeypatch):
    network = network_of(tiny("resnet18"))
    file = source_of(network, "torchvision")
    run = emulation(file, "torchvision").run
    pretend(monkeypatch, lambda file: Reference("torchvision 9.9", lambda x: run(x * 2), {}))
    document = certificate(file, "torchvision", network)
    assert not document["holds"]
    assert document["reference"] == "torchvision 9.9"
    assert document["first_difference"] == "stem"


def fails(*_):
    raise OSError("libfoo.so is missing\nand more")


@pytest.mark.parametrize(
    "build", [fails, lambda file: Reference("torchvision 9.9", fails, {})], ids=["when imported", "when run"]
)
def test_a_framework_that_fails_is_a_remark(monkeypatch, build):
    network = network_of(tiny("resnet18"))
    pretend(monkeypatch, build)
    document = certificate(source_of(network, "torchvision"), "torchvision", network)
    assert document["holds"]
    assert document["reference"] == "resnets' emulation of torchvision in float64"
    assert document["remarks"] == [
        "The framework itself is not the reference: torchvision cannot execute it (libfoo.so is missing)."
    ]


@pytest.mark.parametrize(
    ("dialect", "package"), [("torchvision", "torchvision"), ("timm", "timm"), ("huggingface", "transformers")]
)
def test_a_framework_that_is_not_installed_is_a_remark(monkeypatch, dialect, package):
    monkeypatch.setitem(sys.modules, package, None)
    network = network_of(tiny("resnet50"))
    network_file = source_of(network, dialect if dialect != "timm" else "torchvision")
    config = {"architecture": "resnet50", "depths": [2, 2]}
    file = dataclasses.replace(network_file, documents={"config": config})
    if dialect == "torchvision":  # which has four stages, and is asked for no others
        with pytest.raises(UnfitError, match="four stages"):
            framework(file, dialect)
        network = network_of(dataclasses.replace(CATALOG["resnet10"], widths=(8, 8, 8, 8), stem_width=8))
        file = source_of(network, dialect)
    document = certificate(file, dialect, network)
    assert document["holds"], document["verdict"]
    assert document["remarks"] == [f"The framework itself is not the reference: {package} is not installed."]
