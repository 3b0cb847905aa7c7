"""The cache: decoded once, whole or not there, shared, and never in the way of a run."""

from __future__ import annotations

import errno
import io
import json
import multiprocessing
import os
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from resnets import machine
from resnets import whole as whole_module
from resnets.data import blocks, decoding
from resnets.data import cache as cache_module
from resnets.data.cache import Cache, cached
from resnets.data.decoding import workers_for
from resnets.data.identity import digest_of
from resnets.data.open import open_source
from resnets.data.preprocess import Preprocessing
from resnets.data.sample import Sample
from resnets.errors import DataError, ImageError, UnreadableError
from resnets.machine import home

EIGHT = Preprocessing(image_size=8, resize_to=8)


def png(seed: int) -> bytes:
    file = io.BytesIO()
    noise = np.random.default_rng(seed).integers(0, 256, (8, 8, 3), dtype=np.uint8)
    Image.fromarray(noise).save(file, "PNG")
    return file.getvalue()


class Files:
    """The part of a Source that the cache uses, in memory; it counts what is read."""

    def __init__(self, files: dict[str, bytes]) -> None:
        self.name, self.files, self.reads = "photos", files, 0
        self.samples = tuple(Sample(key, "cat", "", 5000) for key in sorted(files))

    def contents_of(self, samples) -> dict[str, bytes]:
        return {key: digest_of(data) for key, data in self.files.items()}

    def read(self, key: str) -> bytes:
        self.reads += 1
        if self.files[key] == b"unreadable":
            raise ImageError("the archive is cut off here")
        return self.files[key]


def photos(count: int = 50, broken: tuple[int, ...] = (0, 7, 49)) -> Files:
    files = {f"cat/{n:03}.png": b"" if n in broken else png(n) for n in range(count)}
    return Files(files)


def expected(source: Files) -> np.ndarray:
    return np.stack([EIGHT.read(data) for _, data in sorted(source.files.items()) if data])


@pytest.fixture(autouse=True)
def own_home(tmp_path, monkeypatch) -> Path:
    monkeypatch.setenv("RESNETS_HOME", str(tmp_path / "home"))
    return tmp_path / "home"


@pytest.fixture
def on_disk(monkeypatch, own_home) -> Path:
    """Even small sets go to a file; the folder of the files."""
    monkeypatch.setattr(cache_module, "IN_MEMORY", 0)
    return own_home / "cache"


def check(result: Cache, source: Files) -> None:
    assert (np.asarray(result.images) == expected(source)).all()
    assert [sample.key for sample in result.samples] == [key for key, data in sorted(source.files.items()) if data]
    assert result.skipped == tuple((key, "empty file") for key, data in sorted(source.files.items()) if not data)
    assert result.images.dtype == np.uint8


@pytest.mark.parametrize("workers", [1, 2, 5, None])
@pytest.mark.parametrize("memory", [0, 2**20])
def test_order_and_skipping(workers, memory, monkeypatch, own_home):
    monkeypatch.setattr(cache_module, "IN_MEMORY", memory)
    for count in (1, 16, 17, 300):
        source = photos(count, broken=(3, 5, 16, 299))
        result = cached(source, source.samples, EIGHT, workers=workers)
        check(result, source)
        assert not result.reused
        assert (own_home / "cache").exists() == (memory == 0)


def test_small_sets_leave_no_file(own_home):
    source = photos()
    check(cached(source, source.samples, EIGHT), source)
    assert not own_home.exists()


def test_the_samples_asked_for_in_the_order_asked_for():
    source = photos()
    wanted = source.samples[20:10:-1]
    result = cached(source, wanted, EIGHT)
    assert result.samples == wanted
    assert (result.images[0] == EIGHT.read(source.files["cat/020.png"])).all()


def test_unreadable_entries_are_skipped_with_the_reason_of_the_source():
    source = Files({"a/1.png": png(1), "a/2.png": b"unreadable"})
    result = cached(source, source.samples, EIGHT)
    assert result.skipped == (("a/2.png", "the archive is cut off here"),)


def test_the_second_run_reads_nothing(on_disk):
    source = photos()
    first = cached(source, source.samples, EIGHT)
    count = source.reads
    second = cached(source, source.samples, EIGHT)
    assert not first.reused
    assert second.reused
    assert source.reads == count == 50
    check(second, source)
    assert [path.suffix for path in on_disk.iterdir()] == [".u8"]


def test_other_inputs_other_cache(on_disk):
    source = photos()
    cached(source, source.samples, EIGHT)
    others = [
        (Files({**source.files, "cat/001.png": png(77)}), source.samples, EIGHT),
        (source, source.samples[1:], EIGHT),
        (source, source.samples[::-1], EIGHT),
        (source, source.samples, Preprocessing(image_size=8, resize_to=9)),
        (source, source.samples, Preprocessing(image_size=8, resize_to=8, interpolation="bicubic")),
    ]
    for other in others:
        assert not cached(*other).reused
    assert len(list(on_disk.iterdir())) == 1 + len(others)
    assert cached(source, source.samples, Preprocessing(image_size=8, resize_to=8, mean=(0, 0, 0))).reused


def test_moved_and_renamed_files_are_not_decoded_again(on_disk):
    source = photos()
    cached(source, source.samples, EIGHT)
    moved = Files({key.replace("cat/", "animals/cats/"): data for key, data in source.files.items()})
    again = cached(moved, moved.samples, EIGHT)
    assert again.reused
    assert moved.reads == 0
    check(again, moved)
    assert again.skipped[0][0] == "animals/cats/000.png", "by the name that it has now"


def test_another_pillow_decodes_again(on_disk, monkeypatch):
    source = photos()
    cached(source, source.samples, EIGHT)
    monkeypatch.setattr(decoding, "pillow_version", "0.0")
    assert not cached(source, source.samples, EIGHT).reused


@pytest.mark.parametrize(
    "damage",
    [
        lambda data: b"",
        lambda data: data[:5],
        lambda data: data[:-1],
        lambda data: data[1:],
        lambda data: data[: len(data) // 2],
        lambda data: data + b"\0",
        lambda data: data[:-8] + b"\xff" * 8,
        lambda data: data[:-8] + b"\0" * 8,
        lambda data: data[:-8] + b"\x02" + b"\0" * 7,
        lambda data: data[: -8 - 20] + b"[" * 20 + data[-8:],
        lambda data: b"[]" + (2).to_bytes(8, "little"),
        lambda data: b"\0" * len(data),
    ],
)
def test_a_damaged_file_is_made_again(on_disk, damage):
    source = photos()
    cached(source, source.samples, EIGHT)
    (path,) = on_disk.iterdir()
    whole = path.read_bytes()
    path.write_bytes(damage(whole))
    again = cached(source, source.samples, EIGHT)
    assert not again.reused
    check(again, source)
    assert path.read_bytes() == whole


@pytest.mark.parametrize("mapped", [0.0, 0.5])
def test_damage_in_any_block_is_seen(on_disk, monkeypatch, mapped):
    """A byte of the pixels, a block of zeros, a block in another's place: the file is made again."""
    monkeypatch.setattr(blocks, "CHECKED", 1000)
    monkeypatch.setattr(cache_module, "MAPPED", mapped)
    source = photos()
    cached(source, source.samples, EIGHT)
    (path,) = on_disk.iterdir()
    whole = path.read_bytes()
    rows = 47 * EIGHT.image_size**2 * 3
    for place in (0, 999, 1000, rows // 2, rows - 1):
        path.write_bytes(whole[:place] + bytes([whole[place] ^ 1]) + whole[place + 1 :])
        again = cached(source, source.samples, EIGHT)
        assert not again.reused
        check(again, source)
        assert isinstance(again.images, np.memmap) == (mapped == 0)
    swapped = whole[1000:2000] + whole[:1000] + whole[2000:]
    for damaged in (bytes(1000) + whole[1000:], swapped, bytes(rows) + whole[rows:]):
        path.write_bytes(damaged)
        assert not cached(source, source.samples, EIGHT).reused
    assert path.read_bytes() == whole
    assert cached(source, source.samples, EIGHT).reused


def test_what_others_can_write_is_not_used(on_disk):
    source = photos()
    cached(source, source.samples, EIGHT)
    (path,) = on_disk.iterdir()
    path.chmod(0o666)
    assert not cached(source, source.samples, EIGHT).reused
    assert path.stat().st_mode & 0o002 == 0  # made again
    assert cached(source, source.samples, EIGHT).reused
    if hasattr(os, "geteuid") and os.geteuid() == 0:
        os.chown(path, 12345, 12345)
        assert not cached(source, source.samples, EIGHT).reused
        assert path.stat().st_uid == 12345  # theirs stays, and ours comes to lie beside it
        assert path.with_name(f"{path.stem}.0.u8").stat().st_uid == 0


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no pipes here")
def test_a_pipe_in_the_way_does_not_hang(on_disk):
    source = photos()
    cached(source, source.samples, EIGHT)
    (path,) = on_disk.iterdir()
    path.unlink()
    os.mkfifo(path)
    result = cached(source, source.samples, EIGHT)
    check(result, source)
    assert path.is_file()


def test_a_file_that_is_cut_while_it_is_used_kills_nothing(on_disk):
    source = photos()
    cached(source, source.samples, EIGHT)
    (path,) = on_disk.iterdir()
    result = cached(source, source.samples, EIGHT)
    assert result.reused
    os.truncate(path, 10)
    check(result, source)


def test_a_file_under_a_wrong_name_is_not_believed(on_disk):
    source, other = photos(), photos()
    other.files["cat/001.png"] = png(77)
    cached(source, source.samples, EIGHT)
    (path,) = on_disk.iterdir()
    cached(other, other.samples, EIGHT)
    (its_path,) = set(on_disk.iterdir()) - {path}
    its_path.write_bytes(path.read_bytes())
    assert not cached(other, other.samples, EIGHT).reused


def test_a_file_in_use_survives_its_replacement(on_disk):
    source = photos()
    first = cached(source, source.samples, EIGHT)
    (path,) = on_disk.iterdir()
    path.unlink()
    cached(source, source.samples, EIGHT)
    check(first, source)


def test_writing_to_the_images_does_not_reach_the_file(on_disk):
    source = photos()
    cached(source, source.samples, EIGHT).images[:] = 0
    check(cached(source, source.samples, EIGHT), source)


def test_an_interrupted_run_leaves_nothing(on_disk, monkeypatch):
    source = photos()

    def interrupted(key):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(source, "read", interrupted)
        with pytest.raises(KeyboardInterrupt):
            cached(source, source.samples, EIGHT, workers=2)
    assert not list(on_disk.iterdir())
    check(cached(source, source.samples, EIGHT), source)


def test_nothing_usable_is_an_error(on_disk, monkeypatch):
    source = Files({"a/1.jpg": b"", "a/\x1b[2J.jpg": b"hello"})
    for memory in (0, 2**20):
        monkeypatch.setattr(cache_module, "IN_MEMORY", memory)
        with pytest.raises(DataError, match=r"None of the 2 files of photos .* a/\\x1b\[2J.jpg: not an image"):
            cached(source, source.samples, EIGHT)
    assert not list(on_disk.iterdir())
    with pytest.raises(DataError, match="no files to decode"):
        cached(source, [], EIGHT)


class FullDisk(io.RawIOBase):
    """A file that takes some bytes and then has no room."""

    room = 3000

    def writable(self) -> bool:
        return True

    def write(self, data) -> int:
        self.room -= len(data)
        if self.room < 0:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return len(data)


def no_room_before(monkeypatch, folder):
    usage = type("Usage", (), {"free": 1000})
    monkeypatch.setattr(cache_module.shutil, "disk_usage", lambda path: usage)


def no_room_in_the_middle(monkeypatch, folder):
    real = open

    def fake(path, mode="r", *args, **kwargs):
        file = real(path, mode, *args, **kwargs)
        if mode != "xb":
            return file
        file.close()
        return FullDisk()

    monkeypatch.setattr(whole_module, "open", fake, raising=False)


def a_file_in_the_way(monkeypatch, folder):
    folder.parent.mkdir()
    folder.write_text("not a folder")


TROUBLES = [no_room_before, no_room_in_the_middle, a_file_in_the_way]


@pytest.mark.parametrize("trouble", TROUBLES)
def test_without_a_disk_memory_will_do(on_disk, monkeypatch, trouble):
    trouble(monkeypatch, on_disk)
    source = photos()
    result = cached(source, source.samples, EIGHT)
    check(result, source)
    assert not list(on_disk.glob("*"))


@pytest.mark.parametrize("trouble", TROUBLES)
def test_without_disk_and_memory_pictures_are_decoded_again(on_disk, monkeypatch, capsys, trouble):
    trouble(monkeypatch, on_disk)
    monkeypatch.setattr(machine, "free_memory", lambda: 9000)
    source = photos()
    result = cached(source, source.samples, EIGHT)
    assert not isinstance(result.images, np.ndarray)
    said = capsys.readouterr().err
    assert "50 pictures, decoded, take 9 KiB, which fit neither into memory nor into" in said
    assert "another RESNETS_HOME or RESNETS_CACHE_LIMIT mends it" in said
    assert (result.images[:] == expected(source)).all()
    assert result.skipped == tuple((f"cat/{n:03}.png", "empty file") for n in (0, 7, 49))
    assert not list(on_disk.glob("*.u8*"))


def test_a_set_above_the_limit_is_decoded_again(on_disk, monkeypatch, capsys):
    monkeypatch.setattr(machine, "free_memory", lambda: 9000)
    monkeypatch.setenv("RESNETS_CACHE_LIMIT", "5000")
    source = photos()
    result = cached(source, source.samples, EIGHT)
    assert "more than the cache's limit of 5 KiB" in capsys.readouterr().err
    reads = source.reads
    assert reads == 50
    assert (result.images[7] == expected(source)[7]).all()
    assert source.reads == reads + 1
    again = cached(source, source.samples, EIGHT)
    assert source.reads == reads + 1  # what is unusable is known by now
    assert again.skipped == result.skipped
    assert again.samples == result.samples


ROWS = [
    7,
    -1,
    np.int64(3),
    slice(3, 40),
    slice(None, None, 7),
    np.array([5, 1, 1, 30]),
    [2, 9],
    np.arange(47) % 2 == 0,
    (slice(2, 5), slice(1, 7), slice(0, 3)),
    (np.array([4, 4]), slice(2, 6), slice(2, 6)),
    (9, slice(2, 6)),
    slice(5, 5),
]


@pytest.mark.parametrize("rows", ROWS, ids=str)
def test_what_streams_looks_like_its_array(on_disk, monkeypatch, rows):
    monkeypatch.setattr(machine, "free_memory", lambda: 9000)
    monkeypatch.setenv("RESNETS_CACHE_LIMIT", "5000")
    source = photos()
    images, array = cached(source, source.samples, EIGHT).images, expected(source)
    assert (images.shape, images.nbytes, images.dtype, len(images)) == (array.shape, array.nbytes, array.dtype, 47)
    found = images[rows]
    assert found.shape == array[rows].shape
    assert (found == array[rows]).all()
    assert all((one == other).all() for one, other in zip(images, array, strict=True))


@pytest.mark.parametrize("rows", [None, ..., (3, 4), (slice(None), [1, 2])], ids=str)
def test_what_no_row_is_does_not_pass(on_disk, monkeypatch, rows):
    monkeypatch.setattr(machine, "free_memory", lambda: 9000)
    monkeypatch.setenv("RESNETS_CACHE_LIMIT", "5000")
    source = photos()
    with pytest.raises(TypeError, match="by rows"):
        cached(source, source.samples, EIGHT).images[rows]


def test_a_file_that_goes_while_it_streams_is_named(on_disk, monkeypatch):
    monkeypatch.setattr(machine, "free_memory", lambda: 9000)
    monkeypatch.setenv("RESNETS_CACHE_LIMIT", "5000")
    source = photos()
    images = cached(source, source.samples, EIGHT).images
    source.files["cat/008.png"] = b"unreadable"
    with pytest.raises(DataError, match=r"^cat/008\.png can no longer be read \(the archive is cut off here\): mend"):
        images[:]


def test_what_could_not_be_read_is_tried_again_where_it_streams(on_disk, monkeypatch):
    monkeypatch.setattr(machine, "free_memory", lambda: 9000)
    monkeypatch.setenv("RESNETS_CACHE_LIMIT", "5000")
    source = photos(broken=())
    real = source.read

    def later(key):
        if key == "cat/003.png":
            raise UnreadableError("permission denied")
        return real(key)

    monkeypatch.setattr(source, "read", later)
    assert len(cached(source, source.samples, EIGHT).images) == 49
    monkeypatch.setattr(source, "read", real)
    assert len(cached(source, source.samples, EIGHT).images) == 50


def damaged(note, **changes):
    return json.dumps({**json.loads(note), **changes})


@pytest.mark.parametrize(
    "text",
    [
        lambda note: "",
        lambda note: "[]",
        lambda note: "[" * 10**5,
        lambda note: damaged(note, fingerprint=3),
        lambda note: damaged(note, skipped=[[float("inf"), "no"]]),
        lambda note: damaged(note, skipped=[[-1, "no"]]),
        lambda note: damaged(note, skipped=[[50, "no"]]),
        lambda note: damaged(note, skipped=[[1, "no"], [1, "no"]]),
        lambda note: damaged(note, skipped=[[row, "no"] for row in range(50)]),
        lambda note: damaged(note, images=51),
        lambda note: damaged(note, refuses=0),
    ],
)
def test_a_damaged_note_on_what_streams_is_written_anew(on_disk, monkeypatch, text):
    monkeypatch.setattr(machine, "free_memory", lambda: 9000)
    monkeypatch.setenv("RESNETS_CACHE_LIMIT", "5000")
    source = photos()
    cached(source, source.samples, EIGHT)
    (note,) = on_disk.glob("*.json")
    good = note.read_text()
    note.write_text(text(good))
    assert len(cached(source, source.samples, EIGHT).images) == 47
    assert note.read_text() == good


def test_what_killed_runs_left_is_swept(on_disk):
    on_disk.mkdir(parents=True)
    old, young, other = on_disk / ".a.u8.00000001.part", on_disk / ".b.u8.00000002.part", on_disk / "c.u8"
    for path in (old, young, other):
        path.write_bytes(b"rows")
    two_days_ago = time.time() - 48 * 3600
    os.utime(old, (two_days_ago, two_days_ago))
    os.utime(other, (two_days_ago, two_days_ago))
    source = photos()
    cached(source, source.samples, EIGHT)
    assert not old.exists()
    assert young.exists()
    assert other.exists()


@dataclass
class Slow:
    """A picklable source that is slow enough for two builders to overlap."""

    name: str = "slow"
    samples: tuple[Sample, ...] = tuple(Sample(f"a/{n:03}.png", "a", "", 5000) for n in range(64))

    def contents_of(self, samples) -> dict[str, bytes]:
        return {sample.key: digest_of(sample.key.encode()) for sample in samples}

    def read(self, key: str) -> bytes:
        time.sleep(0.01)
        return png(int(key[2:5])) if key != "a/005.png" else b""


def build(path: str, barrier, results) -> None:
    os.environ["RESNETS_HOME"] = path
    cache_module.IN_MEMORY = 0
    source = Slow()
    barrier.wait(60)
    result = cached(source, source.samples, EIGHT, workers=2)
    results.put((result.reused, int(np.asarray(result.images).sum()), result.skipped))


def test_two_builders_of_one_cache_both_end_well(tmp_path):
    spawn = multiprocessing.get_context("spawn")
    barrier, results = spawn.Barrier(2), spawn.Queue()
    builders = [spawn.Process(target=build, args=(str(tmp_path), barrier, results)) for _ in range(2)]
    for builder in builders:
        builder.start()
    outcomes = [results.get(timeout=120) for _ in builders]
    for builder in builders:
        builder.join(60)
    assert [builder.exitcode for builder in builders] == [0, 0]
    assert [reused for reused, _, _ in outcomes] == [False, False]
    assert outcomes[0] == outcomes[1]
    assert outcomes[0][2] == (("a/005.png", "empty file"),)
    assert [path.suffix for path in (tmp_path / "cache").iterdir()] == [".u8"]


def test_home(monkeypatch, tmp_path):
    monkeypatch.setenv("RESNETS_HOME", "~/somewhere")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert home() == tmp_path / "somewhere"
    monkeypatch.setenv("RESNETS_HOME", "")
    assert home() == tmp_path / ".cache" / "resnets"


def test_progress_is_told(monkeypatch):
    told = []

    class Told:
        def __init__(self, what, total):
            told.append((what, total))

        def __enter__(self):
            return told.append

        def __exit__(self, *exc):
            return None

    monkeypatch.setattr(decoding, "track", Told)
    source = photos()
    cached(source, source.samples, EIGHT, what="decoding train")
    assert told[0] == ("decoding train", 50)
    assert sum(told[1:]) == 50


def test_free_memory_is_plausible():
    assert 2**20 < machine.free_memory() < 2**50


def test_what_a_container_has_cached_is_free(tmp_path, monkeypatch):
    monkeypatch.setattr(machine, "_GROUP", tmp_path)
    for name, text in {
        "max": "9000000",
        "current": "8000000",
        "stat": "active_file 500000\ninactive_file 1500000\nslab_reclaimable 7\n",
    }.items():
        (tmp_path / f"memory.{name}").write_text(text)
    assert machine.free_memory() == 3_000_007
    (tmp_path / "memory.max").write_text("max")
    assert machine.free_memory() > 3_000_007
    (tmp_path / "memory.max").write_text("5")
    assert machine.free_memory() == 0


def test_tiny_files_have_one_worker(monkeypatch):
    monkeypatch.setattr(cache_module.os, "sched_getaffinity", lambda pid: set(range(6)), raising=False)
    assert workers_for([Sample("a/1.png", "a", "", 900)] * 3) == 1
    assert workers_for([Sample("a/1.png", "a", "", 90_000)] * 3) == 6


def test_what_was_refused_is_tried_again_when_less_is_refused(tmp_path, monkeypatch):
    """A file of pixels that an older version has left behind does not decide what can be read."""
    monkeypatch.setenv("RESNETS_HOME", str(tmp_path / "home"))
    monkeypatch.setattr(cache_module, "IN_MEMORY", 0)
    for label in ("a", "b"):
        (tmp_path / "photos" / label).mkdir(parents=True)
        for number in range(3):
            Image.new("RGB", (8, 8), (40 * number, 0, 0)).save(tmp_path / "photos" / label / f"{number}.png")
    (tmp_path / "photos" / "a" / "9.png").write_bytes(b"no picture")
    source = open_source(tmp_path / "photos")
    square = Preprocessing.evaluation(8)
    assert not cached(source, source.samples, square).reused
    assert cached(source, source.samples, square).reused
    monkeypatch.setattr(cache_module, "REFUSES", cache_module.REFUSES + 1)
    assert not cached(source, source.samples, square).reused
    assert cached(source, source.samples, square).reused
