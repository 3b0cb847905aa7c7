"""What the user says of how data is to be read: how deep classes lie, what is left out, which column is which."""

from __future__ import annotations

import csv
import json
import shutil
import zipfile
from pathlib import Path

import pytest

from resnets.architecture import ResNetSpec
from resnets.cli.main import main
from resnets.data.labels import class_names
from resnets.data.open import open_source
from resnets.data.reading import Reading
from resnets.errors import DataError, RecipeError
from resnets.evaluation import evaluate
from resnets.training import resume, train
from resnets.weights.run import MODEL, RunRecord

SPEC = ResNetSpec(depths=(1, 1), widths=(8, 16), stem="cifar", stem_width=8)
SMALL = ("batch_size=4", "min_steps=0")


@pytest.fixture
def nested(photo_folder, tmp_path) -> Path:
    """zoo/animals/{cat,dog} and zoo/plants/{fern,rose}, six pictures each."""
    photos = photo_folder(("cat", "dog", "fern", "rose"), images=6)
    for group, labels in (("animals", ("cat", "dog")), ("plants", ("fern", "rose"))):
        for label in labels:
            shutil.copytree(photos / label, tmp_path / "zoo" / group / label)
    return tmp_path / "zoo"


def classes(source) -> tuple[str, ...]:
    return class_names(source.samples)


def test_classes_lie_as_deep_as_one_says(nested, tmp_path):
    assert classes(open_source(nested, quiet=True)) == ("animals", "plants")
    assert classes(open_source(nested, reading=Reading(depth=2))) == ("cat", "dog", "fern", "rose")
    with zipfile.ZipFile(tmp_path / "zoo.zip", "w") as archive:
        for path in sorted(nested.rglob("*.jpg")):
            archive.write(path, path.relative_to(tmp_path))
    found = open_source(tmp_path / "zoo.zip", reading=Reading(depth=2))
    assert found.fingerprint == open_source(nested, reading=Reading(depth=2)).fingerprint
    with pytest.raises(DataError, match="no class folders 3 levels deep"):
        open_source(nested, reading=Reading(depth=3))
    for part in ("train", "val"):
        shutil.copytree(nested, tmp_path / "parted" / part)
    found = open_source(tmp_path / "parted", reading=Reading(depth=2))
    assert (classes(found), {sample.split for sample in found.samples}) == (
        ("cat", "dog", "fern", "rose"),
        {"train", "val"},
    )


@pytest.mark.parametrize(
    ("ignore", "kept"),
    [
        ("", 24),
        ("rose", 18),
        ("rose, fern/", 12),
        ("*/rose/*", 18),
        ("0.jpg", 20),
        ("[01].jpg,plants", 8),
        ("animals/cat", 24),  # a path, and none of a file
        ("animals/cat/*", 18),
    ],
)
def test_patterns_of_paths_are_left_out_and_that_is_said(nested, ignore, kept, capsys):
    source = open_source(nested, reading=Reading(depth=2, ignore=ignore))
    assert len(source.samples) == kept
    said = capsys.readouterr().err
    assert (f"{24 - kept} files match ignore='{ignore}': left out." in said) is (kept < 24)


def test_ignoring_everything_is_one_sentence(nested):
    with pytest.raises(DataError, match=r"all 24 files match ignore='\*'"):
        open_source(nested, reading=Reading(ignore="*"))


def test_a_run_its_resume_and_its_model_read_the_data_in_the_same_way(nested, tmp_path):
    out = tmp_path / "run"
    chosen = ["depth=2", "ignore=rose", *SMALL]
    train(nested, model=SPEC, image_size=16, epochs=1, weights="none", out=out, overrides=chosen)
    record = RunRecord.read(out)
    assert record.classes == ("cat", "dog", "fern")
    assert (record.recipe["depth"], record.recipe["ignore"]) == (2, "rose")
    before = (out / MODEL).read_bytes()
    (out / MODEL).unlink()
    resume(out)
    assert len((out / MODEL).read_bytes()) == len(before)
    judged = evaluate(out, nested)
    assert judged.images == record.result.held_out_images
    shutil.move(out / MODEL, tmp_path / "alone.safetensors")
    assert evaluate(tmp_path / "alone.safetensors", nested).images == judged.images


def test_columns_that_have_other_names_are_told(photo_folder, tmp_path, capsys):
    photos = photo_folder(images=8)
    with (photos / "list.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["where", "what", "who"])
        writer.writerows([f"{label}/{n}.jpg", label, "me"] for label in ("cat", "dog") for n in range(8))
    assert main(["train", str(photos / "list.csv")]) == 2
    said = capsys.readouterr().err
    assert "its columns are where, what, who: name it, --set columns=image=NAME" in said
    out = tmp_path / "run"
    chosen = ["columns=image=where label=what", *SMALL]
    train(photos / "list.csv", model=SPEC, image_size=16, epochs=1, weights="none", out=out, overrides=chosen)
    assert evaluate(out, photos / "list.csv").images == RunRecord.read(out).result.held_out_images
    for columns, says in (("image=nowhere", "no column 'nowhere'"), ("where", "columns is like 'image=photo")):
        with pytest.raises(DataError, match=says):
            open_source(photos / "list.csv", reading=Reading(columns=columns))


@pytest.mark.parametrize("wrong", ["depth=0", "depth=99", "depth=a", "ignore=3", "columns=[1]"])
def test_what_makes_no_sense_is_one_sentence(photo_folder, wrong):
    with pytest.raises(RecipeError):
        train(photo_folder(), overrides=[wrong])
    assert Reading.of({"depth": "x", "ignore": 3, "columns": None}) == Reading()


def test_the_doctor_reads_as_it_is_told(nested, tmp_path, capsys):
    assert main(["doctor", str(nested), "--set", "depth=2", "--set", "ignore=rose", "--json"]) == 0
    document = json.loads(capsys.readouterr().out)
    assert (document["images"], document["classes"]) == (18, 3)
    chosen = ["--set", "depth=2", "--fix-into", str(tmp_path / "clean"), "--html", str(tmp_path / "doctor.html")]
    assert main(["doctor", str(nested), *chosen]) == 0
    for wrong in ("depth=0", "depth=x", "batch_size=3", "depth"):
        capsys.readouterr()
        assert main(["doctor", str(nested), "--set", wrong]) == 2
        assert capsys.readouterr().err.startswith("error: ")
