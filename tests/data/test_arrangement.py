"""Tables beside pictures: folders that tell classes apart count, and a table that does not fit says why."""

from __future__ import annotations

import csv
import shutil
import unicodedata
import zipfile
from collections.abc import Sequence
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from resnets.data import unpack
from resnets.data.labels import class_names
from resnets.data.open import open_as_trained, open_source
from resnets.data.reading import Reading
from resnets.data.split import split
from resnets.errors import DataError


def table(path: Path, names: Sequence[str], rows: Sequence[Sequence[object]], encoding: str = "utf-8") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", newline="", encoding=encoding) as file:
        csv.writer(file).writerows([names, *rows])
    return path


def classes(data: Path, **reading: object) -> tuple[str, ...]:
    return class_names(open_source(data, reading=Reading(**reading)).samples)  # type: ignore[arg-type]


@pytest.fixture
def photos(photo_folder) -> Path:
    folder: Path = photo_folder(("cat", "dog"), images=6)
    return folder


@pytest.fixture
def flat(photos, tmp_path) -> tuple[Path, list[tuple[str, str]]]:
    """(a folder of pictures that lie in no class folders, (name, class) of each)."""
    rows = []
    (tmp_path / "flat" / "images").mkdir(parents=True)
    for number, path in enumerate(sorted(photos.rglob("*.jpg"))):
        shutil.copy(path, tmp_path / "flat" / "images" / f"{number:02}.jpg")
        rows.append((f"{number:02}.jpg", path.parent.name))
    return tmp_path / "flat", rows


# Class folders with a table beside them -----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("names", "cells"),
    [
        (("file_name", "camera", "category"), lambda key, n: (key, "x", "indoor" if n % 2 else "outdoor")),
        (("file_name", "text"), lambda key, n: (key, f"a picture, number {n}")),
        (("file_name", "width"), lambda key, n: (key, 640 + n % 3)),
        (("file_name", "category", "set"), lambda key, n: (key, "indoor", f"part {n}")),
        (("file_name", "category"), lambda key, n: (f"gone/{n}.jpg", "indoor")),
        (("file_name", "category"), lambda key, n: ("cat/0.jpg", f"tag {n}")),
    ],
)
@pytest.mark.parametrize("name", ["metadata.csv", "labels.csv", "cat/metadata.csv"])
def test_class_folders_stay_the_classes(photos, names, cells, name):
    keys = sorted(path.relative_to(photos).as_posix() for path in photos.rglob("*.jpg"))
    table(photos / name, names, [cells(key, number) for number, key in enumerate(keys)])
    source = open_source(photos, quiet=True)
    assert class_names(source.samples) == ("cat", "dog")
    assert sum(sample.key.endswith(".jpg") for sample in source.samples) == 12


def test_a_table_that_says_something_else_than_the_folders_is_named(photos, capsys):
    table(photos / "labels.csv", ("file", "label"), [("cat/0.jpg", "dog"), ("cat/1.jpg", "cat")])
    assert classes(photos) == ("cat", "dog")
    assert "The classes are the folders; labels.csv gives pictures other labels" in capsys.readouterr().err
    assert classes(photos / "labels.csv") == ("cat", "dog")


def test_damaged_tables_beside_class_folders_disturb_nobody(photos, tmp_path):
    (photos / "metadata.csv").write_bytes(b"\xff\xfe\0x")
    (photos / "metadata.parquet").write_bytes(b"PAR1")
    (photos / "labels.jsonl").write_text("{")
    assert classes(photos) == ("cat", "dog")
    with zipfile.ZipFile(tmp_path / "set.zip", "w") as archive:
        for path in photos.rglob("*.jpg"):
            archive.write(path, path.relative_to(photos))
        archive.writestr("metadata.csv", b"file_name,label\ncat/0.jpg,cat\n")
    data = (tmp_path / "set.zip").read_bytes()
    (tmp_path / "set.zip").write_bytes(data.replace(b"cat/0.jpg,cat\n", b"cat/0.jpg,cow\n"))  # its checksum is off
    assert classes(tmp_path / "set.zip") == ("cat", "dog")


def test_columns_that_were_asked_for_come_before_the_folders(photos):
    keys = sorted(path.relative_to(photos).as_posix() for path in photos.rglob("*.jpg"))
    table(
        photos / "metadata.csv",
        ("file_name", "alpha", "beta"),
        [(key, "a" if n % 2 else "b", n) for n, key in enumerate(keys)],
    )
    assert classes(photos, columns="label=alpha") == ("a", "b")
    with pytest.raises(DataError, match=r"no table fits 'label=kindof' \(.* has no column 'kindof'"):
        classes(photos, columns="label=kindof")


# Pictures that lie in no class folders -----------------------------------------------------------------------


def test_folders_whose_names_say_nothing_leave_it_to_the_table(flat):
    place, rows = flat
    for part in ("images_part_1", "images_part_2"):
        (place / part).mkdir()
    for number, path in enumerate(sorted((place / "images").iterdir())):
        path.rename(place / f"images_part_{1 + number % 2}" / path.name)
    (place / "images").rmdir()
    table(place / "HAM_metadata.csv", ("image_id", "label", "dataset"), [(n[:-4], label, "vidir") for n, label in rows])
    source = open_source(place, quiet=True)
    assert class_names(source.samples) == ("cat", "dog")
    assert {sample.split for sample in source.samples} == {""}
    assert any('the column "dataset" says vidir, and is taken for no split' in said for said in source.remarks)


@pytest.mark.parametrize(
    ("names", "encoding", "says"),
    [
        (("file", "label"), "cp1252", "is not in UTF-8"),
        (("file", "Art", "Ort"), "utf-8", "no column known to hold the labels; its columns are file, Art, Ort"),
        (("file", "caption"), "utf-8", "no column known to hold the labels"),
    ],
)
def test_the_reason_why_a_table_does_not_fit_is_told(flat, names, encoding, says):
    place, rows = flat
    cells = [(name, label + ("é" if encoding == "cp1252" else ""), "x")[: len(names)] for name, label in rows]
    table(place / "labels.csv", names, cells, encoding)
    source = None
    try:
        source = open_source(place, quiet=True)
    except DataError as problem:
        said = str(problem)
    else:
        said = " ".join(source.remarks)
    assert says in said


def test_two_labels_for_one_picture_are_told_of_the_folder_too(flat):
    place, rows = flat
    table(place / "labels.csv", ("file", "label"), [*rows, (rows[0][0], "cow")])
    assert any("has two labels, cat in row 1 and cow in row 13" in said for said in open_source(place).remarks)


def test_tables_of_splits_and_folders_of_splits_are_splits(flat):
    place, rows = flat
    for part, own in (("train", rows[:4] + rows[6:10]), ("valid", rows[4:6] + rows[10:])):
        (place / part).mkdir()
        for name, _ in own:
            shutil.move(place / "images" / name, place / part / name)
        table(place / part / "labels.csv", ("file", "label"), own)
    (place / "images").rmdir()
    assert {(s.split, s.key.split("/")[0]) for s in open_source(place).samples} == {
        ("train", "train"),
        ("val", "valid"),
    }
    for part in ("train", "valid"):
        (place / part / "labels.csv").unlink()
    one = [(f"{'train' if (place / 'train' / name).exists() else 'valid'}/{name}", label) for name, label in rows]
    for data in (table(place / "labels.csv", ("file", "label"), one), place):
        assert {sample.split for sample in open_source(data).samples} == {"train", "val"}


@pytest.mark.parametrize("name", ["sample_submission.csv", "samplesubmission.csv", "sample_sub.csv", "submission.csv"])
def test_what_is_handed_in_is_no_table_of_labels(flat, name):
    place, rows = flat
    table(place / name, ("file", "label"), [(file, "cat") for file, _ in rows])
    table(place / "train.csv", ("file", "label"), rows)
    assert classes(place) == ("cat", "dog")


def test_a_table_further_out_that_does_not_fit_hides_none(flat):
    place, rows = flat
    table(place / "stats.csv", ("width", "height"), [(1, 2)])
    table(place / "lists" / "labels.csv", ("file", "label"), rows)
    assert classes(place) == ("cat", "dog")


# What rows say ------------------------------------------------------------------------------------------------


def test_names_are_found_however_their_accents_and_capitals_are_written(flat):
    place, rows = flat
    renamed = []
    for name, label in rows:
        new = unicodedata.normalize("NFD", f"Bär{name}").replace(".jpg", ".JPG")
        shutil.move(place / "images" / name, place / "images" / new)
        renamed.append((unicodedata.normalize("NFC", f"bär{name}"), label))
    assert len(open_source(table(place / "a.csv", ("file", "label"), renamed)).samples) == 12
    paths = [(f"images/{name}", label) for name, label in renamed]
    assert len(open_source(table(place / "a.csv", ("file", "label"), paths)).samples) == 12
    windows = [(f"C:\\Users\\me\\{name}", label) for name, label in renamed]
    assert len(open_source(table(place / "a.csv", ("file", "label"), windows)).samples) == 12
    windows = [(f"images\\{name}", label) for name, label in renamed]
    assert len(open_source(table(place / "a.csv", ("file", "label"), windows)).samples) == 12


def test_labels_that_differ_in_capitals_alone_are_said(flat, capsys):
    place, rows = flat
    mixed = [(name, label.title() if n % 2 else label) for n, (name, label) in enumerate(rows)]
    assert len(classes(table(place / "a.csv", ("file", "label"), mixed))) == 4
    assert '"Cat" and "cat" differ in capitals alone and are 2 classes' in capsys.readouterr().err


def test_numbers_are_labels_as_they_are_written(flat, tmp_path):
    place, rows = flat
    numbers = {"cat": 1364166.0, "dog": 1364167.0}
    found = [{"file": str(place / "images" / name), "label": numbers[label]} for name, label in rows]
    pq.write_table(pa.Table.from_pylist(found), tmp_path / "a.parquet")
    csv_too = table(tmp_path / "a.csv", ("file", "label"), [tuple(row.values()) for row in found])
    assert classes(tmp_path / "a.parquet") == classes(csv_too) == ("1364166.0", "1364167.0")


def test_counters_and_captions_are_no_labels(flat):
    place, rows = flat
    numbered = [(n, name, label) for n, (name, label) in enumerate(rows)]
    for first in ("Unnamed: 0", "", "index"):
        assert classes(table(place / "a.csv", (first, "file", "Art"), numbered)) == ("cat", "dog")
        with pytest.raises(DataError, match="no column known to hold the labels"):
            classes(table(place / "a.csv", (first, "file"), [row[:2] for row in numbered]))
    with pytest.raises(DataError, match='the column "caption" says 12 different things of 12 pictures'):
        classes(table(place / "a.csv", ("file", "caption"), [(name, f"{label} {name}") for name, label in rows]))


def test_names_of_columns_may_have_spaces_and_a_split_can_be_refused(flat):
    place, rows = flat
    data = table(place / "a.csv", ("My Photo", "Species Name", "usage"), [(*row, "train") for row in rows])
    chosen = "image=My Photo label=Species Name split="
    assert {sample.split for sample in open_source(data, reading=Reading(columns=chosen)).samples} == {""}
    with pytest.raises(DataError, match='the column "usage" says train: what is known'):
        open_source(data, reading=Reading(columns="image=My Photo label=Species Name split=usage"))


def test_excels_first_line_and_names_over_two_lines(flat):
    place, rows = flat
    text = 'sep=;\r\n"file";"label";"what\nelse"\r\n' + "".join(f"{name};{label};\r\n" for name, label in rows)
    (place / "a.csv").write_bytes(b"\xef\xbb\xbf" + text.encode())
    assert classes(place / "a.csv") == ("cat", "dog")


# Parquet of strangers -----------------------------------------------------------------------------------------


def test_one_picture_written_once_and_meant_many_times_is_bounded(tmp_path, monkeypatch):
    monkeypatch.setattr(unpack, "ROOM", 2**24)
    cell = pa.array([b"\xff\xd8\xff" + bytes(2**22)])
    cells = pa.DictionaryArray.from_arrays(pa.array([0] * 20, pa.int32()), cell)
    both = pa.table({"image": cells, "label": ["cat", "dog"] * 10})
    pq.write_table(both, tmp_path / "a.parquet", compression="zstd", store_schema=False)
    assert (tmp_path / "a.parquet").stat().st_size < 10_000
    with pytest.raises(DataError, match=r"a\.parquet grows to over"):
        open_source(tmp_path / "a.parquet")


def test_a_label_of_a_hundred_thousand_characters_is_none(tmp_path, flat):
    place, rows = flat
    found = [{"file": str(place / "images" / name), "label": "x" * 100_000} for name, _ in rows]
    pq.write_table(pa.Table.from_pylist(found), tmp_path / "a.parquet")
    with pytest.raises(DataError, match="row 1 has a label of 100,000 characters"):
        open_source(tmp_path / "a.parquet")


@pytest.mark.parametrize("name", ["train.parquet", "test.parquet", "train-00000-of-00001.parquet"])
def test_one_file_is_no_split_whatever_it_is_called(photos, tmp_path, name):
    rows = [{"image": path.read_bytes(), "label": path.parent.name} for path in sorted(photos.rglob("*.jpg"))]
    (tmp_path / "set").mkdir()
    pq.write_table(pa.Table.from_pylist(rows), tmp_path / "set" / name)
    for data in (tmp_path / "set", tmp_path / "set" / name):
        found = split(open_source(data))
        assert (found.origin, len(found.train), len(found.held_out)) == ("seeded", 10, 2)


def test_a_logo_beside_parquet_files_is_no_class(photos, tmp_path):
    rows = [{"image": path.read_bytes(), "label": path.parent.name} for path in sorted(photos.rglob("*.jpg"))]
    (tmp_path / "set" / "assets").mkdir(parents=True)
    shutil.copy(photos / "cat" / "0.jpg", tmp_path / "set" / "assets" / "logo.jpg")
    pq.write_table(pa.Table.from_pylist(rows), tmp_path / "set" / "all.parquet")
    assert classes(tmp_path / "set") == ("cat", "dog")


# How a model's data was read -------------------------------------------------------------------------------


def test_other_data_than_the_training_datas_form_is_read_in_the_usual_way(photos, flat, capsys):
    recipe = {"depth": 2, "columns": "image=photo_no label=kind"}
    assert class_names(open_as_trained(photos, recipe).samples) == ("cat", "dog")
    said = capsys.readouterr().err
    assert "is read in the usual way: it does not fit depth=2, columns='image=photo_no label=kind'." in said
    with pytest.raises(DataError, match="There is no folder"):
        open_as_trained("nowhere", recipe)


def test_folders_of_one_name_in_two_groups_are_one_class_at_their_depth(photos, tmp_path):
    for group in ("animals", "pets"):
        shutil.copytree(photos, tmp_path / "zoo" / group)
    assert classes(tmp_path / "zoo", depth=2) == ("cat", "dog")


def test_what_a_table_says_is_shown_shortly(photos):
    long = "x" * 100_000
    for names, rows in (
        ((long, "b", "c"), [("a", "b", "c")]),
        (("file", "label"), [(long, "cat")]),
        (("file", "label", "split"), [("cat/0.jpg", "cat", long)]),
        (("file", "label"), [("cat/0.jpg", "cat"), ("cat/0.jpg", "dog" * 300)]),
        (("file", "label"), [("cat/0.jpg", long)]),
    ):
        data = table(photos / "a.csv", names, rows)
        said = []
        try:
            said += open_source(data, quiet=True).remarks
        except DataError as problem:
            said.append(str(problem))
        assert said
        assert max(map(len, said)) < 2_000
    with pytest.raises(DataError) as caught:
        classes(photos / "a.csv", columns=long)
    assert len(str(caught.value)) < 500
