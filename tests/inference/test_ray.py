"""`--engine ray` on a local cluster of two workers: the same labels, and a killed worker loses nothing."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from resnets.architecture import ResNetSpec
from resnets.data.preprocess import Preprocessing
from resnets.errors import DataError
from resnets.inference import load, ray_engine
from resnets.inference.bulk import predict_files
from resnets.network import create
from resnets.weights import Model, save

TINY = ResNetSpec(depths=(1,), widths=(8,), stem="cifar", stem_width=8)


@pytest.fixture
def photos(tmp_path, monkeypatch) -> list[str]:
    """Names of 300 files, one of them broken, and model.safetensors beside them, where we are."""
    network = create(TINY, num_classes=3, seed=0)
    with torch.no_grad():
        network.get_parameter("head.linear.weight").mul_(100)
    save(tmp_path / "model.safetensors", Model(network, ("cat", "dog", "eel"), Preprocessing.evaluation(8)))
    (tmp_path / "photos").mkdir()
    random = np.random.default_rng(0)
    for number in range(300):
        path = tmp_path / "photos" / f"{number:03d}.jpg"
        Image.fromarray(random.integers(0, 256, (12, 16, 3)).astype(np.uint8)).save(path)
    (tmp_path / "photos" / "007.jpg").write_bytes(b"broken")
    os.rename(tmp_path / "photos" / "008.jpg", os.fsencode(tmp_path) + b"/photos/\xff.jpg")
    monkeypatch.chdir(tmp_path)
    return [os.path.join("photos", name) for name in sorted(os.listdir("photos"))]


def test_a_picture_that_is_no_file_is_refused():
    with pytest.raises(DataError, match="`engine='ray'` reads files"):
        next(ray_engine.predict_files("model.safetensors", ["a.jpg", b"\xff\xd8\xff"]))


@pytest.mark.slow
@pytest.mark.filterwarnings("default")  # of Ray's own code
def test_a_killed_worker_loses_nothing(photos):
    ray = pytest.importorskip("ray")
    ray.init(address="local", num_cpus=2, include_dashboard=False, log_to_driver=False)
    killed = []
    try:
        rows = []
        for row in ray_engine.predict_files("model.safetensors", photos * 20, top=2):
            rows.append(row)
            if len(rows) in (200, 3000):
                killed.append(kill_an_actor())
    finally:
        ray.shutdown()
    assert len(set(killed)) == 2
    assert sorted(row.path for row in rows) == sorted(photos * 20)
    wanted = {row.path: row for row in predict_files(load("model.safetensors"), photos, top=2)}
    for row in rows:
        assert row.why == wanted[row.path].why
        assert dict(row.top) == pytest.approx(dict(wanted[row.path].top), abs=1e-5)


def kill_an_actor() -> int:
    """Kill a process of our cluster that holds the model, and return its id."""
    parents, actors = {}, []
    for process in filter(str.isdigit, os.listdir("/proc")):
        with contextlib.suppress(OSError):
            parents[process] = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[1]
            if "_Actor" in Path(f"/proc/{process}/cmdline").read_text():
                actors.append(process)

    def ours(process: str) -> bool:
        return process == str(os.getpid()) or (process in parents and ours(parents[process]))

    process = int(next(filter(ours, actors)))
    os.kill(process, signal.SIGKILL)
    return process


@pytest.mark.slow
def test_the_command_writes_the_same_table_over_a_cluster(photos):
    pytest.importorskip("ray")
    command = [sys.executable, "-m", "resnets", "predict", "model.safetensors", "photos", "--top", "2", "--out"]
    environment = {name: value for name, value in os.environ.items() if name != "RAY_ADDRESS"}
    here = subprocess.run([*command, "here.csv"], capture_output=True, text=True, env=environment, check=False)
    there = subprocess.run(
        [*command, "there.csv", "--engine", "ray"], capture_output=True, text=True, env=environment, check=False
    )
    assert (here.returncode, there.returncode) == (1, 1), "one file is broken"
    assert "photos/007.jpg: not an image" in there.stderr
    assert all(word in there.stderr for word in ("engine ray", "float32", "wrote there.csv"))
    assert len(there.stderr.splitlines()) < 10, "what Ray says about itself is kept away"
    one, other = (sorted(Path(name).read_bytes().splitlines()) for name in ("here.csv", "there.csv"))
    assert [line.split(b",")[0] for line in one] == [line.split(b",")[0] for line in other]
    assert sum(a != b for a, b in zip(one, other, strict=True)) < 3, "but for a last digit"


def test_nothing_left_to_do_is_no_division_by_zero():
    """Of a table that was killed behind its last row."""
    assert list(ray_engine.predict_files("model.safetensors", [])) == []
