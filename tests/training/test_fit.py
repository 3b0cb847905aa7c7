"""`--fit crop|pad|squash`: what the network sees of long pictures, held by the model file, the engines and exports."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

import resnets
from resnets.architecture import ResNetSpec
from resnets.cli.main import main
from resnets.data.preprocess import Preprocessing
from resnets.errors import DataError, ModelFileError, RecipeError
from resnets.explanation.picture import frame
from resnets.inference.readback import runtimes
from resnets.training import train
from resnets.weights import Model
from resnets.weights.convert import write

SPEC = ResNetSpec(depths=(1, 1), widths=(8, 16), stem="cifar", stem_width=8)
SHORT = ["epochs=6", "batch_size=8", "min_steps=0", "flip=false", "crop=none", "precision=float32", "learning_rate=0.1"]


def strip(colour: tuple[int, int, int], width: int = 256, height: int = 64, seed: int = 0) -> Image.Image:
    """Grey noise of 4 : 1 with a coloured square at its left edge."""
    pixels = np.random.default_rng(seed).integers(90, 166, (height, width, 3)).astype(np.uint8)
    pixels[height // 4 : 3 * height // 4, : height // 2] = colour
    return Image.fromarray(pixels)


# Pixels ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("width", "height", "inner"), [(256, 64, (64, 16)), (64, 256, (16, 64)), (100, 99, (64, 63))])
def test_a_padded_picture_lies_whole_in_the_middle(width, height, inner):
    p = Preprocessing.evaluation(64).fitted("pad")
    image = strip((255, 0, 0), width, height)
    found = p.pixels(image)
    across, down = inner
    left, top = (64 - across) // 2, (64 - down) // 2
    whole = found[top : top + down, left : left + across]
    exact = np.asarray(image.resize(inner, Image.Resampling.BILINEAR))
    assert np.abs(whole.astype(int) - exact).max() <= 6  # of tall pictures Pillow's own order of the passes differs
    around = found.copy()
    around[top : top + down, left : left + across] = p.fill
    assert (around == p.fill).all()


def test_what_is_around_it_is_nothing_to_the_network():
    for channels in ("RGB", "BGR"):
        p = Preprocessing.evaluation(32, channels=channels, mean=(0.2, 0.5, 0.9)).fitted("pad")
        x = p.normalise(torch.from_numpy(p.pixels(Image.new("RGB", (320, 10), (9, 9, 9)))[None]))
        assert float(x[0, :, 0].abs().max()) < 0.01 / min(p.std)


def test_the_thinnest_picture_has_a_row_of_its_own():
    p = Preprocessing.evaluation(32).fitted("pad")
    found = p.pixels(Image.new("RGB", (5000, 1), (255, 0, 0)))
    assert [tuple(row[0]) for row in found].count((255, 0, 0)) == 1


def test_a_square_picture_of_the_right_size_is_itself():
    image = strip((255, 0, 0), 64, 64)
    p = Preprocessing.evaluation(64).fitted("pad")
    assert np.array_equal(p.pixels(image), np.asarray(image))


@pytest.mark.parametrize("fit", ["crop", "pad", "squash"])
def test_a_file_keeps_it(fit):
    p = Preprocessing.evaluation(96).fitted(fit)
    assert Preprocessing.from_dict(p.to_dict()) == p
    assert len({Preprocessing.evaluation(96).fitted(one).geometry() for one in ("crop", "pad", "squash")}) == 3


def test_the_colour_around_it_is_a_part_of_the_pixels():
    one, other = (Preprocessing.evaluation(96, mean=(m, 0.5, 0.5)).fitted("pad") for m in (0.1, 0.9))
    assert one.geometry() != other.geometry()


def test_a_padded_picture_is_not_cropped():
    with pytest.raises(DataError, match="where the longer side is resized, resize_to is image_size, 64, and not 73"):
        Preprocessing(image_size=64, resize_to=73, resize="longer")


def test_the_frame_of_an_explanation_reaches_beyond_a_padded_picture():
    assert frame(Preprocessing.evaluation(64).fitted("pad"), 200, 100) == (0, -50, 200, 150)


# The object near the edge ---------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def photos(tmp_path_factory) -> Path:
    """The class is the colour of what stands at the left edge, which the centre crop cuts off."""
    root = tmp_path_factory.mktemp("long")
    for place, (label, colour) in enumerate((("blue", (0, 0, 255)), ("red", (255, 0, 0)))):
        for split, count in (("train", 24), ("val", 10)):
            (root / split / label).mkdir(parents=True)
            for number in range(count):
                seed = 1000 * place + number + (500 if split == "val" else 0)
                strip(colour, seed=seed).save(root / split / label / f"{number}.png")
    return root


@pytest.fixture(scope="module")
def runs(photos, tmp_path_factory) -> dict[str, resnets.TrainResult]:
    root = tmp_path_factory.mktemp("runs")
    options: dict[str, Any] = {"model": SPEC, "image_size": 32, "weights": "none"}
    return {
        fit: train(photos, out=root / fit, overrides=[*SHORT, f"fit={fit}"], **options)
        for fit in ("crop", "pad", "squash")
    }


def test_it_is_found_where_the_whole_picture_is_seen(runs):
    assert runs["crop"].top1 <= 0.75  # 20 images without a difference
    assert runs["pad"].top1 == 1
    assert runs["squash"].top1 == 1


def test_a_model_that_starts_from_another_sees_pictures_as_that_does(photos, runs, tmp_path):
    short = ["epochs=1", "min_steps=0", "batch_size=8", "head_epochs=0"]
    for extra, resize in ((), "longer"), (("fit=crop",), "shorter"), (("fit=squash",), "stretch"):
        out = tmp_path / resize
        train(photos, weights=runs["pad"].model, recipe="quick", overrides=[*short, *extra], out=out)
        assert resnets.load(out).preprocessing.resize == resize


def test_an_unknown_fit_is_named():
    with pytest.raises(RecipeError, match="fit is one of auto, crop, squash, pad, not 'letterbox'"):
        train("digits", overrides=["fit=letterbox"])


def test_the_flag_is_the_key(photos, tmp_path):
    short = [word for override in SHORT if "epochs" not in override for word in ("--set", override)]
    out = str(tmp_path / "run")
    words = ["train", str(photos), "--weights", "none", "--model", "resnet20", "--image-size", "32", "--epochs", "1"]
    assert main([*words, *short, "--fit", "pad", "--out", out]) == 0
    assert resnets.load(out).preprocessing.resize == "longer"
    assert 'fit = "pad"' in (tmp_path / "run" / "recipe.toml").read_text()


# Exported files -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("fit", ["pad", "squash"])
@pytest.mark.parametrize("kind", ["onnx", "pt2"])
def test_an_exported_file_agrees_on_a_hundred_odd_shapes(runs, tmp_path, fit, kind):
    model = resnets.load(runs[fit].run)
    path = tmp_path / f"model.{kind}"
    model.export(path)
    opened = runtimes(path, model.preprocessing, "float32")
    random = np.random.default_rng(0)
    for number in range(100):
        width, height = (2 ** random.uniform(0, 9, 2)).astype(int)
        image = strip((255 * (number % 2), 0, 255 * (1 - number % 2)), max(width, 2), max(height, 2), seed=number)
        wanted = model.logits(model.preprocessing.pixels(image)[None]).numpy()
        for one in opened:
            given = one(np.array(image)[None]).numpy()
            assert np.abs(given - wanted).max() < 0.02 * max(np.ptp(wanted), 1), (one.runtime, image.size)


# What else has to do with it ------------------------------------------------------------------------------


def test_what_stretches_and_crops_becomes_what_stretches_alone(photos, runs, tmp_path):
    model = resnets.load(runs["squash"].run).model
    slim = dataclasses.replace(model.preprocessing, resize_to=37)
    resnets.save(dataclasses.replace(model, preprocessing=slim), tmp_path / "slim.safetensors")
    short = ["epochs=1", "min_steps=0", "batch_size=8", "fit=squash"]
    train(photos, weights=tmp_path / "slim.safetensors", recipe="quick", overrides=short, out=tmp_path / "run")
    assert resnets.load(tmp_path / "run").preprocessing.resize_to == 32


def test_the_colour_of_the_margin_stands_in_the_file():
    p = Preprocessing.evaluation(64).fitted("pad")
    assert p.to_dict()["fill"] == [124, 116, 104]
    assert "fill" not in Preprocessing.evaluation(64).to_dict()
    with pytest.raises(ModelFileError, match="pads pictures with another colour"):
        Preprocessing.from_dict({**p.to_dict(), "fill": [0, 0, 0]})


def test_timm_calls_it_border(tmp_path):
    network = resnets.create("resnet18", num_classes=2, seed=0)
    model = Model(network, ("a", "b"), Preprocessing.evaluation(64).fitted("pad"))
    write(model, tmp_path / "timm", "timm")
    config = json.loads((tmp_path / "timm" / "config.json").read_text())["pretrained_cfg"]
    assert (config["crop_mode"], config["crop_pct"]) == ("border", 1.0)
    assert resnets.load(tmp_path / "timm").preprocessing == model.preprocessing
