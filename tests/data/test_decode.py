"""decode: upright RGB from any readable file, and an ImageError with a reason from everything else."""

from __future__ import annotations

import io
import os
import random
import struct
import subprocess
import sys
import threading
import warnings
from pathlib import Path

import numpy as np
import odd_files
import pytest
from odd_files import photo, saved
from PIL import Image, ImageFile

from processes import PEAK
from resnets.data.decode import MAX_PIXELS, as_rgb, decode, size
from resnets.data.preprocess import Preprocessing
from resnets.errors import ImageError

# EXIF 2.32, tag 274: the sides of the upright picture that row 0 and column 0 of the stored one are.
SIDES = {
    1: ("top", "left"),
    2: ("top", "right"),
    3: ("bottom", "right"),
    4: ("bottom", "left"),
    5: ("left", "top"),
    6: ("right", "top"),
    7: ("right", "bottom"),
    8: ("left", "bottom"),
}


def rows(image: Image.Image) -> list:
    assert image.mode == "RGB"
    return np.asarray(image).tolist()


def stored(upright: np.ndarray, turn: int) -> np.ndarray:
    row_side, column_side = SIDES[turn]
    turned = upright if turn <= 4 else upright.transpose(1, 0, 2)
    turned = turned[::-1] if row_side in ("bottom", "right") else turned
    return turned[:, ::-1] if column_side in ("bottom", "right") else turned


@pytest.mark.parametrize("turn", SIDES)
@pytest.mark.parametrize(("file_format", "options"), [("PNG", {}), ("TIFF", {}), ("WEBP", {"lossless": True})])
def test_orientation_is_applied_once(turn, file_format, options):
    upright = np.asarray(photo(random.Random(1), 5, 3))
    exif = Image.Exif()
    exif[0x0112] = turn
    image = Image.fromarray(np.ascontiguousarray(stored(upright, turn)))
    result = decode(saved(image, file_format, exif=exif, **options))
    assert rows(result) == upright.tolist()
    assert not result.info
    assert not result.getexif()


def test_orientation_of_a_photo():
    upright = Image.new("RGB", (40, 24), "blue")
    upright.paste("red", (0, 0, 20, 24))
    exif = Image.Exif()
    exif[0x0112] = 6  # the camera was turned to the right
    result = decode(saved(upright.transpose(Image.Transpose.ROTATE_90), "JPEG", exif=exif, quality=95))
    assert result.size == (40, 24)
    assert result.getpixel((3, 12))[0] > 200
    assert result.getpixel((36, 12))[2] > 200


def test_broken_exif_changes_nothing():
    for seed in range(300):
        rng = random.Random(seed)
        good = odd_files.oriented(rng, 1)
        start = good.index(b"Exif\0\0") + 6
        damaged = bytearray(good)
        for _ in range(rng.randint(1, 12)):
            damaged[start + rng.randrange(26)] = rng.randrange(256)
        assert sorted(decode(bytes(damaged)).size) == sorted(decode(good).size)


@pytest.mark.parametrize("file_format", ["PNG", "WEBP", "JPEG"])
def test_exif_of_noise_changes_nothing(file_format):
    data = saved(photo(random.Random(1), 5, 3), file_format, exif=b"Exif\0\0no EXIF at all")
    assert decode(data).size == (5, 3)


def test_alpha_is_flattened_on_white():
    image = Image.new("RGBA", (3, 1))
    image.putdata([(10, 20, 30, 255), (10, 20, 30, 0), (0, 0, 0, 51)])
    assert rows(decode(saved(image, "PNG"))) == [[[10, 20, 30], [255, 255, 255], [204, 204, 204]]]
    assert rows(decode(saved(image.convert("LA"), "PNG")))[0][1:] == [[255, 255, 255], [204, 204, 204]]


@pytest.mark.parametrize("mode", ["RGBA", "LA", "PA", "RGBa", "La"])
def test_every_mode_with_alpha(mode):
    image = Image.new(mode, (2, 1))
    image.putpixel((0, 0), (0,) * (len(image.getbands()) - 1) + (255,))
    assert rows(as_rgb(image)) == [[[0, 0, 0], [255, 255, 255]]]


def test_transparency_without_an_alpha_channel():
    white, red, green = [255] * 3, [255, 0, 0], [0, 255, 0]
    palette = Image.new("P", (2, 1))
    palette.putpalette([*red, *green])
    palette.putpixel((1, 0), 1)
    assert rows(decode(saved(palette, "PNG"))) == [[red, green]]
    assert rows(decode(saved(palette, "PNG", transparency=1))) == [[red, white]]
    assert rows(decode(saved(palette, "GIF", transparency=1))) == [[red, white]]
    half = rows(decode(saved(palette, "PNG", transparency=b"\xcc\x00")))
    assert half == [[[255, 51, 51], white]]
    grey = Image.fromarray(np.array([[0, 7]], np.uint8))
    assert rows(decode(saved(grey, "PNG", transparency=7))) == [[[0] * 3, white]]
    colour = Image.fromarray(np.array([[red, green]], np.uint8))
    assert rows(decode(saved(colour, "PNG", transparency=tuple(green)))) == [[red, white]]
    bits = grey.point([0, 255] * 128, "1")
    assert rows(decode(saved(bits, "PNG"))) == [[[0] * 3, white]]
    assert rows(decode(saved(bits, "PNG", transparency=0))) == [[white, white]]


@pytest.mark.parametrize("file_format", ["JPEG", "TIFF"])
def test_cmyk(file_format):
    image = Image.new("CMYK", (16, 16), (0, 255, 255, 0))  # all magenta and yellow: red
    assert np.abs(np.asarray(decode(saved(image, file_format))) - [255.0, 0, 0]).max() < 6


def test_ycck_differs_from_cmyk():
    """The same bytes read as YCCK have other colours, so the marker is honoured."""
    image = Image.new("CMYK", (16, 16), (0, 255, 255, 0))
    data = bytearray(saved(image, "JPEG"))
    plain = np.asarray(decode(bytes(data)))
    data[data.index(b"Adobe") + 11] = 2
    assert np.abs(np.asarray(decode(bytes(data))).astype(int) - plain).max() > 50


SIXTEEN = np.array([[0, 128, 129, 257, 32768, 65535]], np.uint16)
EIGHT = [0, 0, 1, 1, 128, 255]


def greys(image: Image.Image) -> list[int]:
    pixels = np.asarray(image)
    assert pixels.shape[2] == 3
    assert (pixels == pixels[..., :1]).all()
    return pixels[0, :, 0].tolist()


def test_sixteen_bits_are_scaled_not_clipped():
    for data in (
        saved(Image.fromarray(SIXTEEN), "PNG"),
        saved(Image.fromarray(SIXTEEN), "TIFF"),
        saved(Image.fromarray(SIXTEEN.astype(">u2")), "TIFF"),
        b"P5\n6 1\n65535\n" + SIXTEEN.astype(">u2").tobytes(),
    ):
        assert greys(decode(data)) == EIGHT


def test_dark_sixteen_bit_files_stay_dark():
    dark = (SIXTEEN // 256).clip(0, 255)
    assert max(greys(decode(saved(Image.fromarray(dark), "PNG")))) <= 1
    assert max(greys(decode(b"P5\n6 1\n65535\n" + dark.astype(">u2").tobytes()))) <= 1


def test_clear_sixteen_bit_value():
    clear = odd_files.png_chunk(b"tRNS", (257).to_bytes(2, "big"))
    data = odd_files.png(6, 1, 16, 0, b"\0" + SIXTEEN.astype(">u2").tobytes(), clear)
    assert greys(decode(data)) == [0, 0, 1, 255, 128, 255]


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        (np.array([[0, 0.5, 1]], np.float32), [0, 128, 255]),
        (np.array([[0, 100, 255]], np.float32), [0, 100, 255]),
        (np.array([[0, 257, 65535]], np.float32), [0, 1, 255]),
        (np.array([[0, 1e6, 2e6]], np.float32), [0, 128, 255]),
        (np.array([[-1, 0, 1]], np.float32), [0, 128, 255]),
        (np.array([[-3e38, 3e38, np.nan]], np.float32), [0, 255, 128]),
        (np.array([[np.inf, 1, 0]], np.float32), [0, 255, 0]),
        (np.array([[0, 1, 255]], np.int32), [0, 1, 255]),
        (np.array([[0, 257, 65535]], np.int32), [0, 1, 255]),
        (np.array([[-100, 0, 100]], np.int32), [0, 128, 255]),
        (np.array([[0, 0, 0]], np.int32), [0, 0, 0]),
        (np.array([[-5, -5, -5]], np.int32), [0, 0, 0]),
    ],
)
def test_floats_and_long_integers(values, expected):
    assert greys(decode(saved(Image.fromarray(values), "TIFF"))) == expected


@pytest.mark.parametrize("file_format", ["GIF", "PNG", "WEBP", "TIFF"])
def test_the_first_of_several_frames(file_format):
    first, second = Image.new("RGB", (8, 8), (255, 0, 0)), Image.new("RGB", (8, 8), (0, 0, 255))
    options = {"lossless": True} if file_format == "WEBP" else {}
    data = saved(first, file_format, save_all=True, append_images=[second], **options)
    assert rows(decode(data)) == rows(first)


def test_as_rgb_leaves_its_argument_alone():
    exif = Image.Exif()
    exif[0x0112] = 6
    image = Image.new("RGB", (2, 3))
    image.info["exif"] = exif.tobytes()
    result = as_rgb(image)
    assert result.size == (3, 2)
    assert image.size == (2, 3)
    assert "exif" in image.info
    result = as_rgb(plain := Image.new("RGB", (2, 2)))
    result.putpixel((0, 0), (9, 9, 9))
    assert plain.getpixel((0, 0)) == (0, 0, 0)


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", "empty file"),
        (b"hello world, I am text", "not an image (starts with 'hello world,')"),
        (b"\x01\x02\x03", r"not an image (starts with b'\x01\x02\x03')"),
        (b"%PDF-1.4 ...", "a PDF; only JPEG, PNG"),
        (b"\0\0\0\x18ftypheic....", "damaged HEIF: "),
        (b"\xff\xd8\xff", "damaged or truncated JPEG: its header cannot be read"),
        (b"P5\n2 2\n25\x1b[2J\n0000", "damaged PPM:"),
        (b"\x89PNG\r\n\x1a\n", "damaged or truncated PNG: its header cannot be read"),
        (odd_files.png(9000, 9000, 8, 0, b""), "9,000 x 9,000 pixels; more than 64 million are refused"),
        (odd_files.png(60000, 60000, 8, 0, b""), "60,000 x 60,000 pixels; more than 64 million are refused"),
    ],
)
def test_reasons(data, reason):
    with pytest.raises(ImageError) as caught:
        decode(data)
    assert str(caught.value).startswith(reason)
    assert str(caught.value).isprintable()


def test_every_cut_of_a_photo_is_refused():
    whole = saved(photo(random.Random(3), 64, 64), "JPEG", quality=95)
    for end in range(0, len(whole) - 40, 7):
        with pytest.raises(ImageError) as caught:
            decode(whole[:end])
        assert "\n" not in str(caught.value)
        if end > 1000:
            assert str(caught.value) == f"truncated JPEG: the file ends after {end:,} bytes"
    assert ImageFile.LOAD_TRUNCATED_IMAGES is False


def test_a_picture_that_just_fits_is_read():
    width = 8000
    row = b"\0" + b"\0" * (width // 8)
    data = odd_files.png(width, MAX_PIXELS // width, 1, 0, row * (MAX_PIXELS // width))
    assert decode(data).size == (8000, 8000)


def run(program: str, *arguments: str) -> str:
    """What a fresh Python prints for ``program``."""
    env = {**os.environ, "PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}
    command = [sys.executable, "-c", program, *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=True, env=env).stdout


def test_a_bomb_takes_no_memory(tmp_path: Path):
    bombs = [odd.path for odd in odd_files.make(tmp_path) if "bomb" in odd.kind]
    assert len(bombs) >= 12
    program = f"""{PEAK}
import sys
from resnets.data.decode import decode
from resnets.errors import ImageError
data = [open(path, "rb").read() for path in sys.argv[1:]]
before = peak()
for bomb in data:
    try:
        decode(bomb)
        print("decoded")
    except ImageError:
        pass
print(peak() - before)
"""
    assert int(run(program, *map(str, bombs))) < 16 * 2**20


def test_no_other_reader_is_tried(tmp_path: Path):
    """Pillow's EPS reader starts Ghostscript; Pillow loads it when nothing else could read a file."""
    (tmp_path / "script").write_bytes(saved(photo(random.Random(1)), "EPS"))
    (tmp_path / "damaged").write_bytes(b"\x89PNG\r\n\x1a\n")
    program = """
import sys
from PIL import Image
from resnets.data.decode import decode
from resnets.errors import ImageError
for path in sys.argv[1:]:
    try:
        decode(open(path, "rb").read())
    except ImageError as error:
        print(error)
print("EPS" in Image.OPEN)
"""
    reasons = run(program, str(tmp_path / "script"), str(tmp_path / "damaged")).splitlines()
    assert reasons[0].startswith("PostScript; only")
    assert reasons[1].startswith("damaged or truncated PNG")
    assert reasons[2] == "False"


def test_damage_never_raises_anything_else():
    """Whatever bytes change, the result is a whole picture or an ImageError of one short line."""
    reasons = []
    formats = ["JPEG", "PNG", "WEBP", "GIF", "TIFF", "BMP", "PPM", "MPO"]
    for seed in range(1200):
        rng = random.Random(seed)
        options = {"compression": rng.choice(["tiff_lzw", "jpeg", "tiff_adobe_deflate", None])}
        image, file_format = photo(rng), rng.choice(formats)
        data = bytearray(saved(image, file_format, **(options if file_format == "TIFF" else {})))
        for _ in range(rng.choice([1, 1, 3, 20])):
            at = rng.randrange(min(len(data), rng.choice([40, 700, len(data)])))
            if rng.random() < 0.2:
                del data[at : at + rng.randint(1, 50)]
                data = data or bytearray(b"\0")
            else:
                data[at] = rng.randrange(256)
        try:
            result = decode(bytes(data))
        except ImageError as error:
            reasons.append(str(error))
        else:
            assert result.mode == "RGB"
            assert np.asarray(result).size > 0
    assert 200 < len(reasons) < 1000
    assert not [reason for reason in reasons if not 0 < len(reason) < 200 or not reason.isprintable()]


def noisy_files() -> list[bytes]:
    """Readable files of which Pillow warns."""
    return [odd_files.USABLE[kind][1](random.Random(0)) for kind in NOISY]


NOISY = ["JPEG with broken MPO", "animated PNG with wrong counts"]


@pytest.mark.parametrize("kind", NOISY)
def test_the_noisy_files_are_noisy(tmp_path: Path, kind):
    path = tmp_path / "file"
    path.write_bytes(odd_files.USABLE[kind][1](random.Random(0)))
    with warnings.catch_warnings(record=True) as seen:
        warnings.simplefilter("always")
        Image.open(path).close()
    assert seen


def test_warnings_stay_inside_even_with_many_threads():
    files, problems = noisy_files(), []

    def work():
        try:
            for _ in range(40):
                for data in files:
                    decode(data)
        except BaseException as error:
            problems.append(error)

    with warnings.catch_warnings(record=True) as seen:
        warnings.simplefilter("always")
        threads = [threading.Thread(target=work) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        work()
    assert not problems
    assert not seen


def test_warnings_of_others_still_show():
    decode(noisy_files()[0])
    with pytest.warns(UserWarning, match="mine"):
        warnings.warn("mine", stacklevel=1)
    before = len(warnings.filters)
    for _ in range(50):
        decode(noisy_files()[0])
    assert len(warnings.filters) <= before + 1


def test_warnings_of_a_thread_that_does_not_decode_still_show(monkeypatch):
    inside, done = threading.Event(), threading.Event()
    load = ImageFile.ImageFile.load

    def slow(image):
        inside.set()
        done.wait(10)
        return load(image)

    monkeypatch.setattr(ImageFile.ImageFile, "load", slow)
    thread = threading.Thread(target=decode, args=(saved(photo(random.Random(1)), "PNG"),))
    with warnings.catch_warnings(record=True) as seen:
        warnings.simplefilter("always")
        thread.start()
        assert inside.wait(10)
        warnings.warn("mine", stacklevel=1)
        done.set()
        thread.join()
    assert [str(warning.message) for warning in seen] == ["mine"]


# JPEG files of more pixels than are decoded ---------------------------------------------------------------


def large_jpeg(width: int, height: int, turn: int = 1) -> bytes:
    """Grey, the left half dark and the right half light."""
    image = Image.new("L", (width, height), 40)
    image.paste(210, (width // 2, 0, width, height))
    exif = Image.Exif()
    exif[274] = turn
    file = io.BytesIO()
    image.save(file, "JPEG", quality=80, exif=exif)
    return file.getvalue()


@pytest.mark.parametrize(
    ("width", "height", "turn", "wanted"),
    [(8000, 8000, 1, (8000, 8000)), (8008, 8000, 1, (4004, 4000)), (20000, 13000, 6, (3250, 5000))],
)
def test_a_jpeg_of_more_pixels_is_decoded_smaller(width, height, turn, wanted):
    data = large_jpeg(width, height, turn)
    found = decode(data)
    assert found.size == wanted
    assert size(data) == (width, height)
    corners = {1: ((2, 2), (-3, 2)), 6: ((2, 2), (2, -3))}[turn]  # dark, light
    places = [(x % found.width, y % found.height) for x, y in corners]
    assert [abs(found.getpixel(place)[0] - grey) < 3 for place, grey in zip(places, (40, 210), strict=True)] == [
        True
    ] * 2


def test_a_large_jpeg_is_trained_on_as_its_smaller_copy_is():
    p = Preprocessing.evaluation(128)
    large = p.read(large_jpeg(10000, 7000))
    small = p.read(large_jpeg(5000, 3500))
    assert np.abs(large.astype(int) - small).mean() < 0.5


def test_a_jpeg_has_a_bound_of_its_own():
    data = bytearray(large_jpeg(64, 64))
    at = data.index(b"\xff\xc0") + 5
    data[at : at + 4] = struct.pack(">HH", 40000, 40000)
    with pytest.raises(ImageError, match="40,000 x 40,000 pixels; more than 1,000 million are refused"):
        decode(bytes(data))


def test_a_large_jpeg_takes_no_more_memory_than_others(tmp_path: Path):
    path = tmp_path / "large.jpg"
    path.write_bytes(large_jpeg(20000, 15000))
    program = f"""{PEAK}
import sys
from resnets.data.decode import decode
before = peak()
decode(open(sys.argv[1], "rb").read())
print(peak() - before)
"""
    assert 50 * 10**6 < int(run(program, str(path))) < 400 * 10**6
