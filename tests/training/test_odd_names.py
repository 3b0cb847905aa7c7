"""Run folders, recipes and weights whose names are no UTF-8, or hold what a terminal obeys."""

from __future__ import annotations

import os
import shutil
import sys
from pathlib import Path
from typing import Any

import pytest

import resnets
from resnets.architecture import ResNetSpec
from resnets.cli.main import main
from resnets.errors import ResnetsError
from resnets.training import Observer, finish, resume, train
from resnets.weights.run import CURVES, MODEL, RECORD, REPORT

SPEC = ResNetSpec(depths=(1, 1), widths=(8, 16), stem="cifar", stem_width=8)
RECIPE = "epochs = 2\nbatch_size = 8\nprecision = 'float32'\nmin_steps = 0\n"
BYTES = os.fsdecode(b"caf\xe9 \xff")
pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="names of files are bytes on Linux alone")


class Stop(Observer):
    def stepped(self, training, step) -> None:
        if step.step == 2:
            raise KeyboardInterrupt


@pytest.fixture(params=[BYTES, "new\nline \x1b[31m", "-o", "a b'\"$x"], ids=["bytes", "control", "dash", "quotes"])
def name(request) -> str:
    return request.param


def settings(folder: Path) -> dict[str, Any]:
    recipe = folder / f"{BYTES}.toml"
    recipe.write_text(RECIPE)
    return {"model": SPEC, "recipe": recipe, "image_size": 8}


def test_a_run_folder_may_be_called_anything(photo_folder, tmp_path, name, capfd):
    photos = photo_folder(images=10)
    folder = tmp_path / name
    with pytest.raises(KeyboardInterrupt):
        train(photos, out=folder, observers=[Stop()], **settings(tmp_path))
    assert finish(folder).step == 2
    result = resume(folder)
    assert result.step is None
    assert all((folder / file).exists() for file in (MODEL, RECORD, REPORT, *CURVES))
    assert resume(folder) == result
    assert resnets.evaluate(folder, photos).top1 == result.top1
    assert resnets.load(folder / MODEL).predict([photos / "cat" / "0.jpg"])[0].top
    shutil.copy(folder / MODEL, tmp_path / f"{name}.safetensors")
    resnets.load(tmp_path / f"{name}.safetensors")
    assert main(["evaluate", str(folder), str(photos), "--report", str(tmp_path / "page.html")]) == 0
    assert main(["train", "--resume", str(folder), "--json"]) == 0
    _, said = capfd.readouterr()
    assert "\x1b" not in said.replace("\x1b[0m", "")
    assert "warning: " not in said


def test_weights_and_data_may_be_called_anything(photo_folder, tmp_path, name):
    photos = photo_folder(images=10)
    parent = Path(train(photos, out=tmp_path / "parent", **settings(tmp_path)).model)
    weights = shutil.copy(parent, tmp_path / f"{name}.safetensors")
    data = photos.rename(tmp_path / name)
    options = {**settings(tmp_path), "model": None, "weights": weights}
    with pytest.raises(KeyboardInterrupt):
        train(data, out=tmp_path / "run", observers=[Stop()], **options)
    assert resume(tmp_path / "run").step is None


def test_a_recipe_that_is_not_there_is_one_line(photo_folder, tmp_path, name, capfd):
    with pytest.raises(ResnetsError, match="There is no recipe") as caught:
        train(photo_folder(), recipe=tmp_path / f"{name}.toml", out=tmp_path / "run")
    assert "\n" not in str(caught.value)
    str(caught.value).encode()
