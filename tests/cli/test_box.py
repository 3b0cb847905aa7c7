"""The model in the box answers where no model is named, and says what it is."""

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import resnets
from resnets.architecture import CATALOG
from resnets.architecture.catalog import same_network
from resnets.cli.main import main
from resnets.weights.locate import BOXED

MOST_BYTES = 700_000
CLASSES = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")


@pytest.fixture
def picture(tmp_path):
    pixels = np.random.default_rng(0).integers(0, 255, (40, 50, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(tmp_path / "photo.jpg")
    return tmp_path / "photo.jpg"


def test_it_is_small_and_says_where_it_comes_from():
    box = resnets.load("box")
    assert BOXED.stat().st_size < MOST_BYTES
    assert same_network(box.network.plan.spec, CATALOG["resnet20"])
    assert box.classes == CLASSES
    origin = box.provenance
    assert (origin.dataset["name"], origin.seed, origin.epochs) == ("cifar10.zip", 0, 20)
    assert origin.metrics["top1"] == 0.8502
    assert origin.recipe["optimiser"] == "muon"
    assert box.calibration.unsure is not None
    assert box.calibration.unlike is not None
    page = (Path(__file__).parents[2] / "docs/guides/box.md").read_text()
    assert f"{BOXED.stat().st_size:,} bytes" in page
    assert f"({box.network.plan.parameters:,} weights)" in page


def test_it_knows_ships_from_frogs(shared_data):
    """Of every twentieth test picture that many are named as when it was made, to three errors of chance."""
    from resnets.data.open import open_source

    source = open_source(shared_data / "cifar10.zip", quiet=True)
    samples = [sample for sample in source.samples if sample.split == "test"][::20]
    given = resnets.load("box").predict([source.read(sample.key) for sample in samples], top=1)
    right = sum(one.top[0][0] == sample.label for one, sample in zip(given, samples, strict=True))
    assert len(samples) == 500
    assert abs(right / 500 - 0.8502) < 3 * (0.85 * 0.15 / 500) ** 0.5


def test_a_picture_alone_is_answered_by_it(picture, capsys):
    assert main(["predict", str(picture), "--json"]) == 0
    out, err = capsys.readouterr()
    assert {one["name"] for one in json.loads(out)["predictions"][0]["top"]} < set(CLASSES)
    assert "the model in the box: ResNet-20, CIFAR-10, 85.0 % top-1 there" in err
    assert "`resnets train photos/`" in err
    assert main(["predict", "box", str(picture), "-q"]) == 0
    assert capsys.readouterr().err == ""


def test_nothing_that_is_called_so_gets_in_its_way(picture, trained, tmp_path, capsys, monkeypatch):
    """A model of the user's is meant where it is named, and only there."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "box").mkdir()
    assert main(["predict", "photo.jpg"]) == 0
    assert "the model in the box" in capsys.readouterr().err
    (tmp_path / "box").rmdir()
    resnets.save(trained, tmp_path / "box")
    assert main(["predict", "box", "photo.jpg"]) == 0
    out, err = capsys.readouterr()
    assert "the model in the box" not in err
    assert "airplane" not in out
    assert main(["predict", "photo.jpg", "photo.jpg"]) == 0
    assert capsys.readouterr().out.count("photo.jpg: ") == 2


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["gone.jpg"], "There is nothing to predict: gone.jpg"),
        (["no-such-model"], "Missing argument 'PATH...'"),
    ],
)
def test_what_is_missing_is_said(tmp_path, monkeypatch, capsys, words, said):
    monkeypatch.chdir(tmp_path)
    assert main(["predict", *words]) == 2
    assert said in capsys.readouterr().err


def test_it_can_be_looked_at(capsys):
    assert main(["show", "box"]) == 0
    out = capsys.readouterr().out
    assert "269,722" in out
    assert "cifar10.zip" in out
