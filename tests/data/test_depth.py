"""Pictures of more than eight bits: the set says what is white, and the model file takes it along."""

import json

import numpy as np
import pytest
from PIL import Image

import resnets
from resnets.architecture import ResNetSpec
from resnets.data.decode import decode
from resnets.data.depth import LOOKED_AT, full_scale
from resnets.data.open import open_source
from resnets.data.preprocess import Preprocessing
from resnets.diagnosis import doctor
from resnets.errors import ModelFileError
from resnets.training.prepare import reopen


def scan(seed, most, shape=(24, 24), ending="png"):
    """A ramp with noise, of values up to `most`."""
    random = np.random.default_rng(seed)
    values = np.linspace(0, 1, shape[1])[None] * np.linspace(0.3, 1, shape[0])[:, None]
    values = np.clip(values + random.normal(0, 0.05, shape), 0, 1)
    values[-1, -1] = 1
    return Image.fromarray((values * most).astype(np.float32 if ending == "tif" and most <= 1 else np.uint16))


def fill(folder, most=4095, images=6, ending="png"):
    for number, label in enumerate(("left", "right")):
        (folder / label).mkdir(parents=True)
        for i in range(images):
            picture = scan(100 * number + i, most, ending=ending)
            picture = picture.transpose(Image.Transpose.FLIP_LEFT_RIGHT) if number else picture
            picture.save(folder / label / f"{i}.{ending}")
    return folder


def scale_of(folder):
    source = open_source(folder)
    return full_scale(source, source.samples)


@pytest.mark.parametrize(
    ("most", "ending", "white"),
    [
        (4095, "png", 4095), (3000, "png", 4095), (1000, "png", 1023), (4096, "png", 8191), (65535, "png", None),
        (40000, "png", None), (200, "png", 255), (4095, "tif", 4095), (0.7, "tif", 1), (1.0, "tif", 1),
    ],
)  # fmt: skip
def test_white_is_the_largest_value_rounded_up_to_whole_bits(tmp_path, most, ending, white):
    assert scale_of(fill(tmp_path / "set", most, ending=ending)) == white


def test_other_files_and_damaged_ones_do_not_count(tmp_path):
    folder = fill(tmp_path / "set")
    Image.new("RGB", (24, 24), "white").save(folder / "left/colour.png")
    Image.new("L", (24, 24), 255).save(folder / "left/grey.tif")
    (folder / "left/empty.png").write_bytes(b"")
    (folder / "left/cut.png").write_bytes((folder / "left/1.png").read_bytes()[:60])
    (folder / "left/odd.png").write_bytes(b"P5 nonsense")
    assert scale_of(folder) == 4095
    assert scale_of(fill(tmp_path / "black", 0)) is None


def test_of_a_large_set_evenly_spread_files_are_looked_at(tmp_path, monkeypatch):
    source = open_source(fill(tmp_path / "set", images=40))
    monkeypatch.setattr("resnets.data.depth.LOOKED_AT", 10)
    read, opened = source.read, []
    source.read = lambda key: (opened.append(key), read(key))[1]
    assert full_scale(source, source.samples) == 4095
    assert len(opened) == 10
    assert LOOKED_AT >= 500


def test_the_range_is_used_and_what_lies_beyond_is_white(tmp_path):
    folder = fill(tmp_path / "set")
    data = (folder / "left/0.png").read_bytes()
    seen = Preprocessing.evaluation(24, full_scale=4095.0).read(data)
    assert seen.max() == 255
    assert Preprocessing.evaluation(24).read(data).max() == 16  # each file by its format: nearly black
    assert np.asarray(decode(data, 255.0)).max() == 255
    assert doctor(folder, thorough=False).facts["full_scale"] == 4095
    assert "dark" not in doctor(folder, thorough=False)


def test_one_outlier_makes_the_others_dark_and_the_doctor_says_so(tmp_path):
    folder = fill(tmp_path / "set")
    scan(7, 65535).save(folder / "left/outlier.png")
    diagnosis = doctor(folder, thorough=False)
    assert len(diagnosis["dark"].paths) == 12


def test_training_takes_it_along_to_every_use(tmp_path, capsys):
    folder = fill(tmp_path / "set", images=8)
    spec = ResNetSpec(depths=(1,), widths=(8,), stem="cifar", block="basic")
    result = resnets.train(folder, model=spec, epochs=1, image_size=16, out=tmp_path / "run")
    assert "nearly black" not in capsys.readouterr().err
    classifier = resnets.load(result.model)
    assert classifier.preprocessing.full_scale == 4095
    photo = folder / "left/0.png"
    with Image.open(photo) as picture:
        ways = [classifier.predict([one])[0].top for one in (photo, photo.read_bytes(), picture.copy())]
    assert ways[0] == ways[1] == ways[2]
    explained = resnets.explain(classifier, photo)
    assert explained.photo.max() == 255
    assert explained.pixels.max() == classifier.preprocessing.read(photo.read_bytes()).max() > 200
    assert reopen(tmp_path / "run", trains=False).preprocessing == classifier.preprocessing


def test_a_file_without_it_is_as_before_and_nonsense_is_refused():
    plain = Preprocessing.evaluation(32)
    assert "full_scale" not in plain.to_dict()
    assert Preprocessing.from_dict(plain.to_dict()) == plain
    scaled = Preprocessing.evaluation(32, full_scale=4095)
    assert Preprocessing.from_dict(json.loads(json.dumps(scaled.to_dict()))) == scaled != plain
    assert scaled.geometry() != plain.geometry()
    for odd in ("4095", 0, -1, float("nan"), float("inf"), True, [1]):
        with pytest.raises(ModelFileError, match="full_scale"):
            Preprocessing.from_dict({**scaled.to_dict(), "full_scale": odd})
