"""Phones' HEIC pictures: upright, bounded, and named with the mend where their reader is not installed."""

from __future__ import annotations

import io
import random
from pathlib import Path

import numpy as np
import pillow_heif
import pytest
from PIL import Image

import resnets
from resnets.architecture import ResNetSpec
from resnets.data import decode as decoding
from resnets.data.decode import decode, opened, size
from resnets.data.preprocess import Preprocessing
from resnets.errors import ImageError

SPEC = ResNetSpec(depths=(1, 1), widths=(8, 16), stem="cifar", stem_width=8)


def picture(width: int = 96, height: int = 64) -> Image.Image:
    """Smooth, with another colour in each corner."""
    x, y = np.meshgrid(np.linspace(0, 255, width), np.linspace(0, 255, height))
    return Image.fromarray(np.stack([x, y, 255 - (x + y) / 2], axis=-1).astype(np.uint8))


def heic(image: Image.Image, **options) -> bytes:
    buffer = io.BytesIO()
    pillow_heif.from_pillow(image).save(buffer, quality=95, **options)
    return buffer.getvalue()


def distance(one: Image.Image, other: Image.Image) -> float:
    return float(np.abs(np.asarray(one, np.float32) - np.asarray(other, np.float32)).mean())


def test_a_heic_picture_is_the_picture_and_pillow_is_left_as_it_was():
    before = set(Image.OPEN)
    found = decode(heic(picture()))
    assert (found.mode, found.size) == ("RGB", (96, 64))
    assert distance(found, picture()) < 3
    assert set(Image.OPEN) == before
    assert size(heic(picture())) == (96, 64)


@pytest.mark.parametrize("turn", [3, 6, 8])
def test_the_exif_orientation_is_not_applied_to_what_the_container_turns(turn):
    """Phones write the turn twice. libheif has applied the container's (ISO/IEC 23008-12): EXIF's is the sensor's."""
    exif = Image.Exif()
    exif[274] = turn
    image = picture()
    image.info["exif"] = exif.tobytes()
    data = heic(image)
    assert b"Exif" in data
    assert b"irot" in data
    assert distance(decode(data), pillow_heif.open_heif(data).to_pillow()) == 0


def test_transparency_lies_on_white_and_grey_is_grey():
    clear = picture().convert("RGBA")
    clear.putalpha(0)
    assert np.asarray(decode(heic(clear))).min() > 250
    grey = np.asarray(decode(heic(picture().convert("L"))), np.int16)
    assert np.abs(grey - grey[..., :1]).max() <= 2


def test_a_thumbnail_inside_is_not_taken_for_the_picture():
    whole, plain = heic(picture(640, 480), thumbnails=[128]), heic(picture(640, 480))
    read = Preprocessing(image_size=64, resize_to=64).read
    assert np.abs(read(whole).astype(np.int16) - read(plain)).max() <= 1


def test_damage_is_one_short_reason():
    whole, generator = heic(picture()), random.Random(0)
    for _ in range(300):
        data = bytearray(whole)
        for _ in range(generator.randint(1, 8)):
            data[generator.randrange(12, len(data))] = generator.randrange(256)
        cut = bytes(data[: generator.randint(12, len(data))] if generator.random() < 0.3 else data)
        said = ""
        try:
            decode(cut)
        except ImageError as problem:
            said = str(problem)
        assert said.isprintable() and len(said) < 200  # noqa: PT018


def test_a_picture_that_claims_to_be_huge_is_refused_before_it_is_decoded():
    data = heic(picture())
    at = data.index(b"ispe\0\0\0\0") + 8
    claims = data[:at] + (60_000).to_bytes(4, "big") * 2 + data[at + 8 :]
    with pytest.raises(ImageError, match="more than 64 million are refused"), opened(claims):
        pass


@pytest.mark.parametrize(("size", "refused"), [((5712, 4284), False), ((8064, 6048), False), ((8000, 7900), True)])
def test_what_phones_take_is_not_too_large(size, refused):
    """24 and 48 megapixels, by their header: decoded, such a file is damaged."""
    data = heic(picture())
    at = data.index(b"ispe\0\0\0\0") + 8
    claims = data[:at] + b"".join(side.to_bytes(4, "big") for side in size) + data[at + 8 :]
    with pytest.raises(ImageError) as caught:
        decode(claims)
    assert ("of memory; more than 850 are refused" in str(caught.value)) is refused


@pytest.mark.slow
def test_a_phones_picture_of_24_megapixels_is_read():
    large = Image.new("RGB", (5712, 4284), (200, 40, 40))
    found = Preprocessing.evaluation(64).read(heic(large))
    assert found.shape == (64, 64, 3)
    assert np.abs(found.reshape(-1, 3).mean(0) - (200, 40, 40)).max() < 6


def test_without_its_reader_it_is_named_with_the_mend(monkeypatch):
    monkeypatch.setattr(decoding, "find_spec", lambda name: None)
    with pytest.raises(ImageError, match=r"a HEIC picture, which pillow-heif reads: pip install 'resnets\[heic\]'"):
        decode(heic(picture()))


def test_a_folder_of_them_trains(tmp_path: Path):
    noise = np.random.default_rng(0)
    for label, shift in (("cat", 0), ("dog", 90)):
        (tmp_path / "photos" / label).mkdir(parents=True)
        for number in range(6):
            pixels = noise.integers(shift, shift + 60, (32, 32, 3)).astype(np.uint8)
            (tmp_path / "photos" / label / f"IMG_{number}.HEIC").write_bytes(heic(Image.fromarray(pixels)))
    result = resnets.train(
        tmp_path / "photos", model=SPEC, image_size=16, epochs=1, weights="none", out=tmp_path / "run"
    )
    assert result.skipped_files == ()
    assert result.images == 10
