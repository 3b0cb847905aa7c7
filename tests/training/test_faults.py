"""Kills and full disks at random moments of a training, its finish included: each run comes to the same bits after all.

A share of them runs by default; `pytest -m slow` does 50 kills and 20 full disks. RESNETS_TEST_SEED chooses others.
"""

from __future__ import annotations

import json
import os
import random
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from PIL import Image
from safetensors import safe_open

from processes import Started
from resnets.errors import WriteError
from resnets.training import Observer, resume, train
from resnets.training.claim import CLAIM
from resnets.weights.run import CHECKPOINT, CURVES, MODEL, RECORD, REPORT
from resnets.weights.runlog import read_log

SEED = int(os.environ.get("RESNETS_TEST_SEED", "0"))
STEPS = 10  # 1,437 training images in batches of 256, twice
BEGIN = [
    *("digits", "--model", "resnet20", "--image-size", "8", "--epochs", "2", "--set", "batch_size=256"),
    *("--set", "checkpoint_seconds=0", "--set", "precision=float32", "--set", "ema=0.9"),
]


def finished(process: Started) -> str:
    _, said = process.communicate(timeout=600)
    assert process.returncode == 0, said
    return said


@pytest.fixture(scope="module")
def alone(tmp_path_factory) -> tuple[Path, float]:
    """The run that nobody disturbed, and the seconds that it took."""
    folder = tmp_path_factory.mktemp("faults") / "alone"
    finished(Started("train", *BEGIN, "--out", str(folder.with_name("first"))))  # fills the cache of images
    began = time.monotonic()
    finished(Started("train", *BEGIN, "--out", str(folder)))
    return folder, time.monotonic() - began


def tensors(path: Path) -> dict[str, bytes]:
    with safe_open(path, framework="np") as file:
        return {name: file.get_tensor(name).tobytes() for name in file.keys()}  # noqa: SIM118


def assert_the_same_in_the_end(folder: Path, wanted: Path) -> None:
    assert (folder / MODEL).read_bytes() == (wanted / MODEL).read_bytes()
    assert tensors(folder / CHECKPOINT) == tensors(wanted / CHECKPOINT)
    assert sorted(path.name for path in folder.iterdir()) == sorted(path.name for path in wanted.iterdir())
    records = [json.loads((run / RECORD).read_text()) for run in (folder, wanted)]
    assert records[0]["result"]["top1"] == records[1]["result"]["top1"]
    assert "so_far" not in records[0]
    assert records[0]["files"].keys() == {MODEL, REPORT, *CURVES}
    logs = [[(line["kind"], line["step"], line["loss"]) for line in read_log(run)] for run in (folder, wanted)]
    assert logs[0] == logs[1]
    assert (folder / REPORT).read_text().rstrip().endswith("</html>")
    with Image.open(folder / "curves.png") as curves:
        curves.load()


def resumed(folder: Path) -> str:
    """Go on with what is there; where nothing is, the command is given again."""
    begun = (folder / RECORD).exists() or (folder / CLAIM).exists()
    return finished(Started("train", *(["--resume"] if begun else [*BEGIN, "--out"]), str(folder)))


KILLS = [*range(2), *(pytest.param(number, marks=pytest.mark.slow) for number in range(2, 50))]


@pytest.mark.parametrize("number", KILLS)
def test_a_kill_at_any_moment_costs_no_bit(alone, tmp_path, number):
    """Of every third one the resume is killed, too."""
    wanted, seconds = alone
    moments, folder = random.Random(f"{SEED} {number}"), tmp_path / "run"
    command = [*BEGIN, "--out", str(folder)]
    for _ in range(1 + (number % 3 == 0)):
        process = Started("train", *command)
        time.sleep(moments.uniform(0, 1.02 * seconds))
        process.send_signal(signal.SIGKILL)
        process.communicate(timeout=600)
        assert process.returncode in (0, -signal.SIGKILL)
        if (folder / RECORD).exists() or (folder / CLAIM).exists():
            command = ["--resume", str(folder)]
    resumed(folder)
    assert_the_same_in_the_end(folder, wanted)


# Disks that are full --------------------------------------------------------------------------------------


def whole_files(folder: Path) -> dict[str, bytes]:
    names = (MODEL, CHECKPOINT, REPORT, *CURVES, RECORD)
    return {name: (folder / name).read_bytes() for name in names if (folder / name).exists()}


def assert_one_sentence(said: str, folder: Path) -> None:
    (error,) = [line for line in said.splitlines() if line.startswith("error: ")]
    assert str(folder) in error
    assert "Traceback" not in said


FULL = [0, *(pytest.param(number, marks=pytest.mark.slow) for number in range(1, 20))]


@pytest.mark.skipif(sys.platform != "linux", reason="the limits of another process can be set on Linux alone")
@pytest.mark.parametrize("number", FULL)
def test_a_disk_that_is_full_from_any_moment_on_loses_nothing(alone, tmp_path, number):
    """No file of that process grows beyond a limit any more: what the system says then is another word for "full"."""
    import resource

    wanted, seconds = alone
    moments, folder = random.Random(f"{SEED} full {number}"), tmp_path / "run"
    process = Started("train", *BEGIN, "--out", str(folder))
    time.sleep(moments.uniform(0, seconds))
    limit = moments.choice([6_000, 50_000, 500_000, 1_500_000])  # standard error is a file, too
    if process.poll() is None:
        resource.prlimit(process.pid, resource.RLIMIT_FSIZE, (limit, limit))
    before = whole_files(folder)
    _, said = process.communicate(timeout=600)
    assert process.returncode in (0, 1, 2), said
    if process.returncode:
        assert_one_sentence(said, folder)
    after = whole_files(folder)
    assert before.keys() <= after.keys()
    if CHECKPOINT in after:
        assert tensors(folder / CHECKPOINT)
    if MODEL in after:
        assert (folder / MODEL).read_bytes() == (wanted / MODEL).read_bytes()
    resumed(folder)
    assert (folder / MODEL).read_bytes() == (wanted / MODEL).read_bytes()
    assert json.loads((folder / RECORD).read_text())["files"].keys() == {MODEL, REPORT, *CURVES}


SCRIPT = """
set -u
mount -t tmpfs -o size=$1 none "$0" || exit 77
shift
"$@" --out "$0/run" 2>"$0/../first"
echo $? >"$0/../status"
mount -o remount,size=60m "$0"
if test -e "$0/run/run.json"; then "$2" -m resnets train --resume "$0/run" && cp -r "$0/run" "$0/../run"; fi
"""


def on_a_small_disk(disk: Path, size: str, *command: str) -> tuple[int, str]:
    """(exit status, standard error) of a training there, and, resumed after room was made, its folder `run`."""
    disk.mkdir()
    script = SCRIPT.replace('"$2" -m', f'"{sys.executable}" -m')
    spaces = ["unshare", "--mount", "--map-root-user", "sh", "-c", script, str(disk), size]
    environment = {name: value for name, value in os.environ.items() if not name.startswith("COVERAGE_")}
    resnets = [sys.executable, "-m", "resnets", "train"]
    done = subprocess.run([*spaces, *resnets, *command], capture_output=True, text=True, check=False, env=environment)
    if done.returncode == 77 or not (disk.parent / "status").exists():
        pytest.skip(f"this user may not mount a small file system: {done.stderr}")
    return int((disk.parent / "status").read_text()), (disk.parent / "first").read_text()


@pytest.mark.skipif(not shutil.which("unshare"), reason="no small file systems here")
def test_a_disk_too_small_for_any_checkpoint_is_refused_before_the_first_step(tmp_path):
    status, said = on_a_small_disk(tmp_path / "disk", "2m", *BEGIN)
    assert status == 1, said
    (error,) = [line for line in said.splitlines() if line.startswith("error: ")]
    assert re.search(r"lies on a disk with 2\.\d MB free, and this run's checkpoints take 7\.\d MB: ", error), error
    assert "make room, or give another --out" in error
    assert "epoch 1/2" not in said


@pytest.mark.slow
@pytest.mark.skipif(not shutil.which("unshare"), reason="no small file systems here")
def test_a_disk_that_is_full_later_is_said_and_costs_nothing_once_there_is_room(alone, tmp_path):
    """Two checkpoints do not fit at once after the first, so the second stays to the end."""
    status, said = on_a_small_disk(tmp_path / "disk", "8400k", *BEGIN)
    assert "warning: " in said
    assert "make room, or its end may find none" in said
    assert said.count("warning: no checkpoint at step ") == 1, said
    assert "Traceback" not in said
    assert status in (0, 2), said
    assert (tmp_path / "run" / MODEL).read_bytes() == (alone[0] / MODEL).read_bytes()
    assert resume(tmp_path / "run").step is None


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no device that is always full")
def test_a_board_that_cannot_be_written_ends_no_training(photo_folder, tmp_path, capsys, monkeypatch):
    """What a full disk says to whoever writes for TensorBoard; the package need not be there for that."""
    from resnets.training.log import TensorBoard

    class Full:
        def add(self, *_):
            with open("/dev/full", "wb", buffering=0) as file:
                file.write(b"x")

        def close(self):
            pass

    monkeypatch.setattr(TensorBoard, "beside", classmethod(lambda cls, *_: [cls(Full())]))
    settings = ["epochs=2", "min_steps=0", "batch_size=8", "precision=float32"]
    result = train(photo_folder(images=10), model="resnet20", image_size=8, out=tmp_path / "run", overrides=settings)
    assert Path(result.model).exists()
    said = capsys.readouterr().err
    assert said.count("nothing more is written for TensorBoard (No space left on device)") == 1, said


def test_a_board_says_what_the_log_says(tmp_path):
    accumulator = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    from resnets.training.events import Events

    events = Events(tmp_path / "tensorboard", 0)
    for step in range(5):
        events.add(step, {"step/loss": 1.0 + step, "step/rate": 0.5})
    events.close()
    later = Events(tmp_path / "tensorboard", 3)  # resumed: what was made from there on is void
    later.add(3, {"step/loss": 9.0})
    later.close()
    found = accumulator.EventAccumulator(str(tmp_path / "tensorboard"))
    found.Reload()
    assert [(event.step, event.value) for event in found.Scalars("step/loss")] == [(0, 1), (1, 2), (2, 3), (3, 9)]


@pytest.mark.skipif(sys.platform != "linux", reason="a limit of Linux")
@pytest.mark.parametrize("limit", [0, 200])
def test_a_real_board_on_a_full_disk_is_said_once_without_a_traceback(tmp_path, limit):
    pytest.importorskip("tensorboard")
    script = (
        "import resource, sys; from pathlib import Path; from resnets.training.log import TensorBoard\n"
        "from resnets.training.observer import StepRecord\n"
        f"resource.setrlimit(resource.RLIMIT_FSIZE, ({limit}, {limit}))\n"
        "for board in TensorBoard.beside(Path(sys.argv[1]), 0):\n"
        "    for n in range(100):\n"
        "        board.stepped(None, StepRecord(step=n, epoch=1, loss=1.0, rate=0.1, seconds=0.1, waited=0.0))\n"
        "    board.ended(None)\n"
    )
    done = subprocess.run([sys.executable, "-c", script, str(tmp_path)], capture_output=True, text=True, check=True)
    assert done.stderr == "warning: nothing more is written for TensorBoard (File too large); log.jsonl has it all.\n"


def test_a_folder_that_is_removed_meanwhile_has_no_checkpoint_to_go_on_from(photo_folder, tmp_path):
    class Removes(Observer):
        def ended(self, training):
            shutil.rmtree(tmp_path / "run")

    settings = ["epochs=1", "min_steps=0", "batch_size=8", "precision=float32"]
    with pytest.raises(WriteError, match="cannot be written") as error:
        train(
            photo_folder(images=10),
            model="resnet20",
            image_size=8,
            out=tmp_path / "run",
            overrides=settings,
            observers=[Removes()],
        )
    assert "checkpoint" not in str(error.value)
    assert "--resume" not in str(error.value)
