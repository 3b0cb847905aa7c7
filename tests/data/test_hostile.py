"""Files that are dear to decode: refused before work, or read in bounded memory, by all that read pictures."""

from __future__ import annotations

import io
import json
import os
import signal
import subprocess
import sys
import threading
import warnings
from pathlib import Path

import hostile
import numpy as np
import pytest

from resnets.data import fast_decode, headers
from resnets.data.bounds import FRAMES, PIECES, SCANS
from resnets.data.decode import decode, opened
from resnets.data.picture import _scaled
from resnets.data.preprocess import Preprocessing
from resnets.diagnosis.files import look_at
from resnets.errors import ImageError

EIGHT = Preprocessing(image_size=8, resize_to=8)
LIMIT = 400_000_000  # bytes above the interpreter for one file
TWO = 1_200_000_000  # bytes of a whole process with two threads
# Of each kind of trouble one that takes little time; all of them are slow tests.
SAMPLE = [
    "JPEG of 48 megapixels, turned",
    "JPEG of 1,000 EXIF segments",
    "JPEG of an EXIF block of overlaps",
    "JPEG behind filling",
    "PNG of an EXIF block of prefixes",
    "PNG of 64 megapixels, 16 bits",
    "GIF of 100,000 frames",
    "TIFF of 100,000 directories",
    "TIFF of overlaps",
    "TIFF of many bits",
]


@pytest.mark.parametrize("kind", hostile.REFUSED)
def test_dear_files_are_refused_before_work(kind):
    word, make = hostile.REFUSED[kind]
    data = make()
    readers = [decode, EIGHT.read, look_at]
    if data.startswith(b"\xff\xd8"):
        pytest.importorskip("simplejpeg")
        readers.append(lambda data: fast_decode.read(EIGHT, data))
    for read in readers:
        with pytest.raises(ImageError, match=word) as caught:
            read(data)
        assert "\n" not in str(caught.value)
        assert len(str(caught.value)) < 200


def test_the_limits_themselves_are_read():
    assert decode(hostile.many_scans(SCANS, 64)).size == (64, 64)
    with pytest.raises(ImageError, match=f"{SCANS + 1} JPEG scans"):
        decode(hostile.many_scans(SCANS + 1, 64))
    comments = hostile.segment(0xFE, b"")
    assert decode(hostile.with_segments(comments * (PIECES - 10))).size == (64, 48)
    with pytest.raises(ImageError, match="JPEG segments"):
        decode(hostile.with_segments(comments * PIECES))
    assert decode(hostile.with_segments(hostile.segment(0xE1, b"\xff\xda" * 30_000))).size == (64, 48)


def test_scans_behind_the_picture_do_not_count():
    """A photo of a phone has previews, and a second picture behind the first."""
    data = hostile.jpeg(64, 48)
    assert decode(data + data * 500).size == (64, 48)


def test_frames_are_counted_up_to_a_bound():
    for data in (hostile.directories(5000), hostile.directories(2)):
        with opened(data) as picture:
            assert picture.frames == min(FRAMES, 5001 if len(data) > 1000 else 3)
    assert look_at(hostile.gif_frames(3))[0].frames > 1
    assert look_at(hostile.gif(b""))[0].frames == 1


def test_an_animated_avif_is_read():
    """The size of its track stands behind a matrix, at another place in each version of the header."""
    from PIL import Image

    if "AVIF" not in Image.SAVE:
        pytest.skip("this Pillow writes no AVIF")
    frames = [Image.new("RGB", (48, 32), colour) for colour in ("red", "blue")]
    data = hostile.saved(frames[0], "AVIF", save_all=True, append_images=frames[1:], speed=10)
    assert decode(data).size == (48, 32)
    place = data.index(b"tkhd") + 4 + 1 + 87
    assert data[place - 88] == 1
    with pytest.raises(ImageError, match="million"):
        decode(data[:place] + b"\xff\xff\0\0" * 2 + data[place + 8 :])


def test_a_reader_gets_no_metadata():
    """What no pixel depends on is not handed to Pillow."""
    exif = hostile.turned(64, 48, comment=b"c" * 100, icc_profile=b"p" * 100)
    found = headers.measure("JPEG", exif)
    assert found.turn == 6
    assert not any(part in found.data for part in (b"Exif", b"c" * 100, b"p" * 100))
    assert found.data.startswith(b"\xff\xd8\xff\xe0")  # JFIF says how colours are stored


def test_odd_directories_are_read_without_a_word():
    tags = {256: (4, 1, 8), 257: (4, 1, 8), 258: (3, 1, 8), 259: (3, 1, 1), 262: (3, 1, 1), 277: (3, 1, 1)}
    tags |= {273: (4, 1, 300), 278: (4, 1, 8), 279: (4, 1, 64), 274: (3, 1, 6)}
    good = hostile.tiff_of(tags, bytes(range(256)) * 2)
    for tag, entry in {305: (2, 10**6, 10), 270: (2, 50, 10**6), 700: (99, 5, 5), 282: (5, 2**31, 8)}.items():
        odd = hostile.tiff_of({**tags, tag: entry, 273: (4, 1, 312)}, bytes(range(256)) * 2)
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            assert (np.asarray(decode(odd)) == np.asarray(decode(good))).all()


@pytest.mark.parametrize("mode", ["I;16", "I", "F"])
def test_strips_give_what_the_whole_gives(mode, monkeypatch):
    from PIL import Image

    from resnets.data import picture

    values = np.random.default_rng(0).integers(0, 60_000, (300, 200))
    image = Image.fromarray(values.astype({"I;16": np.uint16, "I": np.int32, "F": np.float32}[mode]))
    whole = np.asarray(_scaled(image))
    monkeypatch.setattr(picture, "STRIP", 1000)
    assert (np.asarray(_scaled(image)) == whole).all()
    assert np.abs(whole - np.floor(values * 255 / 65535 + 0.5)).max() == 0
    given = np.asarray(_scaled(image, full=4095.0))
    assert np.abs(given - np.floor((values * 255 / 4095).clip(0, 255) + 0.5).clip(0, 255)).max() == 0


def test_of_several_heavy_pictures_one_is_decoded(monkeypatch):
    """Any number of others are decoded beside it."""
    from resnets.data import picture

    heavy, light = hostile.jpeg(640, 480), hostile.jpeg(64, 48)
    monkeypatch.setattr(picture, "HEAVY", 500_000)
    done = [threading.Event(), threading.Event()]

    def read(number: int, data: bytes) -> None:
        decode(data)
        done[number].set()

    with opened(heavy) as first:
        first.load()
        others = [threading.Thread(target=read, args=pair) for pair in enumerate((light, heavy))]
        for other in others:
            other.start()
        assert done[0].wait(60)
        assert not done[1].wait(0.2)
    assert done[1].wait(60)
    for other in others:
        other.join()


@pytest.mark.parametrize(
    ("kind", "white"),
    [("5", 1), ("5", 254), ("5", 256), ("5", 4095), ("5", 65534), ("6", 100), ("6", 1023), ("6", 65535)],
)
def test_a_pnm_of_an_odd_depth_is_scaled_as_pillow_does_it(kind, white):
    from PIL import Image

    stored = "u1" if white < 256 else ">u2"
    most = min(white + 3, 256 ** np.dtype(stored).itemsize)  # values above white are white
    values = np.random.default_rng(0).integers(0, most, (5, 7, 3 if kind == "6" else 1)).astype(stored)
    for head in (f"P{kind} 7 5 {white}\n", f"P{kind}\n# made by hand\n7 5\n#\n{white} "):
        data = head.encode() + values.tobytes()
        with opened(data + b"behind") as picture, Image.open(io.BytesIO(data)) as image:
            picture.load()
            assert picture.image.mode == image.mode
            assert (np.asarray(picture.image) == np.asarray(image)).all()
        with pytest.raises(ImageError, match="truncated"):
            decode(data[:-1])


PROGRAM = """
import json, sys, threading
from resnets.data import fast_decode
from resnets.data.preprocess import Preprocessing
from resnets.diagnosis.files import look_at
from resnets.errors import ImageError
import hostile, torch

def peak():
    with open("/proc/self/status") as file:
        return next(int(line.split()[1]) * 1024 for line in file if line.startswith("VmHWM"))

square = Preprocessing.evaluation(224)
readers = {"train": square.read, "doctor": look_at, "fast": lambda data: fast_decode.read(square, data)}
paths, threads = json.loads(sys.argv[1]), int(sys.argv[2])
readers["fast"](hostile.jpeg(300, 200)), look_at(hostile.jpeg(300, 200))
before, seen = peak(), {}

def work(names):
    for kind in names:
        with open(paths[kind], "rb") as file:
            data = file.read()
        for reader in json.loads(sys.argv[3]):
            try:
                readers[reader](data)
                seen[kind] = "read"
            except ImageError as error:
                seen[kind] = str(error)
        del data

workers = [threading.Thread(target=work, args=([*paths][:: 1 if n % 2 == 0 else -1],)) for n in range(threads)]
for worker in workers:
    worker.start()
for worker in workers:
    worker.join()
print(json.dumps([seen, peak() - before, peak()]))
"""


def measured(kinds: list[str], readers: list[str], folder: Path, threads: int = 1) -> tuple[dict[str, str], int, int]:
    """What became of each kind in a process of its own, and its highest memory: more than before, and in all."""
    if not Path("/proc/self/status").exists():
        pytest.skip("the peak of memory is read from /proc")
    places = [str(Path(__file__).parent), *(path for path in sys.path if path)]
    env = {**os.environ, "PYTHONPATH": os.pathsep.join(places)}
    files = {kind: str(folder / str(number)) for number, kind in enumerate(kinds)}
    for kind, path in files.items():
        Path(path).write_bytes(hostile.make(kind))
    command = [sys.executable, "-c", PROGRAM, json.dumps(files), str(threads), json.dumps(readers)]
    done = subprocess.run(command, capture_output=True, text=True, env=env)
    assert done.returncode == 0, done.stderr
    return tuple(json.loads(done.stdout))


def check(kinds: list[str], seen: dict[str, str]) -> None:
    for kind in kinds:
        assert seen[kind] == "read" if kind in hostile.READ else hostile.REFUSED[kind][0] in seen[kind], kind


@pytest.mark.parametrize("readers", [["train", "doctor"], ["fast"]])
def test_memory_is_bounded(readers, tmp_path):
    if readers == ["fast"]:
        pytest.importorskip("simplejpeg")
    kinds = SAMPLE if readers != ["fast"] else [kind for kind in SAMPLE if kind.startswith("JPEG")]
    seen, more, _ = measured(kinds, readers, tmp_path)
    check(kinds, seen)
    assert more < LIMIT


@pytest.mark.slow
@pytest.mark.parametrize("reader", ["train", "doctor", "fast"])
@pytest.mark.parametrize("kind", hostile.READ)
def test_memory_of_every_kind_is_bounded(kind, reader, tmp_path):
    pytest.importorskip("simplejpeg")
    seen, more, _ = measured([kind], [reader], tmp_path)
    check([kind], seen)
    assert more < LIMIT


@pytest.mark.slow
def test_two_threads_on_all_of_them_stay_in_bounds(tmp_path):
    pytest.importorskip("simplejpeg")
    kinds = [*hostile.READ, *hostile.REFUSED]
    seen, _, most = measured(kinds, ["train", "doctor", "fast"], tmp_path, threads=2)
    check(kinds, seen)
    assert most < TWO


def run(program: str, *arguments: str) -> str:
    paths = [str(Path(__file__).parent), *(path for path in sys.path if path)]
    env = {**os.environ, "PYTHONPATH": os.pathsep.join(paths)}
    done = subprocess.run([sys.executable, "-c", program, *arguments], capture_output=True, text=True, env=env)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_a_picture_that_takes_all_memory_is_left_out(tmp_path):
    """The memory of a child is limited for real; the pictures behind the large one are still read."""
    pytest.importorskip("resource", reason="a limit is set with resource, which Windows has not")
    program = """
import json, resource, sys
import torch
from resnets.data.cache import cached
from resnets.data.open import open_source
from resnets.data.preprocess import Preprocessing
from resnets.diagnosis.files import look_through
from resnets.inference.pictures import each
from resnets.errors import ImageError
source = open_source(sys.argv[1])
square = Preprocessing.evaluation(32)
paths = [f"{sys.argv[1]}/{sample.key}" for sample in source.samples]
list(each(list, square, paths[:1], threads=1))  # which loads what is loaded at first use
used = int(open("/proc/self/statm").read().split()[0]) * resource.getpagesize()
resource.setrlimit(resource.RLIMIT_AS, (used + 180_000_000,) * 2)
cache = cached(source, source.samples, square, workers=1)
looks = look_through(source, source.samples)
rows = [isinstance(result, ImageError) for _, result in each(list, square, paths, threads=1)]
print(json.dumps([cache.skipped, len(cache.samples), [why for _, why in looks.broken], rows]))
"""
    if not Path("/proc/self/statm").exists():
        pytest.skip("memory is read from /proc")
    (tmp_path / "cat").mkdir()
    (tmp_path / "dog").mkdir()
    for number in range(6):
        (tmp_path / ("cat", "dog")[number % 2] / f"{number}.jpg").write_bytes(hostile.jpeg(64, 48))
    (tmp_path / "cat" / "1 large.png").write_bytes(hostile.png(8000, 8000, 8, 2))
    skipped, kept, broken, rows = json.loads(run(program, str(tmp_path)))
    assert [key for key, _ in skipped] == ["cat/1 large.png"]
    assert "not enough memory" in skipped[0][1]
    assert kept == 6
    assert len(broken) == 1
    assert sum(rows) == 1
    assert len(rows) == 7


def test_ctrl_c_waits_for_the_pictures_at_hand_alone(tmp_path):
    program = """
import sys, threading
from resnets.data.cache import cached
from resnets.data.open import open_source
from resnets.data.preprocess import Preprocessing
source = open_source(sys.argv[1])
reads, plain = [], source.read
def read(key):
    reads.append(key)
    if len(reads) == 5:
        print("begun", flush=True)
    return plain(key)
source.read = read
try:
    cached(source, source.samples, Preprocessing.evaluation(32), workers=2)
except KeyboardInterrupt:
    print(len(reads), threading.active_count())
"""
    (tmp_path / "cat").mkdir()
    (tmp_path / "dog").mkdir()
    data = hostile.jpeg(3000, 2000)
    for number in range(200):
        (tmp_path / ("cat", "dog")[number % 2] / f"{number:03}.jpg").write_bytes(data)
    env = {**os.environ, "PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}
    child = subprocess.Popen([sys.executable, "-c", program, str(tmp_path)], stdout=subprocess.PIPE, text=True, env=env)
    assert child.stdout.readline() == "begun\n"
    child.send_signal(signal.SIGINT)
    reads, threads = map(int, child.communicate()[0].split())
    assert child.returncode == 0
    assert reads < 100
    assert threads == 1
