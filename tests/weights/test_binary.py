"""Heads of one output, and temperatures: what is answered stays what was meant."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from test_convert import FULL, WRITTEN, model_of, tiny
from test_keras_config import V1, as_keras, built, network

from resnets import convert, load
from resnets.errors import ModelFileError, ParameterError
from resnets.weights import Calibration, save
from resnets.weights.binary import as_two_classes
from resnets.weights.convert import classifier_of, read, write
from resnets.weights.recognise import recognise

KINDS = {name: case for name, case in (WRITTEN | FULL).items() if case[0] != "caffe"}


@pytest.mark.parametrize("kind", KINDS)
def test_a_yes_or_no_is_two_classes_where_the_user_names_them(tmp_path, kind):
    dialect, name, spec = KINDS[kind]
    one = model_of(spec, classes=1)
    x = torch.rand(3, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        size = one.network(x).abs().max()
        for parameter in one.network.head.linear.parameters():
            parameter.div_(size)  # so that no sigmoid is 0 or 1
    path = write(one, tmp_path / name, dialect)[0]
    path = path.parent if name == "folder" else path
    (tmp_path / "names.txt").write_text("a dog\na cat\n")
    with pytest.raises(ModelFileError, match="name its two classes, the one that it says yes to last"):
        read(path)
    with pytest.raises(ModelFileError, match="name its two classes"):
        read(path, num_classes=1)
    said = {"class_names": tmp_path / "names.txt", "certificate": tmp_path / "proof.json"}
    found = convert(path, tmp_path / "own.safetensors", **said)
    assert found.holds, found.proof["verdict"]
    assert found.model.classes == ("a dog", "a cat")
    with torch.no_grad():
        yes = one.network(x)[:, 0].sigmoid()
        answers = load(tmp_path / "own.safetensors").network(x).softmax(1)
    assert torch.allclose(answers[:, 1], yes, atol=1e-6)
    assert float(yes.std()) > 1e-4


def test_a_yes_or_no_has_two_names(tmp_path):
    path = write(model_of(tiny("resnet18"), classes=1), tmp_path / "net.pth", "torchvision")[0]
    (tmp_path / "names.txt").write_text("cat\n")
    with pytest.raises(ParameterError, match="has 1 names, and the network has 2 classes"):
        convert(path, tmp_path / "own.safetensors", class_names=tmp_path / "names.txt")


def test_a_sigmoid_in_the_configuration_of_keras_is_read_as_one():
    """And of several outputs, each a yes or no, it is refused by name."""
    config = built(V1, 3, "sigmoid")
    (head,) = (layer["config"] for layer in config["config"]["layers"] if layer["config"]["name"] == "predictions")
    head["units"] = 1
    found = recognise(as_keras(model_of(V1, classes=1).network, config))
    with pytest.raises(ModelFileError, match="a yes or no by a sigmoid"):
        classifier_of(found)
    assert classifier_of(as_two_classes(found)).classes == ("0", "1")
    with pytest.raises(ModelFileError, match=r"the activation 'sigmoid' in 'predictions'"):
        recognise(as_keras(network(V1), built(V1, 3, "sigmoid")))


def warm(temperature):
    return replace(model_of(tiny("resnet50")), calibration=Calibration(temperature=temperature))


@pytest.mark.parametrize("dialect", ["huggingface", "torchvision"])
def test_a_temperature_that_is_lost_is_said(tmp_path, capsys, dialect):
    write(warm(2.0), tmp_path / ("folder" if dialect == "huggingface" else "net.pth"), dialect)
    said = capsys.readouterr().err
    assert f"A {dialect} file cannot keep the temperature of this model, 2" in said
    assert "--fold-temperature" in said


def test_a_temperature_of_one_is_no_news(tmp_path, capsys):
    write(warm(1.0), tmp_path / "net.pth", "torchvision")
    assert "temperature" not in capsys.readouterr().err


@pytest.mark.parametrize("temperature", [0.4, 2.5])
def test_a_folded_temperature_keeps_the_probabilities(tmp_path, temperature):
    model = warm(temperature)
    save(tmp_path / "own.safetensors", model)
    said = {"target_dialect": "huggingface", "fold_temperature": True, "certificate": tmp_path / "proof.json"}
    found = convert(tmp_path / "own.safetensors", tmp_path / "folder", **said)
    assert found.holds
    x = torch.rand(3, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        wanted = (model.network(x) / temperature).softmax(1)
        assert torch.allclose(read(tmp_path / "folder").network(x).softmax(1), wanted, atol=1e-6)
        assert not torch.allclose(model.network(x).softmax(1), wanted, atol=1e-3)
