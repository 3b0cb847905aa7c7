"""Several files that belong together: staged beside their places, and all on the disk before the first is taken."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from resnets import whole as whole_module
from resnets.errors import ModelFileError, WriteError
from resnets.whole import STALE, staged, sweep, whole, workspace, write_text


def names(folder: Path) -> set[str]:
    return {str(path.relative_to(folder)) for path in folder.rglob("*")}


def write(path: Path) -> list[Path]:
    """Two files and a folder of one, as a writer would: what a reader looks for first is named first."""
    inside = path.with_name("folder") / "inside"
    inside.parent.mkdir()
    parts = [path, path.with_suffix(".bin"), inside]
    for part in parts:
        part.write_text(f"new {part.name}")
    return parts


def stage_all(path: Path, then: Callable[[], object] = lambda: None) -> None:
    with staged(path) as stage:
        stage.parts = write(stage.path)
        then()


def test_all_take_their_places_and_what_is_looked_for_first_comes_last(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "net.xml").write_text("old")
    done: list[str] = []
    replace, fsync = os.replace, os.fsync
    monkeypatch.setattr(os, "replace", lambda old, new: (done.append(Path(new).name), replace(old, new))[1])
    monkeypatch.setattr(os, "fsync", lambda opened: (done.append("fsync"), fsync(opened))[1])
    with staged(tmp_path / "net.xml") as stage:
        stage.parts = write(stage.path)
        assert (tmp_path / "net.xml").read_text() == "old"
    assert stage.places == (tmp_path / "net.xml", tmp_path / "net.bin", tmp_path / "folder" / "inside")
    assert done == ["fsync"] * 3 + ["inside", "net.bin", "net.xml"] + ["fsync"] * 2
    assert names(tmp_path) == {"net.xml", "net.bin", "folder", "folder/inside"}
    assert (tmp_path / "net.xml").read_text() == "new net.xml"


def test_a_check_that_refuses_a_place_leaves_everything_as_it_was(tmp_path: Path) -> None:
    (tmp_path / "net.bin").write_text("somebody else's")

    def refuse(place: Path) -> None:
        if place.exists():
            raise ModelFileError(f"{place} is there.")

    with pytest.raises(ModelFileError, match=r"net\.bin is there"), staged(tmp_path / "net.xml", refuse) as stage:
        stage.parts = write(stage.path)
    assert names(tmp_path) == {"net.bin"}
    assert (tmp_path / "net.bin").read_text() == "somebody else's"


@pytest.mark.parametrize("call", ["fsync", "replace", "mkdir"])
def test_what_the_system_does_not_take_is_one_sentence_that_names_the_place(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, call: str
) -> None:
    (tmp_path / "net.xml").write_text("old")

    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    with pytest.raises(WriteError, match=r"net\.xml cannot be written \(No space left on device\)") as problem:
        stage_all(tmp_path / "net.xml", then=lambda: monkeypatch.setattr(os, call, full))
    assert str(tmp_path / "net.xml") in str(problem.value)
    assert (tmp_path / "net.xml").read_text() == "old"
    assert not [name for name in names(tmp_path) if name.startswith(".")]


def test_an_error_in_between_leaves_nothing_behind(tmp_path: Path) -> None:
    with pytest.raises(ZeroDivisionError):
        stage_all(tmp_path / "net.xml", then=lambda: 1 // 0)
    assert names(tmp_path) == set()


# What killed writers leave ----------------------------------------------------------------------------------


def aged(path: Path, seconds: float) -> Path:
    for one in [*path.rglob("*"), path]:
        os.utime(one, (time.time() - seconds,) * 2)
    return path


def killed(folder: Path, kind: str) -> Path:
    """What a writer leaves that is killed with -9, an hour and more ago."""
    code = (
        "import os, signal, sys; from pathlib import Path; from resnets.whole import staged, whole\n"
        f"with {kind}(Path(sys.argv[1]) / 'net.xml') as file:\n"
        "    file.write(b'half') if hasattr(file, 'write') else file.path.write_text('half')\n"
        "    os.kill(os.getpid(), signal.SIGKILL)"
    )
    subprocess.run([sys.executable, "-c", code, str(folder)], check=False)
    (left,) = (path for path in folder.iterdir() if path.name.startswith(".net.xml."))
    return left


@pytest.mark.parametrize("kind", ["whole", "staged"])
def test_what_a_killed_writer_left_goes_with_the_next_that_writes_there(
    tmp_path: Path, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(whole_module, "_swept", set())
    young = killed(tmp_path, kind).rename(tmp_path / f".young.xml.0123abcd.part{'s' if kind == 'staged' else ''}")
    left = aged(killed(tmp_path, kind), STALE + 9)
    strangers = ".git.parts", ".x.0123abcd.partial", "x.0123abcd.part", ".x.0123ABCD.part", "model.onnx.part"
    for name in strangers:
        (tmp_path / name).write_text("theirs")
        aged(tmp_path / name, STALE + 9)
    (tmp_path / ".link.0123abcd.part").symlink_to(tmp_path / "x.0123abcd.part")
    write_text(tmp_path / "new.txt", "new")
    assert not left.exists()
    assert names(tmp_path) >= {young.name, "new.txt", ".link.0123abcd.part", *strangers}
    aged(young, STALE + 9)
    write_text(tmp_path / "new.txt", "newer")
    assert young.exists(), "a folder is looked through once"


@pytest.mark.parametrize("kind", [whole, staged])
def test_what_a_living_writer_holds_stays_however_old(
    tmp_path: Path, kind: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    with kind(tmp_path / "net.xml"):
        (held,) = tmp_path.iterdir()
        aged(held, 100 * STALE)
        monkeypatch.setattr(whole_module, "_swept", set())
        sweep(tmp_path)
        assert held.exists()
    assert names(tmp_path) - {"net.xml"} == set()


def test_another_users_files_stay(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    left = aged(killed(tmp_path, "whole"), STALE + 9)
    monkeypatch.setattr(whole_module, "_swept", set())
    monkeypatch.setattr(os, "geteuid", lambda: os.getuid() + 1)
    sweep(tmp_path)
    assert left.exists()


def test_a_workspace_is_swept_like_the_others(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    monkeypatch.setattr(whole_module, "_swept", set())
    left = tmp_path / ".resnets.0123abcd.parts"
    left.mkdir()
    (left / "raw.onnx").write_text("big")
    aged(left, STALE + 9)
    with workspace() as folder:
        (folder / "raw.onnx").write_text("big")
        assert list(tmp_path.iterdir()) == [folder]
    assert list(tmp_path.iterdir()) == []


def test_what_is_private_stays_so_when_it_is_replaced(tmp_path):
    place = tmp_path / "table.csv"
    place.write_text("old")
    place.chmod(0o600)
    write_text(place, "new")
    assert (place.read_text(), place.stat().st_mode & 0o777) == ("new", 0o600)
    place.chmod(0o666)  # and what all may write does not
    write_text(place, "newer")
    assert place.stat().st_mode & 0o002 == 0


@pytest.mark.skipif(sys.platform == "win32", reason="no flock")
@pytest.mark.parametrize("number", [errno.ENOSYS, errno.ENOLCK, errno.EOPNOTSUPP])
def test_a_disk_without_locks_is_no_obstacle(tmp_path, monkeypatch, number):
    """NFS without its daemon, Lustre without an option."""
    import fcntl

    def none(*_):
        raise OSError(number, "no locks here")

    monkeypatch.setattr(fcntl, "flock", none)
    with (tmp_path / "a").open("wb") as file:
        whole_module.lock(file.fileno())
        whole_module.lock(file.fileno(), wait=True)
