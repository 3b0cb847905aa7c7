"""A run's folder has one at work in it: the others are told who, and touch nothing."""

from __future__ import annotations

import itertools
import json
import os
import re
import shutil
import signal
import sys
import threading
import time
from functools import partial
from pathlib import Path

import pytest

import resnets
from processes import Started
from resnets.architecture import ResNetSpec
from resnets.errors import ParameterError, ResnetsError
from resnets.training import Observer, finish, resume, run, train
from resnets.training.claim import CLAIM, Claim
from resnets.weights.run import MODEL, RECORD

SPEC = ResNetSpec(depths=(1, 1), widths=(8, 16), stem="cifar", stem_width=8)
SETTINGS = ("epochs=2", "min_steps=0", "batch_size=8", "precision=float32")
HELD = r"is held by process (\d+) since 20\d\d-\d\d-\d\d \d\d:\d\d:\d\d"


class Meanwhile(Observer):
    """Does something in the middle of a training."""

    def __init__(self, call) -> None:
        self.call, self.came = call, []

    def stepped(self, training, step) -> None:
        if step.step == 1:
            self.came.append(self.call())


def refused(call) -> str:
    with pytest.raises(ParameterError) as caught:
        call()
    assert caught.value.exit_status == 2
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.fixture
def go(photo_folder, tmp_path):
    photos = photo_folder(images=10)

    def go(*observers, out="run", data=photos):
        out = out and tmp_path / out
        return train(data, model=SPEC, image_size=16, overrides=SETTINGS, out=out, observers=observers)

    return go


def files(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.mark.parametrize("what", ["train", "resume", "finish"])
def test_what_comes_to_a_folder_at_work_is_told_who_is_there_and_touches_nothing(go, tmp_path, what):
    folder = tmp_path / "run"

    def come() -> str:
        before = files(folder)
        said = refused({"train": go, "resume": lambda: resume(folder), "finish": lambda: finish(folder)}[what])
        assert files(folder) == before
        return said

    meanwhile = Meanwhile(come)
    go(meanwhile)
    assert re.search(rf"is held by another call in this process \({os.getpid()}\) since 20", meanwhile.came[0])
    assert not (folder / CLAIM).exists()
    assert resume(folder).step is None


def test_what_only_reads_needs_no_claim(go, tmp_path, photo_folder):
    data = photo_folder(images=4, name="new")
    run_folder = Path(go().run)
    with Claim(run_folder):
        assert resnets.evaluate(run_folder, data).document()["images"] == 4  # the others were trained on
        assert resume(run_folder).run == finish(run_folder).run == str(run_folder)


def test_two_threads_with_one_out_make_one_run(go, tmp_path, monkeypatch):
    begin, told, prepared = threading.Barrier(2), [], threading.Event()
    prepare = run.prepare

    def slowly(*arguments):
        assert prepared.wait(60)
        return prepare(*arguments)

    monkeypatch.setattr(run, "prepare", slowly)

    def work() -> None:
        begin.wait()
        try:
            told.append(go().run)
        except ResnetsError as problem:
            told.append(str(problem))
            prepared.set()

    threads = [threading.Thread(target=work) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert "is held by another call in this process" in told[0]
    assert told[1] == str(tmp_path / "run")


def test_a_run_that_failed_before_its_first_file_leaves_nothing(go, tmp_path):
    (tmp_path / "empty").mkdir()
    with pytest.raises(ResnetsError, match="holds no files"):
        go(out="a/b/run", data=tmp_path / "empty")
    assert not (tmp_path / "a").exists()
    (tmp_path / "mine").mkdir()
    with pytest.raises(ResnetsError, match="holds no files"):
        go(out="mine", data=tmp_path / "empty")
    assert list((tmp_path / "mine").iterdir()) == []


def test_what_a_killed_one_left_binds_nobody(go, tmp_path):
    """The number of a process that is no more, or nonsense."""
    folder = tmp_path / "run"
    for left in (b'{"pid": 4194304, "host": "x", "since": "1999"}', b"", b"[1]", b"\0" * 50, b'{"pid": "x"}'):
        folder.mkdir()
        (folder / CLAIM).write_bytes(left)
        with Claim(folder, new=True):
            assert f"process {os.getpid()} " not in refused(go)
            assert f"in this process ({os.getpid()}) since" in refused(go)
        assert list(folder.iterdir()) == []
        folder.rmdir()


def test_a_claim_is_no_link_to_somebody_elses_file(go, tmp_path):
    (tmp_path / "thesis.tex").write_text("x")
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / CLAIM).symlink_to(tmp_path / "thesis.tex")
    refused(go)
    assert (tmp_path / "thesis.tex").read_text() == "x"


def test_the_machine_is_named_where_it_is_another(go, tmp_path):
    (tmp_path / "run").mkdir()
    with Claim(tmp_path / "run", new=True):
        holder = {"pid": 7, "host": "\x1b[31mfar", "since": "2001-02-03 04:05:06"}
        (tmp_path / "run" / CLAIM).write_text(json.dumps(holder))
        assert r"is held by process 7 on \x1b[31mfar since 2001-02-03 04:05:06: wait for it, or " in refused(go)


# With processes of their own ------------------------------------------------------------------------------


def patient() -> None:
    """Before it trains, and before it concludes, it waits until the others have come."""

    def waiting(work, *arguments):
        while not Path(os.environ["RELEASE"]).exists():
            time.sleep(0.01)
        return work(*arguments)

    for name in ("fit", "conclude"):
        setattr(run, name, partial(waiting, getattr(run, name)))


@pytest.fixture(scope="module")
def place(tmp_path_factory) -> Path:
    return tmp_path_factory.mktemp("races")


@pytest.fixture(scope="module")
def begin(place) -> list[str]:
    chosen = ["--model", "resnet20", "--image-size", "8", "--epochs", "1", "--set", "checkpoint_seconds=0"]
    return ["digits", *chosen, "--set", "batch_size=256", "--set", "precision=float32"]


@pytest.fixture(scope="module")
def alone(place, begin) -> Path:
    """The run that nobody disturbed."""
    process = Started("train", *begin, "--out", str(place / "alone"))
    _, said = process.communicate(timeout=300)
    assert process.returncode == 0, said
    return place / "alone"


@pytest.fixture(scope="module")
def stopped(place, begin) -> Path:
    """One that was killed in the middle."""
    folder = place / "stopped"
    process = Started("train", *begin, "--out", str(folder))
    while not (folder / "log.jsonl").exists() or (folder / "log.jsonl").read_text().count("step") < 4:
        time.sleep(0.005)
    process.send_signal(signal.SIGKILL)
    process.communicate(timeout=300)
    assert not (folder / MODEL).exists()
    return folder


ROUNDS = [pytest.param(0, id="once"), *(pytest.param(n, marks=pytest.mark.slow, id=f"{n}") for n in range(1, 7))]
RACES = {"trainings": ("train", "train"), "resumes": ("resume", "resume"), "finish beside": ("resume", "finish")}


@pytest.mark.parametrize("number", ROUNDS)
@pytest.mark.parametrize("race", RACES)
def test_of_two_at_one_folder_exactly_one_works(place, begin, alone, stopped, monkeypatch, tmp_path, race, number):
    folder, release = tmp_path / "run", tmp_path / "release"
    monkeypatch.setenv("RELEASE", str(release))
    if race != "trainings":
        shutil.copytree(stopped, folder)
    commands = {
        "train": [*begin, "--out", str(folder)],
        "resume": ["--resume", str(folder)],
        "finish": ["--finish", str(folder)],
    }
    both = [Started("train", *commands[verb], before=patient) for verb in RACES[race]]
    while all(process.poll() is None for process in both):
        time.sleep(0.01)
    release.touch()
    ends = [(*process.communicate(timeout=300), process.returncode) for process in both]
    assert sorted(status for *_, status in ends) == [0, 2], ends
    winner = next(number for number, end in enumerate(ends) if end[2] == 0)
    (said,) = [line for line in ends[1 - winner][1].splitlines() if line.startswith("error: ")]
    assert re.search(HELD, said), said
    assert ends[1 - winner][0] == ""
    if RACES[race][winner] == "finish":
        assert resume(folder).step is None
    assert (folder / MODEL).read_bytes() == (alone / MODEL).read_bytes()
    assert sorted(path.name for path in folder.iterdir()) == sorted(path.name for path in alone.iterdir())
    lines = [json.loads(line) for line in (folder / "log.jsonl").read_text().splitlines()]
    assert [line["step"] for line in lines if line["kind"] == "step"] == list(range(len(lines) - 1))


def test_two_without_out_get_two_folders(place, begin, tmp_path, monkeypatch):
    monkeypatch.setenv("RELEASE", str(tmp_path / "release"))
    both = [Started("train", *begin, before=patient, cwd=tmp_path) for _ in range(2)]
    while len(list(tmp_path.glob("runs/*/run.json"))) < 2 and all(process.poll() is None for process in both):
        time.sleep(0.01)
    (tmp_path / "release").touch()
    for process in both:
        _, said = process.communicate(timeout=300)
        assert process.returncode == 0, said
    assert sorted(path.name for path in (tmp_path / "runs").iterdir()) == ["digits-resnet20", "digits-resnet20-2"]


def killed_at(name: str):
    """Dies as soon as this part of the preparation is reached."""
    from resnets.training import prepare as module

    setattr(module, name, lambda *_, **__: os.kill(os.getpid(), signal.SIGKILL))


def die_while_opening() -> None:
    killed_at("split")


def die_before_the_record() -> None:
    killed_at("RunRecord")


@pytest.mark.parametrize("moment", [die_while_opening, die_before_the_record])
def test_a_run_killed_before_its_record_begins_by_resume(begin, alone, tmp_path, moment):
    folder = tmp_path / "run"
    process = Started("train", *begin, "--out", str(folder), before=moment)
    process.communicate(timeout=300)
    assert process.returncode == -signal.SIGKILL
    assert [path.name for path in folder.iterdir()] == [CLAIM]
    with pytest.raises(ResnetsError, match="has learnt nothing yet: `resnets train --resume"):
        finish(folder)
    with pytest.MonkeyPatch.context() as patch:  # what fails does not forget what was asked
        patch.setattr(run, "prepare", lambda *_: (_ for _ in ()).throw(ResnetsError("no data")))
        with pytest.raises(ResnetsError, match="no data"):
            resume(folder)
    assert Path(resume(folder).model).read_bytes() == (alone / MODEL).read_bytes()
    assert not (folder / CLAIM).exists()
    assert (folder / RECORD).exists()


def test_a_claim_left_at_the_very_end_goes_when_the_run_is_looked_at(alone, tmp_path):
    folder = Path(shutil.copytree(alone, tmp_path / "run"))
    (folder / CLAIM).write_text('{"pid": 4194304, "host": "x", "since": "1999"}')
    resume(folder)
    assert sorted(path.name for path in folder.iterdir()) == sorted(path.name for path in alone.iterdir())


@pytest.mark.skipif(sys.platform == "win32", reason="no locks there")
def test_leftovers_of_writers_are_swept_once_the_folder_is_held(stopped, tmp_path):
    folder = Path(shutil.copytree(stopped, tmp_path / "run"))
    for name, end in itertools.product(("checkpoint.safetensors", "run.json", "report.html"), ("4194304", "0.part")):
        (folder / f".{name}.{end}").write_bytes(b"half")
    import fcntl

    with open(folder / ".report.html.0a0b0c0d.part", "wb") as living:  # as `resnets evaluate --report` does it
        fcntl.flock(living, fcntl.LOCK_EX)
        resume(folder)
    assert [path.name for path in folder.glob(".*")] == [".report.html.0a0b0c0d.part"]
