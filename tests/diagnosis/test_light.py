"""Pictures on which there is nothing to see: found by what decoding gives, by the doctor and before training."""

import numpy as np
import pytest
from PIL import Image
from test_examine import noise

import resnets
from resnets.architecture import ResNetSpec
from resnets.diagnosis import doctor, light


@pytest.fixture
def photos(tmp_path):
    number = 0
    for label in ("cat", "dog"):
        (tmp_path / "photos" / label).mkdir(parents=True)
        for i in range(24):
            noise(number := number + 1).save(tmp_path / f"photos/{label}/{i:02}.png")
    return tmp_path / "photos"


def plant(photos):
    """One of each: kind -> the keys that it is to be found by."""
    pixels = np.asarray(noise(100))
    shown = np.dstack([pixels, np.zeros(pixels.shape[:2], np.uint8)])
    Image.new("RGB", (40, 40), (90, 120, 30)).save(photos / "cat/blank.jpg")
    Image.new("L", (40, 40), 128).save(photos / "dog/grey.png")
    Image.fromarray(shown, "RGBA").save(photos / "cat/clear.png")
    Image.fromarray(pixels // 16).save(photos / "cat/dark.png")
    Image.fromarray(255 - pixels // 16).save(photos / "dog/bright.png")
    return {
        "blank": ("cat/blank.jpg", "dog/grey.png"),
        "invisible": ("cat/clear.png",),
        "dark": ("cat/dark.png",),
        "bright": ("dog/bright.png",),
    }


def test_the_doctor_names_them_with_a_mend(photos):
    planted = plant(photos)
    diagnosis = doctor(photos)
    assert {f.kind: f.paths for f in diagnosis.findings if f.kind in light.KINDS} == planted
    assert all(diagnosis[kind].severity == "warning" for kind in planted)
    assert diagnosis["blank"].text == "2 pictures are of one colour: cat/blank.jpg, dog/grey.png."


def test_training_names_them_in_its_one_line(photos, tmp_path, capsys):
    planted = plant(photos)
    spec = ResNetSpec(depths=(1,), widths=(8,), stem="cifar", block="basic")
    resnets.train(photos, model=spec, epochs=1, image_size=16, out=tmp_path / "run")
    (line,) = (line for line in capsys.readouterr().err.splitlines() if line.startswith("doctor: "))
    for keys in planted.values():
        for key in keys:
            assert key in line


def test_good_pictures_are_left_alone(photos):
    assert not {f.kind for f in doctor(photos).findings} & light.KINDS.keys()


def test_a_small_thing_on_a_plain_ground_is_something():
    """A bird of six by six pixels in the sky, a pen's stroke on paper; and a ramp is not one colour."""
    sky = np.full((3, 128, 128, 3), (120, 170, 230), np.uint8)
    sky[0, 61:67, 50:56] = 40
    sky[1] = np.arange(128)[:, None]
    sky[2] = 255
    sky[2, 30:34, 10:110] = 0
    assert light.kinds(sky).tolist() == [light.PLAIN, light.PLAIN, light.PLAIN]


def test_no_picture_and_one_picture():
    assert light.kinds(np.empty((0, 8, 8, 3), np.uint8)).tolist() == []
    assert light.kinds(np.zeros((1, 1, 1, 3), np.uint8)).tolist() == [light.FLAT]
    assert light.of_decoded([((), np.empty((0, 8, 8, 3), np.uint8))]) == []
