"""The cleaned copy: what is left out, what stays as it is, and that the source is never touched."""

import csv
import hashlib
import zipfile

import pytest
from test_examine import noise

from resnets.diagnosis import Diagnosis, Finding, doctor
from resnets.diagnosis.fix import check_target, fix
from resnets.diagnosis.listing import CHANGES
from resnets.errors import DataError


@pytest.fixture
def dirty(tmp_path):
    """Two splits with each fault once."""
    root = tmp_path / "dirty"
    for number, key in enumerate(["train/cat", "train/dog", "val/cat", "val/dog"]):
        (root / key).mkdir(parents=True)
        for i in range(6):
            noise(10 * number + i).save(root / key / f"{i}.png")

    def copy(one, other):
        (root / other).write_bytes((root / one).read_bytes())

    copy("train/cat/0.png", "val/cat/leak.png")
    copy("train/cat/1.png", "train/cat/again.png")
    copy("train/cat/2.png", "train/dog/clash.png")
    noise(21).save(root / "train/cat/near.jpg", quality=85)  # of val/cat/1.png
    noise(3).save(root / "train/cat/close.jpg", quality=85)  # of train/cat/3.png
    (root / "train/dog/cut.png").write_bytes((root / "train/dog/0.png").read_bytes()[:300])
    (root / "train/notes.txt").write_text("notes")
    return root


def snapshot(root):
    return {
        path.relative_to(root).as_posix(): (hashlib.sha256(path.read_bytes()).hexdigest(), path.stat().st_mtime_ns)
        for path in root.rglob("*")
        if path.is_file()
    }


def test_only_what_is_wrong_is_missing_from_the_copy_and_the_source_is_untouched(dirty, tmp_path):
    before = snapshot(dirty)
    fix(dirty, doctor(dirty), tmp_path / "clean")
    assert snapshot(dirty) == before
    after = {key: digest for key, (digest, _) in snapshot(tmp_path / "clean").items()}
    assert after.pop(CHANGES)
    gone = {"train/cat/0.png", "train/cat/again.png", "train/cat/near.jpg", "train/dog/cut.png", "train/notes.txt"}
    assert after == {key: digest for key, (digest, _) in before.items() if key not in gone | {"train/cat/1.png"}} | {
        key: before[key][0] for key in ["train/cat/1.png"] if "train/cat/again.png" not in after
    }


def test_the_list_says_why_and_what_stays_instead(dirty, tmp_path):
    changes = fix(dirty, doctor(dirty), tmp_path / "clean")
    with open(tmp_path / "clean" / CHANGES, encoding="utf-8", newline="") as file:
        rows = {row["path"]: row for row in csv.DictReader(file)}
    assert [*rows] == list(dict.fromkeys(change.path for change in changes))
    assert rows["train/cat/0.png"] == {
        "path": "train/cat/0.png",
        "done": "left out",
        "why": "equal file in val",
        "instead": "val/cat/leak.png",
    }
    assert rows["train/cat/near.jpg"]["instead"] == "val/cat/1.png"
    assert rows["train/dog/cut.png"]["why"].startswith("truncated PNG")
    assert {rows["train/cat/2.png"]["done"], rows["train/dog/clash.png"]["done"]} == {"kept"}


def test_a_cleaned_copy_has_no_leaks_and_no_repetitions(dirty, tmp_path):
    fix(dirty, doctor(dirty), tmp_path / "clean")
    left = {finding.kind for finding in doctor(tmp_path / "clean").findings}
    assert not left & {"leak", "near-leak", "unreadable", "misplaced"}
    assert {"contradiction", "near-duplicates"} <= left  # for a human to decide


def test_a_set_without_splits_keeps_one_of_each_picture(dirty, tmp_path):
    fix(dirty / "train", doctor(dirty / "train"), tmp_path / "clean")
    kept = {key for key in snapshot(tmp_path / "clean") if key.startswith("cat/")}
    assert len(kept & {"cat/3.png", "cat/close.jpg"}) == 1
    assert len(kept & {"cat/1.png", "cat/again.png"}) == 1


def test_an_archive_is_fixed_into_a_folder(dirty, tmp_path):
    with zipfile.ZipFile(tmp_path / "dirty.zip", "w") as archive:
        for path in dirty.rglob("*.*"):
            archive.write(path, path.relative_to(dirty))
    fix(tmp_path / "dirty.zip", doctor(tmp_path / "dirty.zip"), tmp_path / "one")
    fix(dirty, doctor(dirty), tmp_path / "two")
    assert {k: v[0] for k, v in snapshot(tmp_path / "one").items()} == {
        k: v[0] for k, v in snapshot(tmp_path / "two").items()
    }


def test_suspected_labels_are_listed_and_left_alone(dirty, tmp_path):
    suspect = Finding(
        kind="suspected-labels",
        severity="warning",
        text="",
        mend="",
        paths=("val/dog/3.png",),
        details={"suspects": [{"path": "val/dog/3.png", "label": "dog", "suggested": "cat"}]},
    )
    changes = fix(dirty, Diagnosis(data=str(dirty), images=1, findings=(suspect,)), tmp_path / "clean")
    assert [(change.path, change.done) for change in changes] == [("val/dog/3.png", "kept")]
    assert (tmp_path / "clean/val/dog/3.png").read_bytes() == (dirty / "val/dog/3.png").read_bytes()


def test_the_target_must_be_new_and_outside_of_the_data(dirty, tmp_path):
    with pytest.raises(DataError, match="inside the data"):
        check_target(dirty, dirty / "clean")
    with pytest.raises(DataError, match="not an empty folder"):
        check_target(dirty, dirty)
    (tmp_path / "file").write_text("")
    with pytest.raises(DataError, match="not an empty folder"):
        check_target(dirty, tmp_path / "file")
    (tmp_path / "empty").mkdir()
    check_target(dirty, tmp_path / "empty")
    assert not (dirty / "clean").exists()


def test_a_refused_set_is_not_copied(tmp_path):
    (tmp_path / "alone/cat").mkdir(parents=True)
    noise(1).save(tmp_path / "alone/cat/1.png")
    with pytest.raises(DataError, match="only one class"):
        fix(tmp_path / "alone", doctor(tmp_path / "alone"), tmp_path / "clean")
    assert not (tmp_path / "clean").exists()
