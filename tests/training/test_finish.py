"""Each stage of a run can be made again from its folder, and a run that was stopped can be finished as it stands."""

from __future__ import annotations

import json
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors import safe_open

import resnets
from resnets.architecture import ResNetSpec
from resnets.cli.main import main
from resnets.errors import ModelFileError, ResnetsError
from resnets.training import Observer, TrainResult, finish, load_recipe, resume, run, train
from resnets.training.conclude import conclude
from resnets.training.fit import fit
from resnets.training.made import lost
from resnets.training.prepare import prepare, reopen
from resnets.weights import load as load_model
from resnets.weights.run import CHECKPOINT, CURVES, MODEL, RECORD, REPORT, Asked, RunRecord
from resnets.weights.runlog import read_log, until

SPEC = ResNetSpec(depths=(1, 1), widths=(8, 16), stem="cifar", stem_width=8)
RECIPE = "epochs = 2\nbatch_size = 12\nema = 0.8\nprecision = 'float32'\ncheckpoint_seconds = 0\n"
STEPS = 8  # 48 training images of 60, in batches of 12, twice


class Stop(Observer):
    """Ctrl-C at a step."""

    def __init__(self, step: int) -> None:
        self.step = step

    def stepped(self, training, step) -> None:
        if step.step == self.step:
            raise KeyboardInterrupt


@pytest.fixture(scope="module")
def place(tmp_path_factory) -> Path:
    """A folder with photos/ and the recipe."""
    root, noise = tmp_path_factory.mktemp("finish"), np.random.default_rng(0)
    (root / "recipe.toml").write_text(RECIPE)
    for index, label in enumerate(("cat", "dog", "eel")):
        (root / "photos" / label).mkdir(parents=True)
        for number in range(20):
            pixels = noise.integers(0, 120, (16, 16, 3))
            pixels[..., index] += 25
            Image.fromarray(pixels.astype(np.uint8)).save(root / "photos" / label / f"{number}.png")
    return root


def go(place: Path, out: Path, *observers: Observer) -> TrainResult:
    recipe = place / "recipe.toml"
    return train(place / "photos", model=SPEC, recipe=recipe, image_size=16, out=out, observers=observers)


@pytest.fixture(scope="module")
def alone(place) -> Path:
    """The run that nobody stopped. Only to be read."""
    return Path(go(place, place / "alone").run)


@pytest.fixture(scope="module")
def trained_only(place) -> Path:
    """A run that was stopped between its last step and its model. Only to be read."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(run, "conclude", lambda *_: signal.raise_signal(signal.SIGINT))
        with pytest.raises(KeyboardInterrupt):
            go(place, place / "trained only")
    return place / "trained only"


@pytest.fixture
def copy(tmp_path) -> Callable[[Path], Path]:
    return lambda folder: Path(shutil.copytree(folder, tmp_path / "run"))


@pytest.fixture
def half(place, tmp_path) -> Path:
    """A run that was stopped in the middle of its second epoch, five steps after which are safe."""
    with pytest.raises(KeyboardInterrupt):
        go(place, tmp_path / "half", Stop(5))
    return tmp_path / "half"


def tensors(path: Path, part: str = "") -> dict[str, torch.Tensor]:
    with safe_open(path, framework="pt") as file:
        names = [name for name in file.keys() if name.startswith(part)]  # noqa: SIM118
        return {name.removeprefix(part): file.get_tensor(name) for name in names}


# Each stage again ------------------------------------------------------------------------------------------


def test_a_run_in_three_stages_each_from_the_folder_is_the_run_in_one(place, alone, tmp_path):
    asked = Asked(data=str(place / "photos"), network=SPEC.to_dict())
    (tmp_path / "run").mkdir()
    prepare(asked, load_recipe(place / "recipe.toml", ["image_size=16"]), lambda network: tmp_path / "run")
    state = fit(reopen(tmp_path / "run"))
    assert state.step == STEPS
    again = reopen(tmp_path / "run")
    conclude(again, again.reached())
    assert (tmp_path / "run" / MODEL).read_bytes() == (alone / MODEL).read_bytes()
    assert sorted(path.name for path in (tmp_path / "run").iterdir()) == sorted(p.name for p in alone.iterdir())


def test_each_stage_again_changes_nothing(alone, copy):
    folder = copy(alone)
    before = {path.name: path.read_bytes() for path in folder.iterdir() if path.is_file()}
    record = RunRecord.read(folder)
    again = reopen(folder)
    for name in ("asked", "classes", "dataset", "epochs", "machine", "network", "preprocessing", "recipe"):
        assert getattr(again.record, name) == getattr(record, name), name
    assert fit(again).step == STEPS
    conclude(again, again.reached())
    for name in (MODEL, CHECKPOINT, "log.jsonl", "recipe.toml"):
        assert (folder / name).read_bytes() == before[name], name
    assert RunRecord.read(folder).result.top1 == record.result.top1


def damage(path: Path, how: str) -> None:
    content = path.read_bytes()
    if how == "lost":
        path.unlink()
    elif how == "cut off":
        path.write_bytes(content[:-7])
    else:
        path.write_bytes(content[:200] + b"x" + content[201:])


@pytest.mark.parametrize("older", [False, True], ids=["", "older"])
@pytest.mark.parametrize(
    ("name", "how"), [(MODEL, "lost"), (MODEL, "changed"), (REPORT, "cut off"), ("curves.png", "cut off")]
)
def test_what_a_finished_run_lost_is_made_again(alone, copy, name, how, older):
    folder = copy(alone)
    damage(folder / name, how)
    if older:  # did not write down what its files were
        record = json.loads((folder / RECORD).read_text())
        del record["files"]
        (folder / RECORD).write_text(json.dumps(record))
    checkpoint = (folder / CHECKPOINT).read_bytes()
    result = resume(folder)
    assert (folder / MODEL).read_bytes() == (alone / MODEL).read_bytes()
    assert (folder / CHECKPOINT).read_bytes() == checkpoint
    assert result.step is None
    if name == "curves.png":
        with Image.open(folder / name) as curves:
            curves.load()
    if name == REPORT:
        assert (folder / REPORT).read_text().rstrip().endswith("</html>")


@pytest.mark.parametrize("name", [MODEL, REPORT, *CURVES])
@pytest.mark.parametrize("how", ["lost", "cut off", "changed"])
def test_what_is_not_as_it_was_written_is_seen(alone, copy, name, how):
    folder = copy(alone)
    assert lost(folder, RunRecord.read(folder)) == []
    damage(folder / name, how)
    assert lost(folder, RunRecord.read(folder)) == [name]


def test_what_cannot_be_made_again_is_said(alone, copy):
    folder = copy(alone)
    (folder / CHECKPOINT).unlink()
    assert resume(folder).top1 == finish(folder).top1  # whole, and only reported
    (folder / MODEL).unlink()
    with pytest.raises(ResnetsError, match="has lost its model, and the checkpoint to make it of"):
        resume(folder)


def test_pages_lost_with_the_checkpoint_cost_no_model(alone, copy, capsys):
    folder = copy(alone)
    (folder / CHECKPOINT).unlink()
    (folder / REPORT).unlink()
    for verb in (finish, resume):
        assert verb(folder).report is None
        assert "they cannot be made again: the checkpoint is gone, too" in capsys.readouterr().err
        assert (folder / MODEL).read_bytes() == (alone / MODEL).read_bytes()


def test_a_whole_model_of_somebody_else_is_left_alone_where_it_cannot_be_made_again(alone, copy, half):
    folder = copy(alone)
    finish(half)
    shutil.copy(half / MODEL, folder / MODEL)
    (folder / CHECKPOINT).unlink()
    assert resume(folder).step is None
    assert (folder / MODEL).read_bytes() == (half / MODEL).read_bytes()


# Killed while it finishes ----------------------------------------------------------------------------------

KILL = """
import os, signal, sys
import matplotlib.backends.backend_agg, torch._dynamo  # once for all children, which begin before anything is computed
from resnets import training

def dying(call, at, calls=[0]):
    def counted(*arguments, **options):
        calls[0] += 1
        if calls[0] == at:
            os.kill(os.getpid(), signal.SIGKILL)
        return call(*arguments, **options)
    return counted

for folder, moment in zip(sys.argv[1::2], sys.argv[2::2]):
    child = os.fork()
    if not child:
        os.replace, os.fsync = dying(os.replace, int(moment)), dying(os.fsync, int(moment))
        training.resume(folder)
        os._exit(0)
    print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
"""
# Five files come to stand, each by a sync, a rename and a sync of the folder: model, two curves, report, record.
ALL = 15
TEN = (1, 2, 3, 5, 6, 8, 9, 11, 12, 14)
SAMPLE = (2, 9, 14)


@pytest.mark.parametrize("moments", [SAMPLE, pytest.param(TEN, marks=pytest.mark.slow)], ids=["three", "ten"])
def test_a_kill_while_it_finishes_costs_only_that(alone, trained_only, tmp_path, moments):
    folders = [Path(shutil.copytree(trained_only, tmp_path / f"{moment}")) for moment in moments]
    checkpoint = (trained_only / CHECKPOINT).read_bytes()
    pairs = [str(word) for pair in zip(folders, moments, strict=True) for word in pair]
    done = subprocess.run([sys.executable, "-c", KILL, *pairs], capture_output=True, text=True, check=True)
    assert done.stdout.split() == [str(-signal.SIGKILL)] * len(moments), done.stderr
    for folder, moment in zip(folders, moments, strict=True):
        assert "result" not in json.loads((folder / RECORD).read_text())
        assert (folder / MODEL).exists() == (moment > 2)
        assert main(["train", "--resume", str(folder)]) == 0
        assert (folder / MODEL).read_bytes() == (alone / MODEL).read_bytes()
        assert (folder / CHECKPOINT).read_bytes() == checkpoint
        assert sorted(path.name for path in folder.iterdir()) == sorted(path.name for path in alone.iterdir())
        assert RunRecord.read(folder).result.top1 == RunRecord.read(alone).result.top1
        assert (folder / REPORT).read_text().startswith("<!doctype html>")
        with Image.open(folder / "curves.png") as curves:
            curves.load()


@pytest.mark.slow
def test_these_are_the_moments(trained_only, tmp_path):
    """At the last operation it dies, and there is none after that."""
    folders = [Path(shutil.copytree(trained_only, tmp_path / name)) for name in ("last", "after")]
    command = [sys.executable, "-c", KILL, str(folders[0]), str(ALL), str(folders[1]), str(ALL + 1)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert done.stdout.split() == [str(-signal.SIGKILL), "0"]


# As it stands ----------------------------------------------------------------------------------------------


def test_a_stopped_run_becomes_a_model_as_it_stands(place, half):
    result = finish(half)
    assert (result.step, result.steps) == (5, STEPS)
    wanted = {"run", "model", "report", "top1", "seconds", "images", "epochs", "skipped_files", "step", "steps"}
    wanted |= {"baseline", "better_than_guessing", "unrecognised", "fallbacks", "remarks"}
    wanted |= {"top1_interval", "held_out_images", "estimate", "learnt", "next", "chosen", "weights"}
    assert set(result.document()) == wanted
    document = json.loads((half / RECORD).read_text())
    assert "result" not in document
    assert document["so_far"] == result.document()
    model = load_model(half)
    assert model.provenance.other["stopped_at"] == {"step": 5, "steps": STEPS}
    state, average = model.network.state_dict(), tensors(half / CHECKPOINT, "average.")
    assert all(torch.equal(state[name], average[name]) for name in state)
    assert resnets.evaluate(half, place / "photos").top1 == result.top1
    assert all((half / name).exists() for name in (REPORT, *CURVES))
    assert finish(half).top1 == result.top1


def test_after_that_it_goes_on_to_the_same_bits(alone, half):
    checkpoint = (half / CHECKPOINT).read_bytes()
    finish(half)
    assert (half / CHECKPOINT).read_bytes() == checkpoint
    result = resume(half)
    assert result.step is None
    assert (half / MODEL).read_bytes() == (alone / MODEL).read_bytes()
    mine, theirs = tensors(half / CHECKPOINT), tensors(alone / CHECKPOINT)
    assert mine.keys() == theirs.keys()
    assert all(torch.equal(mine[name], theirs[name]) for name in mine)
    document = json.loads((half / RECORD).read_text())
    assert document["result"] == result.document()
    assert "so_far" not in document
    assert finish(half) == result


def test_a_run_that_lacks_only_its_model_is_finished_by_both(alone, trained_only, copy):
    folder = copy(trained_only)
    assert finish(folder).step is None
    assert (folder / MODEL).read_bytes() == (alone / MODEL).read_bytes()
    assert resume(folder) == RunRecord.read(folder).result


def test_on_the_command_line(half, capsys):
    assert main(["train", "--finish", str(half)]) == 0
    said = capsys.readouterr().out
    assert said.startswith(f"as it stands at step 5 of {STEPS}; `resnets train --resume {half}` goes on with it, ")
    assert main(["train", "--finish", str(half), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["step"] == 5


@pytest.mark.parametrize("flags", [["--seed", "3"], ["--resume", "x"], ["--set", "ema=0.9"]], ids=str)
def test_finish_takes_no_other_flags(flags, capsys):
    assert main(["train", "--finish", "runs/x", *flags]) == 2
    assert "alone" in capsys.readouterr().err


def test_a_stopped_run_is_no_model_and_both_ways_on_are_named(half, capsys):
    with pytest.raises(ModelFileError, match="is a run that has no model yet; if nobody trains it now, `") as caught:
        resnets.load(half)
    for way in ("--resume", "--finish"):
        assert f"`resnets train {way} {half}`" in str(caught.value)
    assert main(["predict", str(half), "new.jpg"]) == 2
    assert "--finish" in capsys.readouterr().err


def test_a_finished_run_whose_pages_are_lost_and_whose_data_is_gone_has_its_result(half, place, capsys):
    wanted = resume(half)
    (half / REPORT).unlink()
    record = json.loads((half / RECORD).read_text())
    record["asked"]["data"] = str(half / "nowhere")
    (half / RECORD).write_text(json.dumps(record))
    found = resume(half)
    assert (found.top1, found.model, found.report) == (wanted.top1, wanted.model, None)
    assert "cannot be made again" in capsys.readouterr().err


def test_a_moved_run_is_where_it_is(half):
    resume(half)
    moved = half.rename(half.with_name("moved"))
    assert resume(moved).model == str(moved / "model.safetensors")


def test_what_finish_does_elsewhere_does_not_change_where_the_run_began(half):
    record = json.loads((half / RECORD).read_text())
    record["machine"] = {"made": "elsewhere"}
    record["precision"] = "bfloat16" if record["precision"] == "float32" else "float32"
    (half / RECORD).write_text(json.dumps(record))
    finish(half)
    assert json.loads((half / RECORD).read_text())["machine"] == {"made": "elsewhere"}


def test_somebody_elses_run_json_does_not_hide_a_model(tmp_path):
    (tmp_path / RECORD).write_text('{"wandb": 1}')
    with pytest.raises(ModelFileError, match=r"has no model\.safetensors in it"):
        load_model(tmp_path)


@pytest.mark.parametrize("line", ["[1]", "{}", '{"kind": "epoch"}', "\udcff", None])
def test_a_damaged_log_costs_the_curves_at_most(half, line):
    log = half / "log.jsonl"
    if line is None:
        log.unlink()
    else:
        log.write_bytes(log.read_bytes() + line.encode("utf-8", "surrogateescape") + b"\n")
    assert finish(half).step == 5


@pytest.mark.parametrize("value", [1e400, float("nan"), 10**400])
def test_numbers_of_run_json_that_make_no_sense_are_named(half, value):
    record = json.loads((half / RECORD).read_text())
    record["opening_seconds"] = value
    (half / RECORD).write_text(json.dumps(record))
    with pytest.raises(ResnetsError, match="opening_seconds"):
        resume(half)


def test_a_run_without_a_checkpoint_has_nothing_to_finish(half):
    (half / CHECKPOINT).unlink()
    with pytest.raises(ResnetsError, match="has no checkpoint yet"):
        finish(half)


def test_what_was_made_after_the_checkpoint_is_not_drawn(half):
    """The log is ahead of the checkpoint after a kill; the model as it stands knows nothing of these steps."""
    log = half / "log.jsonl"
    finish(half)
    drawn = (half / "curves.png").read_bytes()
    ahead = [
        {"kind": "step", "step": 6, "epoch": 2, "loss": 123.0, "rate": 0.1, "seconds": 1.0, "waited": 0.0},
        {"kind": "epoch", "step": 8, "epoch": 2, "loss": 99.0, "top1": 0.123, "held_out_loss": 77.0},
    ]
    with log.open("a") as file:
        file.writelines(json.dumps(line) + "\n" for line in ahead)
    result = finish(half)
    record = RunRecord.read(half)
    lines = until(read_log(half), record)
    assert [line["step"] for line in lines if line["kind"] == "step"] == list(range(result.step))
    assert [line["step"] for line in lines if line["kind"] == "epoch"] == [4]
    assert (half / "curves.png").read_bytes() == drawn


def test_pages_lost_where_the_checkpoint_is_older_than_the_model_cost_no_model(alone, half):
    """As after a training whose last checkpoints found no room."""
    checkpoint = (half / CHECKPOINT).read_bytes()
    resume(half)
    (half / CHECKPOINT).write_bytes(checkpoint)
    (half / REPORT).unlink()
    assert finish(half).step is None
    assert (half / MODEL).read_bytes() == (alone / MODEL).read_bytes()
    assert resume(half).step is None
    assert (half / MODEL).read_bytes() == (alone / MODEL).read_bytes()
    assert (half / REPORT).exists()


def test_a_run_that_began_on_a_gpu_is_finished_at_its_own_size(place, tmp_path, monkeypatch):
    """Photos are 224 pixels there and 128 on a processor: made on one here, at the other's size."""
    photos = tmp_path / "photos"
    for label in ("cat", "dog"):
        (photos / label).mkdir(parents=True)
        for number in range(6):
            noise = np.random.default_rng(number).integers(0, 255, (80, 80, 3)).astype(np.uint8)
            Image.fromarray(noise).save(photos / label / f"{number}.png")
    monkeypatch.setattr("resnets.training.setup.data_size", lambda *_: 224)
    with pytest.raises(KeyboardInterrupt):
        train(photos, model=SPEC, recipe=place / "recipe.toml", out=tmp_path / "run", observers=[Stop(1)])
    monkeypatch.undo()
    assert RunRecord.read(tmp_path / "run").preprocessing["image_size"] == 224
    assert finish(tmp_path / "run").step == 1
    assert resume(tmp_path / "run").step is None


def test_what_is_finished_takes_no_processes(alone, capsys):
    assert main(["train", "--finish", str(alone), "--processes", "2"]) == 2
    assert "give --finish alone" in capsys.readouterr().err


def test_a_page_of_before_does_not_outlive_a_failure_to_write_the_next(place, tmp_path, monkeypatch):
    with pytest.raises(KeyboardInterrupt):
        go(place, tmp_path / "run", Stop(3))
    finish(tmp_path / "run")
    assert (tmp_path / "run" / REPORT).exists()

    def full(*_, **__):
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr("resnets.pages.report.write", full)
        patch.setattr("resnets.training.conclude.draw_curves", full)
        assert resume(tmp_path / "run").report is None
    assert not any((tmp_path / "run" / name).exists() for name in (REPORT, *CURVES))
    resume(tmp_path / "run")
    assert all((tmp_path / "run" / name).exists() for name in (REPORT, *CURVES))


def test_held_out_images_that_the_weights_were_trained_on_are_said_in_the_result(place, tmp_path):
    recipe = tmp_path / "one.toml"
    recipe.write_text(RECIPE.replace("epochs = 2", "epochs = 1"))
    about = {"model": SPEC, "recipe": recipe, "image_size": 16}
    first = train(place / "photos", out=tmp_path / "first", **about)
    again = train(place / "photos", out=tmp_path / "again", seed=1, weights=first.model, **about)
    said = [remark for remark in again.remarks if "had been trained on" in remark]
    assert len(said) == 1
    assert said[0].endswith("of the 12 held-out images: figures, calibration and what was chosen by them flatter.")
    assert not any("had been trained on" in remark for remark in first.remarks)
