"""Studies that are made: real trainings of small networks on small pictures, kills included."""

from __future__ import annotations

import json
import shutil
import signal
import time
import xml.etree.ElementTree as ET

import numpy as np
import pytest
from PIL import Image
from safetensors.torch import load_file
from sklearn.datasets import load_digits

import resnets
from processes import Started
from resnets.architecture import ResNetSpec
from resnets.cli.main import main
from resnets.errors import DataError, ParameterError, TrainingError
from resnets.studies import STUDIES, gradients, run
from resnets.studies.taught import Taught, TimeUp
from resnets.training import Observer, train
from resnets.weights.runlog import read_log

SPEC = ResNetSpec(depths=(1, 1), widths=(8, 16), stem="cifar", stem_width=8)
FIXED = ("study", "network", "seed", "epochs", "train_top1", "top1")


@pytest.fixture
def data(tmp_path):
    """Digits 0 and 1, 24 to train on and 12 held out of each."""
    pictures, labels = load_digits(return_X_y=True)
    for digit in (0, 1):
        for number, pixels in enumerate(pictures[labels == digit][:36]):
            folder = tmp_path / "digits" / ("train" if number < 24 else "val") / str(digit)
            folder.mkdir(parents=True, exist_ok=True)
            picture = (pixels.reshape(8, 8) * 15).astype(np.uint8)
            Image.fromarray(picture).convert("RGB").save(folder / f"{number}.png")
    return tmp_path / "digits"


def losses(folder):
    return {
        place.name: [line["loss"] for line in read_log(place) if line["kind"] == "step"]
        for place in sorted((folder / "runs").iterdir())
    }


def test_a_study_is_made_once(data, tmp_path, capsys, monkeypatch):
    out = tmp_path / "study"
    words = ["study", "bottleneck", "--quick", "--data", str(data), "--epochs", "1", "--out", str(out)]
    assert main([*words, "--json"]) in (0, 1)
    document = json.loads(capsys.readouterr().out)
    assert document["study"] == "bottleneck"
    assert document["left"] == 0
    assert [made["network"] for made in document["runs"]] == ["basic", "bottleneck", "bottleneck-time"]
    assert all({"seed", "epochs", "train_top1", "top1", "seconds"} <= made.keys() for made in document["runs"])
    assert json.loads((out / "study.json").read_text()) == document
    assert ET.parse(out / "study.svg").getroot().tag.endswith("svg")
    with Image.open(out / "study.png") as picture:
        assert picture.width > 800
    page = (out / "study.html").read_text()
    assert "1,179,648 weights" in page
    assert "resnets study bottleneck --quick --data" in page
    assert page.count("<svg") == 2

    def never(*_, **__):
        raise AssertionError("nothing is trained again")

    monkeypatch.setattr(run, "train", never)
    monkeypatch.setattr(run, "resume", never)
    assert main([*words, "--json"]) in (0, 1)
    again = json.loads(capsys.readouterr().out)
    assert again["runs"] == document["runs"]


def test_the_ends_come_first_and_say_what_is_known(data, tmp_path, monkeypatch):
    """Four of ten networks: the sentence is there, and what the others would add is said to be unknown."""
    made = []

    def until_four(*arguments, out, **options):  # a clock that ends behind the fourth
        if len(made) == 4:
            raise TimeUp
        made.append(out.name)
        return train(*arguments, out=out, **options)

    monkeypatch.setattr(run, "train", until_four)
    found = run.study("degradation", data, quick=True, epochs=1, out=tmp_path / "study")
    assert made == ["plain20-0", "plain56-0", "resnet20-0", "resnet56-0"]
    assert found.left == 6
    assert "Plain networks know" in found.says
    assert "Whether twice the steps would mend the plain ones is not known yet." in found.says
    assert "one seed a network" in found.says
    assert "Runs made so far: 4 of 10" in found.says
    assert found.holds is not True


def test_what_was_learnt_is_judged_on_all_training_images(data, tmp_path):
    result = train(data, model=SPEC, recipe="paper-cifar", epochs=2, out=tmp_path / "run", observers=[Taught()])
    last = [line for line in read_log(tmp_path / "run") if line["kind"] == "epoch"][-1]
    assert last["taught_top1"] == pytest.approx(resnets.evaluate(result.run, data, split="train").top1)


def test_looking_at_gradients_disturbs_nothing(data, tmp_path):
    for name, observers in (("looked", [gradients.Gradients()]), ("alone", [])):
        train(data, model=SPEC, recipe="paper-cifar", epochs=2, out=tmp_path / name, observers=observers)
    looked, alone = (load_file(tmp_path / name / "model.safetensors") for name in ("looked", "alone"))
    assert all((looked[key] == alone[key]).all() for key in alone)
    epochs = [line for line in read_log(tmp_path / "looked") if line["kind"] == "epoch"]
    for unit in ("stage1.unit1", "stage2.unit1"):
        assert epochs[0][f"first gradient {unit}"] > 0
        assert epochs[-1][f"gradient {unit}"] > 0
    assert "first gradient stage1.unit1" not in epochs[1]


def test_the_gradient_is_that_of_the_loss(data, tmp_path):
    """By differences: a step along what the last unit gives changes the loss by its gradient."""
    seen = {}

    class Keep(Observer):
        def epoch_ended(self, training, epoch):
            seen["sizes"] = gradients._sizes(training.state.network, training)
            seen["again"] = gradients._sizes(training.state.network, training)

    train(data, model=SPEC, recipe="paper-cifar", epochs=1, out=tmp_path / "run", observers=[Keep()])
    assert seen["sizes"] == seen["again"]
    assert list(seen["sizes"]) == ["stage1.unit1", "stage2.unit1"]


def test_the_time_of_a_call_is_kept_and_the_next_one_goes_on(data, tmp_path):
    words = {"quick": True, "epochs": 1, "out": tmp_path / "study", "seeds": 1}
    first = resnets.study("bottleneck", data, minutes=1e-9, **words)
    assert (len(first.found.runs), first.left, first.holds) == (0, 3, None)
    assert first.says == "Runs made so far: 0 of 3; the same command goes on."
    whole = resnets.study("bottleneck", data, **words)
    assert (len(whole.found.runs), whole.left) == (3, 0)


def test_the_time_that_ends_within_a_run_ends_it_there(data, tmp_path, monkeypatch):
    """And the next call goes on from its checkpoint, to the same numbers."""
    words = {"quick": True, "epochs": 2}
    whole = resnets.study("bottleneck", data, out=tmp_path / "whole", **words)
    seen = []

    def stepped(self, training, step):
        seen.append(step.step)
        if len(seen) == 1:
            raise run.TimeUp

    monkeypatch.setattr(run.Until, "stepped", stepped)
    first = resnets.study("bottleneck", data, out=tmp_path / "stopped", minutes=60, **words)
    assert (len(first.found.runs), first.left) == (0, 3)
    second = resnets.study("bottleneck", data, out=tmp_path / "stopped", **words)
    assert seen[:2] == [0, 0]  # nothing of it had been saved yet
    pairs = zip(second.found.runs[:2], whole.found.runs[:2], strict=True)
    assert all((one.train_top1, one.top1) == (other.train_top1, other.top1) for one, other in pairs)


def test_a_member_that_diverges_does_not_stop_the_others(data, tmp_path, monkeypatch, capsys):
    """A stand-in ends as a training does that finds no rate: a real one falls back four times here, and learns."""

    def wild(*words, out, **options):
        if out.name in bad:
            raise TrainingError("The loss is not finite at any rate.")
        return train(*words, out=out, **options)

    bad = ["bottleneck-0"]
    monkeypatch.setattr(run, "train", wild)
    result = resnets.study("bottleneck", data, quick=True, epochs=1, out=tmp_path / "study")
    assert {one.member for one in result.found.runs} == {"basic"}  # the third has the time of the one that failed
    assert (result.left, result.holds) == (0, None)
    assert result.says.startswith("Runs made so far: 1 of 3. Trainings that failed, and are left out: bottleneck-0, ")
    said = capsys.readouterr().err
    assert "bottleneck-0 is left out. " in said
    assert "of the time of" in said
    bad.append("basic-0")
    with pytest.raises(TrainingError, match="loss"):
        resnets.study("bottleneck", data, quick=True, epochs=1, out=tmp_path / "none")


def test_runs_of_other_data_are_not_mixed(data, tmp_path):
    words = {"quick": True, "epochs": 1, "out": tmp_path / "study"}
    resnets.study("bottleneck", data, **words)
    shutil.rmtree(tmp_path / "study" / "runs" / "bottleneck-time-0")
    moved = data.rename(tmp_path / "moved")
    again = resnets.study("bottleneck", moved, **words)  # the same pictures, elsewhere
    assert again.left == 0
    shutil.rmtree(tmp_path / "study" / "runs" / "bottleneck-time-0")
    next((moved / "train" / "0").iterdir()).unlink()
    with pytest.raises(DataError, match="was trained on other images than the runs before it"):
        resnets.study("bottleneck", moved, **words)


def test_a_run_that_was_killed_as_it_began_begins_again(data, tmp_path):
    words = {"quick": True, "epochs": 1, "out": tmp_path / "study"}
    resnets.study("bottleneck", data, minutes=1e-9, **words)
    (tmp_path / "study" / "runs" / "basic-0").mkdir(parents=True)
    assert resnets.study("bottleneck", data, **words).left == 0


def test_a_run_that_another_command_has_ended_is_refused(data, tmp_path):
    out = tmp_path / "study"
    resnets.study("bottleneck", data, minutes=1e-9, quick=True, epochs=1, out=out)
    recipe = [*STUDIES["bottleneck"].quick.overrides]
    spec = STUDIES["bottleneck"].members(True)[0].spec
    train(data, model=spec, recipe="paper-cifar", weights="none", epochs=1, out=out / "runs/basic-0", overrides=recipe)
    with pytest.raises(DataError, match="or was trained by another command: remove it"):
        resnets.study("bottleneck", data, quick=True, epochs=1, out=out)


@pytest.mark.slow
def test_a_killed_study_has_the_same_numbers(data, tmp_path):
    words = ["study", "stride-place", "--quick", "--seeds", "1", "--epochs", "3", "--data", str(data), "--json"]
    assert main([*words, "--out", str(tmp_path / "whole")]) in (0, 1)
    for kill_at in (1, 4):
        out = tmp_path / f"killed at {kill_at}"
        for killed in (True, False):  # the second time there are as many steps already, and it may be over before
            started = Started(*words, "--out", str(out))
            logs = sorted(out.glob("runs/*/log.jsonl")) if out.exists() else []
            while started.poll() is None and sum(path.read_text().count('"step"') for path in logs) < kill_at:
                time.sleep(0.05)
                logs = sorted(out.glob("runs/*/log.jsonl"))
            started.send_signal(signal.SIGKILL)
            started.communicate(timeout=60)
            assert started.returncode in ((-signal.SIGKILL,) if killed else (-signal.SIGKILL, 0, 1))
        assert main([*words, "--out", str(out)]) in (0, 1)
        assert losses(out) == losses(tmp_path / "whole")
        ours, theirs = (json.loads((place / "study.json").read_text()) for place in (out, tmp_path / "whole"))
        for one, other in zip(ours["runs"], theirs["runs"], strict=True):
            assert {key: one[key] for key in FIXED[1:]} == {key: other[key] for key in FIXED[1:]}


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ({"name": "degredation"}, 'Did you mean "degradation"'),
        ({"name": "bottleneck", "seeds": 0}, "`seeds` is a whole number from 1 to 100"),
        ({"name": "bottleneck", "epochs": 0}, "`epochs` is a whole number from 1"),
        ({"name": "bottleneck", "minutes": 0}, "`minutes` lie above 0"),
    ],
)
def test_what_cannot_be_is_said(tmp_path, words, said):
    with pytest.raises(ParameterError, match=said):
        resnets.study(**words, quick=True, out=tmp_path / "study")
    assert not (tmp_path / "study").exists()


def test_a_folder_belongs_to_one_study(data, tmp_path):
    out = tmp_path / "study"
    with pytest.raises(DataError):
        resnets.study("bottleneck", tmp_path / "nowhere", quick=True, out=out)
    assert not out.exists()  # nothing was made, so nothing is in the way of the right data
    resnets.study("bottleneck", data, minutes=1e-9, quick=True, out=out)
    with pytest.raises(DataError, match="belongs to a study with other study, networks: choose another folder"):
        resnets.study("shortcuts", data, minutes=1e-9, quick=True, out=out)
    with pytest.raises(DataError, match="with other epochs"):
        resnets.study("bottleneck", data, minutes=1e-9, quick=True, epochs=2, out=out)
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "letter.txt").write_text("dear")
    with pytest.raises(DataError, match="is not empty, and no study"):
        resnets.study("bottleneck", data, quick=True, out=tmp_path / "mine")
    assert [path.name for path in (tmp_path / "mine").iterdir()] == ["letter.txt"]
    with pytest.raises(DataError, match="is a file"):
        resnets.study("bottleneck", data, quick=True, out=tmp_path / "mine" / "letter.txt")
    (out / "asked.json").write_text("[" * 9999)
    with pytest.raises(DataError, match="cannot be read"):
        resnets.study("bottleneck", data, quick=True, out=out)


def test_the_studies_are_listed(capsys):
    assert main(["study"]) == 0
    assert capsys.readouterr().out.startswith("degradation        Deeper plain networks")
    assert main(["study", "--json"]) == 0
    assert "table6" in [one["study"] for one in json.loads(capsys.readouterr().out)]


def test_the_page_says_the_device_that_its_folder_is_for(data, tmp_path):
    out = tmp_path / "study"
    words = {"quick": True, "epochs": 1, "out": out}
    resnets.study("bottleneck", data, device="cpu", **words)
    assert "--device cpu" in (out / "study.html").read_text()


def test_times_of_two_machines_are_not_made_equal(data, tmp_path):
    """The first call had no GPU; what gets the time of another would get epochs by a pace of the other machine."""
    out = tmp_path / "study"
    words = {"quick": True, "epochs": 1, "out": out}
    resnets.study("bottleneck", data, **words)
    shutil.rmtree(out / "runs" / "bottleneck-time-0")
    record = out / "runs" / "bottleneck-0" / "run.json"
    document = json.loads(record.read_text())
    document["machine"]["gpu"] = "NVIDIA H200"
    record.write_text(json.dumps(document))
    found = resnets.study("bottleneck", data, **words)
    assert "The runs were made on different machines" in found.says
    assert "bottleneck-time-0" in found.says
    assert not (out / "runs" / "bottleneck-time-0").exists()
