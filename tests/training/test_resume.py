"""Exact resume, with real processes: killed at random steps, resumed, and equal to the bit with a run left alone."""

from __future__ import annotations

import itertools
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors import safe_open

import resnets
from processes import Started
from resnets.cli.main import main
from resnets.errors import ResnetsError, TrainingError
from resnets.network import ResNet
from resnets.training import TrainResult, optim, resume, train
from resnets.training.glance import Glance
from resnets.training.log import Log
from resnets.training.optim import Average
from resnets.training.state import State
from resnets.weights.runlog import read_log

SEED = int(os.environ.get("RESNETS_TEST_SEED", "0"))  # of the steps at which runs are killed
EPOCHS, STEPS = 3, 4  # 48 training images in batches of 12

# Everything that has a state or draws numbers, in the precision that the processor prefers; and the plain way.
RICH = (
    "epochs = 3\nbatch_size = 12\nema = 0.9\nmixup = 0.4\ntrivial_augment = true\ncrop = 'resized'\nflip = true\n"
    "start_size = 0.75\nlabel_smoothing = 0.1\noptimiser = 'muon'\naccumulate = 2\nrecompute = true\n"
)
PLAIN = "epochs = 3\nbatch_size = 12\ncrop = 'shift'\nschedule = 'steps'\nprecision = 'float32'\n"


@pytest.fixture(scope="module")
def place(tmp_path_factory) -> Path:
    """A folder for each recipe, with photos/, photos.zip of the same files, and the recipe.

    The rich one's photos bring their splits, the plain one's are split by the seed.
    """
    root = tmp_path_factory.mktemp("resume")
    for recipe, text in (("rich", RICH), ("plain", PLAIN)):
        folder, noise = root / recipe, np.random.default_rng(0)
        folder.mkdir()
        (folder / "recipe.toml").write_text(text)
        with zipfile.ZipFile(folder / "photos.zip", "w") as archive:
            for index, number in itertools.product(range(3), range(20)):
                pixels = noise.integers(0, 120, (24, 24, 3))
                pixels[..., index] += 100
                split = "" if recipe == "plain" else "val" if number < 4 else "train"
                path = folder / "photos" / split / ("cat", "dog", "eel")[index] / f"{number}.png"
                path.parent.mkdir(parents=True, exist_ok=True)
                Image.fromarray(pixels.astype(np.uint8)).save(path)
                archive.write(path, path.relative_to(folder))
    return root


def start(*arguments: str) -> Started:
    return Started("train", *arguments)


def start_anew(*arguments: str) -> subprocess.Popen[str]:
    """As a shell does it, with two seconds of imports."""
    command = [sys.executable, "-m", "resnets", "train", *arguments]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def begin(data: Path, out: Path, workers: int = 1, every: float = 0) -> list[str]:
    """The arguments of a new run, with the recipe that lies beside the data."""
    chosen = [
        "--model",
        "resnet20",
        "--recipe",
        str(data.with_name("recipe.toml")),
        "--image-size",
        "16",
        "--out",
        str(out),
    ]
    return [str(data), *chosen, "--set", f"checkpoint_seconds={every}", "--set", f"workers={workers}"]


def finish(process: Started | subprocess.Popen[str]) -> str:
    """Wait for a good end; returns what it said on standard error."""
    _, said = process.communicate(timeout=300)
    assert process.returncode == 0, said
    return said


def stop(process: Started | subprocess.Popen[str], folder: Path, when: Callable[[str], bool], sign: int) -> str:
    """Send a signal as soon as the run's log says so; returns standard error."""
    send(process, folder, when, sign)
    return process.communicate(timeout=300)[1]


def send(process: Started | subprocess.Popen[str], folder: Path, when: Callable[[str], bool], sign: int) -> None:
    log = folder / "log.jsonl"
    while process.poll() is None:
        if log.exists() and when(log.read_text()):
            process.send_signal(sign)
            break
        time.sleep(0.005)


def after(step: int) -> Callable[[str], bool]:
    """True once a step stands in the log."""
    return lambda text: f'"kind": "step", "step": {step},' in text


def tensors(path: Path) -> dict[str, bytes]:
    with safe_open(path, framework="np") as file:
        return {name: file.get_tensor(name).tobytes() for name in file.keys()}  # noqa: SIM118


def assert_equal_runs(found: Path, wanted: Path) -> None:
    for name in ("model.safetensors", "checkpoint.safetensors"):
        mine, theirs = tensors(found / name), tensors(wanted / name)
        assert mine.keys() == theirs.keys()
        assert [key for key in mine if mine[key] != theirs[key]] == [], name
    mine, theirs = (read_log(folder) for folder in (found, wanted))
    order = [("step", step) for step in range(EPOCHS * STEPS)]
    for epoch in range(EPOCHS, 0, -1):
        order.insert(epoch * STEPS, ("epoch", epoch * STEPS))
    assert [(line["kind"], line["step"]) for line in mine] == order
    for kind, keys in (
        ("step", ("epoch", "loss", "rate")),
        ("epoch", ("epoch", "image_size", "top1", "held_out_loss")),
    ):
        for key in keys:
            pairs = [[line[key] for line in lines if line["kind"] == kind] for lines in (mine, theirs)]
            assert pairs[0] == pairs[1], key


@pytest.fixture(scope="module")
def undisturbed(place) -> Callable[[str], Path]:
    """The run of a recipe that nobody stopped; made once, from the zip, with one worker."""

    def make(recipe: str) -> Path:
        folder = place / f"whole-{recipe}"
        if not folder.exists():
            finish(start(*begin(place / recipe / "photos.zip", folder)))
        return folder

    return make


@pytest.mark.parametrize(
    ("data", "workers", "recipe", "kills"),
    [("photos.zip", 1, "rich", 1), ("photos", 2, "rich", 2), ("photos.zip", 2, "plain", 1), ("photos", 1, "plain", 1)],
)
def test_a_killed_run_ends_as_if_it_had_not_been(place, undisturbed, data, workers, recipe, kills):
    wanted = undisturbed(recipe)
    folder = place / f"killed-{data}-{workers}"
    steps = sorted(random.Random(f"{SEED} {data} {workers}").sample(range(1, EPOCHS * STEPS - 2), kills))
    print(f"killed after steps {steps}; seed {SEED}")  # pytest shows it when the test fails
    arguments = begin(place / recipe / data, folder, workers)
    for step in steps:
        process = start(*arguments)
        said = stop(process, folder, after(step), signal.SIGKILL)
        assert process.returncode == -signal.SIGKILL, said
        assert not (folder / "model.safetensors").exists()
        arguments = ["--resume", str(folder)]
    finish(start(*arguments))
    assert_equal_runs(folder, wanted)


def test_a_run_stopped_with_ctrl_c_goes_on_where_it_was(place, undisturbed):
    """Twice, since once asks for a model: see `test_ctrl_c`."""
    wanted = undisturbed("plain")
    folder = place / "interrupted"
    process = start_anew(*begin(place / "plain" / "photos", folder, every=3600))
    send(process, folder, lambda text: text.count('"kind": "epoch"') == 2, signal.SIGINT)
    assert process.stderr is not None
    while not (line := process.stderr.readline()).startswith("finishing: "):
        assert line
    assert f"`resnets train --resume {folder}` goes on" in line
    process.send_signal(signal.SIGINT)
    said = process.communicate(timeout=300)[1]
    assert process.returncode == 130, said
    assert f"`resnets train --resume {folder}` goes on with it" in said
    assert f"`resnets train --finish {folder}` makes a model of it as it stands" in said
    assert said.endswith("stopped\n")
    assert "Traceback" not in said
    with safe_open(folder / "checkpoint.safetensors", framework="np") as file:
        assert json.loads(file.metadata()["state"])["step"] >= STEPS
    assert not (folder / "model.safetensors").exists()
    finish(start("--resume", str(folder)))
    assert_equal_runs(folder, wanted)


# In this process: what a real signal cannot hit at will ---------------------------------------------------


def small_run(data: Path, out: Path, *overrides: str) -> TrainResult:
    chosen = ["precision=float32", "checkpoint_seconds=3600", *overrides]
    return train(data, model="resnet20", recipe=data.with_name("recipe.toml"), image_size=16, out=out, overrides=chosen)


@pytest.fixture(scope="module")
def alone(place) -> Path:
    folder = place / "alone"
    small_run(place / "plain" / "photos", folder, "epochs=2", "ema=0.9")
    return folder


@pytest.mark.parametrize("where", ["forward", "optimiser", "average", "log", "evaluation", "checkpoint"])
def test_ctrl_c_at_any_place_of_a_step_is_exact(place, alone, tmp_path, monkeypatch, where):
    """Ctrl-C arrives between any two instructions, also between half a step and the other half."""
    owner, name, at = {
        "forward": (ResNet, "forward", 6),
        "optimiser": (torch.optim.SGD, "step", 6),
        "average": (Average, "update", 6),
        "log": (Log, "write", 7),
        "evaluation": (Glance, "look", 1),
        "checkpoint": (State, "save", 2),
    }[where]
    original, calls = getattr(owner, name), 0

    def interrupted(*arguments, **options):
        nonlocal calls
        calls += 1
        if where in ("log", "evaluation", "checkpoint") and calls == at:
            signal.raise_signal(signal.SIGINT)
        result = original(*arguments, **options)
        if where not in ("log", "evaluation", "checkpoint") and calls == at:
            signal.raise_signal(signal.SIGINT)
        return result

    with monkeypatch.context() as patch:
        patch.setattr(owner, name, interrupted)
        with pytest.raises(KeyboardInterrupt):
            small_run(place / "plain" / "photos", tmp_path / "run", "epochs=2", "ema=0.9")
    resume(tmp_path / "run")
    for file in ("model.safetensors", "checkpoint.safetensors"):
        assert tensors(tmp_path / "run" / file) == tensors(alone / file), file
    mine, theirs = (read_log(folder) for folder in (tmp_path / "run", alone))
    assert [(line["kind"], line["step"]) for line in mine] == [(line["kind"], line["step"]) for line in theirs]


def test_a_log_is_cut_back_to_the_checkpoint(tmp_path):
    log = Log(tmp_path)
    log.write("step", step=0, epoch=1, loss=1.0)
    position = log.position()
    log.write("step", step=1, epoch=1, loss=2.0)
    log.close()
    with (tmp_path / "log.jsonl").open("a") as file:
        file.write('{"kind": "step", "st')  # what a kill leaves
    assert [line["step"] for line in read_log(tmp_path)] == [0, 1]
    log = Log(tmp_path, position)
    log.write("step", step=1, epoch=1, loss=3.0)
    assert log.position() > position
    log.close()
    assert [(line["step"], line["loss"]) for line in read_log(tmp_path)] == [(0, 1.0), (1, 3.0)]


# What cannot go on ---------------------------------------------------------------------------------------


@pytest.fixture
def stopped(place, tmp_path, monkeypatch) -> Path:
    """A run that ended after the first epoch, on data of its own."""
    shutil.copytree(place / "plain" / "photos", tmp_path / "photos")
    (tmp_path / "recipe.toml").write_text(PLAIN)
    with monkeypatch.context() as patch:

        def interrupt(*arguments):
            raise KeyboardInterrupt

        patch.setattr(optim, "image_size", lambda recipe, epoch, *_: 16 if epoch == 0 else interrupt())
        with pytest.raises(KeyboardInterrupt):
            small_run(tmp_path / "photos", tmp_path / "run", "epochs=2")
    return tmp_path / "run"


def test_changed_data_is_refused(stopped, capsys):
    photo = stopped.parent / "photos" / "cat" / "3.png"
    Image.new("RGB", (24, 24)).save(photo)
    with pytest.raises(TrainingError, match="data has changed"):
        resume(stopped)
    capsys.readouterr()
    assert main(["train", "--resume", str(stopped)]) in (1, 2)
    out, said = capsys.readouterr()
    assert out == ""
    assert "error: The data has changed since the run began" in said


def test_data_that_is_gone_is_refused(stopped):
    (stopped.parent / "photos").rename(stopped.parent / "elsewhere")
    with pytest.raises(ResnetsError, match="photos"):
        resume(stopped)


def test_another_number_of_epochs_is_refused(stopped):
    recipe = stopped / "recipe.toml"
    recipe.write_text(recipe.read_text().replace("epochs = 2\n", "epochs = 3\n", 1))
    with pytest.raises(TrainingError, match="epochs would be 3 where the run began with 2"):
        resume(stopped)


@pytest.mark.parametrize(
    ("old", "new"),
    [("ema = 0.0\n", "ema = 0.9\n"), ("batch_size = 12\n", "batch_size = 6\n"), ("flip = true", "flip = false")],
)
def test_another_recipe_is_refused(stopped, old, new):
    recipe = stopped / "recipe.toml"
    assert old in recipe.read_text()
    recipe.write_text(recipe.read_text().replace(old, new))
    with pytest.raises(ResnetsError):
        resume(stopped)


@pytest.mark.parametrize(
    "flags",
    [
        ["--model", "resnet20"],
        ["--recipe", "quick"],
        ["--weights", "x"],
        ["--epochs", "3"],
        ["--image-size", "16"],
        ["--out", "x"],
        ["--set", "ema=0.9"],
        ["--seed", "3"],
        ["--device", "cpu"],
        ["--strict"],
    ],
    ids=lambda flags: flags[0],
)
def test_resume_takes_no_other_flags(alone, flags, capsys):
    assert main(["train", "--resume", str(alone), *flags]) == 2
    out, said = capsys.readouterr()
    assert out == ""
    assert "give --resume alone" in said


def test_a_finished_run_is_only_reported(alone, capsys):
    before = {path.name: path.stat().st_mtime_ns for path in alone.iterdir()}
    result = resume(alone)
    assert result.document() == json.loads((alone / "run.json").read_text())["result"]
    capsys.readouterr()
    assert main(["train", "--resume", str(alone), "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == result.document()
    assert {path.name: path.stat().st_mtime_ns for path in alone.iterdir()} == before


@pytest.mark.parametrize("content", [None, "", "{", "{}", "[]"])
def test_a_folder_that_is_no_run_is_refused(tmp_path, content):
    if content is not None:
        (tmp_path / "run.json").write_text(content)
    with pytest.raises(ResnetsError, match="no run that can be resumed"):
        resume(tmp_path)


def test_a_run_that_had_no_checkpoint_yet_begins_again(stopped):
    """As after a kill between run.json and the first checkpoint: to the same weights, from the folder alone."""
    whole = resume(shutil.copytree(stopped, stopped.with_name("another")))
    for name in ("checkpoint.safetensors", "log.jsonl", "recipe.toml"):
        (stopped / name).unlink()
    again = resume(stopped)
    assert again.top1 == whole.top1
    assert Path(again.model).read_bytes()[:8] == Path(whole.model).read_bytes()[:8]
    states = [resnets.load(result.run).network.state_dict() for result in (whole, again)]
    assert all(torch.equal(states[0][name], states[1][name]) for name in states[0])


def test_what_a_killed_writer_left_is_swept_up(stopped):
    (stopped / ".checkpoint.safetensors.4194304").write_bytes(b"half")
    resume(stopped)
    assert not list(stopped.glob(".*"))
