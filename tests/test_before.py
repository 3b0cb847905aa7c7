"""What earlier versions wrote still loads, says the same, and goes on.

`data_before/` was written by version 0.1.0 before its rooms were rearranged: a finished run (an average, a mean image,
calibrated), one that was killed at step 15 of 44, a model that `save` wrote, one that `convert` read from a foreign
file, and what that version's own code said of all of them (`expected.json`). Nothing of it is ever written anew.
"""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from sklearn.datasets import load_digits

import resnets
from resnets.training import resume

BEFORE = Path(__file__).with_name("data_before")
EXPECTED = json.loads((BEFORE / "expected.json").read_text())
MODELS = ["finished/model.safetensors", "own.safetensors", "converted.safetensors"]


def digits():
    images = np.round(load_digits().images[:8] * 255 / 16).astype(np.uint8)
    return [np.repeat(image[..., None], 3, 2) for image in images]


def check(model, wanted):
    predictions = resnets.load(model).predict(digits())
    for prediction, (name, probability), among, unlike in zip(
        predictions, wanted["top"], wanted["among"], wanted["unlike"], strict=True
    ):
        assert prediction.top[0] == (name, pytest.approx(probability, abs=1e-4))
        assert prediction.among == (None if among is None else tuple(among))
        assert prediction.unlike == unlike


@pytest.mark.parametrize("name", MODELS)
def test_a_model_says_what_it_said(name):
    check(BEFORE / name, EXPECTED[name])


def test_a_finished_run_is_judged_as_it_was():
    assert resnets.load(BEFORE / "finished").classes == tuple("0123456789")
    found = resnets.evaluate(BEFORE / "finished", "digits").document()
    for figure, value in EXPECTED["evaluate"].items():
        assert found[figure] == pytest.approx(value, abs=1e-4), figure


def test_a_finished_run_has_its_result(tmp_path):
    run = shutil.copytree(BEFORE / "finished", tmp_path / "run")
    result = resume(run)
    assert result.top1 == EXPECTED["evaluate"]["top1"]


def test_a_stopped_run_goes_on_to_where_it_went(tmp_path):
    run = shutil.copytree(BEFORE / "stopped", tmp_path / "run")
    result = resume(run)
    assert result.top1 == pytest.approx(EXPECTED["ended"]["top1"], abs=0.03), "another processor adds in another order"
    logits = resnets.load(run).logits(np.stack([resnets.load(run).preprocessing.pixels(_image(d)) for d in digits()]))
    assert logits.numpy() == pytest.approx(np.array(EXPECTED["ended"]["logits"]), abs=0.02)


def _image(pixels):
    from PIL import Image

    return Image.fromarray(pixels)
