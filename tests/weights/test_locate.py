"""Names that no system takes for a path: one sentence from every call that takes a name."""

from __future__ import annotations

import pytest

import resnets
from resnets.errors import ResnetsError
from resnets.training import train

ODD = {"long": "x" * 10_000, "long, in a folder": "a/" + "x" * 300, "zero byte": "a\0b", "deep": "a/" * 5_000}

CALLS = {
    "load": resnets.load,
    "evaluate": lambda name: resnets.evaluate(name, "digits"),
    "convert": lambda name: resnets.convert(name, "out.safetensors"),
    "export": lambda name: resnets.export(name, "out.onnx"),
    "explain": lambda name: resnets.explain(name, "x.jpg"),
    "doctor": resnets.doctor,
    "train data": train,
    "train weights": lambda name: train("digits", weights=name, out="run"),
    "train recipe": lambda name: train("digits", recipe=name, out="run"),
    "train model": lambda name: train("digits", model=name, out="run"),
    "train out": lambda name: train("digits", out=name, epochs=1),
}


@pytest.mark.parametrize("name", ODD.values(), ids=ODD)
@pytest.mark.parametrize("call", CALLS.values(), ids=CALLS)
def test_a_name_that_cannot_be_a_path_is_one_sentence(call, name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ResnetsError) as caught:
        call(name)
    said = str(caught.value)
    assert said.isprintable()
    assert len(said) < 800
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("call", CALLS.values(), ids=CALLS)
def test_a_path_of_usual_length_is_shown_whole(call, tmp_path):
    if call in (CALLS["train model"], CALLS["train out"]):
        pytest.skip("a network's name is no path, and a new folder is no mistake")
    name = str(tmp_path / ("folder-" * 12) / "not-there")
    with pytest.raises(ResnetsError) as caught:
        call(name)
    assert name in str(caught.value)
