"""A run goes on with the same content, wherever it lies by now and whatever its files are called; with no other."""

from __future__ import annotations

import json
import os
import shutil
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from resnets.architecture import ResNetSpec
from resnets.cli.main import main
from resnets.errors import DataError, TrainingError
from resnets.evaluation import evaluate
from resnets.training import Observer, finish, resume, train
from resnets.weights import load
from resnets.weights.run import CHECKPOINT, MODEL, REPORT

SPEC = ResNetSpec(depths=(1,), widths=(8,), block="basic", stem="cifar", stem_width=8)
RECIPE = "epochs = 2\nbatch_size = 8\nprecision = 'float32'\ncheckpoint_seconds = 0\n"
BEFORE = Path(__file__).parents[1] / "data_before"


class Stop(Observer):
    """Stops a training after a step."""

    def __init__(self, step: int) -> None:
        self.step = step

    def stepped(self, training, step) -> None:
        if step.step == self.step:
            raise KeyboardInterrupt


def draw(path: Path, seed: int) -> None:
    pixels = np.random.default_rng(seed).integers(0, 120, (16, 16, 3))
    pixels[..., seed % 3] += 100
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels.astype(np.uint8)).save(path)


@pytest.fixture(scope="module")
def place(tmp_path_factory) -> Path:
    """A folder with photos/, one of which is broken, and the recipe. Only to be read."""
    root = tmp_path_factory.mktemp("moved")
    (root / "recipe.toml").write_text(RECIPE)
    for number in range(60):
        draw(root / "photos" / ("cat", "dog", "eel")[number % 3] / f"{number}.png", number)
    (root / "photos" / "cat" / "broken.png").write_bytes(b"broken")
    return root


def go(data: Path, out: Path, *observers: Observer, recipe: Path):
    return train(data, model=SPEC, recipe=recipe, image_size=16, out=out, observers=observers)


@pytest.fixture(scope="module")
def undisturbed(place) -> Path:
    """The run that nobody stopped. Only to be read."""
    return Path(go(place / "photos", place / "whole", recipe=place / "recipe.toml").run)


@pytest.fixture
def stopped(place, tmp_path) -> Path:
    """A run that was stopped in its second epoch, with data of its own."""
    shutil.copytree(place / "photos", tmp_path / "photos")
    with pytest.raises(KeyboardInterrupt):
        go(tmp_path / "photos", tmp_path / "run", Stop(8), recipe=place / "recipe.toml")
    return tmp_path / "run"


def copied(photos: Path) -> Path:
    return Path(shutil.copytree(photos, photos.with_name("copy")))


def moved(photos: Path) -> Path:
    return photos.rename(photos.with_name("elsewhere"))


def renamed(photos: Path) -> Path:
    for number, path in enumerate(sorted(photos.rglob("*.png"), reverse=True)):
        path.rename(path.with_name(f"IMG_{number:03}.PNG"))
    return moved(photos)


def zipped(photos: Path) -> Path:
    with zipfile.ZipFile(photos.with_name("photos.zip"), "w") as archive:
        for path in sorted(photos.rglob("*.png")):
            archive.write(path, path.relative_to(photos.parent))
    shutil.rmtree(photos)
    return photos.with_name("photos.zip")


CHANGES = [copied, moved, renamed, zipped]


def same_weights(run: Path, wanted: Path) -> None:
    mine, theirs = (load(folder).network.state_dict() for folder in (run, wanted))
    assert all(mine[name].equal(theirs[name]) for name in theirs)
    mine, theirs = (load(folder).calibration for folder in (run, wanted))
    assert mine == theirs


@pytest.mark.parametrize("change", CHANGES)
def test_moved_data_trains_to_the_same_bits(change, place, undisturbed, tmp_path):
    shutil.copytree(place / "photos", tmp_path / "photos")
    result = go(change(tmp_path / "photos"), tmp_path / "run", recipe=place / "recipe.toml")
    same_weights(tmp_path / "run", undisturbed)
    assert result.top1 == json.loads((undisturbed / "run.json").read_text())["result"]["top1"]


@pytest.mark.parametrize("change", CHANGES)
def test_a_run_goes_on_with_moved_data_and_knows_its_place_from_then_on(change, stopped, undisturbed, capsys):
    data = change(stopped.parent / "photos")
    if not (stopped.parent / "photos").exists():
        with pytest.raises(DataError, match=r"moved, name its new place: `resnets train DATA --resume .*run`"):
            resume(stopped)
    assert main(["train", str(data), "--resume", str(stopped)]) == 0
    same_weights(stopped, undisturbed)
    record = json.loads((stopped / "run.json").read_text())
    assert record["asked"]["data"] == record["dataset"]["name"] == str(data)
    names = zipfile.ZipFile(data).namelist() if data.is_file() else [str(path) for path in data.rglob("*")]
    for key in (*record["dataset"]["split"]["held_out_keys"], record["skipped_files"][0]["path"]):
        assert any(name.endswith(key) for name in names), "as the files are called now"
    (stopped / MODEL).unlink()
    resume(stopped)
    same_weights(stopped, undisturbed)


def touched(photos: Path) -> None:
    for path in photos.rglob("*.png"):
        os.utime(path, (10**9, 10**9))


def rewritten(photos: Path) -> None:
    for path in photos.rglob("*.png"):
        data = path.read_bytes()
        path.unlink()
        path.write_bytes(data)


@pytest.mark.parametrize("change", [touched, rewritten, lambda photos: renamed(photos).rename(photos)])
@pytest.mark.parametrize("checkpoint", [True, False])
def test_what_is_not_changed_goes_on_from_the_folder_alone(change, checkpoint, stopped, undisturbed):
    change(stopped.parent / "photos")
    if not checkpoint:  # killed before the first one
        for name in (CHECKPOINT, "log.jsonl", "recipe.toml"):
            (stopped / name).unlink()
    resume(stopped)
    same_weights(stopped, undisturbed)


def test_a_run_is_finished_with_moved_data(stopped, capsys):
    data = moved(stopped.parent / "photos")
    with pytest.raises(DataError, match=r"`resnets train DATA --finish .*run`"):
        finish(stopped)
    assert main(["train", str(data), "--finish", str(stopped), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["step"] < 14
    assert json.loads((stopped / "run.json").read_text())["asked"]["data"] == str(data)


def test_a_finished_run_takes_a_new_place_and_no_other_data(stopped, undisturbed):
    resume(stopped)
    data = moved(stopped.parent / "photos")
    (stopped / REPORT).unlink()
    assert resume(stopped, data=data).report == str(stopped / REPORT)
    assert (stopped / REPORT).exists()
    assert json.loads((stopped / "run.json").read_text())["asked"]["data"] == str(data)
    (data / "cat" / "0.png").unlink()
    with pytest.raises(TrainingError, match="1 missing"):
        resume(stopped, data=data)


def swap(photos: Path) -> None:
    (photos / "cat" / "0.png").rename(photos / "dog" / "0.png")


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda photos: draw(photos / "cat" / "new.png", 1000), "of 61 images 1 new"),
        (lambda photos: (photos / "cat" / "0.png").unlink(), "of 61 images 1 missing"),
        (lambda photos: draw(photos / "cat" / "0.png", 1000), "of 61 images 1 missing, 1 new"),
        (lambda photos: shutil.copy(photos / "cat" / "0.png", photos / "cat" / "again.png"), "of 61 images 1 new"),
        (swap, "the same images, some of them in another class or split"),
    ],
)
def test_other_content_is_refused_and_counted(change: Callable[[Path], object], words: str, stopped, capsys):
    data = copied(stopped.parent / "photos")
    change(data)
    record = (stopped / "run.json").read_text()
    with pytest.raises(TrainingError, match=rf"is not the data that the run began with \({words}\): name a copy"):
        resume(stopped, data=data)
    change(stopped.parent / "photos")
    with pytest.raises(TrainingError, match=rf"data has changed since the run began \({words}\)"):
        resume(stopped)
    assert (stopped / "run.json").read_text() == record
    assert main(["train", str(data), "--resume", str(stopped), "--seed", "3"]) == 2
    assert "give --resume alone, or with the data's new place" in capsys.readouterr().err


def test_a_run_of_an_earlier_version_keeps_its_split_and_knows_its_data_as_it_did(tmp_path, place):
    run = Path(shutil.copytree(BEFORE / "stopped", tmp_path / "run"))
    before = json.loads((run / "run.json").read_text())["dataset"]
    with pytest.raises(TrainingError, match="is not the data that the run began with: name a copy"):
        resume(run, data=place / "photos")
    resume(run, data="digits")
    after = json.loads((run / "run.json").read_text())["dataset"]
    assert after == before


def test_what_the_weights_to_start_from_were_trained_on_is_not_forgotten(undisturbed, place, tmp_path, capsys):
    """Another seed holds out what the first training has seen."""
    photos = place / "photos"
    again = train(photos, weights=undisturbed / MODEL, epochs=3, image_size=16, seed=5, out=tmp_path / "again")
    said = capsys.readouterr().err
    assert "The weights to start from were trained on" in said
    found = evaluate(again.model, photos)
    first, second = ({path.name for path in held_out(run)} for run in (undisturbed, tmp_path / "again"))
    assert {Path(sample.key).name for sample in found.judgement.samples} == first & second
    assert found.judged["new"] == found.judged["trained_on"] == 0
    assert f"were trained on {len(second - first)} of the {len(second)} held-out images" in said
    resume(tmp_path / "again")
    same = train(photos, weights=undisturbed / MODEL, epochs=3, image_size=16, out=tmp_path / "same")
    assert "were trained on" not in capsys.readouterr().err, "the same seed holds out the same images"
    assert evaluate(same.model, photos).images == len(first)


def held_out(run: Path) -> list[Path]:
    record = json.loads((run / "run.json").read_text())
    return [Path(key) for key in record["dataset"]["split"]["held_out_keys"]]


def test_what_a_run_left_out_stays_out_where_it_could_be_read_by_now(place, tmp_path, monkeypatch):
    """A version that reads more than the one that the run began with: here, one that decodes large JPEG files."""
    photos = shutil.copytree(place / "photos", tmp_path / "photos")
    Image.new("L", (400, 300), 90).save(photos / "cat" / "large.jpg")
    monkeypatch.setattr("resnets.data.jpeg_file.MAX_REDUCED", 100_000)
    with pytest.raises(KeyboardInterrupt):
        go(photos, tmp_path / "run", Stop(3), recipe=place / "recipe.toml")
    record = json.loads((tmp_path / "run" / "run.json").read_text())
    assert sorted(file["path"] for file in record["skipped_files"]) == ["cat/broken.png", "cat/large.jpg"]
    monkeypatch.undo()
    result = resume(tmp_path / "run")
    assert sorted(file["path"] for file in result.skipped_files) == ["cat/broken.png", "cat/large.jpg"]
    assert result.images == record["decoding"][0]["images"]
