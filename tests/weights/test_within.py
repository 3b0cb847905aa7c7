"""Where in a checkpoint a network is: each layout with the very numbers that it was made of, or refused by name."""

from __future__ import annotations

import json

import pytest
import torch
from safetensors.torch import save_file
from test_convert import model_of, same, state, tiny

from resnets.errors import ModelFileError
from resnets.weights.body import load_body
from resnets.weights.certificate import certificate
from resnets.weights.convert import classifier_of, read, write
from resnets.weights.open import open_file
from resnets.weights.recognise import recognise
from resnets.weights.transfer import open_source

NETWORKS = {name: tiny(name) for name in ("resnet18", "resnet50")}


def prefixed(tensors, prefix):
    return {prefix + name: tensor for name, tensor in tensors.items()}


def renamed(tensors, head):
    return {name.replace("fc.", f"{head}.") if name.startswith("fc.") else name: t for name, t in tensors.items()}


def other(tensors):
    return {name: tensor + 1 for name, tensor in tensors.items()}


def split(tensors, head):
    """(body, head) of a state dict, the head under another name."""
    body = {name: t for name, t in tensors.items() if not name.startswith("fc.")}
    return body, {f"{head}.{leaf}": tensors[f"fc.{leaf}"] for leaf in ("weight", "bias")}


LAYOUTS = {
    **{
        f"prefix {prefix}": lambda t, prefix=prefix: prefixed(t, prefix)
        for prefix in ("net.", "backbone.", "encoder.", "model.resnet.", "timm_model.", "module.model.", "a.b.c.d.")
    },
    **{
        f"head {head}": lambda t, head=head: renamed(t, head)
        for head in ("last_linear", "classifier", "head", "linear", "fc.1", "classifier.1", "fc.dense", "logits")
    },
    "Lightning": lambda t: {"state_dict": prefixed(t, "model."), "epoch": 3, "hyper_parameters": {"lr": 0.1}},
    "a loss and its weights": lambda t: {"state_dict": prefixed(t, "net.") | {"criterion.weight": torch.ones(6)}},
    "AveragedModel": lambda t: {"n_averaged": torch.tensor(7), **prefixed(t, "module.")},
    "optimiser beside": lambda t: {
        "model": t,
        "optimizer": {"state": {0: {"exp_avg": torch.ones(8, 3, 7, 7)}}, "param_groups": [{"lr": 0.1}]},
    },
    "ema_state_dict": lambda t: {"state_dict": other(t), "ema_state_dict": t},
    "model_ema": lambda t: {"model": other(t), "model_ema": t},
    "ema.module": lambda t: {"model": prefixed(other(t), "module."), "ema": {"decay": 0.9, "module": t}},
    "Lightning's average": lambda t: {"state_dict": prefixed(other(t), "model.") | prefixed(t, "ema_model.")},
    "swa": lambda t: {"net": other(t), "swa_net": {"n_averaged": torch.tensor(3), **prefixed(t, "module.")}},
    "parameters alone averaged": lambda t: {
        "model": t,
        "ema": {"shadow": {name: v + 1 for name, v in t.items() if "running" not in name and "num_b" not in name}},
    },
    "head beside the body": lambda t: prefixed(split(t, "")[0], "backbone.") | split(t, "classifier")[1],
    "head deep beside the body": lambda t: {
        "state_dict": prefixed(split(t, "")[0], "model.encoder.") | split(t, "model.head.1")[1]
    },
}


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("network", NETWORKS)
def test_a_network_is_found_wherever_it_stands(tmp_path, network, layout):
    tensors = state(NETWORKS[network], tmp_path)
    torch.save(LAYOUTS[layout](tensors), tmp_path / "checkpoint.pth")
    assert same(read(tmp_path / "checkpoint.pth"), model_of(NETWORKS[network]))


@pytest.mark.parametrize("layout", ["head last_linear", "head beside the body", "prefix model.resnet."])
def test_its_certificate_holds(tmp_path, layout):
    torch.save(LAYOUTS[layout](state(NETWORKS["resnet50"], tmp_path)), tmp_path / "checkpoint.pth")
    found = recognise(open_file(tmp_path / "checkpoint.pth"))
    assert certificate(found.file, found.dialect.name, classifier_of(found).network, use_framework=False)["holds"]


@pytest.mark.parametrize("layout", ["ema_state_dict", "model_ema", "Lightning's average"])
def test_that_averages_are_taken_is_said_once(tmp_path, capsys, layout):
    torch.save(LAYOUTS[layout](state(NETWORKS["resnet18"], tmp_path)), tmp_path / "checkpoint.pth")
    capsys.readouterr()
    read(tmp_path / "checkpoint.pth")
    assert capsys.readouterr().err.count("the averaged are taken") == 1


def test_what_is_left_aside_is_said(tmp_path, capsys):
    tensors = state(NETWORKS["resnet18"], tmp_path)
    torch.save(prefixed(tensors, "net.") | {"criterion.weight": torch.ones(6)}, tmp_path / "checkpoint.pth")
    capsys.readouterr()
    read(tmp_path / "checkpoint.pth")
    assert "1 tensors beside its network, which are left aside: criterion.weight" in capsys.readouterr().err


@pytest.mark.parametrize(
    "layout",
    [
        lambda t: prefixed(t, "encoder_q.") | prefixed(other(t), "encoder_k."),
        lambda t: {"teacher": other(t), "student": t},
        lambda t: {"state_dict": t, "best_state_dict": other(t)},
    ],
)
def test_of_several_networks_the_prefix_chooses(tmp_path, layout):
    tensors = state(NETWORKS["resnet18"], tmp_path)
    checkpoint = layout(tensors)
    torch.save(checkpoint, tmp_path / "checkpoint.pth")
    with pytest.raises(ModelFileError, match=r"holds 2 networks, whose names begin with .*--prefix"):
        read(tmp_path / "checkpoint.pth")
    prefix = next(p for p in ("encoder_q.", "student/", "state_dict/") if p.strip("/.") in str(list(checkpoint)))
    found = open_source(str(tmp_path / "checkpoint.pth"), prefix=prefix)
    assert same(found.model, model_of(NETWORKS["resnet18"]))


def test_a_prefix_that_there_is_not_is_refused_with_those_that_there_are(tmp_path):
    torch.save(prefixed(state(NETWORKS["resnet18"], tmp_path), "net."), tmp_path / "checkpoint.pth")
    with pytest.raises(ModelFileError, match=r"begins with 'nett\.'\. Did you mean \"net\.\"\?"):
        read(tmp_path / "checkpoint.pth", prefix="nett.")


def test_a_head_of_one_output_is_refused_and_its_body_is_a_body(tmp_path):
    """A softmax of one output is 1, whatever the picture: it was read as "0 100.0 %" of everything."""
    tensors = state(NETWORKS["resnet18"], tmp_path)
    tensors["fc.weight"], tensors["fc.bias"] = tensors["fc.weight"][:1], tensors["fc.bias"][:1]
    torch.save(tensors, tmp_path / "binary.pth")
    with pytest.raises(ModelFileError, match="one output, a yes or no by a sigmoid"):
        read(tmp_path / "binary.pth")
    assert read(tmp_path / "binary.pth", num_classes=2).classes == ("0", "1")
    body = load_body(tmp_path / "binary.pth").model.network.state_dict()
    wanted = model_of(NETWORKS["resnet18"]).network.state_dict()
    assert all(torch.equal(body[name], tensor) for name, tensor in wanted.items() if not name.startswith("head."))


@pytest.mark.parametrize("problem", ["multi_label_classification", "regression"])
def test_answers_that_are_no_one_class_of_several_are_refused(tmp_path, problem):
    write(model_of(NETWORKS["resnet50"]), tmp_path / "folder", "huggingface")
    config = json.loads((tmp_path / "folder" / "config.json").read_text())
    (tmp_path / "folder" / "config.json").write_text(json.dumps(config | {"problem_type": problem}))
    with pytest.raises(ModelFileError, match=f"says problem_type '{problem}'"):
        read(tmp_path / "folder")


def test_a_network_with_a_projection_instead_of_a_head_is_a_body(tmp_path):
    """As MoCo and SimCLR leave it: two linear layers, which tell no classes apart."""
    body, _ = split(state(NETWORKS["resnet50"], tmp_path), "")
    inputs = NETWORKS["resnet50"].widths[-1] * 4
    shapes = {"0.weight": (16, inputs), "0.bias": (16,), "2.weight": (4, 16), "2.bias": (4,)}
    projection = {f"fc.{name}": torch.rand(shape) for name, shape in shapes.items()}
    torch.save({"state_dict": prefixed(body | projection, "module.")}, tmp_path / "ssl.pth")
    with pytest.raises(ModelFileError, match="without a head"):
        read(tmp_path / "ssl.pth")
    found, wanted = load_body(tmp_path / "ssl.pth").model, model_of(NETWORKS["resnet50"])
    assert found.classes == ()
    mine, theirs = found.network.state_dict(), wanted.network.state_dict()
    assert all(torch.equal(mine[name], tensor) for name, tensor in theirs.items() if not name.startswith("head."))


def test_a_network_that_is_there_twice_is_one(tmp_path):
    """MadryLab's robustness saves an attacker that holds the model, beside the model."""
    tensors = state(NETWORKS["resnet50"], tmp_path)
    both = prefixed(tensors, "module.model.") | prefixed(tensors, "module.attacker.model.")
    both |= {
        "module.normalizer.new_mean": torch.ones(3, 1, 1),
        "module.attacker.normalize.new_std": torch.ones(3, 1, 1),
    }
    torch.save({"model": both, "epoch": 9, "optimizer": {"state": {}}}, tmp_path / "checkpoint.pth")
    assert same(read(tmp_path / "checkpoint.pth"), model_of(NETWORKS["resnet50"]))


@pytest.mark.parametrize("suffix", [".pth", ".safetensors"])
def test_a_shortcut_under_its_own_name(tmp_path, suffix):
    """kuangliu's names, in a container without an order, too."""
    tensors = {name.replace("downsample", "shortcut"): t for name, t in state(NETWORKS["resnet50"], tmp_path).items()}
    tensors = renamed(tensors, "linear")
    path = tmp_path / f"net{suffix}"
    torch.save(tensors, path) if suffix == ".pth" else save_file(tensors, path)
    assert same(read(path), model_of(NETWORKS["resnet50"]))
