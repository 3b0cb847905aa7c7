"""`resnets explain`: what it draws and prints, what it never writes over, and the exit status of mistakes."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from PIL import Image

from resnets.architecture import ResNetSpec
from resnets.cli.main import main
from resnets.data.preprocess import Preprocessing
from resnets.network import create
from resnets.weights import Model, save

CLASSES = ("cat", "dog", "eel")
SPEC = ResNetSpec(depths=(1, 1), widths=(8, 16), stem="cifar", stem_width=8, block="basic")


@pytest.fixture
def model(tmp_path) -> str:
    path = tmp_path / "run" / "model.safetensors"
    path.parent.mkdir()
    save(path, Model(create(SPEC, num_classes=3, seed=0), CLASSES, Preprocessing.evaluation(8)))
    return str(path)


@pytest.fixture
def run(capsys):
    """Run a command line: (exit status, standard output, standard error)."""

    def run(*arguments: object) -> tuple[int, str, str]:
        status = main(["explain", *(str(argument) for argument in arguments)])
        captured = capsys.readouterr()
        return status, captured.out, captured.err

    return run


def test_it_draws_and_says_what_the_network_says(run, model, photo_folder, tmp_path):
    out = tmp_path / "why.png"
    status, said, err = run(model, photo_folder(CLASSES) / "dog" / "0.jpg", "--out", out)
    assert (status, err) == (0, f"wrote {out}\n")
    assert {line.split()[0] for line in said.splitlines()} == set(CLASSES)
    assert out.read_bytes().startswith(b"\x89PNG")


def test_json_is_one_document(run, model, photo_folder, tmp_path):
    photos = photo_folder(CLASSES)
    image, out = photos / "dog" / "0.jpg", tmp_path / "why.svg"
    more = ("--stages", "--neighbours", photos, "--class", "eel", "--method", "integrated-gradients", "--json")
    status, said, err = run(model, image, "--out", out, *more)
    document = json.loads(said)
    assert (status, err) == (0, "")
    assert (document["image"], document["out"]) == (str(image), str(out))
    assert (document["class"], document["method"]) == ("eel", "integrated-gradients")
    values = [entry["probability"] for entry in document["top"]]
    assert values == sorted(values, reverse=True)
    assert {"path", "label", "similarity"} <= set(document["neighbours"][0])
    assert (document["neighbours"][0]["path"], document["neighbours"][0]["same"]) == ("dog/0.jpg", True)
    assert out.read_bytes().startswith(b"<?xml")


def test_mistakes_are_one_sentence_and_write_nothing(run, model, photo_folder, tmp_path):
    photos = photo_folder(CLASSES)
    image, out = photos / "cat" / "0.jpg", tmp_path / "why.png"
    broken = tmp_path / "broken.jpg"
    broken.write_bytes(b"broken")
    for arguments, said in (
        ((model, broken, "--out", out), "broken.jpg cannot be explained: not an image"),
        ((model, tmp_path / "no.jpg", "--out", out), "there is no such file"),
        ((model, photos, "--out", out), "there is no such file"),
        (("nothing.safetensors", image, "--out", out), "There is no model file nothing.safetensors"),
        ((model, image, "--out", out, "--class", "catt"), 'Did you mean "cat"'),
        ((model, image, "--out", out, "--method", "gradcam"), 'Did you mean "grad-cam"'),
        ((model, image, "--out", out, "--neighbours", "nowhere"), "nowhere"),
        ((model, image, "--out", tmp_path / "why.gif"), "ends in .png, .svg, .pdf"),
        ((model, image, "--out", tmp_path / "no" / "why.png"), "There is no folder"),
        ((model, image), "--out"),
    ):
        status, printed, err = run(*arguments)
        assert (status, printed) == (2, ""), arguments
        assert said in err
        assert "Traceback" not in err
        assert not out.exists()


def test_it_never_writes_over_the_picture_or_the_model(run, model, photo_folder, tmp_path):
    image = tmp_path / "photo.png"
    image.write_bytes((photo_folder(CLASSES) / "cat" / "0.jpg").read_bytes())
    link = tmp_path / "link.png"
    link.symlink_to(image)
    other = tmp_path / "model.png"
    other.write_bytes(Path(model).read_bytes())
    for arguments in ((model, image, "--out", image), (model, image, "--out", link), (other, image, "--out", other)):
        before = arguments[-1].read_bytes()
        status, _, err = run(*arguments)
        assert status == 2
        assert "is what is to be explained: name another file" in err
        assert arguments[-1].read_bytes() == before


def test_a_class_is_named_by_its_title_too(run, photo_folder, tmp_path):
    folders = ("n02979186", "n01440764", "eel")
    titles = {"n02979186": "cassette player", "n01440764": "tench"}
    named = tmp_path / "titled.safetensors"
    save(named, Model(create(SPEC, 3, seed=0), folders, Preprocessing.evaluation(8), titles=titles))
    image = photo_folder() / "cat" / "0.jpg"
    for name in ("cassette player", "cassette player (n02979186)", "n02979186"):
        status, said, _ = run(named, image, "--out", tmp_path / "why.png", "--class", name, "--json")
        assert (status, json.loads(said)["class"]) == (0, "n02979186")
    status, _, err = run(named, image, "--out", tmp_path / "why.png", "--class", "cassete player")
    assert (status, 'Did you mean "cassette player"?' in err) == (2, True)


def test_it_writes_over_nothing_but_an_older_drawing(run, model, photo_folder, tmp_path):
    """Neither over a photo, nor among those that are looked through."""
    photos = photo_folder(CLASSES)
    image, other = tmp_path / "new.jpg", tmp_path / "other.png"
    image.write_bytes((photos / "cat" / "0.jpg").read_bytes())
    Image.new("RGB", (8, 8)).save(other)
    before = other.read_bytes()
    status, _, err = run(model, image, "--out", other)
    assert (status, other.read_bytes()) == (2, before)
    assert "is there and is no drawing of ours" in err
    status, _, err = run(model, image, "--out", photos / "cat" / "why.png", "--neighbours", photos)
    assert status == 2
    assert "would become a part of the data" in err
    for ending in ("png", "svg", "pdf"):
        out = tmp_path / f"why.{ending}"
        assert [run(model, image, "--out", out)[0] for _ in range(2)] == [0, 0]
