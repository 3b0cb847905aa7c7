"""The fast way of reading JPEG files: near the exact pixels where it is taken, equal to them where it is not."""

from __future__ import annotations

import io
import random

import numpy as np
import odd_files
import pytest
from PIL import Image

from resnets.data import fast_decode
from resnets.data.archives import open_archive
from resnets.data.preprocess import Preprocessing
from resnets.errors import ImageError

pytest.importorskip("simplejpeg", reason="the turbo JPEG reader is an extra")

MEAN_FULL, MEAN_REDUCED = fast_decode.TOLERANCE
GEOMETRIES = [
    {"image_size": 32},
    {"image_size": 112, "interpolation": "bicubic"},
    {"image_size": 40, "resize_to": 64},
    {"image_size": 48, "resize_to": 48, "resize": "stretch"},
]


def picture(width: int, height: int, seed: int = 0) -> Image.Image:
    """Soft shapes, about ten in each direction, in strong colours: a shift by half a pixel shows."""
    small = np.random.default_rng(seed).integers(0, 256, (10, 10, 3)).astype(np.uint8)
    return Image.fromarray(small).resize((width, height), Image.Resampling.BICUBIC)


def jpeg(image: Image.Image, **options) -> bytes:
    file = io.BytesIO()
    image.save(file, "JPEG", **{"quality": 92, **options})
    return file.getvalue()


def off(preprocessing: Preprocessing, data: bytes) -> np.ndarray:
    """Distance from the exact pixels, value by value."""
    fast = fast_decode.read(preprocessing, data)
    exact = preprocessing.read(data)
    assert (fast.shape, fast.dtype) == (exact.shape, exact.dtype)
    return np.abs(fast.astype(int) - exact)


@pytest.fixture
def taken(monkeypatch) -> list[tuple[int, ...]]:
    """The shapes of the pictures that the turbo reader has decoded."""
    import simplejpeg

    shapes: list[tuple[int, ...]] = []
    decode_jpeg = simplejpeg.decode_jpeg

    def watched(*arguments, **options):
        pixels = decode_jpeg(*arguments, **options)
        shapes.append(pixels.shape)
        return pixels

    monkeypatch.setattr(simplejpeg, "decode_jpeg", watched)
    return shapes


@pytest.mark.parametrize(
    ("geometry", "size"),
    [
        ({"image_size": 32}, (50, 60)),
        ({"image_size": 32}, (63, 33)),
        ({"image_size": 32}, (400, 31)),
        ({"image_size": 112, "interpolation": "bicubic"}, (131, 127)),
        ({"image_size": 112, "interpolation": "bicubic"}, (200, 150)),
        ({"image_size": 40, "resize_to": 64}, (97, 120)),
        ({"image_size": 48, "resize_to": 48, "resize": "stretch"}, (95, 60)),
        ({"image_size": 48, "resize_to": 56, "resize": "stretch"}, (111, 300)),
    ],
    ids=str,
)
def test_full_size_is_near_the_exact_pixels(taken, geometry, size):
    distance = off(Preprocessing.evaluation(**geometry), jpeg(picture(*size)))
    assert taken == [(*size[::-1], 3)]
    assert distance.mean() < MEAN_FULL / 2
    assert distance.max() <= 8


@pytest.mark.parametrize(("times", "factor"), [(2, 2), (3.9, 2), (4, 4), (9, 8), (20, 8)])
def test_a_reduced_size_is_decoded_where_enough_is_left(taken, times, factor):
    preprocessing = Preprocessing.evaluation(56)
    width, height = round(56 * times * 1.3) + 1, round(56 * times)
    distance = off(preprocessing, jpeg(picture(width, height)))
    assert taken == [(-(-height // factor), -(-width // factor), 3)]
    assert min(taken[0][:2]) >= preprocessing.resize_to
    assert distance.mean() < 2 * MEAN_REDUCED, "sharper than exact, most of all where nothing is left to resize"


@pytest.mark.parametrize(
    "options", [{"progressive": True}, {"subsampling": 0}, {"subsampling": 2}, {"quality": 30}], ids=str
)
@pytest.mark.parametrize("mode", ["RGB", "L"])
def test_every_plain_jpeg_is_read_fast(taken, mode, options):
    distance = off(Preprocessing.evaluation(32), jpeg(picture(60, 50).convert(mode), **options))
    assert len(taken) == 1
    assert distance.mean() < MEAN_FULL


@pytest.mark.parametrize("turn", range(1, 9))
@pytest.mark.parametrize("resize", ["shorter", "stretch"])
def test_photos_are_turned_upright(taken, turn, resize):
    exif = Image.Exif()
    exif[0x0112] = turn
    data = jpeg(picture(90, 71), exif=exif)
    preprocessing = Preprocessing.evaluation(32, resize_to=40, resize=resize)
    distance = off(preprocessing, data)
    assert len(taken) == 1
    assert distance.mean() < MEAN_FULL


def test_everything_else_goes_the_exact_way(taken):
    preprocessing = Preprocessing.evaluation(32)
    image = picture(60, 50)
    png = io.BytesIO()
    image.save(png, "PNG")
    for data in (png.getvalue(), jpeg(image.convert("CMYK")), jpeg(picture(32, 32)), jpeg(picture(32, 47))):
        assert off(preprocessing, data).max() == 0
    assert taken == [], "neither other formats and colours nor what needs no resizing"


def test_odd_and_damaged_files_are_judged_as_always(tmp_path):
    preprocessing = Preprocessing.evaluation(16)

    def outcome(read, data: bytes) -> np.ndarray | str:
        try:
            return read(preprocessing, data).astype(int)
        except ImageError as problem:
            return str(problem)

    for file in odd_files.make(tmp_path):
        data = file.path.read_bytes()
        exact, fast = outcome(Preprocessing.read, data), outcome(fast_decode.read, data)
        if isinstance(exact, str):
            assert fast == exact, file.kind
        else:
            assert np.abs(fast - exact).mean() < 4, file.kind


def test_extreme_shapes(taken):
    for width, height in ((1, 1), (1, 300), (300, 1), (2, 3), (17, 900)):
        data = jpeg(Image.new("RGB", (width, height), (200, 100, 50)))
        for geometry in GEOMETRIES:
            assert off(Preprocessing.evaluation(**geometry), data).max() <= 2, (width, height)


def test_photographs_stay_within_the_stated_tolerance(shared_data):
    archive = shared_data / "imagenette.zip"
    source = open_archive(str(archive), str(archive))
    keys = [sample.key for sample in random.Random(0).sample(source.samples, 60)]
    photos = [source.read(key) for key in keys]
    for size, most in ((224, MEAN_FULL), (160, MEAN_FULL), (96, MEAN_REDUCED), (64, MEAN_REDUCED)):
        preprocessing = Preprocessing.evaluation(size)
        means = [off(preprocessing, photo).mean() for photo in photos]
        assert np.mean(means) < most, size
        assert max(means) < 3 * most, size
