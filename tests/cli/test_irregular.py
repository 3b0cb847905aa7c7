"""What is no regular file is refused in one sentence, wherever a path is taken; nothing waits for a writer."""

from __future__ import annotations

import os
import shutil
import sys
from io import BytesIO
from pathlib import Path
from types import SimpleNamespace

import pytest

from resnets import create
from resnets.architecture import ResNetSpec
from resnets.cli.main import main
from resnets.data import source
from resnets.data.preprocess import Preprocessing
from resnets.weights import Model, save

BEFORE = Path(__file__).parents[1] / "data_before" / "stopped"
CLASSES = ("cat", "dog")


@pytest.fixture
def place(tmp_path: Path, photo_folder, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with a pipe, a link to a device, photos, a model, and a run and a Hugging Face folder made of pipes."""
    photo_folder(CLASSES, images=2).rename(tmp_path / "photos")
    monkeypatch.chdir(tmp_path)
    for name in ("pipe", "run/run.json", "hub/model.safetensors", "m.caffemodel"):
        Path(name).parent.mkdir(exist_ok=True)
        os.mkfifo(name)
    Path("zero").symlink_to("/dev/zero")
    spec = ResNetSpec(depths=(1,), widths=(4,), block="basic", stem="cifar", stem_width=4)
    save(Path("model.safetensors"), Model(create(spec, num_classes=2, seed=0), CLASSES, Preprocessing.evaluation(8)))
    return tmp_path


@pytest.mark.parametrize("odd", ["pipe", "zero"])
@pytest.mark.parametrize(
    ("words", "said"),
    [
        ("doctor ODD", "ODD cannot be data: it is KIND, not a file"),
        ("train ODD", "ODD cannot be data: it is KIND, not a file"),
        ("train photos --recipe ODD", "ODD cannot be read as a recipe: it is KIND, not a file"),
        ("train photos --weights ODD", "ODD cannot be used: it is KIND, not a file"),
        ("evaluate ODD photos", "ODD cannot be used: it is KIND, not a file"),
        ("evaluate model.safetensors ODD", "ODD cannot be data: it is KIND, not a file"),
        ("predict ODD photos", "ODD cannot be used: it is KIND, not a file"),
        ("explain ODD photos/cat/0.jpg --out e.png", "ODD cannot be used: it is KIND, not a file"),
        ("explain model.safetensors ODD --out e.png", "ODD cannot be explained: it is KIND, not a file"),
        ("convert ODD out.safetensors", "ODD cannot be used: it is KIND, not a file"),
        ("convert ODD out.safetensors --from caffe", "ODD cannot be used: it is KIND, not a file"),
        ("export ODD out.onnx", "ODD cannot be used: it is KIND, not a file"),
        ("export model.safetensors out.onnx --precision int8 --data ODD", "ODD cannot be data: it is KIND"),
        ("bench ODD", "ODD"),
        ("show ODD", "ODD"),
    ],
)
def test_every_verb_refuses_it(place: Path, capsys, odd: str, words: str, said: str) -> None:
    assert main([word.replace("ODD", odd) for word in words.split()]) == 2
    out, err = capsys.readouterr()
    assert said.replace("ODD", odd).replace("KIND", {"pipe": "a pipe", "zero": "a device"}[odd]) in err
    assert not out
    assert "Traceback" not in err


@pytest.mark.parametrize(
    "words", ["train --resume run", "train --finish run", "predict hub photos", "evaluate run photos"]
)
def test_a_pipe_in_the_place_of_a_file_of_a_folder(place: Path, capsys, words: str) -> None:
    assert main(words.split()) == 2
    assert capsys.readouterr().err.startswith("error: ")


def test_a_pipe_in_the_place_of_a_checkpoint(place: Path, capsys) -> None:
    shutil.copytree(BEFORE, "stopped")
    Path("stopped/checkpoint.safetensors").unlink()
    os.mkfifo("stopped/checkpoint.safetensors")
    assert main(["train", "--resume", "stopped"]) != 0
    assert "it is a pipe, not a file" in capsys.readouterr().err


def test_caffes_pipe_is_refused(place: Path, capsys) -> None:
    assert main(["convert", "m.caffemodel", "out.safetensors"]) == 2
    assert "it is a pipe, not a file" in capsys.readouterr().err


def test_among_pictures_it_is_a_failed_row(place: Path, capsys) -> None:
    os.mkfifo("photos/cat/9.jpg")
    for paths, bad in (
        (["pipe", "photos/cat/0.jpg"], "pipe"),
        (["photos/*/*.jpg"], "photos/cat/9.jpg"),
        (["photos"], "photos/cat/9.jpg"),
        (["zero", "photos"], "zero"),
    ):
        assert main(["predict", "model.safetensors", *paths]) == 1
        out, err = capsys.readouterr()
        assert "photos/cat/0.jpg: " in out
        assert f"{bad}: it is a " in err


def test_standard_input_is_bounded(place: Path, capsys, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(source, "LARGEST", 2**20)
    monkeypatch.setattr(sys, "stdin", SimpleNamespace(buffer=BytesIO(bytes(2**20 + 1))))
    assert main(["predict", "model.safetensors", "-"]) == 2
    assert "standard input has more than 1 MiB" in capsys.readouterr().err
