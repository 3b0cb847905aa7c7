"""`resnets doctor` on the command line: text, one JSON document, a page, and exit statuses."""

import json

import pytest
from PIL import Image
from test_examine import noise

from resnets.cli.main import main


@pytest.fixture
def photos(tmp_path):
    for side in ("train", "val"):
        for label in ("cat", "<b>dog"):
            folder = tmp_path / "photos" / side / label
            folder.mkdir(parents=True)
            for i in range(6):
                noise(hash_of(side, label, i)).save(folder / f"{i}.png")
    (tmp_path / "photos/val/cat/copy.png").write_bytes((tmp_path / "photos/train/cat/1.png").read_bytes())
    (tmp_path / "photos/val/cat/cut.png").write_bytes(b"\x89PNG\r\n\x1a\n")
    return tmp_path / "photos"


def hash_of(side, label, i):
    return 100 * (side == "val") + 10 * (label == "cat") + i


def test_findings_are_no_failure(photos, capsys):
    assert main(["doctor", str(photos)]) == 0
    out = capsys.readouterr().out
    assert "error: 1 file appears in train/ and in val/." in out
    assert "train/cat/1.png = val/cat/copy.png" in out
    assert "val/cat/cut.png: damaged or truncated PNG" in out


@pytest.mark.parametrize(
    ("asked", "status"), [([], 0), (["--fail-on", "error"], 1), (["--fail-on", "warning"], 1), (["--fail-on", "no"], 2)]
)
def test_it_fails_on_what_it_was_asked_to_fail_on(photos, capsys, asked, status):
    assert main(["doctor", str(photos), *asked]) == status
    if status == 2:
        assert capsys.readouterr().err == "error: --fail-on is error or warning, not 'no'.\n"


def test_warnings_are_no_errors(photos, capsys, tmp_path):
    (photos / "val/cat/copy.png").unlink()
    (photos / "val/cat/cut.png").unlink()
    assert main(["doctor", str(photos), "--fail-on", "error", "--json"]) == 0
    document = json.loads(capsys.readouterr().out)
    assert {finding["severity"] for finding in document["findings"]} == {"warning"}
    assert main(["doctor", str(photos), "--fail-on", "warning", "--json"]) == 1
    assert json.loads(capsys.readouterr().out)["findings"]


def test_json_is_one_document_with_the_mend_of_each(photos, capsys, tmp_path):
    assert main(["doctor", str(photos), "--json", "--fix-into", str(tmp_path / "clean")]) == 0
    document = json.loads(capsys.readouterr().out)
    assert document["images"] == 25
    for finding in document["findings"]:
        assert {"kind", "severity", "paths", "mend", "text"} <= finding.keys()
        assert finding["mend"]
    assert document["findings"][0]["paths"] == ["train/cat/1.png", "val/cat/copy.png"]
    assert {change["path"] for change in document["changes"]} >= {"train/cat/1.png", "val/cat/cut.png"}
    assert (tmp_path / "clean/val/cat/copy.png").is_file()


def test_what_was_found_is_told_where_nothing_can_be_copied(photos, capsys, tmp_path):
    for path in photos.rglob("*.png"):
        path.write_bytes(b"")
    assert main(["doctor", str(photos), "--fix-into", str(tmp_path / "clean")]) == 2
    said = capsys.readouterr()
    assert "26 files cannot be read" in said.out
    assert "Nothing would be left in the copy" in said.err
    assert not (tmp_path / "clean").exists()


def test_the_page_stands_alone_and_trusts_no_name(photos, tmp_path):
    page = tmp_path / "doctor.html"
    assert main(["doctor", str(photos), "--html", str(page)]) == 0
    text = page.read_text(encoding="utf-8")
    assert "data:image/" in text
    assert "<b>dog" not in text
    assert "&lt;b&gt;dog" in text
    assert "http" not in text.replace("http-equiv", "")
    assert "1 file appears in train/ and in val/." in text


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["nowhere"], "no folder, archive, table or data set"),
        (["{photos}", "--fix-into", "{photos}/clean"], "inside the data"),
        (["{photos}", "--fix-into", "{photos}"], "not an empty folder"),
        (["{photos}", "--html", "{photos}/no/such.html"], "no folder"),
        (["{photos}", "--html", "{photos}/train/cat/doctor.html"], "would become a part of the data"),
    ],
)
def test_bad_input_is_one_sentence_and_status_2(photos, capsys, arguments, message):
    assert main(["doctor", *(argument.format(photos=photos) for argument in arguments)]) == 2
    error = capsys.readouterr().err
    assert message in error
    assert "Traceback" not in error


def test_a_picture_that_was_wide_is_shown_whole_on_the_page(photos, tmp_path):
    Image.new("RGB", (400, 100), "red").save(photos / "train/cat/wide.png")
    assert main(["doctor", str(photos), "--html", str(tmp_path / "doctor.html")]) == 0
    assert "train/cat/wide.png" in (tmp_path / "doctor.html").read_text(encoding="utf-8")


def test_a_page_inside_the_cleaned_copy_is_refused_before_the_work(photos, tmp_path, capsys):
    (tmp_path / "clean").mkdir()
    words = ["--html", str(tmp_path / "clean" / "page.html"), "--fix-into", str(tmp_path / "clean")]
    assert main(["doctor", str(photos), *words]) == 2
    assert "is to hold the cleaned copy alone: write the page beside it" in capsys.readouterr().err
    assert list((tmp_path / "clean").iterdir()) == []


def test_somebody_whom_nobody_knows_is_one_sentence(tmp_path, capsys):
    """A tilde that no shell has read."""
    assert main(["doctor", "~nobody-of-that-name/photos", "--html", str(tmp_path / "page.html")]) == 2
    assert "There is no folder, archive, table or data set" in capsys.readouterr().err
