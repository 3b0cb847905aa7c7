"""Training for the time that one has: the number of steps is measured once, recorded, and then followed to the bit."""

from __future__ import annotations

import dataclasses
import json
import math
import shutil
import signal
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from PIL import Image
from safetensors import safe_open

import resnets
from processes import Started
from resnets.architecture import ResNetSpec
from resnets.cli.main import main
from resnets.errors import ParameterError
from resnets.training import Fallback, StepRecord, load_recipe, pace, pacer, resume, train
from resnets.training.pace import LOOKS, Pace, cost, fitting
from resnets.training.prepare import prepare, reopen
from resnets.training.prepared import Prepared
from resnets.training.schedule import Schedule
from resnets.training.wide import Wide
from resnets.weights.run import CHECKPOINT, MODEL, RECIPE, RECORD, Asked, RunRecord
from resnets.weights.runlog import read_log

SPEC = ResNetSpec(depths=(1, 1), widths=(8, 16), stem="cifar", stem_width=8)
RECIPE_TEXT = (
    "epochs = 2\nbatch_size = 12\nema = 0.8\ncheckpoint_seconds = 0\ncrop = 'resized'\nstart_size = 0.5\n"
    "warmup_epochs = 3\n"
)


@pytest.fixture(scope="module")
def place(tmp_path_factory) -> Path:
    """A folder with photos/, of which 48 train, the network and the recipe."""
    root, noise = tmp_path_factory.mktemp("minutes"), np.random.default_rng(0)
    (root / "recipe.toml").write_text(RECIPE_TEXT)
    for index, label in enumerate(("cat", "dog", "eel")):
        (root / "photos" / label).mkdir(parents=True)
        for number in range(20):
            pixels = noise.integers(0, 120, (16, 16, 3))
            pixels[..., index] += 25
            Image.fromarray(pixels.astype(np.uint8)).save(root / "photos" / label / f"{number}.png")
    return root


def go(place: Path, out: Path, **options: Any) -> resnets.TrainResult:
    given: dict[str, Any] = {"model": SPEC, "recipe": place / "recipe.toml", "image_size": 16, "out": out}
    return train(place / "photos", **given | options)


def foreseen(seconds: float, **others: float) -> Pace:
    """A pace of so many seconds a step, whatever its images."""
    rest = {"epoch": 0.0, "glance": 0.0, "saving": 0.0, "ending": 0.0, "spent": 0.0}
    return Pace(steps={(8, False): seconds, (16, False): seconds}, **rest | others)


def of_steps(count: int, minutes: float) -> Pace:
    """What makes a training of so many steps of these minutes."""
    return foreseen(pace.AIM * 60 * minutes / (count + 0.5))


def tensors(path: Path) -> dict[str, bytes]:
    with safe_open(path, framework="np") as file:
        return {name: file.get_tensor(name).tobytes() for name in file.keys()}  # noqa: SIM118


def same_steps_again(run: Path, into: Path) -> Path:
    """A run of the schedule that another has recorded, from the first step to the last."""
    into.mkdir()
    record = json.loads((run / RECORD).read_text())
    for name in ("result", "so_far", "files"):
        record.pop(name, None)
    (into / RECORD).write_text(json.dumps(record))
    shutil.copy(run / RECIPE, into / RECIPE)
    resume(into)
    return into


def assert_same_bits(found: Path, wanted: Path) -> None:
    for name in (MODEL, CHECKPOINT):
        mine, theirs = tensors(found / name), tensors(wanted / name)
        assert mine.keys() == theirs.keys()
        assert [key for key in mine if mine[key] != theirs[key]] == [], name
    keys = ("kind", "step", "epoch", "loss", "rate", "image_size", "top1", "held_out_loss")
    mine, theirs = ([[line.get(key) for key in keys] for line in read_log(folder)] for folder in (found, wanted))
    assert mine == theirs


# The whole of it -------------------------------------------------------------------------------------------


def test_a_run_of_minutes_has_a_recorded_number_of_steps_and_comes_to_its_end(place, tmp_path, caplog):
    result = go(place, tmp_path / "run", minutes=0.15)
    record = RunRecord.read(tmp_path / "run")
    assert record.schedule is not None
    steps = record.schedule["steps"]
    log = read_log(tmp_path / "run")
    made = [line for line in log if line["kind"] == "step"]
    assert [line["step"] for line in made] == list(range(steps))
    assert (record.schedule["minutes"], record.asked.minutes) == (0.15, 0.15)
    assert result.epochs == record.epochs == math.ceil(steps / 4) == log[-1]["epoch"]
    assert (result.step, record.result) == (None, result)
    assert {one["image_size"] for one in record.schedule["pace"]["steps"]} == {8, 12, 16}
    assert sum("0.15 minutes" in text for text in caplog.messages) == 2  # what it begins, and how many steps these are
    assert_same_bits(same_steps_again(tmp_path / "run", tmp_path / "again"), tmp_path / "run")


def test_a_measurement_leaves_the_network_as_it_is(place, tmp_path):
    prepared = ready(place, tmp_path)
    before = {name: tensor.clone() for name, tensor in prepared.network.state_dict().items()}
    found = pace.measured(prepared, time.perf_counter())
    after = prepared.network.state_dict()
    assert all(bool((before[name] == after[name]).all()) for name in before)
    assert {path.name for path in tmp_path.iterdir()} == {RECORD, RECIPE}
    assert set(found.steps) == {(8, False), (12, False), (16, False)}
    values = [*found.steps.values(), found.epoch, found.glance, found.saving, found.ending, found.spent]
    assert all(value > 0 for value in values)


def test_each_of_several_processes_is_measured_with_its_part_of_a_batch(place, tmp_path, monkeypatch):
    """With whole batches four processes foresaw four times the seconds of a step, and made a quarter of the steps."""
    sizes = set()

    class Seen(pace.Step):
        def __call__(self, x, *others):
            sizes.add(len(x))
            return super().__call__(x, *others)

    monkeypatch.setattr(pace, "Step", Seen)
    pace.measured(ready(place, tmp_path), time.perf_counter())
    whole = max(sizes)
    sizes.clear()
    monkeypatch.setattr(pace, "current", lambda: Wide(0, 2))
    pace.measured(ready(place, tmp_path), time.perf_counter())
    assert max(sizes) == whole // 2


def ready(place: Path, folder: Path, *overrides: str) -> Prepared:
    asked = Asked(data=str(place / "photos"), network=SPEC.to_dict(), minutes=1.0)
    return prepare(asked, load_recipe(place / "recipe.toml", ["image_size=16", *overrides]), lambda network: folder)


def patched(count: int, minutes: float) -> None:
    """In the process of a run: it foresees that many steps."""
    pace.measured = lambda *_: of_steps(count, minutes)


def test_killed_and_resumed_it_is_the_run_of_the_recorded_steps(place, tmp_path):
    arguments = [str(place / "photos"), "--recipe", str(place / "recipe.toml"), "--image-size", "16"]
    arguments += ["--model", "resnet20", "--minutes", "1", "--out", str(tmp_path / "run")]
    process = Started("train", *arguments, before=Patched(14, 1.0))
    log = tmp_path / "run" / "log.jsonl"
    while process.poll() is None and not (log.exists() and '"step": 5,' in log.read_text()):
        time.sleep(0.005)
    process.send_signal(signal.SIGKILL)
    process.communicate(timeout=60)
    assert process.returncode == -signal.SIGKILL
    resume(tmp_path / "run")
    assert RunRecord.read(tmp_path / "run").schedule["steps"] == 14  # type: ignore[index]
    assert_same_bits(tmp_path / "run", same_steps_again(tmp_path / "run", tmp_path / "again"))


class Patched:
    """`patched`, to be sent to another process."""

    def __init__(self, count: int, minutes: float) -> None:
        self.count, self.minutes = count, minutes

    def __call__(self) -> None:
        patched(self.count, self.minutes)


def test_a_run_that_is_too_slow_gets_fewer_steps_and_that_is_recorded(place, tmp_path, monkeypatch, caplog):
    """Steps that were foreseen to take next to nothing: after a few, the rest is as many as fit, which is few."""
    monkeypatch.setattr(pace, "measured", lambda *_: of_steps(100_000, 0.05))
    monkeypatch.setattr(pacer, "SHORT", 0.01)
    go(place, tmp_path / "run", minutes=0.05)
    record = RunRecord.read(tmp_path / "run")
    assert record.schedule is not None
    cuts = record.schedule["refitted"]
    assert cuts[0]["from"] == 100_000
    assert 0 < cuts[0]["step"] < cuts[0]["to"] < 10_000
    assert cuts[-1]["to"] == record.schedule["steps"] == len(steps_of(tmp_path / "run"))
    assert sum("so that it ends in time" in text for text in caplog.messages) == len(cuts)
    rates = [line["rate"] for line in steps_of(tmp_path / "run")]
    assert rates[-1] < max(rates) / 10  # the cosine came to its end
    assert_same_bits(tmp_path / "run", same_steps_again(tmp_path / "run", tmp_path / "again"))


def of_hundred(place: Path, folder: Path) -> Prepared:
    """A run of 100 steps that 10 minutes were asked for."""
    ready(place, folder)
    record = RunRecord.read(folder)
    asked, schedule = dataclasses.replace(record.asked, minutes=10.0), Schedule(100, 4, minutes=10.0)
    dataclasses.replace(record, asked=asked, schedule=schedule.document(), epochs=25).write(folder)
    return reopen(folder)


@pytest.mark.parametrize(("slower", "refits"), [(0.5, True), (0.98, False), (1.02, False), (1.6, True)])
def test_a_pace_that_is_another_than_foreseen_changes_the_number_of_steps(place, tmp_path, monkeypatch, slower, refits):
    """The clock is ours. It ends in time, judging included, which is as much slower; each change is recorded."""
    prepared, clock, takes = of_hundred(place, tmp_path), [0.0], slower * 5.08
    monkeypatch.setattr(pacer, "time", SimpleNamespace(perf_counter=lambda: clock[0]))
    watch = pacer.Pacer(prepared, foreseen(5.08, ending=80.0), 0.0)
    schedule, state = prepared.schedule, SimpleNamespace(step=0, gave_up=False)
    training: Any = SimpleNamespace(recipe=prepared.recipe, schedule=schedule, image_size=16, state=state)
    while state.step < schedule.steps:
        clock[0] += takes
        state.step += 1
        watch.stepped(training, _took(state.step - 1, takes))
    changes = RunRecord.read(tmp_path).schedule["refitted"]  # type: ignore[index]
    assert bool(changes) is refits
    assert len(changes) <= 2
    assert [one["to"] for one in changes][-1:] == [schedule.steps] * refits
    assert clock[0] + slower * 80 == pytest.approx(600, rel=0.06)


@pytest.mark.parametrize("busy", [(60, 480), (300, 520), (0, 540), (500, 590)])
def test_a_neighbour_that_comes_and_goes_does_not_end_it_early(place, tmp_path, monkeypatch, busy):
    """While he is busy a step takes eight times as long; he may go when few steps are left."""
    prepared, clock = of_hundred(place, tmp_path), [0.0]
    monkeypatch.setattr(pacer, "time", SimpleNamespace(perf_counter=lambda: clock[0]))
    watch = pacer.Pacer(prepared, foreseen(5.5), 0.0)
    schedule, state = prepared.schedule, SimpleNamespace(step=0, gave_up=False)
    training: Any = SimpleNamespace(recipe=prepared.recipe, schedule=schedule, image_size=16, state=state)
    while state.step < schedule.steps:
        takes = 8.0 if busy[0] <= clock[0] < busy[1] else 1.0
        clock[0] += takes
        state.step += 1
        watch.stepped(training, _took(state.step - 1, takes))
    assert clock[0] == pytest.approx(600, rel=0.1)


def _took(step: int, seconds: float) -> StepRecord:
    return StepRecord(step=step, epoch=1, loss=1.0, rate=0.1, seconds=seconds, waited=0.0)


def test_steps_that_are_made_again_leave_fewer_for_the_rest(place, tmp_path):
    """Up to where the fallback was seen, nothing changes: those steps had their rates the first time, too."""
    prepared = of_hundred(place, tmp_path)
    schedule, half = prepared.schedule, foreseen(5.0)  # 30 of the 100 steps, and 5 of 10 minutes, are over
    keeper = pacer.Pacer(prepared, half, time.perf_counter() - 300)
    training: Any = SimpleNamespace(schedule=schedule, state=SimpleNamespace(step=20, gave_up=False))
    rates = [schedule.rate(prepared.recipe, step) for step in range(31)]
    keeper.fell_back(training, Fallback(step=30, epoch=8, loss="nan", why="", back_to=20, rate_share=0.25))
    [cut] = RunRecord.read(tmp_path).schedule["refitted"]  # type: ignore[index]
    assert (cut["step"], cut["from"], cut["to"]) == (30, 100, 20 + int((pace.AIM * 600 - 300) / 5))
    assert [schedule.rate(prepared.recipe, step) for step in range(31)] == rates


def steps_of(run: Path) -> list[dict[str, Any]]:
    return [line for line in read_log(run) if line["kind"] == "step"]


def test_a_run_that_was_stopped_before_its_steps_were_fixed_fixes_them(place, tmp_path, monkeypatch):
    with monkeypatch.context() as patch:
        patch.setattr(pace, "measured", lambda *_: signal.raise_signal(signal.SIGINT))
        with pytest.raises(KeyboardInterrupt):
            go(place, tmp_path / "run", minutes=0.1)
    assert RunRecord.read(tmp_path / "run").schedule is None
    monkeypatch.setattr(pace, "measured", lambda *_: of_steps(6, 0.1))
    resume(tmp_path / "run")
    assert RunRecord.read(tmp_path / "run").schedule["steps"] == 6  # type: ignore[index]
    assert len(steps_of(tmp_path / "run")) == 6


def test_too_little_time_still_trains_and_says_so_in_one_line(place, tmp_path, caplog):
    result = go(place, tmp_path / "run", minutes=0.0001)
    assert (len(steps_of(tmp_path / "run")), result.step, result.epochs) == (1, None, 1)
    [said] = [record.getMessage() for record in caplog.records if record.levelname == "WARNING"]
    assert "0.0001 minutes are too short: the training makes 1 step; give more `minutes`." in said
    assert (tmp_path / "run" / "report.html").exists()


# What fits into a time ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("left", [0.5, 3.0, 60.0, 3600.0, 40_000.0])
@pytest.mark.parametrize(("glance", "saving"), [(0.0, 0.0), (0.5, 0.1), (30.0, 2.0)])
def test_the_steps_fit_and_one_more_would_not(place, tmp_path, left, glance, saving):
    prepared = ready(place, tmp_path, "checkpoint_seconds=60")
    measured = foreseen(0.05, glance=glance, saving=saving, epoch=0.01)
    schedule = fitting(prepared, measured, left)
    assert schedule.steps >= 1
    if schedule.steps > 1:
        assert cost(prepared, measured, schedule) <= left
    longer = pace._planned(prepared, measured, schedule.steps + 1)
    assert cost(prepared, measured, longer) > left
    looks = [schedule.glances(prepared.recipe, epoch) for epoch in range(1, schedule.epochs + 1)]
    assert sum(looks) * glance <= LOOKS * schedule.steps * 0.05 + glance * (glance < 0.01)


def test_a_size_between_two_that_were_measured_costs_what_its_pixels_say():
    found = Pace(
        steps={(10, False): 1.0, (20, False): 4.0, (10, True): 0.5}, epoch=0, glance=0, saving=0, ending=0, spent=0
    )
    assert found.step(15, False) == pytest.approx(1 + 3 * (225 - 100) / 300)
    assert found.step(10, True) == 0.5


# What cannot be asked ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("minutes", [0.0, -1.0, math.nan, math.inf, 1e9])
def test_minutes_that_make_no_sense_are_one_sentence(place, tmp_path, minutes):
    with pytest.raises(ParameterError, match=r"^`minutes` lie above 0 and up to 100,000, not at \S+\.$"):
        go(place, tmp_path / "run", minutes=minutes)
    assert not (tmp_path / "run").exists()


def test_the_command_line_takes_minutes_or_epochs(capsys):
    assert main(["train", "--minutes", "5", "--epochs", "3"]) == 2
    assert "--minutes and --epochs both say how long to train" in capsys.readouterr().err
    assert main(["train", "--minutes", "nan"]) == 2
    assert "--minutes lie above 0" in capsys.readouterr().err
    assert main(["train", "--resume", "run", "--minutes", "5"]) == 2
