"""Tables hold what files and classes are called, whatever that is, in valid UTF-8 that everybody reads."""

from __future__ import annotations

import csv
import json
import random
from pathlib import Path

import pytest

from resnets.errors import DataError
from resnets.inference import Outcome, table_files, tables
from resnets.text import cell, original, written

ODD = [
    *("\udcff.jpg", "\ud800", "\udc80\udcff\udfff", "nul\0", "two\r\nlines", "\x7f\x1b[2J", "\u202ea", "\ufeffbom"),
    *("=1+1", "+1", "-1", "@SUM(A1)", "\t=1", "\r=1", "\n=1", " =1", "\xa0=1", "\uff1d1", "'quoted", "''", "'=1"),
    *(r"\xff.jpg", r"C:\x80\photos", r"\\xff", r"\x5cxff", r"\ud800", "C:\\photos\\a.jpg", '"', ",;|", "é中😀"),
]


def rows_of(path: Path) -> list[list[str]]:
    if path.suffix == ".csv":
        with open(path, newline="", encoding="utf-8") as file:
            return list(csv.reader(file))[1:]
    if path.suffix == ".jsonl":
        return [list(json.loads(line).values()) for line in path.read_text(encoding="utf-8").splitlines()]
    table = pytest.importorskip("pyarrow.parquet").read_table(path)
    return [list(row.values()) for row in table.to_pylist()]


def write(path: Path, names: list[str]) -> list[str]:
    with tables.Journal(path, 1, {}) as journal:
        for number, name in enumerate(names):
            path_of = name if "\0" not in name else name.replace("\0", "0")
            journal.add(Outcome(f"{path_of}/{number}", ((name, 0.5),), "", (name,), False))
        return journal.finish()


@pytest.mark.parametrize("kind", ["csv", "jsonl", "parquet"])
def test_every_name_comes_back(tmp_path: Path, kind: str) -> None:
    said = write(tmp_path / f"t.{kind}", ODD)
    (tmp_path / f"t.{kind}").read_bytes().decode() if kind != "parquet" else None
    cells = [row[1] for row in rows_of(tmp_path / f"t.{kind}")]
    if kind == "csv":
        for text in cells:
            assert text[:1] not in ("=", "+", "-", "@", "\t", "\r", "\n", "\uff1d")
        cells = [text.removeprefix("'") for text in cells]
    assert [original(text) for text in cells] == ODD
    assert any("escapes like" in sentence for sentence in said)
    assert any("apostrophe" in sentence for sentence in said) == (kind == "csv")


@pytest.mark.parametrize("kind", ["csv", "jsonl", "parquet"])
def test_ordinary_names_stay_as_they_are_and_nothing_is_said(tmp_path: Path, kind: str) -> None:
    names = ["cat", "C:\\photos\\cat.jpg", "é中😀", "a=b", "x'y", '"', "\u202e"]
    assert write(tmp_path / f"t.{kind}", names) == []
    assert [row[1] for row in rows_of(tmp_path / f"t.{kind}")] == names


def test_other_readers_read_the_same(tmp_path: Path) -> None:
    pandas, arrow = pytest.importorskip("pandas"), pytest.importorskip("pyarrow")
    from pyarrow import csv as arrow_csv
    from pyarrow import json as arrow_json

    for kind in ("csv", "jsonl", "parquet"):
        write(tmp_path / f"t.{kind}", ODD)
    wanted = [written(name) for name in ODD]
    frame = pandas.read_csv(tmp_path / "t.csv", keep_default_na=False)
    assert list(frame["name_1"]) == [cell(text) for text in wanted]
    assert arrow_csv.read_csv(tmp_path / "t.csv")["name_1"].to_pylist() == [cell(text) for text in wanted]
    assert list(pandas.read_json(tmp_path / "t.jsonl", lines=True)["name_1"]) == wanted
    assert arrow_json.read_json(tmp_path / "t.jsonl")["name_1"].to_pylist() == wanted
    assert list(pandas.read_parquet(tmp_path / "t.parquet")["name_1"]) == wanted
    assert arrow is not None


def test_what_is_written_is_text_and_comes_back() -> None:
    dice = random.Random(0)
    alphabet = ["\\", *"xuf5cd80a=' é", "\n", "\0", "\x80", "\udcff", "\udc80", "\ud800", "\udfff"]
    met: dict[str, str] = {}
    for _ in range(20_000):
        name = "".join(dice.choice(alphabet) for _ in range(dice.randrange(12)))
        text = written(name)
        text.encode()
        assert original(text) == name
        assert cell(text).removeprefix("'") == text
        assert met.setdefault(text, name) == name, "two names never look alike"


@pytest.mark.parametrize("ending", ["csv", "jsonl", "parquet"])
def test_nobodys_table_is_replaced_but_one_of_ours(tmp_path, ending):
    """photos/labels.csv is the work of a week."""
    out = tmp_path / f"labels.{ending}"
    rows = [Outcome("a.png", (("cat", 0.75), ("dog", 0.25)), "", ("cat",), False)]
    if ending == "parquet":
        pytest.importorskip("pyarrow")
    for _ in range(2):
        tables.check(out)
        with out.open("wb") as file:
            table_files.WRITERS[f".{ending}"](file, rows, 2)
    for content in (b"path,label\n1.png,cat\n", b'{"path": "1.png", "label": "cat"}\n', b"\xff\xfe", b"PAR1"):
        out.write_bytes(content)
        with pytest.raises(DataError, match="is there and is no table of predictions"):
            tables.check(out)
        assert out.read_bytes() == content
    out.write_bytes(b"")
    tables.check(out)
