"""A training on pictures that have room nowhere: the bits of one whose pictures are kept."""

import os

import numpy as np
import pytest
import torch
from PIL import Image

import resnets
from resnets.architecture import ResNetSpec
from resnets.cli.main import main
from resnets.data import cache as cache_module
from resnets.data.streamed import Streamed
from resnets.errors import DataError
from resnets.training import resume
from resnets.training.observer import Observer
from resnets.weights import load

TINY = ResNetSpec(depths=(1, 1), widths=(8, 16), stem="cifar", stem_width=8)


@pytest.fixture
def photos(tmp_path):
    noise = np.random.default_rng(0)
    for index, label in enumerate(("cat", "dog")):
        (tmp_path / "photos" / label).mkdir(parents=True)
        for number in range(20):
            pixels = noise.integers(0, 120, (80, 96, 3))
            pixels[..., index] += 40
            Image.fromarray(pixels.astype(np.uint8)).save(tmp_path / "photos" / label / f"{number}.png")
    (tmp_path / "photos" / "cat" / "broken.png").write_bytes(b"no picture")
    return tmp_path / "photos"


@pytest.fixture
def no_room(tmp_path, monkeypatch):
    """Neither in the cache nor in memory."""
    monkeypatch.setenv("RESNETS_HOME", str(tmp_path / "home"))

    def take() -> None:
        monkeypatch.setattr(cache_module, "IN_MEMORY", 0)
        monkeypatch.setattr(cache_module, "SPARE_MEMORY", 1.0)
        monkeypatch.setenv("RESNETS_CACHE_LIMIT", "1000")

    return take


class StopAt(Observer):
    def stepped(self, training, step):
        if step.step == 7:
            raise KeyboardInterrupt


def go(photos, out, *observers, **more):
    overrides = ["batch_size=8", "mixup=0.2", "ema=0.9", "checkpoint_seconds=0", "keep=best", "crop=resized"]
    about = {"model": TINY, "recipe": "quick", "epochs": 3, "image_size": 72, "overrides": overrides}
    return resnets.train(photos, out=out, observers=observers, **{**about, **more})


def bits(result):
    return load(result.model).network.state_dict()


def same(one, other):
    return all(torch.equal(bits(one)[name], tensor) for name, tensor in bits(other).items())


def test_a_training_that_streams_has_the_bits_of_one_that_does_not(photos, tmp_path, no_room, capsys):
    kept = go(photos, tmp_path / "kept")
    no_room()
    capsys.readouterr()
    streamed = go(photos, tmp_path / "streamed")
    said = capsys.readouterr().err
    assert said.count("they are decoded again in every epoch") == 2
    assert "left out: cat/broken.png" in said
    assert same(kept, streamed)
    assert kept.top1 == streamed.top1
    assert not list((tmp_path / "home" / "cache").glob("*.u8"))
    with pytest.raises(KeyboardInterrupt):
        go(photos, tmp_path / "cut", StopAt())
    assert same(resume(tmp_path / "cut"), kept)


def test_a_body_looks_at_what_streams(photos, tmp_path, no_room):
    start = go(photos, tmp_path / "start").model
    found = []
    for out in ("kept", "streamed"):
        found.append(go(photos, tmp_path / out, weights=start, recipe="probe", epochs=0, model=None, overrides=[]))
        no_room()
    assert same(*found)


def test_the_mean_of_what_streams(photos, tmp_path, no_room):
    overrides = ["batch_size=8", "mean=pixel", "crop=shift", "start_size=1"]
    kept = go(photos, tmp_path / "kept", overrides=overrides)
    no_room()
    assert same(go(photos, tmp_path / "streamed", overrides=overrides), kept)


def test_every_verb_that_decodes_streams(photos, tmp_path, no_room, capsys):
    run = go(photos, tmp_path / "run").run
    no_room()
    capsys.readouterr()
    assert main(["evaluate", str(run), str(photos)]) == 0
    assert "they are decoded again" in capsys.readouterr().err
    picture = str(photos / "dog" / "1.png")
    assert main(["explain", str(run), picture, "--neighbours", str(photos), "--out", str(tmp_path / "a.png")]) == 0
    assert "they are decoded again" in capsys.readouterr().err


def test_nobody_takes_all_of_it_at_once(tmp_path, no_room, monkeypatch):
    """Not in preparation, training, judging and calibration: of 3,000 pictures a few hundred at most."""
    made, noise = tmp_path / "many", np.random.default_rng(0)
    for label in ("cat", "dog"):
        (made / label).mkdir(parents=True)
        for number in range(1500):
            pixels = noise.integers(0, 120, (8, 8, 3)) + 60 * (label == "dog")
            Image.fromarray(pixels.astype(np.uint8)).save(made / label / f"{number}.bmp")
    no_room()
    real, most = Streamed._decoded, []

    def counted(self, numbers):
        most.append(len(numbers))
        return real(self, numbers)

    monkeypatch.setattr(Streamed, "_decoded", counted)
    run = resnets.train(
        made, model=TINY, recipe="quick", epochs=1, image_size=8, out=tmp_path / "run", overrides=["keep=best"]
    ).run
    assert main(["evaluate", str(run), str(made)]) == 0
    assert max(most) <= 512
    assert sum(most) > 3000


def test_a_picture_that_goes_meanwhile_ends_it_in_one_sentence(photos, tmp_path, no_room):
    class Gone(Observer):
        def stepped(self, training, step):
            if step.step == 3:
                for number in range(20):
                    os.remove(photos / "dog" / f"{number}.png")

    no_room()
    with pytest.raises(DataError, match=r"can no longer be read"):
        go(photos, tmp_path / "run", Gone())
