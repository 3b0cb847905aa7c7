"""From files to labels: order, bounds, and tables that no kill can harm."""

from __future__ import annotations

import csv
import errno
import fcntl
import json
import os
import random
import signal
import sys
import threading
import time
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from processes import Started
from resnets.architecture import ResNetSpec
from resnets.data.preprocess import Preprocessing
from resnets.errors import DataError, ResnetsError
from resnets.inference import Classifier, Outcome, pictures, table_files, tables
from resnets.inference.bulk import files_of, predict_files
from resnets.network import create
from resnets.text import original
from resnets.weights import Model, save

CLASSES = ("ant", "bee", "cat")
TINY = ResNetSpec(depths=(1,), widths=(8,), stem="cifar", stem_width=8)
IDENTITY = {"model": "abc", "top": 2}
GOOD = Outcome("a/b.jpg", (("ant", 0.75), ("cat", 0.25)), "", ("ant", "cat"), False)
SHORT = Outcome('c,"d".jpg', (("bee", 1.0),))
BAD = Outcome("e.jpg", (), "not an image")


def model(seed: int = 0) -> Model:
    network = create(TINY, num_classes=len(CLASSES), seed=seed)
    with torch.no_grad():
        network.get_parameter("head.linear.weight").mul_(100)
    return Model(network, CLASSES, Preprocessing.evaluation(8))


@pytest.fixture
def classifier() -> Classifier:
    return Classifier(model())


def fill(folder: Path, count: int) -> Path:
    """A folder of pictures of noise, every twentieth of which is broken."""
    folder.mkdir()
    random_pixels = np.random.default_rng(0)
    for number in range(count):
        path = folder / f"{number:04d}.jpg"
        if number % 20 == 7:
            path.write_bytes(b"broken")
        else:
            Image.fromarray(random_pixels.integers(0, 256, (12, 16, 3)).astype(np.uint8)).save(path)
    return folder


# prediction -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("fast", [False, True])
def test_rows_come_in_the_order_of_the_files(classifier, tmp_path, fast):
    if fast:
        pytest.importorskip("simplejpeg")
    paths = [str(path) for path in sorted(fill(tmp_path / "photos", 50).iterdir())]
    random.Random(0).shuffle(paths)
    rows = list(predict_files(classifier, paths, top=2, fast=fast))
    assert [row.path for row in rows] == paths
    for row in rows:
        if row.why:
            assert row == Outcome(row.path, (), "not an image (starts with 'broken')")
        else:
            (wanted,) = classifier.predict([row.path], top=2)
            assert [name for name, _ in row.top] == [name for name, _ in wanted.top] or fast
            assert [p for _, p in row.top] == pytest.approx([p for _, p in wanted.top], abs=0.2 if fast else 1e-6)
    assert sum(bool(row.why) for row in rows) == 3


def test_a_picture_itself_goes_by_the_name_of_standard_input(classifier, tmp_path):
    path = fill(tmp_path / "photos", 1) / "0000.jpg"
    piped, named = predict_files(classifier, [path.read_bytes(), str(path)])
    assert (piped.path, named.path) == ("-", str(path))
    assert piped.top == named.top


def test_as_many_pictures_are_open_at_once_as_there_are_threads(classifier, tmp_path, monkeypatch):
    path = fill(tmp_path / "photos", 1) / "0000.jpg"
    lock, now, most = threading.Lock(), 0, 0

    def read(preprocessing, data):
        nonlocal now, most
        with lock:
            now += 1
            most = max(most, now)
        time.sleep(0.002)
        with lock:
            now -= 1
        return preprocessing.pixels(Image.new("RGB", (9, 9)))

    monkeypatch.setattr(pictures.Preprocessing, "read", read)
    assert len(list(predict_files(classifier, [str(path)] * 100, threads=3))) == 100
    assert most == 3


def test_files_are_taken_as_they_are_needed(classifier, tmp_path):
    path = str(fill(tmp_path / "photos", 1) / "0000.jpg")
    taken = []

    def endless():
        while True:
            taken.append(None)
            yield path

    rows = predict_files(classifier, endless(), batch_size=4)
    for seen in range(1, 30):
        next(rows)
        assert len(taken) <= seen + 3 * 4
    rows.close()


def test_what_names_mean(tmp_path, monkeypatch):
    monkeypatch.chdir(fill(tmp_path / "photos", 3))
    (tmp_path / "photos" / "empty").mkdir()
    failed: list[Outcome] = []
    assert list(files_of(["0001.jpg", ".", "*2.jpg", "no.jpg", "*.png", "empty"], failed)) == [
        *("0001.jpg", "./0000.jpg", "./0001.jpg", "./0002.jpg", "0002.jpg")
    ]
    assert failed == [
        Outcome("no.jpg", (), "there is no such file"),
        Outcome("*.png", (), "nothing matches"),
        Outcome("empty", (), "the folder has no files in it"),
    ]


# tables ---------------------------------------------------------------------------------------------------


def journal(out: Path, **identity: object) -> tables.Journal:
    return tables.Journal(out, 2, {**IDENTITY, **identity})


def read(path: Path) -> list[dict]:
    """The rows of a table of any kind, with None for what there is not."""
    if path.suffix == ".csv":
        with open(path, newline="", encoding="utf-8") as file:
            return [
                {key: (float(value) if "prob" in key else value) if value else None for key, value in row.items()}
                for row in csv.DictReader(file)
            ]
    if path.suffix == ".jsonl":
        return [json.loads(line) for line in path.read_text().splitlines()]
    return pytest.importorskip("pyarrow.parquet").read_table(path).to_pylist()


@pytest.mark.parametrize("kind", [".csv", ".jsonl", ".parquet", ".CSV"])
def test_a_table_has_one_row_for_each_path(tmp_path, kind, monkeypatch):
    if kind == ".parquet":
        pytest.importorskip("pyarrow")
    monkeypatch.setattr(table_files, "GROUP", 2)
    out = tmp_path / f"table{kind}"
    out.write_text("what stood there before")
    with journal(out) as table:
        for row in (GOOD, BAD, SHORT, GOOD, BAD):
            table.add(row)
        assert list(table.rows()) == [GOOD, BAD, SHORT]
        assert (table.failures, table.failed) == (1, [BAD])
        assert GOOD.path in table
        assert "z.jpg" not in table
        assert out.read_text() == "what stood there before", "until all rows are there"
        table.finish()
    good, bad, short = read(out.rename(tmp_path / f"t{kind.lower()}"))
    assert list(good) == ["path", "name_1", "probability_1", "name_2", "probability_2", "unsure", "unlike", "why"]
    said = ("True", "False") if kind.lower() == ".csv" else (True, False)
    assert list(good.values()) == ["a/b.jpg", "ant", 0.75, "cat", 0.25, *said, None]
    assert list(bad.values()) == ["e.jpg", *[None] * 6, "not an image"]
    assert list(short.values()) == ['c,"d".jpg', "bee", 1.0, *[None] * 5]
    assert len(list(tmp_path.iterdir())) == 1, "nothing else is left behind"


@pytest.mark.parametrize("kind", [".csv", ".jsonl", ".parquet"])
def test_names_that_are_not_utf8_survive(tmp_path, kind):
    if kind == ".parquet":
        pytest.importorskip("pyarrow")
    odd = os.fsdecode(b"\xff.jpg")
    with journal(tmp_path / f"t{kind}") as table:
        table.add(Outcome(odd, ((odd, 1.0),)))
    with journal(tmp_path / f"t{kind}") as table:
        assert odd in table
        table.finish()
    (row,) = read(tmp_path / f"t{kind}")
    assert (row["path"], row["name_1"]) == (r"\xff.jpg", r"\xff.jpg")
    assert original(row["path"]) == odd


def test_every_torn_journal_goes_on(tmp_path):
    out = tmp_path / "t.jsonl"
    rows = [GOOD, BAD, SHORT]
    with journal(out) as table:
        for row in rows:
            table.add(row)
    whole = table.path.read_bytes()
    ends = [len(b"".join(whole.splitlines(keepends=True)[: 1 + n])) for n in range(4)]
    for cut in range(len(whole) + 1):
        table.path.write_bytes(whole[:cut])
        with journal(out) as again:
            kept = sum(end <= cut for end in ends[1:])
            assert list(again.rows()) == rows[:kept], cut
            for row in rows:
                again.add(row)
            assert list(again.rows()) == rows, cut
            assert again.failures == 1
        assert table.path.read_bytes() == whole, cut


@pytest.mark.parametrize(
    "damage", [b"\0" * 30, b"[1,2,3]\n", b"{}\n", b'["p",[["ant"]],""]\n', b"\xff\xff\n", b'["p",7,""]\n']
)
def test_a_damaged_journal_is_cut_at_the_damage(tmp_path, damage):
    out = tmp_path / "t.csv"
    with journal(out) as table:
        table.add(GOOD)
    with open(table.path, "ab") as file:
        file.write(damage + b'["late.jpg",[],"why"]\n')
    with journal(out) as again:
        assert list(again.rows()) == [GOOD]
        assert "late.jpg" not in again


def test_rows_from_something_else_are_not_mixed(tmp_path):
    out = tmp_path / "t.csv"
    with journal(out) as table:
        table.add(GOOD)
    before = table.path.read_bytes()
    for changed, said in (({"top": 3}, "another top:"), ({"model": "xyz", "top": 3}, "another model and another top:")):
        with pytest.raises(DataError, match=rf"t\.csv\.partial was begun with {said} finish it with the same"):
            journal(out, **changed).__enter__()
    assert table.path.read_bytes() == before
    table.path.write_text("a letter\n")
    with pytest.raises(DataError, match=r"t\.csv\.partial is not the beginning of a table: remove it"):
        journal(out).__enter__()
    assert table.path.read_text() == "a letter\n"


def test_one_process_at_a_time(tmp_path):
    out = tmp_path / "t.csv"
    with journal(out) as table:
        table.add(GOOD)
        with pytest.raises(DataError, match=r"Another process is writing .*t\.csv: wait for it"):
            journal(out).__enter__()
        assert list(table.rows()) == [GOOD]
    with journal(out) as table:
        table.finish()


def test_a_journal_that_vanished_before_it_was_held_is_made_anew(tmp_path, monkeypatch):
    """Another process finishes the table between our opening of its journal and our locking of it."""
    out = tmp_path / "t.csv"
    with journal(out) as table:
        table.add(GOOD)
    flock = fcntl.flock

    def late(file, how):
        monkeypatch.setattr(fcntl, "flock", flock)
        table.path.unlink()
        flock(file, how)

    monkeypatch.setattr(fcntl, "flock", late)
    with journal(out) as again:
        again.add(BAD)
        assert list(again.rows()) == [BAD]
        again.finish()
    assert out.read_text().count("\n") == 2


def test_many_failures_are_counted_and_ten_are_kept(tmp_path):
    with journal(tmp_path / "t.csv") as table:
        for number in range(25):
            table.add(Outcome(f"{number}.jpg", (), "empty file"))
    assert (table.failures, len(table.failed)) == (25, 10)


def test_tables_that_cannot_be_written_are_named_at_once(tmp_path, monkeypatch):
    for name, said in (
        ("t.xlsx", r"ends in \.parquet, \.csv, \.jsonl"),
        ("no/t.csv", "There is no folder"),
    ):
        with pytest.raises(DataError, match=said):
            tables.check(tmp_path / name)
    monkeypatch.setitem(sys.modules, "pyarrow.parquet", None)
    with pytest.raises(ResnetsError, match=r'pip install "resnets\[parquet\]"'):
        tables.check(tmp_path / "t.parquet")


def test_a_full_disk_is_one_sentence_and_costs_nothing(tmp_path, monkeypatch):
    def full(_):
        raise OSError(errno.ENOSPC, "No space left on device")

    with journal(tmp_path / "t.csv") as table:
        table.add(GOOD)
        with monkeypatch.context() as patch:
            patch.setattr(os, "fsync", full)
            with pytest.raises(DataError, match=r"t\.csv cannot be written \(No space left"):
                table.finish()
        assert list(table.rows()) == [GOOD]
        table.finish()
    assert len(list(tmp_path.iterdir())) == 1


# the command, killed ---------------------------------------------------------------------------------------


def test_a_killed_command_goes_on_and_loses_and_doubles_no_row(tmp_path):
    kind = "parquet" if find_spec("pyarrow") else "csv"
    save(tmp_path / "model.safetensors", model())
    photos = fill(tmp_path / "photos", 200)
    command = ["predict", "model.safetensors", "photos", "--top", "2", "--out"]
    partial, dice = tmp_path / f"killed.{kind}.partial", random.Random(0)
    kills = lines = 0
    while True:
        process = Started(*command, f"killed.{kind}", cwd=tmp_path, before=slow)
        aim = lines + dice.randint(20, 90)
        while process.poll() is None and (not partial.exists() or partial.read_bytes().count(b"\n") < aim):
            time.sleep(0.002)
        if process.poll() is not None:
            break
        process.send_signal(signal.SIGKILL)
        process.communicate(60)
        kills, lines = kills + 1, partial.read_bytes().count(b"\n") if partial.exists() else 0
    said = process.communicate(60)[1]
    assert process.returncode == 1, f"some files are broken: {said}"
    assert kills >= 2

    whole_run = Started(*command, f"whole.{kind}", cwd=tmp_path)
    said = whole_run.communicate(60)[1]
    assert whole_run.returncode == 1, said
    killed, whole = read(tmp_path / f"killed.{kind}"), read(tmp_path / f"whole.{kind}")
    paths = [row["path"] for row in killed]
    assert paths == sorted(f"photos/{path.name}" for path in photos.iterdir())
    for one, other in zip(killed, whole, strict=True):
        assert one == {key: pytest.approx(value, abs=1e-6) for key, value in other.items()}
    assert not partial.exists()


def slow() -> None:
    """A moment's rest after each row, so that a kill meets the command half way."""
    add = tables.Journal.add
    tables.Journal.add = lambda self, row: (add(self, row), time.sleep(0.003))  # type: ignore[method-assign]
