"""Sets that nobody would think of: one and two of everything, all alike, all different, no photos among photos."""

import io
import json

import numpy as np
import pytest
from PIL import Image
from test_examine import kinds, noise

from resnets.cli.main import main
from resnets.data.open import open_source
from resnets.data.split import split
from resnets.diagnosis import Diagnosis, Finding, doctor, files
from resnets.diagnosis.balance import held_out, per_split
from resnets.errors import DataError
from resnets.pages.diagnosis import write


def save(folder, *pictures, names=None):
    folder.mkdir(parents=True, exist_ok=True)
    for number, picture in enumerate(pictures):
        name = names[number] if names else f"{number}.png"
        if isinstance(picture, bytes):
            (folder / name).write_bytes(picture)
        else:
            picture.save(folder / name)


def said(folder, tmp_path):
    """The doctor's document of a set; its page is made, too."""
    diagnosis = doctor(folder)
    write(tmp_path / "doctor.html", diagnosis)
    document = json.loads(json.dumps(diagnosis.document(), allow_nan=False))
    for finding in document["findings"]:
        assert len(finding["text"]) < 300
        assert finding["mend"]
    return diagnosis


@pytest.mark.parametrize(("cats", "dogs"), [(1, 1), (1, 2), (2, 1), (2, 2), (0, 2), (1, 0)])
def test_a_handful_of_photos(tmp_path, cats, dogs):
    save(tmp_path / "set/cat", *(noise(i) for i in range(cats)))
    save(tmp_path / "set/dog", *(noise(10 + i) for i in range(dogs)))
    diagnosis = said(tmp_path / "set", tmp_path)
    if cats and dogs:
        assert diagnosis.images == cats + dogs
        assert diagnosis["small-classes"].severity == ("error" if 1 in (cats, dogs) else "warning")
    else:
        assert "only one class" in diagnosis["layout"].text


def test_all_photos_are_one(tmp_path):
    for label in ("cat", "dog"):
        save(tmp_path / "set" / label, *[noise(1)] * 4)
    diagnosis = said(tmp_path / "set", tmp_path)
    assert diagnosis["duplicates"].text == "6 files are copies of another."
    assert diagnosis["contradiction"].text.startswith("1 picture has two labels")
    assert "near-duplicates" not in diagnosis


def test_every_size_and_kind_is_another(tmp_path):
    modes = ("RGB", "L", "CMYK", "P", "LA", "RGBA", "1", "I;16")
    for number, label in enumerate(("cat", "dog")):
        for i, mode in enumerate(modes):
            picture = noise(100 * number + i, (17 + 31 * i, 23 + 17 * (i % 5)))
            name = f"{i}.tif" if mode == "CMYK" else f"{i}.png"
            if mode == "I;16":
                picture = Image.fromarray(np.asarray(picture.convert("L")).astype(np.uint16) * 16)
            save(tmp_path / "set" / label, picture.convert(mode) if mode != "I;16" else picture, names=[name])
    diagnosis = said(tmp_path / "set", tmp_path)
    assert diagnosis.images == 16
    assert kinds(diagnosis) <= {"small-classes", "few-held-out", "long", "deep", "tiny"}


def test_what_lies_among_photos(tmp_path):
    for number, label in enumerate(("cat", "dog")):
        save(tmp_path / "set" / label, *(noise(100 * number + i) for i in range(6)))
    others = {
        "film.mp4": b"\0\0\0\x18ftypmp42" + bytes(64),
        "film.mkv": b"\x1aE\xdf\xa3" + bytes(64),
        "scan.pdf": b"%PDF-1.7\n" + bytes(64),
        "empty.jpg": b"",
        "words.docx": b"PK\x03\x04" + bytes(64),
        "page.jpg": b"<!doctype html>",
        "drawing.svg": b"<svg/>",
    }
    save(tmp_path / "set/cat", *others.values(), names=[*others])
    diagnosis = said(tmp_path / "set", tmp_path)
    found = diagnosis["unreadable"]
    reasons = dict(zip(found.paths, found.details["reasons"], strict=True))
    assert {path.rpartition("/")[2] for path in reasons} == others.keys()
    for name, why in (("film.mp4", "a video"), ("film.mkv", "a video"), ("scan.pdf", "a PDF"), ("empty.jpg", "empty")):
        assert reasons[f"cat/{name}"].startswith(why)
    assert diagnosis.images == 12
    assert found.text.startswith("7 files cannot be read")


def test_many_megapixels(tmp_path):
    large = noise(1, (80, 60)).resize((8000, 6000))
    buffer = io.BytesIO()
    large.save(buffer, "JPEG", quality=50)
    for number, label in enumerate(("cat", "dog")):
        save(tmp_path / "set" / label, *(noise(10 * number + i) for i in range(2, 5)))
    save(tmp_path / "set/cat", buffer.getvalue(), names=["large.jpg"])
    diagnosis = said(tmp_path / "set", tmp_path)
    assert diagnosis.images == 7
    assert "unreadable" not in diagnosis


@pytest.mark.parametrize("splits", [("train", "val"), ("",)])
def test_a_class_or_a_split_without_a_usable_photo_is_an_error(tmp_path, splits):
    """Training would refuse it, so the doctor must have said so."""
    for side in splits:
        for number, label in enumerate(("cat", "dog", "owl")):
            save(tmp_path / "set" / side / label, *(noise(1000 * len(side) + 100 * number + i) for i in range(30)))
    broken = [path for path in (tmp_path / "set").rglob("*.png") if "owl" in path.parts or "val" in path.parts]
    for path in broken:
        path.write_bytes(b"")
    diagnosis = said(tmp_path / "set", tmp_path)
    errors = [finding for finding in diagnosis.findings if finding.severity == "error" and finding.kind != "unreadable"]
    assert any("owl" in str(finding.details) for finding in errors)
    if splits == ("train", "val"):
        assert diagnosis["classes-differ"].details == {"split": "val", "classes": ["cat", "dog"]}


@pytest.mark.parametrize("counts", [(2, 3), (7, 2, 2, 2), (11, 12, 13), (100, 3)])
def test_the_number_held_out_is_what_training_holds_out(photo_folder, counts):
    folder = photo_folder(tuple("abcd"[: len(counts)]), images=max(counts))
    for label, number in zip("abcd", counts, strict=False):
        for path in sorted((folder / label).iterdir())[number:]:
            path.unlink()
    source = open_source(folder)
    assert held_out(per_split(source.samples)) == ("", len(split(source).held_out))


def test_nothing_to_train_on_is_an_error(tmp_path):
    """The upload of train/ has failed."""
    for side, part in enumerate(("val", "test")):
        for seed, label in enumerate(("cat", "dog")):
            save(tmp_path / "set" / part / label, *(noise(100 * seed + 10 * side + i) for i in range(3)))
    diagnosis = said(tmp_path / "set", tmp_path)
    assert diagnosis.reaches("error")
    assert diagnosis["nothing-to-train-on"].text == "There is test/ and val/ and no train/."
    with pytest.raises(DataError, match="nothing to train on"):
        split(open_source(tmp_path / "set"), seed=0)


def test_a_group_of_hundreds_is_one_line(tmp_path, capsys):
    """A placeholder that a shop gives for every picture it does not have."""
    save(tmp_path / "set/cat", *[noise(1)] * 30, *(noise(i) for i in range(2, 6)))
    save(tmp_path / "set/dog", *(noise(i) for i in range(10, 16)))
    assert main(["doctor", str(tmp_path / "set"), "--html", str(tmp_path / "doctor.html")]) == 0
    out = capsys.readouterr().out
    assert "and 26 more" in out.replace("\n", " ")
    assert out.count(".png") < 20
    assert '<p class="soft">and 26 more</p>' in (tmp_path / "doctor.html").read_text()


def test_names_from_the_right_keep_the_arrow(tmp_path):
    finding = Finding(
        kind="suspected-labels",
        severity="warning",
        text="1 label may be wrong.",
        mend="Look.",
        paths=("قط/1.png",),
        details={"suspects": [{"path": "قط/1.png", "label": "قط", "suggested": "كلب"}]},
    )
    save(tmp_path / "set/قط", noise(1), noise(2), names=["1.png", "2.png"])
    save(tmp_path / "set/كلب", noise(3), noise(4))
    write(tmp_path / "d.html", Diagnosis(data=str(tmp_path / "set"), images=4, findings=(finding,)))
    assert "<strong><bdi>قط</bdi> → <bdi>كلب</bdi></strong>" in (tmp_path / "d.html").read_text()


def test_thumbnails_that_do_not_fit_are_one_sentence(tmp_path, monkeypatch):
    save(tmp_path / "set/cat", noise(1), noise(2))
    save(tmp_path / "set/dog", noise(3), noise(4))
    monkeypatch.setattr(files, "free_memory", lambda: 20_000)
    with pytest.raises(DataError, match=r"The thumbnails of 4 images take .* free: look at a part"):
        doctor(tmp_path / "set")
