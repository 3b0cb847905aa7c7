"""A file's identity is its content: read once, remembered, the same wherever it lies and whatever it is called."""

from __future__ import annotations

import io
import os
import shutil
import tarfile
import zipfile
from pathlib import Path

import pytest

from resnets.data.identity import LARGE, SIZE, digest_of
from resnets.data.open import open_source
from resnets.data.source import Source
from resnets.machine import home

FILES = {"cat/1.jpg": b"one", "cat/2.jpg": b"two" * 999, "dog/1.jpg": b"three", "dog/2.jpg": b"one"}
LONG_AGO = 1_000_000_000


@pytest.fixture(autouse=True)
def own_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RESNETS_HOME", str(tmp_path / "home"))


def folder(path: Path, files: dict[str, bytes] = FILES) -> Path:
    for key, data in files.items():
        (path / key).parent.mkdir(parents=True, exist_ok=True)
        (path / key).write_bytes(data)
    return path


def archive(path: Path, files: dict[str, bytes] = FILES) -> Path:
    if path.suffix == ".zip":
        with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as packed:
            for key, data in files.items():
                packed.writestr(f"photos/{key}", data)
        return path
    with tarfile.open(path, "w") as packed:
        for key, data in files.items():
            info = tarfile.TarInfo(key)
            info.size = len(data)
            packed.addfile(info, io.BytesIO(data))
    return path


def settled(monkeypatch: pytest.MonkeyPatch) -> None:
    """As if nothing had been changed within the last seconds: a test cannot set a file's time of change."""
    monkeypatch.setattr("resnets.data.identity.SETTLED", -(10**18))


def counted(source: Source) -> list[str]:
    """The keys that are read of a source from here on."""
    keys, read = [], source.read

    def spy(key: str) -> bytes:
        keys.append(key)
        return read(key)

    source.read = spy  # type: ignore[method-assign]
    return keys


def test_the_fingerprint_is_that_of_the_content(tmp_path: Path) -> None:
    first = open_source(folder(tmp_path / "a"))
    assert first.contents == {key: digest_of(data) for key, data in FILES.items()}
    same = [folder(tmp_path / "b"), archive(tmp_path / "c.zip"), archive(tmp_path / "d.tar")]
    renamed = {f"{key[:4]}another {number}.png": FILES[key] for number, key in enumerate(reversed(FILES))}
    same.append(folder(tmp_path / "renamed", renamed))
    for path in (tmp_path / "b").rglob("*.jpg"):
        os.utime(path, (LONG_AGO, LONG_AGO))
    assert {open_source(path).fingerprint for path in same} == {first.fingerprint}


@pytest.mark.parametrize(
    "files",
    [
        {**FILES, "cat/1.jpg": b"ONE"},
        {**FILES, "cat/3.jpg": b"one"},
        {key: data for key, data in FILES.items() if key != "cat/1.jpg"},
        {("cat/9.jpg" if key == "dog/1.jpg" else key): data for key, data in FILES.items()},
        {f"{split}/{key}": data for split in ("train", "val") for key, data in FILES.items()},
    ],
    ids=["changed", "added", "removed", "in another class", "in splits"],
)
def test_other_data_has_another_fingerprint(files: dict[str, bytes], tmp_path: Path) -> None:
    assert open_source(folder(tmp_path / "a", files)).fingerprint != open_source(folder(tmp_path / "b")).fingerprint


@pytest.mark.parametrize("kind", ["folder", "zip", "tar"])
def test_a_second_opening_reads_nothing(kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    settled(monkeypatch)
    path = folder(tmp_path / "photos") if kind == "folder" else archive(tmp_path / f"photos.{kind}")
    first = open_source(path)
    assert len(counted(first)) == 0, "listing reads nothing"
    keys = counted(first)
    wanted = first.fingerprint
    assert sorted(keys) == [sample.key for sample in first.samples]
    again = open_source(path)
    keys = counted(again)
    assert again.fingerprint == wanted
    assert keys == []


def test_only_what_has_changed_is_read_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    settled(monkeypatch)
    photos = folder(tmp_path / "photos")
    wanted = open_source(photos).fingerprint
    os.utime(photos / "cat" / "1.jpg")
    (photos / "dog" / "3.jpg").write_bytes(b"new")
    source = open_source(photos)
    keys = counted(source)
    assert source.fingerprint != wanted
    assert sorted(keys) == ["cat/1.jpg", "dog/3.jpg"]


def test_equal_size_and_time_do_not_make_equal_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """`cp -p` of another picture of the same size over one: its number or its own time of change tells."""
    settled(monkeypatch)
    photos = folder(tmp_path / "photos")
    open_source(photos).contents  # noqa: B018
    path = photos / "cat" / "1.jpg"
    times = path.stat()
    path.write_bytes(b"ONE")
    os.utime(path, ns=(times.st_atime_ns, times.st_mtime_ns))
    assert open_source(photos).contents["cat/1.jpg"] == digest_of(b"ONE")


def test_what_was_just_written_is_not_remembered(tmp_path: Path) -> None:
    photos = folder(tmp_path / "photos")
    open_source(photos).contents  # noqa: B018
    source = open_source(photos)
    keys = counted(source)
    source.contents  # noqa: B018
    assert sorted(keys) == sorted(FILES)


@pytest.mark.parametrize(
    "damage",
    [
        lambda path: path.write_bytes(b""),
        lambda path: path.write_bytes(path.read_bytes()[:-1]),
        lambda path: path.write_bytes(bytes(len(path.read_bytes()))),
        lambda path: path.write_bytes(path.read_bytes()[:-40] + b"?" + path.read_bytes()[-39:]),
        lambda path: (path.unlink(), os.mkfifo(path)),
        lambda path: (path.unlink(), path.mkdir()),
    ],
    ids=["empty", "cut", "zeros", "one byte", "pipe", "folder"],
)
def test_a_damaged_index_is_made_again(damage, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    settled(monkeypatch)
    photos = folder(tmp_path / "photos")
    wanted = open_source(photos).contents
    (path,) = (home() / "contents").iterdir()
    damage(path)
    assert open_source(photos).contents == wanted
    if path.is_file():
        source = open_source(photos)
        keys = counted(source)
        assert source.contents == wanted
        assert keys == []


def test_a_home_that_cannot_be_written_only_costs_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    settled(monkeypatch)
    (tmp_path / "home").write_text("a file in the way")
    assert open_source(folder(tmp_path / "photos")).contents["cat/1.jpg"] == digest_of(b"one")


def test_an_index_forgets_files_that_are_gone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    settled(monkeypatch)
    photos = folder(tmp_path / "photos")
    for _ in range(5):
        for path in photos.rglob("*.jpg"):
            path.write_bytes(path.read_bytes())
        open_source(photos).contents  # noqa: B018
    (path,) = (home() / "contents").iterdir()
    assert path.stat().st_size == len(FILES) * 2 * SIZE + 32


def test_files_that_cannot_be_read_are_no_copies_of_one_another(tmp_path: Path) -> None:
    photos = folder(tmp_path / "photos")
    for name in ("a.jpg", "b.jpg"):
        (photos / "cat" / name).symlink_to("nowhere")
    found = open_source(photos).contents
    assert len({found["cat/a.jpg"], found["cat/b.jpg"], digest_of(b"")}) == 3


def test_large_files_are_read_too(tmp_path: Path) -> None:
    photos = folder(
        tmp_path / "photos", {**FILES, "cat/large.jpg": bytes(LARGE + 1), "dog/large.jpg": b"1" * (LARGE + 1)}
    )
    assert open_source(photos).contents["cat/large.jpg"] == digest_of(bytes(LARGE + 1))


def test_a_copy_of_the_folder_is_known_by_its_content(tmp_path: Path) -> None:
    first = open_source(folder(tmp_path / "photos"))
    copy = open_source(shutil.copytree(tmp_path / "photos", tmp_path / "elsewhere" / "copy"))
    assert copy.fingerprint == first.fingerprint
    assert copy.fingerprint_before != ""
