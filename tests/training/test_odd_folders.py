"""The whole road from photos to answers, with folders that people and systems really have."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path

import pytest

import resnets
from resnets import train
from resnets.architecture import ResNetSpec
from resnets.cli.main import main

TINY = ResNetSpec(depths=(1,), widths=(8,), block="basic", stem="cifar", stem_width=8)
BYTES = os.fsdecode(b"caf\xe9")
COMPOSED, DECOMPOSED = "t\u00e9", "te\u0301"


def trained(data: str | Path, out: str = "run", **options):
    """A run of one epoch."""
    Path("tiny.toml").write_text("epochs = 1\nbatch_size = 8\nlearning_rate = 0.1\nprecision = 'float32'\n")
    return train(data, model=TINY, recipe="tiny.toml", image_size=16, out=out, **options)


def told(capsys: pytest.CaptureFixture[str], *words: str, status: int = 0) -> dict:
    """The document that a verb prints."""
    capsys.readouterr()
    assert main([*words, "--json"]) == status
    return json.loads(capsys.readouterr().out)


def test_names_that_are_not_utf8_go_the_whole_road(photo_folder, tmp_path, monkeypatch, capsys) -> None:
    monkeypatch.chdir(tmp_path)
    data = os.fsdecode(b"d\xe9j\xe0")
    photo_folder((BYTES, DECOMPOSED, "tea "), images=8, name=data)
    for number, path in enumerate(sorted(Path(data).rglob("*.jpg"))):
        path.rename(path.with_name(os.fsdecode(b"\xff%d.jpg" % number)))
    classes = [r"caf\xe9", "tea", COMPOSED]
    told(capsys, "doctor", data, "--html", "doctor.html", "--fix-into", "fixed")
    result = trained(data)
    assert list(resnets.load("run").classes) == classes
    assert Path("run/report.html").read_text(encoding="utf-8")
    Path("run/model.safetensors").unlink()
    assert told(capsys, "train", "--resume", "run")["top1"] == result.top1
    judged = told(capsys, "evaluate", "run", data)
    assert (judged["split"], judged["images"]) == ("val", 6)
    assert [row["name"] for row in judged["per_class"]] == classes
    assert told(capsys, "evaluate", "run", "fixed", "--report", "judged.html")["images"] in (6, 24)
    document = told(capsys, "predict", "run", data)
    assert len(document["predictions"]) == 24
    assert {top["name"] for one in document["predictions"] for top in one["top"]} == set(classes)
    assert main(["predict", "run", data, "--out", "t.csv"]) == 0
    picture = document["predictions"][0]["path"]
    assert main(["explain", "run", picture, "--out", "e.png", "--neighbours", data]) == 0
    assert main(["explain", "run", picture, "--out", "e.png", "--class", DECOMPOSED]) == 0


def test_a_model_and_data_that_write_a_class_in_other_bytes_agree(photo_folder, tmp_path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    trained(photo_folder((COMPOSED, "dog"), images=5))
    other = photo_folder((DECOMPOSED, "dog"), images=3, name="other", size=(20, 20))  # other pictures
    assert resnets.evaluate("run", other).images == 6


def test_training_twice_in_one_folder_makes_no_class_of_the_first_run(photo_folder, monkeypatch, capsys) -> None:
    monkeypatch.chdir(photo_folder(images=5))
    for _ in range(2):
        trained(".", out=None)
    runs = sorted(Path("runs").iterdir())
    assert len(runs) == 2
    assert all(resnets.load(run).classes == ("cat", "dog") for run in runs)
    assert "is the folder of a run: left out." in capsys.readouterr().err


def test_what_is_no_file_is_counted_among_the_skipped(photo_folder, tmp_path, monkeypatch, capsys) -> None:
    monkeypatch.chdir(tmp_path)
    data = photo_folder(splits=("training_set", "test_set"))
    os.mkfifo(data / "training_set/cat/pipe.jpg")
    (data / "test_set/dog/zero.jpg").symlink_to("/dev/zero")
    (data / "test_set/dog/gone.jpg").symlink_to("nowhere")
    skipped = {
        "test_set/dog/gone.jpg": "cannot be read: No such file or directory",
        "test_set/dog/zero.jpg": "it is a device, not a file",
        "training_set/cat/pipe.jpg": "it is a pipe, not a file",
    }
    assert {one["path"]: one["why"] for one in trained(data).skipped_files} == skipped
    found = told(capsys, "doctor", str(data))["findings"]
    (unreadable,) = [one for one in found if one["kind"] == "unreadable"]
    assert dict(zip(unreadable["paths"], unreadable["reasons"], strict=True)) == skipped
    judged = told(capsys, "evaluate", "run", str(data))
    assert judged["split"] == "test"
    assert {one["path"] for one in judged["skipped_files"]} == {key for key in skipped if key.startswith("test")}
    for name in ("training_set", "Training"):
        assert told(capsys, "evaluate", "run", str(data), "--split", name)["split"] == "train"
    assert len(told(capsys, "predict", "run", str(data), status=1)["failed"]) == 3


def test_an_unlabelled_test_folder_is_said_and_blocks_nothing(photo_folder, tmp_path, monkeypatch, capsys) -> None:
    monkeypatch.chdir(tmp_path)
    data = photo_folder(splits=("train",), images=5)
    shutil.copytree(data / "train/cat", data / "test")
    assert trained(data).images == 8
    said = "test/: no class folders, so no labels, and left out."
    assert capsys.readouterr().err.count(said) == 1
    (reading,) = [one for one in told(capsys, "doctor", str(data))["findings"] if one["kind"] == "reading"]
    assert reading["text"] == said
