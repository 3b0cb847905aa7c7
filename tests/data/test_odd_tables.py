"""Tables in which something else may be meant than what stands there: it is a question, or named, or left out."""

from __future__ import annotations

import shutil
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from resnets.data.open import open_source
from resnets.data.reading import Reading
from resnets.errors import DataError

CLASSES = ("cat", "dog")


@pytest.fixture
def photos(photo_folder) -> Path:
    folder: Path = photo_folder(CLASSES, images=6)
    return folder


def keys() -> list[tuple[str, str]]:
    """(path, class) of all twelve."""
    return [(f"{label}/{number}.jpg", label) for label in CLASSES for number in range(6)]


def table(photos: Path, names: str, row) -> Path:
    """labels.csv with a line for each picture."""
    lines = [row(number, key, label) for number, (key, label) in enumerate(keys())]
    (photos / "labels.csv").write_text("\n".join([names, *lines]) + "\n")
    return photos / "labels.csv"


def labels(source) -> set[str]:
    return {sample.label for sample in source.samples}


def flat(photos: Path, into: Path, name: str = "{label}{number}.jpg") -> Path:
    """The pictures in one folder."""
    into.mkdir(parents=True, exist_ok=True)
    for key, label in keys():
        shutil.copy(photos / key, into / name.format(label=label, number=key[-5]))
    return into


def test_a_row_with_more_cells_than_columns_is_left_out(photos, capsys):
    place = table(photos, "file,label", lambda n, key, label: f"{key},{label}" + (", ripe" if n == 3 else ""))
    source = open_source(place)
    assert labels(source) == {"cat", "dog"}
    assert len(source.samples) == 11
    assert "1 row with more cells than there are columns (a cell with a comma in it" in capsys.readouterr().err
    open_source(table(photos, "file,label", lambda n, key, label: f"{key},{label},,"))  # as Excel ends its lines
    with pytest.raises(DataError, match="names no picture with a label: 12 rows with more cells than there"):
        open_source(table(photos, "file,label", lambda n, key, label: f"{n},{key},{label}"))


@pytest.mark.parametrize("names", ["file,class_0,class_1", "file,label_1,label_2"])
def test_a_column_for_each_class_or_annotator_is_a_question(photos, names):
    place = table(photos, names, lambda n, key, label: f"{key},{int(label == 'cat')},{int(label == 'dog')}")
    with pytest.raises(DataError, match=r"of which any may hold the label: name one, .* A column for each class is"):
        open_source(place)
    second = names.rpartition(",")[2]
    assert labels(open_source(place, reading=Reading(columns=f"label={second}"))) == {"0", "1"}


def test_other_columns_of_labels_are_named(photos, capsys):
    place = table(photos, "file,class,species,fur", lambda n, key, label: f"{key},Mammalia{n % 2},{label},red")
    assert labels(open_source(place)) == {"Mammalia0", "Mammalia1"}
    said = capsys.readouterr().err
    assert 'the column "class" has the classes; ' in said
    assert "takes another: species." in said
    assert labels(open_source(place, reading=Reading(columns="label=species"))) == {"cat", "dog"}
    assert "takes another" not in capsys.readouterr().err


def test_two_columns_that_say_splits_are_a_question(photos):
    place = table(
        photos, "file,label,is_valid,is_test", lambda n, key, label: f"{key},{label},{n % 3 == 0},{n % 3 == 1}"
    )
    with pytest.raises(DataError, match="several columns that say a split, is_valid, is_test: name one, "):
        open_source(place)
    found = open_source(place, reading=Reading(columns="split=is_test"))
    assert [sample.split for sample in found.samples].count("test") == 4
    one = table(photos, "file,label,set,is_valid", lambda n, key, label: f"{key},{label},birds,{n % 2}")
    assert [sample.split for sample in open_source(one).samples].count("val") == 6  # the other is about something else


def test_words_for_an_empty_cell_are_said_to_be_a_class(photos, capsys):
    source = open_source(table(photos, "file,label", lambda n, key, label: f"{key},{'NA' if n == 5 else label}"))
    assert labels(source) == {"cat", "dog", "NA"}
    assert '"NA" is taken for a class: leave the cell empty if it means that there is none.' in capsys.readouterr().err


def test_a_name_that_several_files_have_is_said(photos, tmp_path, capsys):
    root = tmp_path / "set"
    flat(photos, root / "images", "{label}{number}.jpg")
    (root / "masks").mkdir()
    for name in ("cat0", "dog1"):
        shutil.copy(root / "images" / f"{name}.jpg", root / "masks" / f"{name}.png")
    lines = [f"{label}{key[-5]},{label}" for key, label in keys()]
    (root / "labels.csv").write_text("\n".join(["id,label", *lines]) + "\n")
    assert len(open_source(root / "labels.csv").samples) == 10
    said = capsys.readouterr().err
    assert "2 rows with a name that several files have, left out: row 1 (cat0: images/cat0.jpg, masks/cat0.png)" in said


def test_a_picture_that_is_found_elsewhere_is_said(photos, tmp_path, capsys):
    root = tmp_path / "set"
    flat(photos, root / "images")
    (root / "test").mkdir()
    shutil.move(root / "images" / "cat3.jpg", root / "test" / "cat3.jpg")
    lines = [f"{label}{key[-5]},{label}" for key, label in keys()]
    (root / "labels.csv").write_text("\n".join(["id,label", *lines]) + "\n")
    assert len(open_source(root / "labels.csv").samples) == 12
    said = capsys.readouterr().err
    assert "1 of the pictures that it names without a folder is in test/, where most lie in images/" in said
    assert "(test/cat3.jpg)" in said


def test_a_broken_table_of_what_trains_is_not_passed_over(photos, tmp_path, capsys):
    root = tmp_path / "set"
    for part in ("train", "test"):
        flat(photos, root / part)
        lines = [f"{part}/{label}{key[-5]}.jpg,{label}" for key, label in keys()]
        (root / f"{part}.csv").write_text("\n".join(["file,label", *lines]) + "\n")
    assert {sample.split for sample in open_source(root).samples} == {"train", "test"}
    good = (root / "train.csv").read_text()
    (root / "train.csv").write_bytes(good.replace("cat\n", "café\n").encode("cp1252"))
    with pytest.raises(DataError, match=r"train\.csv is not in UTF-8"):
        open_source(root)
    (root / "train.csv").write_text(good)
    (root / "notes.csv").write_bytes("file,label\nx.jpg,café\n".encode("cp1252"))
    capsys.readouterr()
    assert len(open_source(root).samples) == 24
    assert "notes.csv is not in UTF-8: save it as such (in Excel: CSV UTF-8): not used." in capsys.readouterr().err


def test_two_tables_of_one_picture_that_disagree_are_refused(photos, tmp_path):
    root = flat(photos, tmp_path / "set")
    lines = [f"{label}{key[-5]}.jpg,{label}" for key, label in keys()]
    (root / "metadata.csv").write_text("\n".join(["file_name,label", *lines]) + "\n")
    (root / "metadata.jsonl").write_text('{"file_name": "cat0.jpg", "label": "dog"}\n')
    with pytest.raises(DataError, match=r"cat0\.jpg has two labels, cat and dog, in two tables: keep one"):
        open_source(root)


def test_pictures_as_bytes_count_before_their_names(photos, tmp_path):
    rows = [{"image": {"bytes": (photos / key).read_bytes(), "path": key}, "file_name": key, "label": label}
            for key, label in keys()]  # fmt: skip
    pq.write_table(pa.Table.from_pylist(rows), tmp_path / "set.parquet")
    assert len(open_source(tmp_path / "set.parquet").samples) == 12
    (tmp_path / "sets").mkdir()
    for part in ("train-0", "test-0", "extra-0"):
        shutil.copy(tmp_path / "set.parquet", tmp_path / "sets" / f"{part}.parquet")
    source = open_source(tmp_path / "sets")
    assert {sample.split for sample in source.samples} == {"train", "test"}
    assert any("extra-0.parquet: beside files of splits and no split by name, so left out" in r for r in source.remarks)


@pytest.mark.parametrize("name", ["labels.xlsx", "labels.ods", "Labels.XLS"])
def test_a_workbook_is_named(photos, tmp_path, name):
    root = flat(photos, tmp_path / "set")
    (root / name).write_bytes(b"PK\3\4 a workbook")
    for place in (root / name, root):
        with pytest.raises(DataError, match="is a workbook of a spreadsheet: save its table beside it as CSV UTF-8"):
            open_source(place)


def test_what_is_ignored_is_ignored_in_a_table_too(photos, capsys):
    place = table(photos, "file,label", lambda n, key, label: f"{key},{label}")
    assert len(open_source(place, reading=Reading(ignore="0.JPG, */1.jpg")).samples) == 8
    assert "4 rows that ignore='0.JPG, */1.jpg' matches, left out: row 1 (cat/0.jpg)" in capsys.readouterr().err
    open_source(place, reading=Reading(depth=2))
    assert "are in a table, where depth=2 does nothing" in capsys.readouterr().err
    open_source(photos, reading=Reading(ignore="thumbs/*, 0.jpg"))
    assert "thumbs/* in ignore='thumbs/*, 0.jpg' matches no file." in capsys.readouterr().err
    open_source("digits", reading=Reading(ignore="0.jpg"))
    assert "digits is read as it is: ignore='0.jpg' is for folders" in capsys.readouterr().err
