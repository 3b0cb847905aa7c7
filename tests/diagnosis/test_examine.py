"""What the doctor says of small sets with known faults, whatever they come in."""

import io
import json
import tarfile
import zipfile

import numpy as np
import pytest
from PIL import Image

from resnets.data.open import open_source
from resnets.data.split import split
from resnets.diagnosis import doctor, quick
from resnets.diagnosis.balance import smallest_difference
from resnets.errors import DataError


def kinds(diagnosis):
    return {finding.kind for finding in diagnosis.findings}


def noise(seed, size=(40, 40)):
    """A picture like no other, with large and small structures."""
    random = np.random.default_rng(seed)
    coarse = Image.fromarray(random.integers(0, 256, (6, 6, 3), dtype=np.uint8)).resize(size, Image.Resampling.BICUBIC)
    fine = random.integers(-20, 21, (size[1], size[0], 3))
    return Image.fromarray((np.asarray(coarse) + fine).clip(0, 255).astype(np.uint8))


@pytest.fixture
def photos(tmp_path):
    """train/ and val/ with two classes of unlike pictures."""
    number = 0
    for side, images in (("train", 24), ("val", 12)):
        for label in ("cat", "dog"):
            folder = tmp_path / "photos" / side / label
            folder.mkdir(parents=True)
            for i in range(images):
                noise(number := number + 1).save(folder / f"{i}.png")
    return tmp_path / "photos"


def copy(photos, one, other, **how):
    """Save a picture of the set again at another place, perhaps in another way."""
    if not how:
        (photos / other).write_bytes((photos / one).read_bytes())
    else:
        Image.open(photos / one).save(photos / other, **how)


def test_a_good_set_has_nothing_but_a_small_held_out_part(photos):
    diagnosis = doctor(photos)
    assert diagnosis.images == 72
    assert kinds(diagnosis) == {"few-held-out", "unclear-labels"}  # pictures of noise: no class looks like itself
    assert diagnosis["few-held-out"].details["smallest_difference"] == smallest_difference(24)
    assert diagnosis.facts["splits"] == {"train": 48, "val": 24}


def test_a_leak_is_an_error_whether_of_the_file_or_of_the_picture(photos):
    copy(photos, "train/cat/1.png", "val/cat/copy.png")
    copy(photos, "train/dog/2.png", "val/dog/again.jpg", quality=80)
    diagnosis = doctor(photos)
    assert diagnosis["leak"].severity == diagnosis["near-leak"].severity == "error"
    assert diagnosis["leak"].details["groups"] == [["train/cat/1.png", "val/cat/copy.png"]]
    assert diagnosis["near-leak"].details["groups"] == [["train/dog/2.png", "val/dog/again.jpg"]]
    assert diagnosis.findings[0].kind == "leak"


def test_copies_within_a_split_are_a_warning_and_under_two_labels_an_error(photos):
    copy(photos, "train/cat/1.png", "train/cat/copy.png")
    copy(photos, "train/cat/3.png", "train/dog/copy.png")
    diagnosis = doctor(photos)
    assert diagnosis["duplicates"].severity == "warning"
    assert diagnosis["contradiction"].severity == "error"
    assert diagnosis["contradiction"].paths == ("train/cat/3.png", "train/dog/copy.png")


def test_without_splits_a_copy_is_an_error_for_a_split_would_tear_it_apart(photos):
    copy(photos, "train/cat/1.png", "train/cat/copy.png")
    assert doctor(photos / "train")["duplicates"].severity == "error"


def test_files_that_are_no_pictures_are_named_with_the_reason_that_training_gives(photos):
    whole = (photos / "train/cat/1.png").read_bytes()
    (photos / "train/cat/cut.png").write_bytes(whole[:-200])
    (photos / "train/cat/empty.jpg").write_bytes(b"")
    (photos / "val/dog/page.jpg").write_text("<html>404</html>")
    (photos / "train/notes.txt").write_text("not in a class")
    (photos / "train/cat/.hidden").write_text("the system's")
    diagnosis = doctor(photos)
    reasons = dict(zip(diagnosis["unreadable"].paths, diagnosis["unreadable"].details["reasons"], strict=True))
    assert reasons.keys() == {"train/cat/cut.png", "train/cat/empty.jpg", "val/dog/page.jpg"}
    assert reasons["train/cat/empty.jpg"] == "empty file"
    assert reasons["train/cat/cut.png"].startswith("truncated PNG")
    assert diagnosis["misplaced"].paths == ("train/notes.txt",)
    assert diagnosis.images == 72


def test_odd_pictures_are_told_apart(photos):
    noise(900, (300, 60)).save(photos / "train/cat/wide.png")
    noise(901).convert("CMYK").save(photos / "train/cat/print.jpg")
    noise(902).convert("L").save(photos / "train/cat/grey.png")
    noise(903).convert("P").save(photos / "train/cat/few.png")
    Image.fromarray(np.arange(1600, dtype=np.uint16).reshape(40, 40) * 40).save(photos / "train/cat/deep.png")
    frames = [noise(seed) for seed in (904, 905, 906)]
    frames[0].save(photos / "train/cat/film.gif", save_all=True, append_images=frames[1:])
    exif = Image.Exif()
    exif[274] = 6
    noise(907, (60, 40)).save(photos / "train/cat/turned.jpg", exif=exif)
    noise(908, (12, 12)).save(photos / "train/cat/icon.png")
    diagnosis = doctor(photos)
    named = {
        kind: diagnosis[kind].paths
        for kind in ("long", "cmyk", "grey", "palette", "deep", "animated", "turned", "tiny")
    }
    assert named == {
        "long": ("train/cat/wide.png",),
        "cmyk": ("train/cat/print.jpg",),
        "grey": ("train/cat/grey.png",),
        "palette": ("train/cat/few.png", "train/cat/film.gif") if named["palette"][1:] else ("train/cat/few.png",),
        "deep": ("train/cat/deep.png",),
        "animated": ("train/cat/film.gif",),
        "turned": ("train/cat/turned.jpg",),
        "tiny": ("train/cat/icon.png",),
    }
    # 60 of 300 columns are in the centre square, and of that square the middle 7/8 by 7/8 are kept.
    assert diagnosis["long"].details["kept"] == pytest.approx([0.2 * (7 / 8) ** 2], abs=1e-4)
    assert diagnosis["long"].mend.endswith("or `resnets train DATA --fit pad` shows them whole, and smaller.")


def test_where_the_usual_picture_is_long_the_fit_is_named(tmp_path):
    for label in ("cat", "dog"):
        (tmp_path / label).mkdir()
        for number in range(12):
            noise(1000 * len(label) + number + (label == "dog") * 50, (160, 40)).save(
                tmp_path / label / f"{number}.png"
            )
    found = doctor(tmp_path)["long"]
    assert found.text.startswith("24 pictures are longer than 2 : 1")
    assert found.mend.startswith(
        "The usual picture is 4.0 : 1, and the centre crop keeps 19% of it: `resnets train DATA"
    )


def test_what_training_refuses_is_a_finding(photos):
    (photos / "val/cow").mkdir()
    noise(950).save(photos / "val/cow/1.png")
    diagnosis = doctor(photos)
    assert diagnosis["classes-differ"].severity == "error"
    assert diagnosis["classes-differ"].details["split"] == "train"
    assert "train/cow/" in diagnosis["classes-differ"].mend

    alone = doctor(photos / "train", thorough=False)
    assert "layout" not in alone
    (photos / "alone" / "cat").mkdir(parents=True)
    noise(951).save(photos / "alone/cat/1.png")
    refused = doctor(photos / "alone")
    assert refused.images == 0
    assert refused["layout"].severity == "error"
    assert "only one class" in refused["layout"].text


def test_what_is_not_there_is_bad_input(tmp_path):
    with pytest.raises(DataError, match="no folder"):
        doctor(tmp_path / "nowhere")
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match="holds no files"):
        doctor(tmp_path / "empty")
    (tmp_path / "broken.zip").write_bytes(b"PK\x03\x04 and no more")
    with pytest.raises(DataError, match="damaged"):
        doctor(tmp_path / "broken.zip")


def test_a_set_without_a_single_picture_is_a_finding(photos):
    for path in photos.rglob("*.png"):
        path.write_bytes(b"")
    diagnosis = doctor(photos)
    assert diagnosis.images == 0
    assert len(diagnosis["unreadable"].paths) == 72


def test_imbalance_and_classes_that_are_too_small(photos):
    for i in range(20):
        (photos / f"train/dog/{i}.png").unlink()
    for i in range(4, 12):
        (photos / f"val/dog/{i}.png").unlink()
    diagnosis = doctor(photos, thorough=False)
    assert diagnosis["imbalance"].details["ratio"] == 6
    small = [finding.details for finding in diagnosis.findings if finding.kind == "small-classes"]
    assert small == [{"split": "train", "counts": {"dog": 4}}, {"split": "val", "counts": {"dog": 4}}]


@pytest.mark.parametrize("kind", ["zip", "tar"])
def test_archives_are_read_in_place_and_say_the_same(photos, tmp_path, kind):
    copy(photos, "train/cat/1.png", "val/cat/copy.png")
    (photos / "train/cat/empty.jpg").write_bytes(b"")
    (photos / "train/list.txt").write_text("x")
    packed = tmp_path / f"photos.{kind}"
    if kind == "zip":
        with zipfile.ZipFile(packed, "w") as archive:
            for path in photos.rglob("*.*"):
                archive.write(path, path.relative_to(photos))
    else:
        with tarfile.open(packed, "w") as archive:
            archive.add(photos, ".")

    def said(data):
        found = doctor(data).document()
        return {key: value for key, value in found.items() if key not in ("seconds", "data")}

    assert said(packed) == said(photos)


def test_hostile_names_reach_json_and_stay_whole(photos):
    name = b"a\xff\n<b>.png".decode("utf-8", "surrogateescape")
    copy(photos, "train/cat/1.png", f"val/cat/{name}")
    document = json.loads(json.dumps(doctor(photos).document()))
    assert document["findings"][0]["paths"] == ["train/cat/1.png", f"val/cat/{name}"]


def test_the_quick_look_says_the_same_of_leaks_in_one_line(photos, monkeypatch):
    monkeypatch.chdir(photos.parent)
    copy(photos, "train/cat/1.png", "val/cat/copy.png")
    source = open_source(photos)
    diagnosis = quick(split(source), [("train/cat/7.png", "truncated PNG")], source)
    assert diagnosis["leak"].paths == ("train/cat/1.png", "val/cat/copy.png")
    assert diagnosis["unreadable"].paths == ("train/cat/7.png",)
    line = diagnosis.line()
    assert line.startswith("doctor: 1 file appears in train/ and in val/; ")
    assert line.endswith("see `resnets doctor photos`")
    assert "\n" not in line


def test_copies_in_class_folders_are_no_leak_for_training_keeps_them_on_one_side(photos):
    for i in range(24):
        copy(photos, f"train/cat/{i}.png", f"train/cat/copy{i}.png")
    source = open_source(photos / "train")
    assert "leak" not in quick(split(source), [], source)
    before = split(source, order="key")
    groups = quick(before, [], source)["leak"].details["groups"]
    held_out = {sample.key for sample in before.held_out}
    assert groups
    assert all(len({key in held_out for key in group}) == 2 for group in groups)


def test_the_quick_look_reads_no_file_again(photos, monkeypatch):
    source = open_source(photos)
    splits = split(source)
    monkeypatch.setattr(source, "read", None)
    assert "leak" not in quick(splits, [], source)


def test_a_smaller_difference_takes_more_images():
    assert smallest_difference(3925) == pytest.approx(0.0099, abs=1e-4)
    assert smallest_difference(100) > smallest_difference(1000)
    assert smallest_difference(1) <= 1


def test_a_picture_of_too_many_pixels_is_unreadable_not_a_crash(photos):
    buffer = io.BytesIO()
    Image.new("1", (20_000, 20_000)).save(buffer, "png")
    (photos / "train/cat/bomb.png").write_bytes(buffer.getvalue())
    assert doctor(photos, thorough=False)["unreadable"].paths == ("train/cat/bomb.png",)
