"""A training that goes wrong is seen early, goes on from its last good state at a lower rate, and stays exact."""

from __future__ import annotations

import json
import math
import os
import signal
from pathlib import Path

import numpy as np
import pytest
from safetensors import safe_open
from safetensors.torch import save_file

import resnets
from processes import Started
from resnets.architecture import ResNetSpec
from resnets.cli.main import main
from resnets.errors import TrainingError
from resnets.network import create
from resnets.training import Observer, Recipe, resume, train
from resnets.training.divergence import SHARE, Guard, Watch
from resnets.training.log import Log
from resnets.training.observers import Checkpoint
from resnets.training.state import FALLBACKS, State
from resnets.training.step import Step
from resnets.weights.run import CHECKPOINT, RunRecord
from resnets.weights.runlog import read_log

SPEC = ResNetSpec(depths=(1, 1), widths=(8, 16), stem="cifar", stem_width=8)
RECIPE = "epochs = 6\nbatch_size = 12\nema = 0.9\nlearning_rate = 8.0\nwarmup_epochs = 0\nprecision = 'float32'\n"


def seen(losses, classes=10, batch=64) -> int | None:
    """The step at which a watch finds a training wrong."""
    watch = Watch(math.log(classes), batch)
    return next((step for step, loss in enumerate(losses) if watch.sees(float(loss))), None)


FALLING = [2.4, 2.2, 2.0, 1.8, 1.7, 1.6, 1.5]


@pytest.mark.parametrize(
    ("after", "within"),
    [
        ([math.nan], 0),
        ([math.inf], 0),
        ([1e20], 0),
        ([480.0], 0),
        ([8.0, 9.0, 30.0], 2),
        ([8.0, 1.5, 9.0, 12.0], 3),  # a good step between
        ([3.5] * 40, 20),  # above guessing, and it stays there
        ([2.5, 3.0, 4.0, 5.0, 7.0, 10.0, 14.0, 20.0], 7),  # slowly
    ],
)
@pytest.mark.parametrize("long", [1, 10])
def test_losses_that_run_away(after, within, long):
    good = [2.4, *(2.2 - 0.01 * n for n in range(10 * long))]
    assert len(good) <= seen([*good, *after]) <= len(good) + within


def test_what_was_learnt_and_is_lost():
    assert seen([*FALLING, *([1.0] * 40), *([2.35] * 40)]) is not None
    assert seen([*FALLING, *([1.0] * 40), *([2.1] * 40)]) is None


@pytest.mark.parametrize("batch", [2, 8, 64])
@pytest.mark.parametrize("classes", [1, 2, 10, 1000])
@pytest.mark.parametrize("kind", ["learns", "learns nothing", "spikes", "begins far off", "sizes"])
def test_normal_losses_are_no_alarm(batch, classes, kind):
    """The mean of a batch's losses, each exponential: a small batch wavers by half of it or more."""
    random = np.random.default_rng([batch, classes, len(kind)])
    steps, guess = 3000, math.log(classes)
    level = guess * np.exp(-np.arange(steps) / 600) if kind != "learns nothing" else np.full(steps, 1.02 * guess)
    if kind == "begins far off":  # weights that are sure of other classes
        level = 12 * np.exp(-np.arange(steps) / 100) + level
    if kind == "sizes":
        level *= 1 + 0.3 * (np.arange(steps) % 500 < 50)  # larger images from here on
    losses = level * random.gamma(batch, 1 / batch, steps)
    if kind == "spikes":
        losses[::97] *= 6
    assert seen(losses, classes, batch) is None


@pytest.mark.parametrize(
    ("batch", "losses"),
    [
        # Of real trainings of two classes of forty photos, resnet20, the recipes quick (twice) and paper-cifar.
        (64, [0.69, 0.7, 1.0, 6.23, 2.0, 3.28, 0.84, 1.5, 1.43, 0.7, 0.66, 0.65, 0.64, 0.61, 0.61, 0.59, 0.57]),
        (16, [0.72, 0.86, 0.69, 0.67, 1.38, 2.59, 3.7, 7.31, 0.63, 0.83, 2.89, 1.77, 0.67, 0.59, 0.61, 0.52, 0.44]),
        (8, [0.74, 5.23, 6.49, 0.65, 2.27, 5.39, 1.18, 5.89, 3.34, 1.68, 2.36, 2.17, 1.14, 0.35, 1.72, 2.09, 1.62]),
        (64, [0.69, *[1.3, 2.2] * 8, *[0.95] * 10, *[0.7] * 20, *[0.5] * 40]),
    ],
)
def test_the_first_steps_at_the_full_rate_are_no_alarm_among_two_classes(batch, losses):
    """Few images have one step an epoch, so that two epochs of warm-up are two steps."""
    assert seen(losses, classes=2, batch=batch) is None


@pytest.mark.parametrize("after", [[7.5, 9.0, 12.0], [480.0], [3.5] * 40, [0.72] * 40])
def test_two_classes_run_away_too(after):
    good = [0.7, 0.7, *[0.3] * 40]
    assert len(good) <= seen([*good, *after], classes=2) <= len(good) + 20


def test_a_state_is_not_good_while_its_losses_are_high():
    watch = Watch(math.log(3), 48)
    calm = []
    for loss in (1.12, 2.2, 1.1, 1.0, 0.9, 1.6, 1.5, 0.9, 0.8):
        assert not watch.sees(loss)
        calm.append(watch.calm)
    assert calm == [True, False, True, True, True, True, False, False, True]


def test_what_is_known_of_the_losses_survives_the_checkpoint():
    random = np.random.default_rng(0)
    one = Watch(math.log(3), 8)
    for loss in random.normal(1, 0.1, 50):
        one.sees(float(loss))
    other = Watch.of(one.guess, 8, json.loads(json.dumps(one.to_dict())))
    assert other == one
    assert Watch.of(one.guess, 8, {}) == Watch(one.guess, 8)


@pytest.mark.parametrize(
    "change",
    [
        {"rate_share": 0},
        {"rate_share": 2},
        {"rate_share": "x"},
        {"rate_share": float("nan")},
        {"fallbacks": 3},
        {"fallbacks": [1]},
        {"fallbacks": [{}]},
        {"fallbacks": [{"step": 3, "back_to": 4, "rate_share": 0.25}]},
        {"fallbacks": [{"step": 3, "back_to": 0, "rate_share": 0}]},
        {"watch": {"recent": ["x"], "first": None, "best": None, "known": None}},
        {"watch": {"recent": [float("nan")], "first": None, "best": None, "known": None}},
        {"watch": {"recent": 3}},
        {"watch": [1]},
        {"good": {"step": 9, "watch": {}}},
        {"good": {"step": -1, "watch": {}}},
        {"good": {}},
        {"good": [0]},
        {"good": None},
        {"identity": 3},
        {"identity": ["seed"]},
        {"identity": "seed"},
    ],
    ids=str,
)
def test_a_checkpoint_that_somebody_edited_is_one_sentence(tmp_path, change):
    state = State(create(SPEC, 3, seed=0), Recipe())
    state.good = state.snapshot({})
    state.save(tmp_path)
    path = tmp_path / CHECKPOINT
    with safe_open(path, framework="pt") as file:
        kept = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118
        known = json.loads(file.metadata()["state"])
    save_file(kept, path, {"state": json.dumps(known | change)})
    with pytest.raises(TrainingError, match=f"{CHECKPOINT} cannot be read"):
        State(create(SPEC, 3, seed=0), Recipe()).load(tmp_path)


def test_a_good_state_of_another_network_is_refused(tmp_path):
    state, other = (State(create(SPEC, classes, seed=0), Recipe()) for classes in (3, 4))
    state.good = other.snapshot({})
    state.save(tmp_path)
    with pytest.raises(TrainingError, match="of another network or recipe"):
        State(create(SPEC, 3, seed=0), Recipe()).load(tmp_path)


# Trainings -----------------------------------------------------------------------------------------------


@pytest.fixture
def photos(photo_folder) -> Path:
    photos: Path = photo_folder(("cat", "dog", "eel"), images=20)
    return photos


def arguments(photos: Path, out: Path, **changes) -> list[str]:
    recipe = out.parent / "high.toml"
    recipe.write_text(RECIPE)
    (out.parent / "spec.json").write_text(json.dumps(SPEC.to_dict()))
    chosen = [word for key, value in changes.items() for word in ("--set", f"{key}={value}")]
    small = ["--model", "resnet20", "--image-size", "8", "--set", "checkpoint_seconds=0"]
    return [str(photos), "--recipe", str(recipe), "--out", str(out), *small, *chosen]


def test_it_falls_back_and_says_so_everywhere(photos, tmp_path, capsys):
    assert main(["train", *arguments(photos, tmp_path / "run"), "--json"]) == 0
    out, said = capsys.readouterr()
    document = json.loads(out)
    times = len(document["fallbacks"])
    assert 1 <= times <= FALLBACKS
    last = document["fallbacks"][-1]
    assert last["rate_share"] == SHARE**times
    assert last["step"] > last["back_to"]
    assert said.count("warning: the loss is ") == times
    assert f"back to step {last['back_to']}, and on at {last['rate_share']:.3g} of the learning rate" in said
    assert any(remark.endswith(f"from 8 to {8 * SHARE**times:g}.") for remark in document["remarks"])
    assert " --set learning_rate=" in document["next"]["command"]
    record = RunRecord.read(tmp_path / "run")
    assert record.result.document() == document
    assert resnets.load(tmp_path / "run").provenance.other["fallbacks"] == document["fallbacks"]
    lines = read_log(tmp_path / "run")
    assert [line["step"] for line in lines if line["kind"] == "step"] == list(range(24))
    assert [line["step"] for line in lines if line["kind"] == "epoch"] == list(range(4, 25, 4))
    told = [{k: v for k, v in line.items() if k != "kind"} for line in lines if line["kind"] == "fallback"]
    assert told == document["fallbacks"]
    after = [line for line in lines if line["kind"] == "step" and line["step"] >= last["back_to"]]
    assert max(line["rate"] for line in after) <= 8 * last["rate_share"]


def test_a_rate_that_is_not_too_high_does_not_fall_back(photos, tmp_path):
    result = train(photos, model=SPEC, epochs=6, image_size=8, out=tmp_path / "run", overrides=["batch_size=8"])
    assert result.fallbacks == ()


def poisoned(at: int, times: int):
    """A `Step.__call__` whose loss at one step is no number, so many times."""
    original, left = Step.__call__, [times]

    def call(self, *parts):
        number, loss = self.state.step, original(self, *parts)
        if number == at and left[0]:
            left[0] -= 1
            return loss * float("nan")
        return loss

    return call


@pytest.mark.parametrize("at", [1, 5, 23])
def test_a_loss_that_is_no_number_once_is_no_end(photos, tmp_path, monkeypatch, at):
    monkeypatch.setattr(Step, "__call__", poisoned(at, 1))
    told = []

    class Notes(Observer):
        def fell_back(self, training, fallback):
            told.append((fallback.step, fallback.back_to, training.state.step, fallback.loss))

    chosen = ["batch_size=12", "epochs=6", "min_steps=0", "learning_rate=0.01"]
    result = train(photos, model=SPEC, image_size=8, out=tmp_path / "run", overrides=chosen, observers=[Notes()])
    back = at // 4 * 4
    assert told == [(at, back, back, "nan")]
    assert (result.fallbacks[0]["loss"], result.fallbacks[0]["rate_share"]) == ("nan", SHARE)


def test_a_state_whose_own_loss_is_bad_is_not_gone_back_to(photos, tmp_path, monkeypatch):
    """At the first step of an epoch: the state at its beginning was bad already."""
    monkeypatch.setattr(Step, "__call__", poisoned(8, 1))
    chosen = ["batch_size=12", "epochs=6", "min_steps=0", "learning_rate=0.01"]
    result = train(photos, model=SPEC, image_size=8, out=tmp_path / "run", overrides=chosen)
    assert [(one["step"], one["back_to"]) for one in result.fallbacks] == [(8, 4)]


def test_a_loss_that_is_no_number_from_the_start_is_nobodys_rate(photos, tmp_path, monkeypatch):
    monkeypatch.setattr(Step, "__call__", poisoned(0, 99))
    with pytest.raises(TrainingError, match=r"The loss is nan at step 0 .* no rate is to blame"):
        train(photos, model=SPEC, image_size=8, out=tmp_path / "run", epochs=2)


# Exact, wherever it is killed ----------------------------------------------------------------------------


def kill() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def killed_at(owner: type, name: str, call: int, late: bool):
    """A patch that kills the process before or after so many calls of a method."""

    def before() -> None:
        original, calls = getattr(owner, name), [0]

        def patched(*arguments, **options):
            calls[0] += 1
            if calls[0] == call and not late:
                kill()
            result = original(*arguments, **options)
            if calls[0] == call and late:
                kill()
            return result

        setattr(owner, name, patched)

    return before


def contents(folder: Path) -> dict[str, object]:
    found: dict[str, object] = {}
    for name in ("model.safetensors", "checkpoint.safetensors"):
        with safe_open(folder / name, framework="np") as file:
            found |= {f"{name} {key}": file.get_tensor(key).tobytes() for key in file.keys()}  # noqa: SIM118
            state = file.metadata().get("state")
        if state:
            known = json.loads(state)
            found |= {key: value for key, value in known.items() if key not in ("seconds", "log")}
    quick = ("seconds", "waited", "images_per_second", "waiting")
    found["log"] = [{k: v for k, v in line.items() if k not in quick} for line in read_log(folder)]
    return found


class Killed:
    """The places, as the patch in the process."""

    def __init__(self, where: str) -> None:
        self.where = where

    def __call__(self) -> None:
        owner, name, call, late = {
            "before": (Log, "stepped", 2, True),
            "seen, not gone back": (State, "go_back", 1, False),
            "gone back, not told": (State, "go_back", 1, True),
            "logged, not saved": (Log, "fell_back", 1, True),
            "saved": (Checkpoint, "fell_back", 1, True),
            "a second time": (State, "go_back", 2, True),
            "a step after": (Log, "fell_back", 1, False),
            "an epoch after": (Guard, "epoch_begins", 3, True),
        }[self.where]
        killed_at(owner, name, call, late)()


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory):
    """(photos, the run that nobody killed), of a training that falls back twice at least."""
    root = tmp_path_factory.mktemp("exact")
    noise = np.random.default_rng(0)
    from PIL import Image

    for index, label in enumerate(("cat", "dog", "eel")):
        (root / "photos" / label).mkdir(parents=True)
        for number in range(20):
            pixels = noise.integers(0, 120, (12, 12, 3))
            pixels[..., index] += 100
            Image.fromarray(pixels.astype(np.uint8)).save(root / "photos" / label / f"{number}.png")
    (root / "whole").mkdir()
    process = Started("train", *arguments(root / "photos", root / "whole" / "run"))
    _, said = process.communicate(300)
    assert process.returncode == 0, said
    assert said.count("back to step") >= 2, said
    return root / "photos", root / "whole" / "run"


@pytest.mark.parametrize(
    "where",
    [
        "before",
        "seen, not gone back",
        "gone back, not told",
        "logged, not saved",
        "saved",
        "a second time",
        "a step after",
        "an epoch after",
    ],
)
def test_a_run_killed_around_a_fallback_ends_as_if_it_had_not_been(undisturbed, tmp_path, where):
    photos, wanted = undisturbed
    process = Started("train", *arguments(photos, tmp_path / "run"), before=Killed(where))
    process.communicate(300)
    assert process.returncode == -signal.SIGKILL
    resume(tmp_path / "run")
    mine, theirs = contents(tmp_path / "run"), contents(wanted)
    assert mine.keys() == theirs.keys()
    assert [key for key in mine if mine[key] != theirs[key]] == []
