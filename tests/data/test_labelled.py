"""Labels in a table: the same pictures train to the same bits as in class folders, and what a table lacks is named."""

from __future__ import annotations

import csv
import json
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from safetensors import safe_open

from processes import PEAK
from resnets.architecture import ResNetSpec
from resnets.cli.main import main
from resnets.data.open import open_source
from resnets.data.split import split
from resnets.errors import DataError, ImageError, UnreadableError
from resnets.training import resume, train
from resnets.weights.run import MODEL, RunRecord

SPEC = ResNetSpec(depths=(1, 1), widths=(8, 16), stem="cifar", stem_width=8)
Rows = list[dict[str, object]]


@pytest.fixture
def photos(photo_folder) -> Path:
    folder: Path = photo_folder(("cat", "dog"), images=6)
    return folder


def rows_of(photos: Path, **names: str) -> Rows:
    """A row for each picture: its path and its class, under these names."""
    picture, label = names.get("picture", "file_name"), names.get("label", "label")
    keys = sorted(path.relative_to(photos).as_posix() for path in photos.rglob("*.jpg"))
    return [{picture: key, label: key.split("/")[-2]} for key in keys]


def write(path: Path, rows: Rows, delimiter: str = ",") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.suffix == ".jsonl":
        path.write_text("".join(f"{json.dumps(row)}\n" for row in rows))
    elif path.suffix == ".parquet":
        pq.write_table(pa.Table.from_pylist(rows), path)
    else:
        with path.open("w", newline="") as file:
            writer = csv.DictWriter(file, list(rows[0]), delimiter=delimiter)
            writer.writeheader()
            writer.writerows(rows)
    return path


def flat(photos: Path, into: Path) -> dict[str, str]:
    """All pictures in one folder, under other names; {name: class}."""
    into.mkdir(parents=True)
    found = {}
    for number, path in enumerate(sorted(photos.rglob("*.jpg"))):
        shutil.copy(path, into / f"{number:03}.jpg")
        found[f"{number:03}.jpg"] = path.parent.name
    return found


def zipped(folder: Path, path: Path) -> Path:
    with zipfile.ZipFile(path, "w") as archive:
        for one in sorted(folder.rglob("*")):
            archive.write(one, one.relative_to(folder))
    return path


def beside(photos: Path, tmp_path: Path, name: str) -> Path:
    return write(photos / name, rows_of(photos))


def kaggle(photos: Path, tmp_path: Path) -> Path:
    """Names without an ending, pictures in a folder, and a table that shows how to hand in."""
    names = flat(photos, tmp_path / "set" / "train")
    rows: Rows = [{"id": name.removesuffix(".jpg"), "breed": label} for name, label in names.items()]
    write(tmp_path / "set" / "sample_submission.csv", [{**row, "breed": "cat"} for row in rows])
    return write(tmp_path / "set" / "labels.csv", rows).parent


def hugging_face(photos: Path, tmp_path: Path, ending: str = "csv") -> Path:
    names = flat(photos, tmp_path / "set" / "images")
    rows: Rows = [{"file_name": f"images/{name}", "label": label, "caption": "?"} for name, label in names.items()]
    return write(tmp_path / "set" / f"metadata.{ending}", rows).parent


def huggingface_parquet(photos: Path, tmp_path: Path) -> Path:
    """As its `datasets` library writes it: pictures as bytes and path, labels as numbers, their names in the schema."""
    rows = [
        {"image": {"bytes": path.read_bytes(), "path": path.name}, "label": ["cat", "dog"].index(path.parent.name)}
        for path in sorted(photos.rglob("*.jpg"))
    ]
    meant = {"label": {"names": ["cat", "dog"], "_type": "ClassLabel"}, "image": {"_type": "Image"}}
    table = pa.Table.from_pylist(rows).replace_schema_metadata(
        {"huggingface": json.dumps({"info": {"features": meant}})}
    )
    (tmp_path / "set" / "data").mkdir(parents=True)
    pq.write_table(table.slice(0, 5), tmp_path / "set" / "data" / "train-00000-of-00002.parquet")
    pq.write_table(table.slice(5), tmp_path / "set" / "data" / "train-00001-of-00002.parquet")
    (tmp_path / "set" / "README.md").write_text("# A set\n")
    return tmp_path / "set"


def bytes_parquet(photos: Path, tmp_path: Path) -> Path:
    paths = sorted(photos.rglob("*.jpg"))
    rows: Rows = [{"image": path.read_bytes(), "class": path.parent.name} for path in paths]
    return write(tmp_path / "set.parquet", rows)


FORMS: dict[str, Callable[[Path, Path], Path]] = {
    "csv": lambda photos, tmp: beside(photos, tmp, "labels.csv"),
    "tsv": lambda photos, tmp: write(photos / "labels.tsv", rows_of(photos), "\t"),
    "semicolons": lambda photos, tmp: write(photos / "labels.csv", rows_of(photos), ";"),
    "other names": lambda photos, tmp: write(photos / "a.csv", rows_of(photos, picture="Image Path", label="Class")),
    "two columns": lambda photos, tmp: write(photos / "a.csv", rows_of(photos, label="what it is")),
    "json lines": lambda photos, tmp: beside(photos, tmp, "labels.jsonl"),
    "parquet": lambda photos, tmp: beside(photos, tmp, "labels.parquet"),
    "whole paths": lambda photos, tmp: write(
        tmp / "a.csv", [{**row, "file_name": str(photos / str(row["file_name"]))} for row in rows_of(photos)]
    ),
    "kaggle": kaggle,
    "imagefolder": hugging_face,
    "imagefolder, json lines": lambda photos, tmp: hugging_face(photos, tmp, "jsonl"),
    "imagefolder, parquet": lambda photos, tmp: hugging_face(photos, tmp, "parquet"),
    "imagefolder, zip": lambda photos, tmp: zipped(hugging_face(photos, tmp), tmp / "set.zip"),
    "parquet of bytes": bytes_parquet,
    "hugging face's parquet": huggingface_parquet,
    "kaggle, zip": lambda photos, tmp: zipped(kaggle(photos, tmp), tmp / "set.zip"),
}


@pytest.mark.parametrize("form", FORMS)
def test_the_same_pictures_are_the_same_data_in_every_form(photos, tmp_path, form):
    wanted = open_source(photos)
    found = open_source(FORMS[form](photos, tmp_path))
    assert found.fingerprint == wanted.fingerprint
    mine, theirs = split(found), split(wanted)
    for name in ("train", "held_out"):
        assert [(found.contents[s.key], s.label) for s in getattr(mine, name)] == [
            (wanted.contents[s.key], s.label) for s in getattr(theirs, name)
        ]


def tensors(run: Path) -> dict[str, bytes]:
    with safe_open(run / MODEL, framework="np") as file:
        return {name: file.get_tensor(name).tobytes() for name in file.keys()}  # noqa: SIM118


def test_a_table_trains_to_the_bits_of_its_folders_and_resumes(photos, tmp_path):
    options = {"model": SPEC, "image_size": 16, "epochs": 1, "weights": "none", "overrides": ["batch_size=4"]}
    train(photos, out=tmp_path / "folders", **options)
    table = FORMS["kaggle"](photos, tmp_path) / "labels.csv"
    train(table, out=tmp_path / "table", **options)
    assert tensors(tmp_path / "table") == tensors(tmp_path / "folders")
    (tmp_path / "table" / MODEL).unlink()
    resume(tmp_path / "table")
    assert tensors(tmp_path / "table") == tensors(tmp_path / "folders")
    assert RunRecord.read(tmp_path / "table").asked.data == str(table.resolve())
    resume(tmp_path / "table", data=photos)  # the same content elsewhere


@pytest.mark.parametrize(
    ("column", "train_is", "val_is"),
    [("split", "train", "validation"), ("is_valid", False, True), ("is_valid", 0, 1), ("Set", "Training", "Test")],
)
def test_a_column_says_which_pictures_are_held_out(photos, column, train_is, val_is):
    rows = [{**row, column: val_is if index % 3 == 0 else train_is} for index, row in enumerate(rows_of(photos))]
    found = split(open_source(write(photos / "labels.csv", rows)))
    assert (found.origin, len(found.held_out), len(found.train)) == ("folders", 4, 8)


def test_folders_of_splits_have_their_own_metadata(photo_folder, tmp_path):
    photos = photo_folder(images=4, splits=("train", "validation"))
    for part in ("train", "validation"):
        names = flat(photos / part, tmp_path / "set" / part)
        rows: Rows = [{"file_name": name, "label": label} for name, label in names.items()]
        write(tmp_path / "set" / part / "metadata.csv", rows)
    found = open_source(tmp_path / "set")
    assert found.fingerprint == open_source(photos).fingerprint
    assert {sample.split for sample in found.samples} == {"train", "val"}
    shutil.rmtree(tmp_path / "set")
    rows = []
    for part in ("train", "validation"):
        names = flat(photos / part, tmp_path / "set" / part)
        rows += [{"file_name": f"{part}/{name}", "label": label} for name, label in names.items()]
    write(tmp_path / "set" / "metadata.csv", rows)
    assert open_source(tmp_path / "set").fingerprint == open_source(photos).fingerprint


def test_metadata_without_labels_leaves_the_folders_what_they_are(photos):
    write(
        photos / "metadata.csv",
        [{"file_name": row["file_name"], "caption": "?", "by": "me"} for row in rows_of(photos)],
    )
    assert len(open_source(photos).samples) == 12


def test_broken_rows_are_named_and_left_out(photos, capsys):
    rows = rows_of(photos)
    rows[1]["label"] = ""
    rows[2]["file_name"] = ""
    rows += [rows[5], {"file_name": "cat/none.jpg", "label": "cat"}]
    (photos / "cat" / "0.jpg").write_text("no picture")
    source = open_source(write(photos / "labels.csv", rows))
    said = capsys.readouterr().err
    assert "labels.csv: 1 row without a label, left out: row 2 (cat/1.jpg)." in said
    assert "labels.csv: 1 row without a picture, left out: row 3." in said
    assert "labels.csv: 1 row says the same again." in said
    assert [sample.key for sample in source.samples][:3] == ["cat/0.jpg", "cat/3.jpg", "cat/4.jpg"]
    with pytest.raises(ImageError, match="cannot be read: No such file"):
        source.read("cat/none.jpg")


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "is an empty table"),
        ("a,b,c\n1,2,3\n", "no column known to hold the pictures; its columns are a, b, c: name it"),
        ("file,b,c\n1,2,3\n", "no column known to hold the labels"),
        ("file,label,label\n1,2,3\n", 'two columns called "label"'),
        ("file,label\nx.jpg,cat\n", "none of the 1 pictures that it names is there, as x.jpg"),
        ("file,label\n", "names no picture with a label"),
        ("file,label\ncat/0.jpg,cat\ncat/0.jpg,dog\n", "cat/0.jpg has two labels, cat in row 1 and dog in row 2"),
        ('file,label\n"' + "x" * 2**20, "has more than 1,048,576 characters"),
        ('file,label\n"' + "x" * 200_000, "is no table: field larger than field limit"),
        ("file,label\n\0,cat\n", "holds a zero byte"),
    ],
)
def test_a_table_that_cannot_be_used_is_one_sentence(photos, text, says):
    (photos / "labels.csv").write_text(text)
    with pytest.raises(DataError) as caught:
        open_source(photos / "labels.csv")
    assert says in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("name", "content", "says"),
    [
        ("a.csv", "file,label\ncafé,cat\n".encode("cp1252"), "is not in UTF-8: save it as such"),
        ("a.jsonl", b'{"file": "x"\n', "line 1 is no JSON"),
        ("a.jsonl", b"[1]\n", "line 1 is no object"),
        ("a.jsonl", b"[" * 100_000, "line 1 is no JSON"),
        ("a.parquet", b"PAR1 no parquet PAR1", "is a damaged parquet file"),
        ("a.parquet", b"", "is a damaged parquet file"),
        ("a.jsonl", b'{"file": "cat/0.jpg", "label": ["cat", "dog"]}\n', "row 1 has several labels at once"),
        ("a.jsonl", b'{"file": {"a": 1}, "label": "cat"}\n', "names no picture with a label"),
        ("a.jsonl", b'{"file": "a\\u0000b", "label": "cat"}\n', "names no picture with a label"),
        ("a.jsonl", b'{"file": "\\ud800.jpg", "label": "cat"}\n', "names no picture with a label"),
    ],
)
def test_a_damaged_table_is_one_sentence(photos, name, content, says):
    (photos / name).write_bytes(content)
    with pytest.raises(DataError, match=says):
        open_source(photos / name)


def test_a_path_in_an_archive_leads_nowhere_else(photos, tmp_path, capsys):
    rows = [{"file_name": "../secret.jpg", "label": "cat"}, {"file_name": "/etc/passwd", "label": "cat"}]
    names = flat(photos, tmp_path / "set")
    write(tmp_path / "set" / "metadata.csv", [*rows, *({"file_name": n, "label": label} for n, label in names.items())])
    source = open_source(zipped(tmp_path / "set", tmp_path / "set.zip"))
    assert len(source.samples) == 12
    assert "2 rows with a path that leads out of it, left out" in capsys.readouterr().err


def test_a_cleaned_copy_of_a_table_is_class_folders_and_leads_nowhere_else(photos, tmp_path, capsys):
    """Whole paths, and files of one name in two folders."""
    rows: Rows = [{**row, "file_name": str(photos / str(row["file_name"]))} for row in rows_of(photos)]
    rows[7]["file_name"] = "../photos/dog/1.jpg"
    table = write(tmp_path / "tables" / "labels.csv", rows)
    before = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    assert main(["doctor", str(table), "--fix-into", str(tmp_path / "clean")]) == 0
    assert {path: path.read_bytes() for path in before} == before
    found = open_source(tmp_path / "clean")
    assert found.fingerprint == open_source(table).fingerprint
    write(table, [{**row, "label": "../up" if row["label"] == "cat" else "dog"} for row in rows])
    assert main(["doctor", str(table), "--fix-into", str(tmp_path / "other")]) == 2
    assert '"../up" cannot be the name of a folder' in capsys.readouterr().err


def test_two_tables_that_both_fit_are_a_question(photos, tmp_path):
    names = flat(photos, tmp_path / "set" / "images")
    rows: Rows = [{"file": name, "label": label} for name, label in names.items()]
    write(tmp_path / "set" / "one.csv", rows)
    write(tmp_path / "set" / "other.csv", rows)
    with pytest.raises(DataError, match=r"one\.csv, other\.csv, which all have labels: name the right one"):
        open_source(tmp_path / "set")


def test_pictures_in_a_parquet_are_unpacked_once_and_checked(photos, tmp_path, monkeypatch):
    place = bytes_parquet(photos, tmp_path)
    monkeypatch.setenv("RESNETS_HOME", str(tmp_path / "home"))
    first = open_source(place)
    [kept] = (tmp_path / "home" / "unpacked").glob("*.pictures")
    before = kept.stat().st_mtime_ns
    again = open_source(place)
    assert (kept.stat().st_mtime_ns, again.fingerprint) == (before, first.fingerprint)
    assert first.samples[0].key == "set.parquet/01"
    assert first.read("set.parquet/01") == (photos / "cat" / "0.jpg").read_bytes()
    kept.write_bytes(bytes(100) + kept.read_bytes()[100:])
    with pytest.raises(UnreadableError, match="damaged in the cache: remove "):  # another time it may be good
        first.read("set.parquet/01")
    kept.write_bytes(bytes(1000))
    assert open_source(place).fingerprint == first.fingerprint
    assert open_source(place).read("set.parquet/01") == (photos / "cat" / "0.jpg").read_bytes()


def test_a_parquet_of_pictures_trains_to_the_bits_of_its_folders(photos, tmp_path):
    options = {"model": SPEC, "image_size": 16, "epochs": 1, "weights": "none", "overrides": ["batch_size=4"]}
    train(photos, out=tmp_path / "folders", **options)
    train(huggingface_parquet(photos, tmp_path), out=tmp_path / "rows", **options)
    assert tensors(tmp_path / "rows") == tensors(tmp_path / "folders")


def test_broken_rows_of_a_parquet_of_pictures_are_named(photo_folder, tmp_path, capsys):
    photos = photo_folder(images=12)
    rows: Rows = [{"image": path.read_bytes(), "label": path.parent.name} for path in sorted(photos.rglob("*.jpg"))]
    rows[0]["image"], rows[1]["label"], rows[2]["image"] = None, None, b"no picture"
    source = open_source(write(tmp_path / "set.parquet", rows))
    said = capsys.readouterr().err
    assert "set.parquet: 1 row without a picture, left out: row 1." in said
    assert "set.parquet: 1 row without a label, left out: row 2." in said
    assert len(source.samples) == 22
    result = train(tmp_path / "set.parquet", model=SPEC, image_size=16, epochs=1, weights="none", out=tmp_path / "run")
    assert [file["path"] for file in result.skipped_files] == ["set.parquet/03"]


MILLION = f"""{PEAK}
import sys
from resnets.data.open import open_source
before = peak()
source = open_source(sys.argv[1])
print(len(source.samples), (peak() - before) >> 20)
"""


@pytest.mark.slow
@pytest.mark.parametrize("ending", ["csv", "parquet"])
def test_a_million_rows_are_listed_in_bounded_memory(photos, ending):
    """Most of the files are not there, which costs as much to ask. The time is measured by `benchmarks/listing.py`."""
    path = photos / f"labels.{ending}"
    keys = ["cat/0.jpg", *(f"elsewhere/{number:07}.jpg" for number in range(1_000_000 - 1))]
    labels = ["cat" if number % 2 else "dog" for number in range(len(keys))]
    if ending == "csv":
        path.write_text("file,label\n" + "".join(f"{key},{label}\n" for key, label in zip(keys, labels, strict=True)))
    else:
        pq.write_table(pa.table({"file": keys, "label": labels}), path)
    done = subprocess.run([sys.executable, "-c", MILLION, str(path)], capture_output=True, text=True, check=True)
    rows, megabytes = map(int, done.stdout.split())
    assert rows == 1_000_000
    assert 100 < megabytes < 1000
