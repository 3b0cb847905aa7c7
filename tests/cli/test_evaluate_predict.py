"""`resnets evaluate` and `resnets predict`: what people see, what programs read, and the exit status."""

from __future__ import annotations

import csv
import io
import json
import os
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from resnets.architecture import ResNetSpec
from resnets.cli.evaluate import evaluate
from resnets.cli.predict import predict
from resnets.data import fast_decode
from resnets.data.preprocess import Preprocessing
from resnets.errors import ResnetsError
from resnets.inference import tables
from resnets.network import create
from resnets.text import original
from resnets.weights import Model, save

CLASSES = ("cat", "dog", "eel")
TINY = ResNetSpec(depths=(1,), widths=(8,), stem="cifar", stem_width=8)
ENGINE = "engine torch, float32\n"  # what predict says of itself


@pytest.fixture
def model(tmp_path) -> str:
    network = create(TINY, num_classes=3, seed=0)
    with torch.no_grad():
        network.get_parameter("head.linear.weight").mul_(100)
    path = tmp_path / "run" / "model.safetensors"
    path.parent.mkdir()
    save(path, Model(network, CLASSES, Preprocessing.evaluation(8)))
    return str(path)


@pytest.fixture
def run(capsys):
    """Run a command line: (exit status, standard output, standard error)."""
    import typer

    app = typer.Typer(rich_markup_mode=None, pretty_exceptions_enable=False, add_completion=False)
    app.command("evaluate")(evaluate)
    app.command("predict")(predict)

    def run(*arguments: object) -> tuple[int, str, str]:
        try:
            result = app([str(argument) for argument in arguments], standalone_mode=False)
            status = result if isinstance(result, int) else 0
        except ResnetsError as problem:
            print(f"error: {problem}", file=sys.stderr)
            status = problem.exit_status
        captured = capsys.readouterr()
        return status, captured.out, captured.err

    return run


def pipe(monkeypatch, data: bytes) -> None:
    monkeypatch.setattr(sys, "stdin", SimpleNamespace(buffer=io.BytesIO(data)))


def predicted(out: str) -> list[str]:
    return [entry["path"] for entry in json.loads(out)["predictions"]]


# evaluate -------------------------------------------------------------------------------------------------


def test_evaluate_prints_the_figures_and_a_line_per_class(run, model, photo_folder):
    photos = photo_folder(CLASSES, images=5, splits=["train", "val"])
    (photos / "val" / "cat" / "2.jpg").write_bytes(b"broken")
    status, out, err = run("evaluate", model, photos)
    assert status == 0
    for word in ("top-1", "top-5", "macro-F1", "loss", "calibration error", "14 (val)"):
        assert word in out
    for name, images in (("cat", "4"), ("dog", "5"), ("eel", "5")):
        row = next(line.split() for line in out.splitlines() if line.startswith(name))
        assert row[1] == images
    assert "left out: val/cat/2.jpg: not an image" in err


def test_evaluate_json_is_one_document(run, model, photo_folder):
    photos = photo_folder(("cat", "dog"), images=5, splits=["train", "val"])
    status, out, err = run("evaluate", Path(model).parent, photos, "--json", "--split", "train")
    document = json.loads(out)
    assert (status, err) == (0, "")
    assert {"images", "top1", "top5", "macro_f1", "loss", "ece", "per_class", "skipped_files"} <= set(document)
    assert (document["images"], document["split"]) == (10, "train")
    assert document["per_class"][2]["recall"] is None


def test_evaluate_without_data_says_what_judges(run, model):
    status, out, err = run("evaluate", model)
    assert (status, out) == (2, "")
    assert "no data is named, so scikit-learn's digits judge: name yours behind the model" in err


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("MODEL", "nowhere"), "nowhere"),
        (("nothing.safetensors", "DATA"), "There is no model file nothing.safetensors"),
        (("MODEL", "DATA", "--split", "tset"), 'There is no split "tset"'),
    ],
)
def test_evaluate_names_the_mistake(run, model, photo_folder, arguments, said):
    photos = photo_folder(CLASSES, splits=["train", "val"])
    status, out, err = run("evaluate", *({"MODEL": model, "DATA": photos}.get(a, a) for a in arguments))
    assert (status, out) == (2, "")
    assert said in err


# predict: what it takes -----------------------------------------------------------------------------------


def test_predict_takes_files_folders_and_globs(run, model, photo_folder, monkeypatch):
    photos = photo_folder(CLASSES, images=2)
    monkeypatch.chdir(photos)
    (photos / ".hidden").mkdir()
    for hidden in (".hidden/0.jpg", "cat/.0.jpg"):
        (photos / hidden).write_bytes((photos / "cat" / "0.jpg").read_bytes())
    (photos / "cat" / "0.jpg").rename(photos / "cat" / "without_suffix")

    cat = ["cat/1.jpg", "cat/without_suffix"]
    dog = ["dog/0.jpg", "dog/1.jpg"]
    eel = ["eel/0.jpg", "eel/1.jpg"]
    for arguments, wanted in (
        (["dog/1.jpg"], ["dog/1.jpg"]),
        (["dog/1.jpg", "cat"], ["dog/1.jpg", *cat]),
        (["."], [f"./{path}" for path in cat + dog + eel]),
        (["*/0.jpg"], ["dog/0.jpg", "eel/0.jpg"]),
        (["**/1.jpg"], ["cat/1.jpg", "dog/1.jpg", "eel/1.jpg"]),
        (["[de]*"], dog + eel),
        (["dog/1.jpg", "dog/1.jpg"], ["dog/1.jpg", "dog/1.jpg"]),
    ):
        status, out, err = run("predict", model, *arguments, "--json")
        assert (status, err, predicted(out)) == (0, ENGINE, wanted), arguments
    (photos / "[1].jpg").write_bytes((photos / "dog" / "0.jpg").read_bytes())
    assert predicted(run("predict", model, "[1].jpg", "--json")[1]) == ["[1].jpg"], "a name before a glob"


def test_predict_reads_one_picture_from_standard_input(run, model, photo_folder, monkeypatch):
    photo = photo_folder(CLASSES) / "cat" / "0.jpg"
    pipe(monkeypatch, photo.read_bytes())
    status, out, _ = run("predict", model, "-", photo, "--json")
    piped, named = json.loads(out)["predictions"]
    assert (status, piped["path"], named["path"]) == (0, "-", str(photo))
    assert piped["top"] == named["top"]


def test_predict_reads_paths_from_standard_input(run, model, photo_folder, monkeypatch):
    photos = photo_folder(("cät", "dög"), images=2)
    pipe(monkeypatch, f"{photos / 'cät' / '0.jpg'}\r\n\n{photos / 'dög'}\n".encode())
    status, out, _ = run("predict", model, "-", "--json")
    names = ("cät/0.jpg", "dög/0.jpg", "dög/1.jpg")
    assert (status, predicted(out)) == (0, [str(photos / name) for name in names])


@pytest.mark.parametrize("cut", [b"\xff\xd8\xff\xe0\0\x10JFIF", b"\x89PNG\r\n\x1a\n", b"GIF89a\x08\0\x08\0"])
def test_predict_names_a_broken_picture_on_standard_input(run, model, monkeypatch, cut):
    pipe(monkeypatch, cut)
    status, out, _ = run("predict", model, "-", "--json")
    assert (status, json.loads(out)["failed"][0]["path"]) == (1, "-")


def test_predict_with_nothing_to_do_is_a_mistake(run, model, tmp_path, monkeypatch):
    (tmp_path / "empty").mkdir()
    pipe(monkeypatch, b"")
    for argument, why in (
        (tmp_path / "missing.jpg", "there is no such file"),
        (tmp_path / "*.jpg", "nothing matches"),
        (tmp_path / "empty", "the folder has no files in it"),
        ("-", "standard input is empty"),
    ):
        status, out, err = run("predict", model, argument)
        assert (status, out) == (2, "")
        assert err == f"error: There is nothing to predict: {argument}: {why}.\n"


# predict: bad files ---------------------------------------------------------------------------------------


def test_predict_never_stops_at_a_bad_file(run, model, photo_folder):
    photos = photo_folder(CLASSES, images=2)
    (photos / "cat" / "0.jpg").write_bytes(b"broken")
    (photos / "dog" / "0.jpg").write_bytes(b"")
    (photos / "dog" / "nowhere.jpg").symlink_to("gone.jpg")
    arguments = ("predict", model, photos, photos / "missing.jpg")
    bad = ["cat/0.jpg", "dog/0.jpg", "dog/nowhere.jpg", "missing.jpg"]

    status, out, err = run(*arguments, "--json")
    document = json.loads(out)
    assert status == 1
    assert sorted(entry["path"] for entry in document["failed"]) == [str(photos / name) for name in bad]
    assert all(entry["why"] for entry in document["failed"])
    assert len(document["predictions"]) == 4

    status, out, err = run(*arguments)
    assert status == 1
    assert len(out.splitlines()) == 4
    assert err.startswith(f"{ENGINE}4 could not be used: ")
    assert all(str(photos / name) in err for name in bad)


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux has file names that are not UTF-8")
def test_predict_survives_names_that_no_encoding_knows(run, model, photo_folder, tmp_path):
    photos = photo_folder(CLASSES)
    odd = os.fsencode(photos) + b"/cat/\xff\n.jpg"
    os.rename(photos / "cat" / "0.jpg", odd)
    status, out, _ = run("predict", model, photos / "cat", "--json")
    assert status == 0
    assert os.fsencode(predicted(out)[-1]) == odd
    status, out, _ = run("predict", model, photos / "cat")
    assert (status, len(out.splitlines())) == (0, 4)
    assert run("predict", model, photos / "cat", "--out", tmp_path / "t.csv")[0] == 0
    paths = [original(row["path"]) for row in table_rows(tmp_path / "t.csv")]
    assert os.fsencode(paths[-1]) == odd


# predict: what it gives -----------------------------------------------------------------------------------


def test_predict_prints_a_line_per_picture(run, model, photo_folder):
    photos = photo_folder(CLASSES, images=1)
    status, out, err = run("predict", model, photos, "--top", 2)
    assert (status, err) == (0, ENGINE)
    lines = out.splitlines()
    assert [line.split(": ")[0] for line in lines] == [str(photos / name / "0.jpg") for name in CLASSES]
    name, share, percent = lines[0].split(": ")[1].split(", ")[0].split()
    assert name in CLASSES
    assert 33.3 <= float(share) <= 100
    assert percent == "%"
    assert all(line.count("%") == 2 for line in lines)


def test_predict_json_ranks_the_classes(run, model, photo_folder):
    photos = photo_folder(CLASSES, images=1)
    for top, columns in ((1, 1), (2, 2), (5, 3)):
        document = json.loads(run("predict", model, photos, "--top", top, "--json")[1])
        assert set(document) == {"predictions", "failed"}
        for entry in document["predictions"]:
            values = [rank["probability"] for rank in entry["top"]]
            assert len(values) == columns
            assert values == sorted(values, reverse=True)
            assert {rank["name"] for rank in entry["top"]} <= set(CLASSES)


@pytest.mark.parametrize("kind", ["csv", "jsonl", "parquet"])
def test_predict_writes_a_table(run, model, photo_folder, tmp_path, kind):
    if kind == "parquet":
        pytest.importorskip("pyarrow")
    photos = photo_folder(CLASSES, images=2)
    (photos / "cat" / "0.jpg").write_bytes(b"broken")
    table = tmp_path / f"table.{kind}"
    status, out, err = run("predict", model, photos, photos / "nowhere.jpg", "--out", table, "--top", 2)
    assert (status, out) == (1, "")
    assert f"wrote {table}" in err
    assert "2 could not be used: " in err
    rows = {row["path"]: row for row in table_rows(table)}
    document = json.loads(run("predict", model, photos, photos / "nowhere.jpg", "--json")[1])
    assert len(rows) == len(document["predictions"]) + len(document["failed"]) == 7
    for row in rows.values():
        assert list(row) == ["path", "name_1", "probability_1", "name_2", "probability_2", "unsure", "unlike", "why"]
    for entry in document["predictions"]:
        row = rows[entry["path"]]
        assert (row["name_1"], row["why"]) == (entry["top"][0]["name"], None)
        assert float(row["probability_2"]) == entry["top"][1]["probability"]
    for entry in document["failed"]:
        assert list(rows[entry["path"]].values()) == [entry["path"], *[None] * 6, entry["why"]]

    again = tmp_path / f"again.{kind}"
    status, out, _ = run("predict", model, photos, photos / "nowhere.jpg", "--out", again, "--top", 2, "--json")
    twice = json.loads(out)
    assert (len(twice["predictions"]), len(twice["failed"])) == (5, 2)
    assert again.read_bytes() == table.read_bytes(), "a document and a table at once"


def table_rows(path: Path) -> list[dict]:
    if path.suffix == ".csv":
        with open(path, newline="", encoding="utf-8") as file:
            return [{key: value or None for key, value in row.items()} for row in csv.DictReader(file)]
    if path.suffix == ".jsonl":
        return [json.loads(line) for line in path.read_text().splitlines()]
    from pyarrow import parquet

    return parquet.read_table(path).to_pylist()


def test_predict_goes_on_with_a_table(run, model, photo_folder, tmp_path, monkeypatch):
    photos = photo_folder(CLASSES, images=20)
    (photos / "cat" / "0.jpg").write_bytes(b"broken")
    monkeypatch.setattr("resnets.progress.LINE_EVERY", 0.0)
    arguments = ("predict", model, photos, "--out", tmp_path / "t.csv")
    add, added = tables.Journal.add, []

    def stopped(journal, row):
        add(journal, row)
        added.append(row.path)
        if len(added) == 25:
            raise RuntimeError("stopped")

    with monkeypatch.context() as patch:
        patch.setattr(tables.Journal, "add", stopped)
        with pytest.raises(RuntimeError, match="stopped"):
            run(*arguments)
    status, _, err = run(*arguments[:3], "--out", tmp_path / "t.csv", "--top", 1)
    assert status == 2
    assert "t.csv.partial was begun with another top" in err
    status, _, err = run(*arguments)
    assert status == 1
    assert "predicting: 26/60 images" in err
    assert "predicting: 25/60 images" not in err
    assert "1 could not be used: " in err, "it was met before the stop"
    paths = [row["path"] for row in table_rows(tmp_path / "t.csv")]
    assert paths == [str(photos / name / f"{n}.jpg") for name in CLASSES for n in sorted(range(20), key=str)]


def test_predict_names_ten_bad_files_and_counts_the_others(run, model, photo_folder):
    photos = photo_folder(CLASSES, images=8)
    for path in photos.rglob("*.jpg"):
        path.write_bytes(b"")
    for more in ((), ("--out", photos / "t.jsonl")):
        status, _, err = run("predict", model, photos / "cat", photos / "dog", *more)
        assert status == 1
        assert "16 could not be used: " in err
        assert err.count("empty file") == 10
        assert err.endswith("; and 6 more\n")


def test_predict_refuses_a_table_it_cannot_write_before_it_works(run, model, photo_folder, tmp_path):
    photos = photo_folder(CLASSES, images=1)
    status, _, err = run("predict", "nothing.safetensors", photos, "--out", tmp_path / "t.xlsx")
    assert status == 2
    assert "name a file that ends in .parquet, .csv, .jsonl" in err
    status, _, err = run("predict", "nothing.safetensors", photos, "--out", tmp_path / "no" / "t.csv")
    assert status == 2
    assert f"There is no folder {tmp_path / 'no'}" in err
    (tmp_path / "t.csv").mkdir()
    status, _, err = run("predict", model, photos, "--out", tmp_path / "t.csv")
    assert status == 2
    assert "t.csv cannot be written (Is a directory)" in err


def test_predict_by_another_engine(run, model, photo_folder):
    photos = photo_folder(CLASSES, images=2)
    exact = json.loads(run("predict", model, photos, "--json")[1])["predictions"]
    status, out, err = run("predict", model, photos, "--json", "--precision", "bfloat16")
    assert status == 0
    assert err.endswith("engine torch, bfloat16\n")  # where the processor cannot fuse in bfloat16, that is said before
    for one, other in zip(exact, json.loads(out)["predictions"], strict=True):
        names = {rank["name"]: rank["probability"] for rank in other["top"]}
        assert {rank["name"]: rank["probability"] for rank in one["top"]} == pytest.approx(names, abs=0.1)
    status, out, err = run("predict", model, photos, "--engine", "tensorflow")
    assert (status, out) == (2, "")
    assert "There is no engine 'tensorflow'" in err


def test_predict_decodes_fast_when_it_is_asked_to(run, model, photo_folder, monkeypatch):
    pytest.importorskip("simplejpeg")
    photos = photo_folder(CLASSES, images=2)
    read = fast_decode.read
    seen = []
    monkeypatch.setattr(fast_decode, "read", lambda *arguments: seen.append(arguments) or read(*arguments))
    assert run("predict", model, photos)[0] == 0
    assert seen == []
    assert run("predict", model, photos, "--fast-decode")[0] == 0
    assert len(seen) == 6


def test_predict_shows_progress_for_many_pictures(run, model, photo_folder, monkeypatch):
    photos = photo_folder(CLASSES, images=20)
    monkeypatch.setattr("resnets.progress.LINE_EVERY", 0.0)
    status, out, err = run("predict", model, photos, "--json")
    assert (status, len(predicted(out))) == (0, 60)
    assert "predicting: 60/60 images" in err
    assert run("predict", model, photos / "cat", "--json")[2] == ENGINE, "a few need none"


def test_a_refused_wish_binds_no_journal(run, model, photo_folder, tmp_path):
    photos, table = photo_folder(), tmp_path / "t.csv"
    assert "`data=DATA`" in str(run("predict", model, photos, "--out", table, "--precision", "int8"))
    status, _, _ = run("predict", model, photos, "--out", table)
    assert status == 0
    assert len(table.read_text().splitlines()) == 9


def test_a_table_among_the_pictures_is_no_picture(run, model, photo_folder):
    photos = photo_folder()
    for _ in range(2):
        status, _, _ = run("predict", model, photos, "--out", photos / "labels.csv")
        assert status == 0
        assert len((photos / "labels.csv").read_text().splitlines()) == 9
