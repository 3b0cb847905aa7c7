"""Ctrl-C at `resnets train`: once for a model of what was learnt so far, twice to stop. Real processes and signals."""

from __future__ import annotations

import json
import shutil
import signal
import threading
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from test_minutes import assert_same_bits

from processes import Started
from resnets.cli.main import main
from resnets.data import decoding
from resnets.training import command, conclude, finish, resume
from resnets.weights.run import CHECKPOINT, MODEL, RECORD, RunRecord
from resnets.weights.runlog import read_log

# Steps long enough to be hit, epochs longer than a test, and no checkpoint by the clock.
RECIPE = "epochs = 500\nbatch_size = 12\nema = 0.8\nprecision = 'float32'\ncheckpoint_seconds = 3600\n"


@pytest.fixture(scope="module")
def place(tmp_path_factory) -> Path:
    """A folder with photos/, of which 48 train in batches of 12, and the recipe."""
    root, noise = tmp_path_factory.mktemp("ctrl-c"), np.random.default_rng(0)
    (root / "recipe.toml").write_text(RECIPE)
    for index, label in enumerate(("cat", "dog", "eel")):
        (root / "photos" / label).mkdir(parents=True)
        for number in range(20):
            pixels = noise.integers(0, 120, (16, 16, 3))
            pixels[..., index] += 25
            Image.fromarray(pixels.astype(np.uint8)).save(root / "photos" / label / f"{number}.png")
    return root


def start(place: Path, out: Path, *more: str, before: Callable[[], object] | None = None) -> Started:
    chosen = ["--recipe", str(place / "recipe.toml"), "--model", "resnet20", "--image-size", "16", "--weights", "none"]
    return Started("train", str(place / "photos"), *chosen, "--out", str(out), *more, before=before)


def wait(process: Started, ready: Callable[[], bool]) -> None:
    while not ready():
        assert process.poll() is None, process.said
        time.sleep(0.005)


def at_step(process: Started, run: Path, step: int) -> None:
    log = run / "log.jsonl"
    wait(process, lambda: log.exists() and f'"kind": "epoch", "step": {step // 4 * 4},' in log.read_text())


def test_once_makes_a_model_and_the_run_can_still_go_on(place, tmp_path):
    process = start(place, tmp_path / "run", "--json", "--set", "epochs=12")
    at_step(process, tmp_path / "run", 4)
    process.send_signal(signal.SIGINT)
    out, said = process.communicate(timeout=120)
    assert process.returncode == 0, said
    document = json.loads(out)
    step = document["step"]
    assert (document["steps"], document["run"]) == (48, str(tmp_path / "run"))
    assert 4 <= step < 48
    [line] = [line for line in said.splitlines() if line.startswith("finishing: ")]
    assert "press Ctrl-C again to stop at once" in line
    assert f"`resnets train --resume {tmp_path / 'run'}` goes on" in line
    assert "Traceback" not in said
    record = RunRecord.read(tmp_path / "run")
    assert record.so_far is not None
    assert (record.so_far.step, record.result) == (step, None)
    assert len([one for one in read_log(tmp_path / "run") if one["kind"] == "step"]) == step
    # It is what --finish makes of the checkpoint, and the run goes on as if nothing had been.
    copy = Path(shutil.copytree(tmp_path / "run", tmp_path / "copy"))
    (copy / MODEL).unlink()
    finish(copy)
    assert (copy / MODEL).read_bytes() == (tmp_path / "run" / MODEL).read_bytes()
    resume(tmp_path / "run")
    whole = start(place, tmp_path / "whole", "--set", "epochs=12")
    whole.communicate(timeout=120)
    assert_same_bits(tmp_path / "run", tmp_path / "whole")


def test_twice_stops_at_once(place, tmp_path):
    process = start(place, tmp_path / "run", before=Slow())
    at_step(process, tmp_path / "run", 4)
    process.send_signal(signal.SIGINT)
    wait(process, lambda: "finishing: " in process.said)
    process.send_signal(signal.SIGINT)
    _, said = process.communicate(timeout=120)
    assert process.returncode == 130, said
    assert said.endswith("stopped\n")
    assert f"`resnets train --resume {tmp_path / 'run'}` goes on with it" in said
    assert not (tmp_path / "run" / MODEL).exists()
    assert (tmp_path / "run" / CHECKPOINT).exists()


class Slow:
    """Judging takes long in the process of a run, and says that it has begun."""

    def __call__(self) -> None:
        conclude.choose = self.judges  # type: ignore[attr-defined]

    def judges(self, *_: object) -> None:
        print("judging", flush=True, file=__import__("sys").stderr)
        time.sleep(60)


def test_while_it_judges_it_stops_as_ever(place, tmp_path):
    process = start(place, tmp_path / "run", "--set", "epochs=1", before=Slow())
    wait(process, lambda: "judging" in process.said)
    process.send_signal(signal.SIGINT)
    _, said = process.communicate(timeout=120)
    assert process.returncode == 130, said
    assert "finishing: " not in said
    assert "`resnets train --finish" in said
    assert not (tmp_path / "run" / MODEL).exists()


class SlowDecoding:
    """Decoding takes long in the process of a run, and says that it has begun."""

    def __call__(self) -> None:
        decoding.Job.in_memory = self.decodes  # type: ignore[method-assign, assignment]

    def decodes(self, *_: object) -> None:
        print("decoding", flush=True, file=__import__("sys").stderr)
        time.sleep(60)


def test_while_it_decodes_there_is_nothing_to_finish(place, tmp_path):
    process = start(place, tmp_path / "run", before=SlowDecoding())
    wait(process, lambda: "decoding" in process.said)
    process.send_signal(signal.SIGINT)
    _, said = process.communicate(timeout=120)
    assert process.returncode == 130, said
    assert said.endswith("stopped\n")
    assert "finishing: " not in said
    assert not (tmp_path / "run" / RECORD).exists()


def test_the_handler_is_a_command_s_and_only_as_long_as_it_runs(capsys):
    before = signal.getsignal(signal.SIGINT)
    with command.commanded(0.0):
        assert signal.getsignal(signal.SIGINT) != before
        with pytest.raises(KeyboardInterrupt):  # nothing is trained
            signal.raise_signal(signal.SIGINT)
    assert signal.getsignal(signal.SIGINT) == before
    assert main(["train", "--minutes", "0"]) == 2
    assert signal.getsignal(signal.SIGINT) == before


def test_a_program_that_ignores_ctrl_c_or_is_no_main_thread_keeps_its_own():
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        with command.commanded(0.0):
            assert signal.getsignal(signal.SIGINT) == signal.SIG_IGN
    finally:
        signal.signal(signal.SIGINT, before)

    def elsewhere() -> None:
        with command.commanded(0.0):
            found.append(signal.getsignal(signal.SIGINT))

    found: list[object] = []
    thread = threading.Thread(target=elsewhere)
    thread.start()
    thread.join()
    assert found == [before]
