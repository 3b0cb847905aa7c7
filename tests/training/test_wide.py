"""A training in several processes: the steps of one, to rounding; the same bits in all of them; kills and ends."""

import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

import resnets
from resnets.architecture import ResNetSpec
from resnets.cli.main import main
from resnets.errors import ParameterError, ResnetsError
from resnets.training import resume, wide
from resnets.training.observer import Observer
from resnets.weights.formats.safetensors_file import hashed

TINY = ResNetSpec(depths=(1, 1), widths=(8, 16), stem="cifar", stem_width=8)
PLAIN = ["optimiser=sgd", "learning_rate=0.05"]  # Muon's orthogonal steps make more of a rounding
EXACT = ["norms=frozen", "precision=float32", "batch_size=128", "ema=0", "label_smoothing=0"]

pytestmark = pytest.mark.timeout(300)


def children(pid, called):
    """The processes that one has started whose command has these words in it."""
    found = subprocess.run(["pgrep", "-P", str(pid), "-f", called], capture_output=True, check=False)
    return [int(one) for one in found.stdout.split()]


def state_of(run):
    return resnets.load(run).network.state_dict()


def trained(out, processes, *overrides, epochs=2, **more):
    about = {"model": TINY, "epochs": epochs, "out": out, "processes": processes, "recipe": "quick"}
    return resnets.train("digits", overrides=overrides, **about, **more)


class Losses(Observer):
    def __init__(self):
        self.found = []

    def stepped(self, training, step):
        self.found.append(step.loss)


@pytest.fixture(scope="module")
def start(once):
    """A network whose norms have seen something, to start from."""
    return once("wide-start", lambda folder: trained(folder / "run", 1, epochs=1)) / "run" / "model.safetensors"


SLOW = pytest.mark.slow


@pytest.mark.parametrize(
    "more", [(), pytest.param(("class_weights=balanced",), marks=SLOW), pytest.param(("sampler=balanced",), marks=SLOW)]
)
def test_two_processes_make_the_steps_of_one(tmp_path, start, more):
    """With norms whose statistics stand still, only the order of additions differs."""
    losses = [Losses(), Losses()]
    runs = [
        trained(tmp_path / str(count), count, *EXACT, *PLAIN, *more, observers=[looks], epochs=1, weights=start)
        for count, looks in zip((1, 2), losses, strict=True)
    ]
    one, other = (state_of(run.run) for run in runs)
    assert len(losses[0].found) == len(losses[1].found) > 5
    assert losses[0].found == pytest.approx(losses[1].found, rel=1e-4)
    for name in one:
        if one[name].is_floating_point():
            assert (one[name] - other[name]).abs().max() <= 1e-4 * max(float(one[name].abs().max()), 1e-3), name


def test_gradients_of_two_processes_are_those_of_one(tmp_path, start):
    """One step at a rate of one, by plain descent: the weights move by the gradients alone."""
    wishes = [*EXACT, "optimiser=sgd", "momentum=0", "nesterov=false", "learning_rate=1", "warmup_epochs=0"]
    wishes += ["weight_decay=0", "batch_size=1024", "schedule=steps", "milestones=[0.9]"]
    begun, *moved = (
        torch.cat([one.flatten() for one in state_of(run).values() if one.is_floating_point()])
        for run in (
            start,
            *(trained(tmp_path / str(n), n, *wishes, epochs=1, weights=start).run for n in (1, 2)),
        )
    )
    gradient = begun - moved[0]
    assert float(gradient.abs().max()) > 1e-3
    assert float((moved[1] - moved[0]).abs().max()) < 1e-6


@SLOW
def test_two_processes_learn_as_well_as_one_and_leave_one_run(tmp_path):
    alone = trained(tmp_path / "alone", 1, epochs=6)
    run = trained(tmp_path / "run", 2, epochs=6)
    assert abs(run.top1 - alone.top1) < 0.08  # 359 images: 95 % of all runs lie within 5 points of each other
    assert run.top1 > 0.6
    judged = json.loads((tmp_path / "run" / "run.json").read_text())["result"]
    assert judged["images"] == 359  # each held-out image once
    record = json.loads((tmp_path / "run" / "run.json").read_text())
    assert record["result"]["top1"] == run.top1
    lines = [json.loads(line) for line in (tmp_path / "run" / "log.jsonl").read_text().splitlines()]
    steps = [line["step"] for line in lines if line["kind"] == "step"]
    assert steps == list(range(len(steps)))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["alone", "run"]
    assert wide.current() is None
    assert not torch.distributed.is_initialized()


@SLOW
def test_the_same_seed_gives_the_same_bits(tmp_path):
    one, other = (state_of(trained(tmp_path / name, 2, epochs=1).run) for name in ("one", "other"))
    assert hashed(one) == hashed(other)


def test_a_resume_is_exact(tmp_path):
    class Stop(Observer):
        def stepped(self, training, step):
            if step.step == 12:
                raise KeyboardInterrupt

    wishes = ["checkpoint_seconds=0", "mixup=0.2", "ema=0.9"]
    whole = trained(tmp_path / "whole", 2, *wishes)
    with pytest.raises(KeyboardInterrupt):
        trained(tmp_path / "cut", 2, *wishes, observers=[Stop()])
    gone_on = resume(tmp_path / "cut", processes=2)
    assert hashed(state_of(whole.run)) == hashed(state_of(gone_on.run))


def test_what_cannot_be_is_said(tmp_path, monkeypatch, capsys):
    for count in (0, 65):
        with pytest.raises(ParameterError, match="`processes` is a whole number from 1 to 64"):
            trained(tmp_path / "x", count)
    with pytest.raises(ResnetsError, match="There is no folder, archive, table or data set"):
        resnets.train("no-such-data", processes=2)
    with pytest.raises(ResnetsError, match="has no part for each of 3 processes"):
        trained(tmp_path / "few", 3, "batch_size=2", epochs=1)
    deep = ResNetSpec(depths=(1,) * 5, widths=(4,) * 5, stem="cifar", stem_width=4)  # whose last maps are one pixel
    with pytest.raises(ResnetsError, match="norms of one pixel have no statistics of one image"):
        resnets.train(
            "digits", model=deep, epochs=1, out=tmp_path / "one", processes=2, overrides=["batch_size=3"], image_size=16
        )
    monkeypatch.setenv("TORCHELASTIC_MAX_RESTARTS", "3")
    with pytest.raises(ParameterError, match="name the run's folder by `out`"):
        resnets.train("digits", model=TINY, epochs=1)
    assert wide.current() is None


def test_a_process_that_dies_ends_the_training_with_one_sentence(tmp_path):
    """The one that follows is killed in the middle; the run goes on afterwards."""

    class Kill(Observer):
        def stepped(self, training, step):
            if step.step == 5:
                for pid in children(os.getpid(), "training.following"):
                    os.kill(pid, signal.SIGKILL)

    with pytest.raises(ResnetsError, match="A process of this training has ended before it"):
        trained(tmp_path / "run", 2, "checkpoint_seconds=0", observers=[Kill()])
    assert resume(tmp_path / "run").epochs == 2


def test_a_process_that_cannot_begin_is_one_sentence(tmp_path, monkeypatch):
    """Rank 0 would wait for it for days."""
    monkeypatch.setattr(wide.sys, "executable", "/bin/false")
    with pytest.raises(ResnetsError, match="A process of this training could not begin"):
        trained(tmp_path / "run", 3)
    assert wide.current() is None


@pytest.mark.parametrize("size", ["2", "", "two"])
def test_the_size_of_somebody_elses_world_is_nothing_to_us(tmp_path, monkeypatch, size):
    monkeypatch.setenv("WORLD_SIZE", size)
    monkeypatch.delenv("RANK", raising=False)
    assert trained(tmp_path / "run", 1, epochs=1).epochs == 1


def torchrun(*words, cwd, restarts=0):
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    command += ["--max-restarts", str(restarts), "-m", "resnets", "train", *map(str, words)]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    return subprocess.Popen(
        command, cwd=cwd, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )


def test_torchrun_starts_the_processes_and_one_of_them_speaks(tmp_path):
    process = torchrun("digits", "--epochs", "1", "--out", "run", "--json", cwd=tmp_path)
    out, err = process.communicate(timeout=240)
    assert process.returncode == 0, err
    assert json.loads(out)["top1"] > 0.3
    assert err.count("training and") == 1


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_a_rank_that_is_killed_is_started_again_five_times(tmp_path):
    """torchrun starts all again, and the job goes on from the last checkpoint, to its end."""
    words = ("digits", "--epochs", "10", "--out", "run", "--set", "checkpoint_seconds=0")
    process = torchrun(*words, cwd=tmp_path, restarts=5)
    log, done = tmp_path / "run" / "log.jsonl", 0
    for kill in range(5):
        while process.poll() is None and not (log.exists() and len(log.read_text().splitlines()) > done + 5):
            time.sleep(0.1)
        done = len(log.read_text().splitlines())
        workers = children(process.pid, "resnets train")
        os.kill(workers[kill % len(workers)], signal.SIGKILL)
    out, err = process.communicate(timeout=600)
    assert process.returncode == 0, err[-3000:]
    assert re.search(r"top-1 \d+", out)
    assert Path(tmp_path / "run" / "model.safetensors").exists()


def test_the_verb_takes_processes(tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert main(["train", "digits", "--epochs", "1", "--processes", "2", "--out", "run", "--json", "-q"]) == 0
    assert json.loads(capsys.readouterr().out)["epochs"] == 1


CRAMPED = """
import json, os, sys
import torch
import resnets
from resnets.architecture import ResNetSpec
from resnets.training import wide
from resnets.training.memory import Memory
from resnets.training.recipe import Recipe
from resnets.training.schedule import Schedule
from resnets.training.state import State
from resnets.training.step import Step

spec, recipe = ResNetSpec(depths=(1, 1), widths=(8, 16), stem="cifar", stem_width=8), Recipe(norms="frozen")
found = []
with wide.processes(1) as group:
    for cramped in (False, True):
        state = State(resnets.create(spec, 3, seed=0), recipe)
        state.train(head_alone=False)
        if cramped and group.rank == 1:
            state.memory = Memory(recompute=True, accumulate=3)
        step = Step(state, recipe, Schedule(9, 9), precision="float32", wide=group)
        torch.manual_seed(group.rank)
        losses = [float(step(torch.randn(8, 3, 16, 16), torch.arange(8) % 3)) for _ in range(2)]
        found.append([losses, state.memory.document()])
    with open(f"{sys.argv[1]}/{group.rank}.json", "w") as file:
        json.dump(found, file)
"""


def test_all_processes_do_what_the_most_cramped_one_does(tmp_path):
    (tmp_path / "cramped.py").write_text(CRAMPED)
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    subprocess.run([*torchrun, str(tmp_path / "cramped.py"), str(tmp_path)], check=True, capture_output=True)
    first, second = (json.loads((tmp_path / f"{rank}.json").read_text()) for rank in range(2))
    assert first == second
    (roomy, usual), (losses, chosen) = first
    assert usual == {"recompute": False, "accumulate": 1}
    assert chosen == {"recompute": True, "accumulate": 3}
    assert losses == pytest.approx(roomy, rel=1e-5)
