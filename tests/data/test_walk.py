"""The walk that all verbs share: links, what is nobody's data, and what is no file."""

from __future__ import annotations

import json
import os
import socket
from pathlib import Path

import pytest

from resnets.data.open import open_source
from resnets.data.walk import Found, walk
from resnets.errors import DataError, ImageError
from resnets.inference.bulk import files_of
from resnets.regular import IrregularError, bounded, check_regular, open_regular, read_regular

RECORD = {"asked": {"data": "digits", "network": None}, "network": "resnet18"}


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    for key in ("cat/1.jpg", "cat/2.jpg", "dog/1.jpg", "dog/old/2.jpg"):
        put(tmp_path / "photos", key)
    return tmp_path / "photos"


def put(folder: Path, key: str, text: str = "x") -> Path:
    (folder / key).parent.mkdir(parents=True, exist_ok=True)
    (folder / key).write_text(text)
    return folder / key


def used(folder: Path) -> list[str]:
    """The keys that training, doctor and evaluate use, which are those that predict does."""
    failed: list = []
    files = [os.path.relpath(path, folder) for path in files_of([str(folder)], failed)]
    assert not failed
    source = open_source(folder)
    assert sorted(files) == sorted([*(sample.key for sample in source.samples), *source.beside])
    return files


def test_the_order_is_files_and_then_folders_by_name(photos: Path) -> None:
    put(photos, "a.jpg")
    put(photos, "cat/z/1.jpg")
    put(photos, "cat/b/1.jpg")
    assert used(photos) == [
        *("a.jpg", "cat/1.jpg", "cat/2.jpg", "cat/b/1.jpg", "cat/z/1.jpg", "dog/1.jpg", "dog/old/2.jpg"),
    ]


CLUTTER = (
    *("@eaDir/1.jpg/SYNOPHOTO_THUMB_M.jpg", "cat/@eaDir/1.jpg", "__MACOSX/cat/._1.jpg", ".ipynb_checkpoints/1.jpg"),
    *("Thumbs.db", "cat/thumbs.db", "$RECYCLE.BIN/1.jpg", "System Volume Information/x", "lost+found/1.jpg"),
    *("#recycle/cat/1.jpg", ".Trash-1000/files/1.jpg", ".Trashes/1.jpg", "desktop.ini", "cat/ehthumbs.db", ".DS_Store"),
    *(
        "cat/._1.jpg",
        "Icon\r",
        "cat/Icon\r",
        "@Recycle/1.jpg",
        "#snapshot/cat/1.jpg",
        "__pycache__/x.pyc",
        "@tmp/1.jpg",
    ),
)


@pytest.mark.parametrize("clutter", CLUTTER)
def test_what_systems_leave_behind_is_no_data(photos: Path, clutter: str) -> None:
    before = used(photos)
    put(photos, clutter)
    assert used(photos) == before
    assert not open_source(photos).remarks


def test_folders_of_runs_and_caches_are_no_data(photos: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = used(photos)
    put(photos, "runs/photos-resnet18/run.json", json.dumps(RECORD))
    put(photos, "runs/photos-resnet18/curves.png")
    put(photos, "mine/model.jpg")
    put(photos, "mine/run.json", json.dumps(RECORD, indent=1))
    monkeypatch.setenv("RESNETS_HOME", str(photos / "home"))
    put(photos, "home/cache/1.jpg")
    assert used(photos) == before
    assert open_source(photos).remarks == (
        "home/ holds the caches of resnets: left out.",
        "mine/, runs/photos-resnet18/ is the folder of a run: left out.",
    )
    with pytest.raises(DataError, match="mine/ is the folder of a run"):
        open_source(f"{photos}/mine/")


def test_somebody_elses_run_json_is_only_a_file(photos: Path) -> None:
    for text in ("{}", '{"asked": 1}', "no json", ""):
        put(photos, "emu/1.jpg")
        put(photos, "emu/run.json", text)
        assert "emu/1.jpg" in used(photos)


def test_links_are_followed_and_loops_are_named(photos: Path, tmp_path: Path) -> None:
    put(tmp_path, "elsewhere/1.jpg")
    (photos / "emu").symlink_to(tmp_path / "elsewhere")
    (photos / "cat/one.jpg").symlink_to(tmp_path / "elsewhere/1.jpg")
    assert {"emu/1.jpg", "cat/one.jpg"} <= set(used(photos))
    (photos / "cat/loop").symlink_to(photos)
    (photos / "cat/self").symlink_to(photos / "cat/self")
    failed: list = []
    assert "emu/1.jpg" in [os.path.relpath(path, photos) for path in files_of([str(photos)], failed)]
    assert [(os.path.relpath(one.path, photos), one.why) for one in failed] == [
        ("cat/self", "it is a symbolic link to itself: remove it"),
        ("cat/loop", "it leads back to a folder that it lies in: remove that symbolic link"),
    ]
    with pytest.raises(DataError, match=r"cat/self is a symbolic link to itself: remove it\."):
        open_source(photos)


def test_links_that_make_millions_of_paths_are_stopped(tmp_path: Path) -> None:
    for number in range(30):
        (tmp_path / f"set/{number}").mkdir(parents=True)
        for name in "ab":
            (tmp_path / f"set/{number}/{name}").symlink_to(tmp_path / f"set/{number + 1}")
    put(tmp_path, "set/30/1.jpg")
    found = list(walk(str(tmp_path / "set")))
    assert len(found) < 10_000
    with pytest.raises(DataError, match="is reached over more than 100 links: remove some of them"):
        open_source(tmp_path / "set")


def odd(folder: Path) -> dict[str, str]:
    """Make a pipe, a socket and, where the system lets us, a link to a device; what they are called."""
    os.mkfifo(folder / "pipe.jpg")
    with socket.socket(socket.AF_UNIX) as made:
        made.bind(str(folder / "socket.jpg"))
    (folder / "zero.jpg").symlink_to("/dev/zero")
    return {"pipe.jpg": "a pipe", "socket.jpg": "a socket", "zero.jpg": "a device"}


def test_what_is_no_file_is_named_and_never_opened(photos: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(photos / "cat")  # a socket's path is short
    kinds = odd(Path())
    (photos / "cat/gone.jpg").symlink_to(photos / "nowhere")
    source = open_source(photos)
    for name, kind in kinds.items():
        with pytest.raises(ImageError, match=f"^it is {kind}, not a file$"):
            source.read(f"cat/{name}")
    with pytest.raises(ImageError, match="cannot be read: No such file"):
        source.read("cat/gone.jpg")
    failed: list = []
    assert "cat/gone.jpg" in [os.path.relpath(path, photos) for path in files_of([str(photos)], failed)]
    assert {os.path.basename(one.path): one.why for one in failed} == {
        name: f"it is {kind}, not a file" for name, kind in kinds.items()
    }


def test_nothing_but_a_regular_file_is_opened(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for name, kind in odd(tmp_path).items():
        for attempt in (check_regular, open_regular, lambda path: read_regular(path, 10)):
            with pytest.raises(IrregularError) as caught:
                attempt(name)
            assert caught.value.strerror == f"it is {kind}, not a file"
    for attempt in (check_regular, open_regular):
        with pytest.raises(IsADirectoryError):
            attempt(tmp_path)
        with pytest.raises(FileNotFoundError):
            attempt(tmp_path / "nothing")


def test_a_file_that_becomes_a_pipe_between_two_looks_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = put(tmp_path, "1.jpg")
    os.mkfifo(tmp_path / "pipe")
    before, opening = set(os.listdir("/proc/self/fd")), os.open

    def swapped(name: Path, flags: int) -> int:
        os.replace(tmp_path / "pipe", path)
        return opening(name, flags)

    monkeypatch.setattr(os, "open", swapped)
    with pytest.raises(IrregularError, match="pipe"):
        open_regular(path)
    assert set(os.listdir("/proc/self/fd")) == before


def test_reads_are_bounded(tmp_path: Path) -> None:
    path = put(tmp_path, "1", "0123456789")
    assert read_regular(path, 10) == b"0123456789"
    with pytest.raises(OSError, match="it has more than 9 bytes"):
        read_regular(path, 9)
    with open(path, "rb") as file:
        assert bounded(file, 4) == b"01234"
        assert bounded(file, 100) == b"56789"
    assert len(read_regular("/proc/self/status", 2**20)) > 100  # which has no size


def test_found_is_what_lies_there(photos: Path) -> None:
    (photos / "emu").mkdir()
    found = {one.key: one for one in walk(str(photos))}
    info = os.stat(photos / "cat/1.jpg")
    assert found["cat/1.jpg"] == Found("cat/1.jpg", "file", 1, info.st_mtime_ns)
    assert found["emu/"] == Found("emu/", "empty")


def test_a_stream_is_read_to_its_bound() -> None:
    ours, theirs = os.pipe()
    with open(ours, "rb") as file:
        if (child := os.fork()) == 0:
            os.close(ours)
            os.write(theirs, bytes(3 * 2**20))
            os._exit(0)
        os.close(theirs)
        assert len(bounded(file, 2**20 + 5)) == 2**20 + 6
        assert len(bounded(file, 2**30)) == 3 * 2**20 - (2**20 + 6)
    os.waitpid(child, 0)
