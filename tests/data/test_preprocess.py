"""Preprocessing: which pixels a network sees, how they are normalised, and what a file may claim."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image

from resnets.data.preprocess import IMAGENET_MEAN, IMAGENET_STD, Preprocessing
from resnets.errors import DataError, ModelFileError


def picture(width: int, height: int, seed: int = 0) -> Image.Image:
    """Smooth, so that rounding at one place more or less cannot matter much."""
    noise = np.random.default_rng(seed).integers(0, 256, (4, 4, 3), dtype=np.uint8)
    return Image.fromarray(noise).resize((width, height), Image.Resampling.BICUBIC)


def two_steps(image: Image.Image, resize_to: int, size: int, flavour: Image.Resampling) -> np.ndarray:
    """Resize the shorter side, then crop the centre, as torchvision does it."""
    scale = resize_to / min(image.size)
    width, height = round(image.width * scale), round(image.height * scale)
    image = image.resize((width, height), flavour)
    left, top = (width - size) // 2, (height - size) // 2
    return np.asarray(image.crop((left, top, left + size, top + size)))


@pytest.mark.parametrize("interpolation", ["bilinear", "bicubic"])
@pytest.mark.parametrize(
    ("shape", "most"),
    [
        ((512, 256), 0),  # resized to 256 x 128: nothing is rounded
        ((300, 300), 0),
        ((96, 64), 0),  # enlarged
        ((640, 480), 6),  # 170.67 x 128: rounding moves the crop by up to a pixel of this steep picture
        ((480, 640), 6),
    ],
)
def test_one_pass_equals_resize_then_crop(shape, most, interpolation):
    image = picture(*shape)
    ours = Preprocessing(image_size=112, resize_to=128, interpolation=interpolation).pixels(image)
    theirs = two_steps(image, 128, 112, Image.Resampling[interpolation.upper()])
    assert ours.shape == (112, 112, 3)
    assert ours.dtype == np.uint8
    assert np.abs(ours.astype(int) - theirs).max() <= most


def test_the_interpolation_matters():
    sharp = Image.fromarray(np.random.default_rng(1).integers(0, 256, (90, 90, 3), dtype=np.uint8))
    one, other = (
        Preprocessing(image_size=30, resize_to=30, interpolation=name).pixels(sharp) for name in ("bilinear", "bicubic")
    )
    assert np.abs(one.astype(int) - other).mean() > 2


def test_the_centre_is_kept():
    image = Image.new("RGB", (300, 100), "red")
    image.paste("lime", (100, 0, 200, 100))  # exactly the centre square
    pixels = Preprocessing(image_size=50, resize_to=50).pixels(image)
    assert (pixels[:, 1:-1] == [0, 255, 0]).all()
    half = Preprocessing(image_size=25, resize_to=50).pixels(image)
    assert (half == [0, 255, 0]).all()


def test_nothing_is_resampled_when_the_size_is_right():
    noise = np.random.default_rng(0).integers(0, 256, (33, 32, 3), dtype=np.uint8)
    right = Preprocessing(image_size=32, resize_to=32)
    assert (right.pixels(Image.fromarray(noise)) == noise[:32]).all()
    cropped = replace(right, image_size=27)
    assert (cropped.pixels(Image.fromarray(noise)) == noise[3:30, 2:29]).all()
    stretched = Preprocessing(image_size=30, resize_to=32, resize="stretch")
    assert (stretched.pixels(Image.fromarray(noise[:32])) == noise[1:31, 1:31]).all()


def test_stretch_keeps_both_sides():
    image = Image.new("RGB", (200, 50), "red")
    image.paste("blue", (100, 0, 200, 50))
    pixels = Preprocessing(image_size=20, resize_to=20, resize="stretch").pixels(image)
    assert (pixels[:, :9] == [255, 0, 0]).all()
    assert (pixels[:, 11:] == [0, 0, 255]).all()
    cropped = Preprocessing(image_size=10, resize_to=20, resize="stretch").pixels(image)
    assert (cropped[:, :4] == [255, 0, 0]).all()
    assert (cropped[:, 6:] == [0, 0, 255]).all()


@pytest.mark.parametrize("shape", [(1, 5000), (5000, 1), (1, 1), (3, 2), (7, 4999), (8, 8)])
@pytest.mark.parametrize("resize", ["shorter", "stretch"])
def test_any_shape_works(shape, resize):
    for size, resize_to in ((224, 256), (32, 32), (1, 1), (97, 101)):
        pixels = Preprocessing(image_size=size, resize_to=resize_to, resize=resize).pixels(picture(*shape))
        assert pixels.shape == (size, size, 3)


def test_boxes_never_leave_the_picture():
    rng = np.random.default_rng(0)
    for _ in range(300):
        width, height, size = (int(n) for n in rng.integers(1, 400, 3))
        how = Preprocessing(image_size=size, resize_to=size + int(rng.integers(0, 3)), resize="shorter")
        assert how.pixels(Image.new("RGB", (width, height))).shape == (size, size, 3)


def test_pixels_are_ours_to_change_and_rgb():
    how = Preprocessing(image_size=4, resize_to=4, channels="BGR")
    for size in (4, 9):
        pixels = how.pixels(Image.new("RGB", (size, size), (255, 0, 1)))
        pixels[0, 0, 0] = 7
        assert pixels[1, 1].tolist() == [255, 0, 1]
    assert how.pixels(Image.new("L", (4, 4), 9))[0, 0].tolist() == [9, 9, 9]


def test_read_is_decode_then_pixels(tmp_path):
    image = Image.new("RGBA", (8, 8), (0, 0, 0, 0))
    image.save(tmp_path / "clear.png")
    pixels = Preprocessing(image_size=4, resize_to=4).read((tmp_path / "clear.png").read_bytes())
    assert (pixels == 255).all()


def batch(size: int = 6, count: int = 3) -> np.ndarray:
    return np.random.default_rng(5).integers(0, 256, (count, size, size, 3), dtype=np.uint8)


def test_normalise_is_the_formula():
    pixels = batch()
    x = Preprocessing(image_size=6, resize_to=6).normalise(torch.from_numpy(pixels))
    expected = ((pixels / 255 - IMAGENET_MEAN) / IMAGENET_STD).transpose(0, 3, 1, 2)
    assert x.dtype == torch.float32
    assert x.shape == (3, 3, 6, 6)
    assert x.is_contiguous(memory_format=torch.channels_last)
    assert np.abs(x.numpy() - expected).max() < 2e-6
    assert (pixels == batch()).all()  # the batch itself is left alone


def test_bgr_has_its_mean_in_its_own_order():
    pixels = batch()
    how = Preprocessing(image_size=6, resize_to=6, channels="BGR", mean=(0.1, 0.2, 0.3), std=(1, 2, 3))
    x = how.normalise(torch.from_numpy(pixels)).numpy()
    expected = ((pixels[..., ::-1] / 255 - [0.1, 0.2, 0.3]) / [1, 2, 3]).transpose(0, 3, 1, 2)
    assert np.abs(x - expected).max() < 2e-6
    assert how.normalise(torch.from_numpy(pixels)).is_contiguous(memory_format=torch.channels_last)


def test_a_mean_image_takes_the_place_of_the_mean():
    mean_image = np.random.default_rng(1).random((3, 6, 6))
    how = Preprocessing(image_size=6, resize_to=6, channels="BGR", std=(1 / 255,) * 3, mean_image=mean_image)
    x = how.normalise(torch.from_numpy(batch())).numpy()
    expected = (batch()[..., ::-1].transpose(0, 3, 1, 2) / 255 - mean_image) * 255
    assert np.abs(x - expected).max() < 1e-3


def test_a_slice_of_a_batch_and_one_image():
    how = Preprocessing(image_size=6, resize_to=6)
    whole = torch.from_numpy(batch(count=4))
    assert torch.equal(how.normalise(whole[::2]), how.normalise(whole)[::2])
    assert torch.equal(how.normalise(whole[:1]), how.normalise(whole)[:1])


@pytest.mark.parametrize(
    "wrong",
    [torch.zeros(1, 6, 6, 3), torch.zeros(6, 6, 3, dtype=torch.uint8), torch.zeros(1, 3, 6, 6).byte()],
)
def test_normalise_refuses_other_tensors(wrong):
    with pytest.raises(TypeError, match=r"\(N, H, W, 3\) uint8"):
        Preprocessing(image_size=6, resize_to=6).normalise(wrong)


def test_the_usual_choices():
    assert Preprocessing.evaluation(32).resize_to == 32
    assert Preprocessing.evaluation(64).resize_to == 64
    assert Preprocessing.evaluation(128).resize_to == 146
    assert Preprocessing.evaluation(224).resize_to == 256
    assert Preprocessing.evaluation(224).mean == IMAGENET_MEAN
    other = Preprocessing.evaluation(224, resize_to=232, interpolation="bicubic", std=[1, 1, 1])
    assert (other.resize_to, other.interpolation, other.std) == (232, "bicubic", (1.0, 1.0, 1.0))


def test_geometry_is_what_decides_the_pixels():
    how = Preprocessing.evaluation(128)
    for same in ({"channels": "BGR"}, {"mean": (0, 0, 0)}, {"std": (1, 1, 1)}):
        assert replace(how, **same).geometry() == how.geometry()
    others = ({"image_size": 127}, {"resize_to": 147}, {"resize": "stretch"}, {"interpolation": "bicubic"})
    assert len({replace(how, **other).geometry() for other in others} | {how.geometry()}) == 5


WRONG = [
    ("image_size", 0),
    ("image_size", -5),
    ("image_size", 10**9),
    ("image_size", 224.0),
    ("image_size", "224"),
    ("image_size", True),
    ("image_size", None),
    ("resize_to", 100),
    ("resize_to", 10**9),
    ("resize_to", 1e400),
    ("resize", "longest"),
    ("resize", ["shorter"]),
    ("interpolation", "nearest"),
    ("interpolation", None),
    ("channels", "rgb"),
    ("mean", 0.5),
    ("mean", (0.5, 0.5)),
    ("mean", (0.5, 0.5, float("nan"))),
    ("mean", (0.5, 0.5, 128)),
    ("mean", (0.5, 0.5, 10**400)),
    ("mean", "abc"),
    ("mean", (True, 0.5, 0.5)),
    ("std", (1, 1, 0)),
    ("std", (1, 1, -1)),
    ("std", (1, 1, float("inf"))),
    ("std", {"0": 1}),
]


@pytest.mark.parametrize(("name", "value"), WRONG)
def test_wrong_values_are_refused_by_name(name, value):
    good = Preprocessing.evaluation(224)
    with pytest.raises(DataError, match=name):
        replace(good, **{name: value})
    with pytest.raises(ModelFileError, match=name):
        Preprocessing.from_dict({**good.to_dict(), name: value})


def test_a_mean_image_must_fit():
    for wrong in (np.zeros((3, 5, 6)), np.zeros((6, 6, 3)), np.full((3, 6, 6), np.nan)):
        with pytest.raises(DataError, match=r"mean_image must be finite numbers of shape \(3, 6, 6\)"):
            Preprocessing(image_size=6, resize_to=6, mean_image=wrong)


def test_round_trip_through_json():
    how = Preprocessing.evaluation(224, resize="stretch", channels="BGR", mean=(0, 0.5, 1), std=(2, 3, 4))
    again = Preprocessing.from_dict(json.loads(json.dumps(how.to_dict())))
    assert again == how
    assert hash(again) == hash(how)
    assert replace(how, mean=(0, 0.5, 0.9)) != how
    mean_image = np.random.default_rng(0).random((3, 224, 224)).astype(np.float32)
    with_image = replace(how, mean_image=mean_image)
    assert Preprocessing.from_dict(with_image.to_dict(), mean_image.copy()) == with_image
    assert with_image != how
    assert replace(how, mean_image=mean_image + 1) != with_image


@pytest.mark.parametrize(
    ("document", "says"),
    [
        ([1, 2], "not a table"),
        ({}, "missing or unknown keys: channels, decode"),
        ({**Preprocessing.evaluation(32).to_dict(), "gamma": 2}, "missing or unknown keys: gamma"),
        ({**Preprocessing.evaluation(32).to_dict(), 5: 2}, "missing or unknown keys: 5"),
        ({**Preprocessing.evaluation(32).to_dict(), "decode": 99}, "update resnets"),
        ({**Preprocessing.evaluation(32).to_dict(), "decode": "1"}, "update resnets"),
        ({**Preprocessing.evaluation(32).to_dict(), "mean_image": True}, "do not belong together"),
    ],
)
def test_a_file_may_not_claim_anything(document, says):
    with pytest.raises(ModelFileError, match=says):
        Preprocessing.from_dict(document)


def test_a_mean_image_that_the_file_does_not_announce():
    with pytest.raises(ModelFileError, match="do not belong together"):
        Preprocessing.from_dict(Preprocessing.evaluation(32).to_dict(), np.zeros((3, 32, 32)))
