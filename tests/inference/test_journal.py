"""A table goes on where it was: with the rows that still hold, and no others."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from processes import Started
from resnets.architecture import ResNetSpec
from resnets.data.preprocess import Preprocessing
from resnets.errors import DataError, UnreadableError
from resnets.inference import Classifier, Outcome, pictures, seen, tables
from resnets.inference.bulk import predict_files
from resnets.network import create
from resnets.weights import Model, save

COLOURS = {"red": (255, 0, 0), "blue": (0, 0, 255)}


def model() -> Model:
    spec = ResNetSpec(depths=(1,), widths=(8,), stem="cifar", stem_width=8)
    network = create(spec, num_classes=3, seed=0)
    with torch.no_grad():
        network.get_parameter("head.linear.weight").mul_(100)
    return Model(network, ("ant", "bee", "cat"), Preprocessing.evaluation(8))


@pytest.fixture
def classifier() -> Classifier:
    return Classifier(model())


def paint(path: Path, colour: str, age: float = 100) -> None:
    """A picture of one colour and always the same size, of so many seconds ago."""
    Image.fromarray(np.full((8, 8, 3), COLOURS[colour], np.uint8)).save(path, format="BMP")
    os.utime(path, (time.time() - age,) * 2)


@pytest.fixture
def photos(tmp_path: Path) -> list[str]:
    (tmp_path / "photos").mkdir()
    for name in "abcd":
        paint(tmp_path / "photos" / f"{name}.bmp", "red")
    return [str(path) for path in sorted((tmp_path / "photos").iterdir())]


def fill(out: Path, classifier: Classifier, todo: list[str]) -> None:
    with tables.Journal(out, 1, {}) as journal:
        rest, _ = journal.review(todo)
        for outcome in predict_files(classifier, rest, top=1):
            journal.add(outcome)


def review(out: Path, pictures: list[str]) -> tuple[list[str | bytes], tables.Dropped]:
    with tables.Journal(out, 1, {}) as journal:
        return journal.review(pictures)


def in_place(path: Path) -> None:
    info = path.stat()
    paint(path, "blue")
    os.utime(path, ns=(info.st_atime_ns, info.st_mtime_ns))


def by_another(path: Path) -> None:
    info, other = path.stat(), path.with_name("other")
    paint(other, "blue")
    os.replace(other, path)
    os.utime(path, ns=(info.st_atime_ns, info.st_mtime_ns))


@pytest.mark.parametrize("replace", [in_place, by_another])
@pytest.mark.parametrize("settled", [True, False])
def test_a_replaced_picture_of_equal_size_and_time_is_done_again(
    tmp_path: Path,
    classifier: Classifier,
    photos: list[str],
    replace: Callable[[Path], None],
    settled: bool,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(seen, "COARSE", -1 if settled else seen.COARSE)
    fill(tmp_path / "t.csv", classifier, photos)
    size = os.path.getsize(photos[1])
    replace(Path(photos[1]))
    assert os.path.getsize(photos[1]) == size
    todo, dropped = review(tmp_path / "t.csv", photos)
    assert (todo, dropped) == ([photos[1]], tables.Dropped(replaced=1))
    assert str(dropped) == "of the rows that were there, done again: 1 whose file is another now"
    fill(tmp_path / "t.csv", classifier, photos)
    with tables.Journal(tmp_path / "t.csv", 1, {}) as journal:
        assert journal.review(photos) == ([], tables.Dropped())
        rows = {row.path: row for row in journal.rows()}
        assert len(list(journal.rows())) == len(photos)
    assert rows[photos[1]].top != rows[photos[0]].top


def test_a_clock_too_coarse_to_tell_is_not_believed(
    tmp_path: Path, classifier: Classifier, photos: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Written twice within one tick, all that the system says is equal: then the bytes are read."""
    monkeypatch.setattr(seen, "_stamp", lambda info: (info.st_size, 0, 0, 0))
    fill(tmp_path / "t.csv", classifier, photos)
    paint(Path(photos[2]), "blue")
    assert review(tmp_path / "t.csv", photos)[0] == [photos[2]]


def test_a_file_that_was_only_touched_or_copied_holds_and_is_not_read_where_nothing_changed(
    tmp_path: Path, classifier: Classifier, photos: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(seen, "COARSE", -1)
    fill(tmp_path / "t.csv", classifier, photos)
    os.utime(photos[0])
    Path(photos[1]).write_bytes(Path(photos[1]).read_bytes())
    read: list[str] = []
    digest_of = seen._digest_of
    monkeypatch.setattr(seen, "_digest_of", lambda path: (read.append(path), digest_of(path))[1])
    assert review(tmp_path / "t.csv", photos) == ([], tables.Dropped())
    assert read == photos[:2]


def test_read_errors_are_tried_again_and_broken_pictures_are_not(
    tmp_path: Path, classifier: Classifier, photos: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    Path(photos[0]).write_bytes(b"broken")
    good = pictures.opened

    def failing(path: str, stamp: object) -> object:
        if path == photos[3]:
            raise UnreadableError("cannot be read: Input/output error")
        return good(path, None)

    with monkeypatch.context() as patch:
        patch.setattr(pictures, "opened", failing)
        fill(tmp_path / "t.csv", classifier, photos)
    with tables.Journal(tmp_path / "t.csv", 1, {}) as journal:
        assert journal.failures == 2
        todo, dropped = journal.review(photos)
        assert (todo, dropped, journal.failures) == ([photos[3]], tables.Dropped(unread=1), 1)
        assert [row.path for row in journal.failed] == [photos[0]]


def test_rows_of_files_that_are_gone_are_left_out_and_come_back_with_them(
    tmp_path: Path, classifier: Classifier, photos: list[str]
) -> None:
    fill(tmp_path / "t.csv", classifier, photos)
    rest = photos[:-1]
    assert review(tmp_path / "t.csv", rest) == ([], tables.Dropped(gone=1))
    with tables.Journal(tmp_path / "t.csv", 1, {}) as journal:
        journal.review(rest)
        assert [row.path for row in journal.rows()] == rest
    assert review(tmp_path / "t.csv", photos) == ([], tables.Dropped()), "it was only not asked for"
    os.unlink(photos[-1])
    assert review(tmp_path / "t.csv", photos)[0] == photos[-1:], "a link to nowhere, say"


def test_a_path_that_is_a_pipe_now_is_not_waited_for(tmp_path: Path, classifier: Classifier, photos: list[str]) -> None:
    fill(tmp_path / "t.csv", classifier, photos)
    os.unlink(photos[0])
    os.mkfifo(photos[0])
    assert review(tmp_path / "t.csv", photos)[0] == photos[:1]


def test_a_journal_of_an_older_version_is_refused(tmp_path: Path) -> None:
    (tmp_path / "t.csv.partial").write_text('{"resnets table":2,"model":"abc"}\n["a.jpg",[["ant",1.0]],"",null,null]\n')
    with pytest.raises(DataError, match=r"t\.csv\.partial was begun by another version of resnets: remove it"):
        tables.Journal(tmp_path / "t.csv", 1, {"model": "abc"}).__enter__()
    (tmp_path / "t.csv.partial").write_text('{"resnets table":2,"model":"abc"}\n')
    with tables.Journal(tmp_path / "t.csv", 1, {"model": "abc"}) as journal:  # without rows it is nobody's
        assert list(journal.rows()) == []


def test_the_later_row_of_a_path_counts(tmp_path: Path) -> None:
    first, later = Outcome("a.jpg", (("ant", 1.0),)), Outcome("a.jpg", (("bee", 1.0),))
    with tables.Journal(tmp_path / "t.csv", 1, {}) as journal:
        journal.add(first)
        begun = journal.path.read_bytes()
    with tables.Journal(tmp_path / "u.csv", 1, {}) as journal:
        journal.add(later)
        end = journal.path.read_bytes().splitlines(keepends=True)[1]
    (tmp_path / "t.csv.partial").write_bytes(begun + end)
    with tables.Journal(tmp_path / "t.csv", 1, {}) as journal:
        assert list(journal.rows()) == [later]


def slow() -> None:
    add = tables.Journal.add
    tables.Journal.add = lambda self, row: (add(self, row), time.sleep(0.05))  # type: ignore[method-assign]


def test_the_command_says_what_it_dropped(tmp_path: Path) -> None:
    save(tmp_path / "m.safetensors", model())
    (tmp_path / "photos").mkdir()
    for number in range(40):
        paint(tmp_path / "photos" / f"{number:02}.bmp", "red")
    command = ("predict", "m.safetensors", "photos", "--out", "t.jsonl")
    process, partial = Started(*command, cwd=tmp_path, before=slow), tmp_path / "t.jsonl.partial"
    while process.poll() is None and (not partial.exists() or partial.read_bytes().count(b"\n") < 12):
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    process.communicate(60)
    by_another(tmp_path / "photos" / "03.bmp")
    (tmp_path / "photos" / "05.bmp").unlink()
    process = Started(*command, cwd=tmp_path)
    _, err = process.communicate(60)
    assert process.returncode == 0, err
    assert (
        "of the rows that were there, done again: 1 whose file is another now, "
        "left out: 1 whose file is gone, or not asked for\n"
    ) in err
    lines = (tmp_path / "t.jsonl").read_text().splitlines()
    assert len(lines) == len(set(lines)) == 39
    assert not any("05.bmp" in line for line in lines)
