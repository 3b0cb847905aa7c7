"""The cleaned copy: what is left out, what stays as it is, and that the source is never touched."""

import csv
import hashlib
import os
import signal
import time
import zipfile
from pathlib import Path

import pytest
from test_examine import noise

from processes import Started
from resnets.data.open import open_source
from resnets.diagnosis import Diagnosis, Finding, doctor
from resnets.diagnosis.fix import PART, STALE, check_target, fix
from resnets.diagnosis.listing import CHANGES
from resnets.errors import DataError
from resnets.text import original


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


def test_the_list_is_utf_8_and_no_formula(dirty, tmp_path):
    (dirty / "=1+1.txt").write_text("x")
    Path(os.fsdecode(os.fsencode(dirty) + b"/train/cat/\xff.png")).write_bytes(b"")
    changes = fix(dirty, doctor(dirty), tmp_path / "clean")
    with open(tmp_path / "clean" / CHANGES, encoding="utf-8", newline="") as file:
        rows = [row["path"] for row in csv.DictReader(file)]
    assert {"'=1+1.txt", "train/cat/\\xff.png"} <= {*rows}
    assert [original(path.removeprefix("'")) for path in rows] == [change.path for change in changes]


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
    images = len(open_source(dirty).samples)
    changes = fix(dirty, Diagnosis(data=str(dirty), images=images, findings=(suspect,)), tmp_path / "clean")
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


def told(diagnosis):
    """(kind, files) of all that a cleaned copy is said to be free of."""
    for finding in diagnosis.findings:
        if finding.fixed:
            groups = finding.details.get("groups") or [[path] for path in finding.paths]
            yield from ((finding.kind, *group) for group in groups)


@pytest.mark.parametrize("part", ["", "train"])
def test_what_a_mend_says_of_the_copy_is_what_the_copy_does(dirty, tmp_path, part):
    """With splits and without: nothing that was said to be mended is found again, and nothing said to stay is gone."""
    (dirty / "val/dog/leaked.png").write_bytes((dirty / "train/cat/4.png").read_bytes())  # under another label
    (dirty / "train/cat/again too.png").write_bytes((dirty / "train/cat/2.png").read_bytes())
    data = dirty / part
    before = doctor(data)
    fix(data, before, tmp_path / "clean")
    after = doctor(tmp_path / "clean")
    assert [*told(before)]
    assert not [*told(after)]
    stays = {f.kind for f in before.findings if not f.fixed}
    assert {"contradiction", *(() if part else ("near-duplicates",))} <= stays <= {f.kind for f in after.findings}
    for finding in before.findings:
        for group in finding.details.get("groups", ()):
            kept = [key for key in group if (tmp_path / "clean" / key).exists()]
            assert len(kept) <= 1 or not finding.fixed
            assert len(kept) >= 2 or finding.fixed


def test_one_pair_has_one_advice(dirty, tmp_path):
    """No pair is told to be mended by the copy in one finding and left alone by it in another."""
    for data in (dirty, dirty / "train"):
        pairs = {}
        for finding in doctor(data).findings:
            for group in finding.details.get("groups", ()):
                for one in group:
                    for other in group:
                        if one < other:
                            pairs.setdefault((one, other), set()).add(finding.fixed)
        assert pairs
        assert all(len(said) == 1 for said in pairs.values())


def test_a_leak_is_removed_from_the_split_that_the_mend_names(dirty, tmp_path):
    (dirty / "test/cat").mkdir(parents=True)
    (dirty / "test/cat/leak.png").write_bytes((dirty / "val/cat/3.png").read_bytes())
    (dirty / "train/cat/0.png").unlink()
    diagnosis = doctor(dirty, thorough=False)
    assert "removes it from val/ and keeps it in test/" in diagnosis["leak"].mend
    fix(dirty, diagnosis, tmp_path / "clean")
    assert (tmp_path / "clean/test/cat/leak.png").exists()
    assert not (tmp_path / "clean/val/cat/3.png").exists()


def test_a_copy_that_was_killed_does_not_stand_under_its_name(dirty, tmp_path):
    """At any moment there is no folder of that name, or one with everything in it."""
    for number in range(400):
        (dirty / f"train/cat/more{number}.png").write_bytes(os.urandom(20_000))
    clean = tmp_path / "copies" / "clean"
    process = Started("doctor", str(dirty), "--fix-into", str(clean), cwd=tmp_path, before=slowly)
    until = time.monotonic() + 60
    while not any(clean.parent.glob(f".clean.*{PART}/val/cat/*.png")) and time.monotonic() < until:
        time.sleep(0.005)
    process.send_signal(signal.SIGKILL)
    process.communicate(timeout=60)
    assert process.returncode == -signal.SIGKILL
    assert not clean.exists()
    left = [*clean.parent.iterdir()]
    assert len(left) == 1
    with pytest.raises(DataError, match="holds no files"):
        doctor(clean.parent)  # what is hidden is no data: it does not train
    fix(dirty, doctor(dirty, thorough=False), clean)  # another's copy may still be written
    assert left[0].exists()
    os.utime(left[0], (time.time() - 2 * STALE,) * 2)
    fix(dirty, doctor(dirty, thorough=False), clean.with_name("another"))
    assert {path.name for path in clean.parent.iterdir()} == {"clean", "another"}


def slowly():
    """A pause after each copied file: a place to be killed in."""
    from resnets.data.folder import Folder
    from resnets.diagnosis import fix as room

    read, copy = Folder.read, room._copy

    def copied(*arguments):
        Folder.read = lambda self, key: (time.sleep(0.01), read(self, key))[1]
        copy(*arguments)

    room._copy = copied


def test_a_copy_that_fails_leaves_nothing(dirty, tmp_path, monkeypatch):
    diagnosis = doctor(dirty, thorough=False)
    (dirty / "val/dog/5.png").unlink()
    with pytest.raises(DataError, match="not any more"):
        fix_without_listing(dirty, diagnosis, tmp_path / "out" / "clean", monkeypatch)
    assert [*(tmp_path / "out").iterdir()] == []


def fix_without_listing(data, diagnosis, folder, monkeypatch):
    """`fix`, for which a file vanishes after it was listed."""
    from resnets.diagnosis import fix as room

    (data / "val/dog/5.png").write_bytes(b"here")
    copy = room._copy
    monkeypatch.setattr(room, "_copy", lambda *arguments: ((data / "val/dog/5.png").unlink(), copy(*arguments)))
    return fix(data, diagnosis, folder)


def test_lists_of_titles_are_used_and_copied(tmp_path):
    root = tmp_path / "photos"
    for label in ("a", "b"):
        (root / label).mkdir(parents=True)
        for number in range(6):
            noise(10 * number + (label == "b")).save(root / label / f"{number}.png")
    (root / "classes.txt").write_text("a tabby cat\nb dog\n")
    found = doctor(root)
    assert "misplaced" not in found
    fix(root, found, tmp_path / "clean")
    assert (tmp_path / "clean" / "classes.txt").read_text() == "a tabby cat\nb dog\n"


def test_a_file_that_went_meanwhile_is_one_sentence(dirty, tmp_path):
    found = doctor(dirty)
    (dirty / "train/cat/again.png").unlink()
    with pytest.raises(DataError, match=r"again\.png is gone since the data was looked at: begin again"):
        fix(dirty, found, tmp_path / "clean")
    assert not (tmp_path / "clean").exists()


@pytest.mark.parametrize("copied", [("cat", "dog"), ("dog",)])
def test_a_class_that_would_be_gone_from_training_is_no_cleaned_copy(tmp_path, copied):
    """Somebody has copied the held-out part instead of moving it."""
    root = tmp_path / "photos"
    for number, label in enumerate(("cat", "dog")):
        for split in ("train", "val"):
            (root / split / label).mkdir(parents=True)
            for i in range(4):
                same = split == "train" or label in copied
                noise(10 * number + i + (0 if same else 50)).save(root / split / label / f"{i}.png")
    with pytest.raises(DataError, match=rf"Nothing would be left of train/{copied[0]}/ in the copy"):
        fix(root, doctor(root), tmp_path / "clean")
    assert not (tmp_path / "clean").exists()


def test_a_file_that_came_meanwhile_is_no_part_of_what_was_looked_at(dirty, tmp_path):
    found = doctor(dirty)
    noise(99).save(dirty / "train/cat/new.png")
    with pytest.raises(DataError, match="has changed since it was looked at"):
        fix(dirty, found, tmp_path / "clean")
