"""A checkpoint brings everything back to the bit, and a write that fails leaves the one before it whole."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from safetensors.torch import save_file

from resnets.architecture import ResNetSpec
from resnets.errors import TrainingError
from resnets.network import create
from resnets.training import checkpoint, room
from resnets.training.recipe import Recipe
from resnets.training.state import State
from resnets.weights.run import CHECKPOINT as NAME

TINY = ResNetSpec(depths=(1, 1), widths=(16, 32), stem="cifar", stem_width=16)  # wide enough for channels_last


class Run:
    """A state, as training has it, and a few steps with it."""

    def __init__(self, seed: int, ema: float = 0.9, momentum: float = 0.9, classes: int = 3) -> None:
        recipe = Recipe(momentum=momentum, nesterov=bool(momentum), ema=ema)
        self.live = State(create(TINY, classes, seed=seed), recipe)
        self.network, self.optimiser, self.average = self.live.network, self.live.optimiser, self.live.average

    def steps(self, first: int, last: int) -> None:
        for step in range(first, last):
            random = torch.Generator().manual_seed(step)
            x = torch.randn(4, 3, 8, 8, generator=random).to(memory_format=torch.channels_last)
            F.cross_entropy(self.network(x), torch.tensor([0, 1, 2, 0])).backward()
            self.optimiser.step()
            self.optimiser.zero_grad(set_to_none=True)
            if self.average is not None:
                self.average.update(step)
            self.live.step = step + 1

    def state(self) -> dict[str, torch.Tensor]:
        found = {f"network.{name}": tensor for name, tensor in self.network.state_dict().items()}
        if self.average is not None:
            found |= {f"average.{name}": tensor for name, tensor in self.average.state.items()}
        for index, values in self.optimiser.state_dict()["state"].items():
            found |= {f"optimiser.{index}.{name}": value for name, value in values.items()}
        return {name: value.clone() for name, value in found.items() if value is not None}


def loaded(folder: Path) -> State:
    """The state that a folder's checkpoint brings to another network."""
    state = Run(1).live
    state.load(folder)
    return state


def assert_same(first: dict[str, torch.Tensor], second: dict[str, torch.Tensor]) -> None:
    assert first.keys() == second.keys()
    assert [name for name in first if not torch.equal(first[name], second[name])] == []


@pytest.mark.parametrize(("ema", "momentum"), [(0.9, 0.9), (0.0, 0.9), (0.9, 0.0)])
@pytest.mark.parametrize("stopped", [0, 3])
def test_what_goes_on_from_a_checkpoint_is_what_was_never_stopped(tmp_path, ema, momentum, stopped):
    whole = Run(0, ema, momentum)
    whole.steps(0, 6)
    run = Run(0, ema, momentum)
    run.steps(0, stopped)
    run.live.seconds, run.live.log = 1.25, 17
    run.live.save(tmp_path)
    before = run.state()
    other = Run(1, ema, momentum)
    other.live.load(tmp_path)
    assert (other.live.step, other.live.seconds, other.live.log) == (stopped, 1.25, 17)
    assert_same(other.state(), before)
    other.steps(stopped, 6)
    assert_same(other.state(), whole.state())
    assert any("momentum_buffer" in name for name in before) == bool(stopped and momentum)


def test_loading_keeps_the_live_tensors_and_their_layout(tmp_path):
    """The optimiser, the average and the judge hold on to them."""
    run = Run(0)
    run.steps(0, 2)
    run.live.save(tmp_path)
    other = Run(1)
    where = [tensor.data_ptr() for tensor in (*other.network.parameters(), *other.average.state.values())]
    other.live.load(tmp_path)
    assert where == [tensor.data_ptr() for tensor in (*other.network.parameters(), *other.average.state.values())]
    assert other.network.stage2.unit1.conv2.weight.is_contiguous(memory_format=torch.channels_last)


def test_saving_changes_nothing_and_leaves_one_file(tmp_path):
    run = Run(0)
    run.steps(0, 2)
    before = run.state()
    for step in (2, 3, 4):
        run.live.step = step
        run.live.save(tmp_path)
    assert_same(run.state(), before)
    assert [path.name for path in tmp_path.iterdir()] == [NAME]
    assert loaded(tmp_path).step == 4


# Writes that fail ----------------------------------------------------------------------------------------


@pytest.fixture
def saved(tmp_path) -> tuple[Run, bytes]:
    """A run whose checkpoint lies in tmp_path, and that file's bytes; the run has gone on since."""
    run = Run(0)
    run.steps(0, 2)
    run.live.save(tmp_path)
    run.steps(2, 4)
    return run, (tmp_path / NAME).read_bytes()


def assert_only_the_old_one(folder: Path, content: bytes) -> None:
    assert [path.name for path in folder.iterdir()] == [NAME]
    assert (folder / NAME).read_bytes() == content
    assert loaded(folder).step == 2


def test_a_disk_that_fills_up_half_way_leaves_the_checkpoint_before(tmp_path, saved, monkeypatch):
    run, content = saved

    put = checkpoint.put

    def half(file, head, tensors):
        put(file, head, tensors)
        file.truncate(file.tell() // 2)
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(checkpoint, "put", half)
    with pytest.raises(OSError, match="No space left"):
        run.live.save(tmp_path)
    assert_only_the_old_one(tmp_path, content)


@pytest.mark.parametrize("what", ["fsync", "replace", "interrupt"])
def test_whatever_else_fails_leaves_the_checkpoint_before(tmp_path, saved, monkeypatch, what):
    run, content = saved

    def fail(*arguments):
        raise KeyboardInterrupt if what == "interrupt" else OSError(5, "Input/output error")

    if what == "replace":
        monkeypatch.setattr(os, "replace", fail)
    else:
        monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises(KeyboardInterrupt if what == "interrupt" else OSError):
        run.live.save(tmp_path)
    monkeypatch.undo()
    assert_only_the_old_one(tmp_path, content)


FILL = """
import resource, signal, sys
from pathlib import Path
sys.path.insert(0, sys.argv[2])
from test_checkpoint import NAME, Run, loaded
folder, how = Path(sys.argv[1]), sys.argv[3]
run = Run(0)
run.steps(0, 2)
run.live.save(folder)
old = (folder / NAME).read_bytes()
run.steps(2, 4)
if how == "disk":
    filler = open(folder.parent / "filler", "wb", buffering=0)
    filler.write(b"x" * (2**20 - len(old) - len(old) // 2 - 8192))
else:
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (len(old) // 2, len(old) // 2))
try:
    run.live.save(folder)
except OSError as problem:
    assert (folder / NAME).read_bytes() == old
    assert [path.name for path in folder.iterdir()] == [NAME]
    assert loaded(folder).step == 2
    print("whole:", problem)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="limits and mounts of Linux")
@pytest.mark.parametrize("how", ["disk", "limit"])
def test_a_disk_that_is_really_full_leaves_the_checkpoint_before(tmp_path, how):
    """A file system of one megabyte in a name space of our own; and a limit on the size of files."""
    command = [sys.executable, "-c", FILL, str(tmp_path / "run"), str(Path(__file__).parent), how]
    (tmp_path / "run").mkdir()
    if how == "disk":
        disk = tmp_path / "disk"
        disk.mkdir()
        command[3] = str(disk / "run")
        mount = 'mount -t tmpfs -o size=1m none "$0" && mkdir "$0/run" && '
        spaces = ["unshare", "--mount", "--map-root-user", "sh", "-c"]
        if not shutil.which("unshare") or subprocess.run([*spaces, mount + "true", disk], check=False).returncode:
            pytest.skip("this user may not mount a small file system")
        command = [*spaces, mount + '"$@"', str(disk), *command]
    # Without coverage, which would write more than there is room for when the process ends.
    environment = {name: value for name, value in os.environ.items() if not name.startswith("COVERAGE_")}
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith("whole: ")


# Files that are not what they were -----------------------------------------------------------------------


def damage(content: bytes, how: str) -> bytes:
    length = int.from_bytes(content[:8], "little")
    if how == "other part":
        header = content[8 : 8 + length].replace(b'"network.', b'"nwtwork.')
        return content[:8] + header + content[8 + length :]
    return {
        "empty": b"",
        "cut in the header": content[: length // 2],
        "cut in the tensors": content[: (8 + length + len(content)) // 2],
        "last byte gone": content[:-1],
        "zeros": bytes(len(content)),
        "text": b"not a checkpoint\n" * 100,
    }[how]


@pytest.mark.parametrize(
    "how", ["empty", "cut in the header", "cut in the tensors", "last byte gone", "zeros", "text", "other part"]
)
def test_a_damaged_checkpoint_is_refused(tmp_path, saved, how):
    _, content = saved
    (tmp_path / NAME).write_bytes(damage(content, how))
    with pytest.raises(TrainingError, match=rf"{NAME} cannot be read .*start the run anew") as caught:
        loaded(tmp_path)
    assert caught.value.exit_status == 1


@pytest.mark.parametrize("metadata", [None, {}, {"state": "{"}, {"other": json.dumps({"step": 1})}])
def test_a_foreign_file_is_no_checkpoint(tmp_path, metadata):
    save_file({"network.x": torch.zeros(2)}, tmp_path / NAME, metadata)
    with pytest.raises(TrainingError, match="cannot be read"):
        loaded(tmp_path)


def test_a_checkpoint_that_is_not_there_is_refused(tmp_path):
    with pytest.raises(TrainingError, match="cannot be read"):
        loaded(tmp_path)


@pytest.mark.parametrize("part", ["network", "average"])
def test_a_checkpoint_of_another_network_or_recipe_is_refused(tmp_path, part):
    """Whole, but not what this run needs: a recipe.toml or run.json that somebody has edited."""
    run = Run(0, ema=0.0 if part == "average" else 0.9)
    run.live.save(tmp_path)
    other = Run(1, classes=4 if part == "network" else 3)
    with pytest.raises(TrainingError, match=NAME):
        other.live.load(tmp_path)


@pytest.mark.parametrize(("ema", "momentum"), [(0.9, 0.9), (0.0, 0.9), (0.9, 0.0)])
def test_the_room_asked_for_is_that_of_the_first_checkpoint_and_a_later_one(
    tmp_path, monkeypatch, capsys, ema, momentum
):
    """A later one holds a good state, too: what is asked for is no less than both, and not much more."""
    first, later = tmp_path / "first", tmp_path / "later"
    first.mkdir()
    later.mkdir()
    run = Run(0, ema, momentum)
    run.live.save(first)
    run.steps(0, 2)
    run.live.good = run.live.snapshot({})
    run.live.save(later)
    both = (first / NAME).stat().st_size + (later / NAME).stat().st_size
    heads = 40_000  # bytes of names and numbers in them, at most

    def free(size: int) -> None:
        monkeypatch.setattr(shutil, "disk_usage", lambda _: shutil._ntuple_diskusage(size, 0, size))

    free(both - heads)
    with pytest.raises(TrainingError, match="this run's checkpoints take"):
        room.check(tmp_path, run.live)
    free(both)
    room.check(tmp_path, run.live)
    assert "and this run may take" in capsys.readouterr().err
