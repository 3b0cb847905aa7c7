"""What next? Each limit is shown by a small training, or by a real network's answers, that has it."""

from __future__ import annotations

import dataclasses
import json
import shlex

import numpy as np
import pytest
from PIL import Image
from sklearn.datasets import load_digits

import resnets
from resnets.architecture import ResNetSpec
from resnets.cli.main import commands, main
from resnets.data.reading import Reading
from resnets.evaluation import evaluate
from resnets.evaluation.whatnext import what_next
from resnets.training import Observer, finish, train
from resnets.weights.again import train_again
from resnets.weights.run import RunRecord

SPEC = ResNetSpec(depths=(1, 1), widths=(8, 16), stem="cifar", stem_width=8)
PLAIN = [
    "optimiser=sgd",
    "zero_init_last=false",
    "crop=none",
    "flip=false",
    "label_smoothing=0",
    "ema=0",
    "start_size=1",
    "warmup_epochs=0",
    "min_steps=0",
]


@pytest.fixture
def digits(tmp_path):
    """A maker of folders of digits, spoilt by so much noise: {class: digit} in train/ and val/, so many each."""
    pictures, labels = load_digits(return_X_y=True)

    def make(classes, training, held_out=20, noise=0, name="it's a set"):
        random, taken = np.random.default_rng(0), dict.fromkeys(range(10), 0)
        for label, digit in classes.items():
            for split, images in (("train", training), ("val", held_out)):
                folder = tmp_path / name / split / label
                folder.mkdir(parents=True)
                for number in range(images):
                    pixels = pictures[labels == digit][taken[digit]].reshape(8, 8).repeat(2, 0).repeat(2, 1) * 15
                    taken[digit] += 1
                    spoilt = (pixels + random.normal(0, noise, pixels.shape) if noise else pixels).clip(0, 255)
                    Image.fromarray(spoilt.astype(np.uint8)).convert("RGB").save(folder / f"{number}.png")
        return tmp_path / name

    return make


@pytest.fixture
def go(tmp_path):
    def run(data, *overrides, epochs=12, name="a run", **more):
        more = {"model": "resnet20", "recipe": "quick", "image_size": 8, **more}
        chosen = [*PLAIN, "batch_size=16", *overrides]
        return train(data, epochs=epochs, overrides=chosen, out=tmp_path / name, **more)

    return run


def typable(command):
    """The verb's arguments as typer reads them: nothing of it is run."""
    name, verb, *words = shlex.split(command)
    assert name == "resnets"
    return commands()[verb].make_context(verb, list(words)).params


def test_guessing_of_what_was_learnt_by_heart(digits, go):
    data = digits({"odd": 3, "even": 3}, 8, 40)  # one digit, dealt into two classes: nothing tells them apart
    result = go(data, "batch_size=8", "learning_rate=0.02", epochs=40)
    assert result.next["limit"] == "guessing"
    assert result.next["says"].startswith("It is no better than guessing: always answering ")
    assert "It knows its 16 training images (loss 0" in result.next["says"]
    assert typable(result.next["command"])["data"].endswith("it's a set")
    assert not any("guessing" in remark for remark in result.remarks)


def test_guessing_of_what_was_not_learnt(digits, go, capsys):
    result = go(digits({"a": 1, "b": 2}, 10, 40), "learning_rate=1e-7", epochs=2)
    assert result.next["limit"] == "guessing"
    assert "It did not learn its 20 training images either (loss 0." in result.next["says"]
    assert typable(result.next["command"])["epochs"] == 8
    assert main(["train", "--resume", result.run]) == 0
    out = capsys.readouterr().out
    assert f"{result.next['says']}\nnext   {result.next['command']}\n" in out
    assert out.count("no better than guessing: ") == 1  # nothing is said twice


def test_too_few_images_to_tell(digits, go):
    result = go(digits({"a": 1, "b": 2}, 4, 2), epochs=1)
    assert result.next["limit"] == "few_photos"
    assert "cannot be told, since there are too few images" in result.next["says"]


def test_averages_that_lag_behind(digits, go):
    result = go(digits({"a": 1, "b": 2}, 10, 40), "ema=0.9999", "learning_rate=0.05", epochs=12)
    assert result.next["limit"] == "norms"
    assert "the average of its weights lags behind" in result.next["says"]
    assert typable(result.next["command"])["overrides"] == ["ema=0"]


def test_a_rate_that_was_too_high(digits, go):
    result = go(digits({"a": 1, "b": 0}, 40, 30), "learning_rate=30", epochs=8)
    assert result.fallbacks
    rate = 30 * result.fallbacks[-1]["rate_share"]
    assert result.next["limit"] in ("diverged", "guessing")
    chosen = typable(result.next["command"])["overrides"]
    assert chosen[0].startswith("learning_rate=")
    assert float(chosen[0].partition("=")[2]) <= rate * (1 + 1e-5)  # it is typed with six digits


def test_a_training_that_was_too_short(digits, go):
    result = go(digits({str(n): n for n in range(6)}, 60, 40), "learning_rate=0.003", epochs=3)
    assert result.next["limit"] == "not_converged"
    assert typable(result.next["command"])["epochs"] in (6, 12)


def test_a_training_that_was_stopped(digits, go, tmp_path):
    class Stop(Observer):
        def epoch_ended(self, training, epoch):
            if epoch.epoch == 4:
                raise KeyboardInterrupt

    data = digits({"a": 1, "b": 0}, 30, 30)
    with pytest.raises(KeyboardInterrupt):
        go(data, "learning_rate=0.1", observers=[Stop()])
    result = finish(tmp_path / "a run")
    if result.better_than_guessing:
        assert result.next["limit"] == "not_converged"
        assert typable(result.next["command"])["resume"] == result.run


def test_labels_that_are_wrong(trained):
    """A real network's answers, and a few labels that somebody has confused."""
    judgement = evaluate(trained, "digits").judgement
    right = np.flatnonzero(judgement.correct)[::15]
    labels = judgement.labels.copy()
    labels[right] = (labels[right] + 3) % 10
    wrong = dataclasses.replace(judgement, labels=labels)
    found = what_next(wrong, None, "my digits", trained)
    assert found.limit == "labels"
    assert f"of its {int((~wrong.correct).sum())} mistakes look like wrong labels" in found.says
    assert typable(found.command)["data"] == "my digits"
    assert what_next(judgement, None, "digits", trained).limit != "labels"


def test_two_classes_that_cannot_be_told_apart(digits, go):
    classes = {"nil": 0, "four": 4, "six": 6, "left": 2, "right": 2}  # the last two are one digit
    result = go(digits(classes, 40, 30), "learning_rate=0.1", epochs=8)
    assert result.next["limit"] == "pair"
    assert 'are between "left" and "right"' in result.next["says"]
    assert typable(result.next["command"])["data"].endswith("it's a set")


@pytest.mark.slow
def test_photos_that_are_known_by_heart(digits, go):
    result = go(digits({str(n): n for n in range(4)}, 10, 40, noise=200), "learning_rate=0.05", epochs=30)
    assert result.learnt["top1"] == 1
    assert result.next["limit"] in ("few_photos", "overfitting")
    assert "It is right on 100 % of the " in result.next["says"]
    typable(result.next["command"])


@pytest.mark.slow
def test_photos_that_are_known_by_heart_where_others_have_trained(digits, go):
    data = digits({str(n): n for n in range(3)}, 8, 40, noise=120)
    result = go(data, "learning_rate=0.05", epochs=25, model="resnet18", image_size=72)
    assert result.next["limit"] == "overfitting"
    assert typable(result.next["command"])["weights"] == "auto"


def test_nothing_limits_a_good_model(digits, go):
    result = go(digits({"a": 1, "b": 0}, 40, 30), "learning_rate=0.1", epochs=10)
    assert (result.next["limit"], result.next["command"].split()[:2]) == ("none", ["resnets", "predict"])
    assert typable(result.next["command"])["model"] == result.run


def test_a_body_says_what_twice_the_photos_bring(digits, trained, capsys, tmp_path):
    """From cached features: an estimate out of fold, a calibration where few are held out, and a gain."""
    data = digits({f"class {n}": n for n in range(6)}, 50, 8, noise=110)
    out = str(tmp_path / "from a body")
    command = ["train", str(data), "--weights", trained, "--recipe", "probe", "--out", out]
    assert main([*command, "--json"]) == 0
    document = json.loads(capsys.readouterr().out)
    assert document["estimate"]["images"] == 300
    assert document["estimate"]["how"] == "out of fold"
    low, high = document["estimate"]["interval"]
    assert 1 / 6 < low < document["estimate"]["top1"] < high < 1
    assert resnets.load(out).calibration.coverage is not None  # 48 held-out images alone calibrate nothing
    assert document["next"]["limit"] == "few_photos"
    gain = document["next"]["gain"]
    assert 0 < gain["interval"][0] <= gain["top1"] <= gain["interval"][1] < 0.3
    assert f"about {100 * gain['top1']:.0f} points better" in document["next"]["says"]
    assert main(["train", "--resume", out]) == 0
    shown = capsys.readouterr().out
    assert " on 48 held-out images; " in shown
    assert " out of fold on 300" in shown
    assert main(["evaluate", out, str(data), "--json"]) == 0  # the run is at hand, and so is its gain
    again = json.loads(capsys.readouterr().out)["next"]
    assert (again["limit"], again["gain"]) == ("few_photos", gain)


def test_what_a_run_says_stands_in_its_record_and_its_report(digits, go, tmp_path):
    result = go(digits({"a": 1, "b": 0}, 20, 30), "learning_rate=0.1", epochs=6)
    assert RunRecord.read(tmp_path / "a run").result.next == result.next
    page = (tmp_path / "a run" / "report.html").read_text()
    assert "What next?" in page
    assert result.next["command"].split()[1] in page


def test_no_command_where_only_python_can_say_it(digits, tmp_path):
    result = train(digits({"a": 1, "b": 2}, 4, 2), model=SPEC, epochs=1, image_size=16, out=tmp_path / "run")
    assert result.next["command"] is None


def test_a_run_is_trained_again_as_it_was_but_for_what_is_asked(digits, go, tmp_path):
    folder = tmp_path / "a run"
    go(digits({"a": 1, "b": 2}, 4, 2), epochs=1, strict=True, seed=3)
    record = RunRecord.read(folder)
    found = typable(train_again(record, folder, epochs=4))
    assert (found["seed"], found["epochs"], found["strict"], found["model"]) == (3, 4, True, "resnet20")
    assert (found["recipe"], found["weights"]) == (str(folder / "recipe.toml"), None)
    found = typable(train_again(record, None, weights="auto"))
    assert (found["recipe"], found["weights"]) == (None, "auto")


def test_an_evaluation_of_a_model_without_a_run(trained, tmp_path):
    found = evaluate(f"{trained}/model.safetensors", "digits")
    assert found.next.limit in ("none", "pair")
    assert evaluate(resnets.load(trained), "digits").next is None  # it has no name that one could type
    assert evaluate(trained, "digits", split="train").next is None


def test_the_verb_knows_how_the_run_read_its_data(tmp_path, photo_folder, monkeypatch):
    """Folders two deep: commands that it proposes say so."""
    folder = tmp_path / "zoo" / "animals"
    folder.parent.mkdir()
    photo_folder(("cat", "dog"), 30).rename(folder)
    about = {"model": ResNetSpec(depths=(1,), widths=(4,), stem="cifar", stem_width=4), "weights": "none"}
    resnets.train(tmp_path / "zoo", epochs=1, out=tmp_path / "run", image_size=16, overrides=["depth=2"], **about)
    seen = []

    def spy(*arguments):
        seen.append(arguments[4])
        return what_next(*arguments)

    monkeypatch.setattr("resnets.evaluation.evaluation.what_next", spy)
    assert main(["evaluate", str(tmp_path / "run"), str(tmp_path / "zoo")]) == 0
    resnets.evaluate(str(tmp_path / "run"), str(tmp_path / "zoo"))
    assert seen == [Reading(depth=2)] * 2
