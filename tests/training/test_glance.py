"""The look between epochs: at the held-out images, and at training images in the same way."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import resnets
from resnets.architecture import ResNetSpec
from resnets.pages.charts import curves
from resnets.training import train
from resnets.weights.runlog import read_log

SPEC = ResNetSpec(depths=(1, 1), widths=(8, 16), stem="cifar", stem_width=8)


@pytest.fixture(scope="module")
def photos(tmp_path_factory) -> Path:
    """Noise whose labels can only be learnt by heart: 40 training images and 10 held-out ones."""
    root, noise = tmp_path_factory.mktemp("noise"), np.random.default_rng(0)
    for split, count in (("train", 20), ("val", 5)):
        for label in ("a", "b"):
            (root / split / label).mkdir(parents=True)
            for number in range(count):
                pixels = noise.integers(0, 256, (16, 16, 3)).astype(np.uint8)
                Image.fromarray(pixels).save(root / split / label / f"{number}.png")
    return root


@pytest.fixture(scope="module")
def run(photos, tmp_path_factory) -> Path:
    out = tmp_path_factory.mktemp("runs") / "run"
    short = ["epochs=12", "batch_size=10", "min_steps=0", "ema=0", "flip=false", "shift=0", "precision=float32"]
    train(photos, model=SPEC, image_size=16, out=out, weights="none", overrides=short)
    return out


def test_training_images_are_judged_as_held_out_ones_are(photos, run):
    looks = [line for line in read_log(run) if line["kind"] == "epoch"]
    ten = 10  # as many as are held out
    assert all(0 <= line["train_top1"] <= 1 and (ten * line["train_top1"]).is_integer() for line in looks)
    found = resnets.load(run).evaluate(photos, split="train")
    assert looks[-1]["train_top1"] == pytest.approx(found.top1, abs=0.3)
    assert looks[-1]["train_top1"] > looks[-1]["top1"] + 0.2  # known by heart, and nothing else


def test_the_curves_have_both(run):
    found = curves(read_log(run))
    assert found is not None
    assert [x for x, _ in found["learnt"]] == [x for x, _ in found["right"]]
    assert found["top1"].y_range[1] >= max(y for _, y in found["learnt"])


@pytest.mark.parametrize("value", ["1", None, True, 2.0, float("nan")])
def test_a_share_that_is_none_is_left_out_of_them(run, value):
    lines = [{**line, "train_top1": value} for line in read_log(run)]
    found = curves(lines)
    assert found is not None
    assert found["learnt"] == []


def test_an_older_log_has_none(run):
    found = curves([{k: v for k, v in line.items() if k != "train_top1"} for line in read_log(run)])
    assert found is not None
    assert found["learnt"] == []
