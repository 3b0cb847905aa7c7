"""Several files that belong together: staged beside their places, and all on the disk before the first is taken."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from resnets.errors import ModelFileError, WriteError
from resnets.whole import staged


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
