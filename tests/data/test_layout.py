"""Layouts: what folders are splits, classes, or neither; and what is said of what is left out."""

from __future__ import annotations

import logging
from pathlib import Path
from random import Random

import pytest

from resnets.data.labels import LayoutError, class_names
from resnets.data.layout import Layout, arrange
from resnets.data.open import open_source
from resnets.data.split import split
from resnets.data.splitnames import roles, split_named, words
from resnets.errors import DataError


def read(*keys: str, **others: list[str]) -> Layout:
    """The layout of files; "train/{cat,dog}" stands for two folders with two pictures in each."""
    sizes = {}
    for key in keys:
        around, brace, names = key.partition("{")
        for name in names.rstrip("}").split(",") if brace else [""]:
            for number in (1, 2) if brace else ("",):
                sizes[f"{around}{name}/{number}.jpg" if brace else around] = 1
    return arrange("photos", sizes, **others)


def found(layout: Layout) -> dict[str, set[str]]:
    """Split to its classes."""
    names = {sample.split for sample in layout.samples}
    return {name: {sample.label for sample in layout.samples if sample.split == name} for name in names}


ANIMALS = {"cat", "dog"}
PAIRS = [
    ("training_set", "test_set", "test"),
    ("train", "eval", "val"),
    ("train", "evaluation", "val"),
    ("train", "dev", "val"),
    ("train", "holdout", "val"),
    ("train", "held-out", "val"),
    ("train", "Hold Out", "val"),
    ("train_images", "val_images", "val"),
    ("Train", "Valid", "val"),
    ("TRAIN", "VAL", "val"),
    ("training", "validation", "val"),
    ("seg_train", "seg_test", "test"),
    ("TrainImages", "TestImages", "test"),
    ("trainset", "valset", "val"),
    ("train2017", "val2017", "val"),
    ("train ", "test ", "test"),
    ("cifar10.train", "cifar10.test", "test"),
    ("trainval", "test", "test"),
    ("train_val", "test", "test"),
    ("Training Data", "Testing Data", "test"),
    ("imgs-train", "imgs-dev", "val"),
]


@pytest.mark.parametrize(("train", "held_out", "name"), PAIRS)
def test_splits_are_known_by_the_words_in_their_names(train: str, held_out: str, name: str) -> None:
    for around in ("", "set/", "a/b/"):
        layout = read(*(f"{around}{folder}/{{cat,dog}}" for folder in (train, held_out)))
        assert found(layout) == {"train": ANIMALS, name: ANIMALS}
        assert not layout.remarks


@pytest.mark.parametrize(
    "inner", [("seg_train", "seg_test"), ("images", "images"), ("Seg_Train", "SEG_TEST"), ("data", "data")]
)
def test_a_folder_around_the_classes_of_each_split_is_looked_through(inner: tuple[str, str]) -> None:
    layout = read(f"seg_train/{inner[0]}/{{cat,dog}}", f"seg_test/{inner[1]}/{{cat,dog}}", "seg_pred/seg_pred/1.jpg")
    assert found(layout) == {"train": ANIMALS, "test": ANIMALS}
    assert layout.beside == ("seg_pred/seg_pred/1.jpg",)
    assert any("seg_pred/" in remark for remark in layout.remarks)


def test_splits_may_lie_in_a_folder_beside_others_without_pictures() -> None:
    layout = read("images/train/{cat,dog}", "images/val/{cat,dog}", "labels/train/1.txt", "labels/val/1.txt")
    assert found(layout) == {"train": ANIMALS, "val": ANIMALS}
    assert "labels/" in layout.remarks[0]
    for around in ("train", "101_ObjectCategories"):
        layout = read(f"{around}/{{cat,dog}}", "annotations/cat/1.mat", "annotations/dog/1.mat")
        assert found(layout) == {"": ANIMALS}
        assert layout.remarks == ("annotations/: without pictures, and left out.",)


def test_a_class_whose_files_have_no_ending_is_a_class() -> None:
    assert found(read("cat/old/1.jpg", "cat/new/1.jpg", "cat/1.jpg", "dog/1", "dog/2")) == {"": ANIMALS}


def test_names_that_only_contain_a_word_are_no_splits() -> None:
    assert roles(["train_station", "test_track", "bus_stop"]) == {}
    assert roles(["pregnancy_test", "contest", "latest", "retrain", "Valentin"]) == {}
    assert roles(["train", "val", "eval"]) == {"train": "train", "val": "val", "eval": "test"}
    assert words("HTMLTrainSet_2.final held-out") == ["html", "train", "set", "final", "heldout"]


def test_what_somebody_calls_a_split_is_found() -> None:
    there = ("train", "val", "test")
    asked = ("Training", "training_set", "dev", "Valid", "eval", "testing", "holdout", "other", "train_other")
    known = ["train", "train", "val", "val", "val", "test", "val", "other", "train_other"]
    assert [split_named(name, there) for name in asked] == known
    assert split_named("holdout", ("train", "test")) == "test"


def test_two_folders_with_the_same_folders_in_them_are_never_classes() -> None:
    for files in (
        ("setA/{cat,dog}", "setB/{cat,dog}"),
        ("setA/{cat,dog,emu}", "setB/{Cat,dog,fox}"),
        ("train/{cat,dog}", "setB/{cat,dog}"),
        ("test/{cat,dog}", "setB/{cat,dog}"),
        ("cat/{images,masks}", "dog/{images,masks}", "emu/{images,masks}"),
    ):
        with pytest.raises(LayoutError, match=r"are they splits, or classes\? If splits, call them train and val"):
            read(*files)
    for other in ("val", "more", "train"):
        with pytest.raises(LayoutError, match=f"{other}/ holds folders of the same names: name one"):
            read("{cat,dog}", f"{other}/{{cat,dog}}")
    with pytest.raises(LayoutError, match="data/ holds folders of the same names"):
        read("natural_images/{cat,dog}", "data/natural_images/{cat,dog}")  # as archives of contests have it
    with pytest.raises(LayoutError, match="is it a split, or a class"):
        read("train/{cat,dog}", "bird/1.jpg", "cow/1.jpg")


def test_classes_may_share_a_folders_name() -> None:
    assert found(read("cat/images/1.jpg", "dog/images/1.jpg")) == {"": ANIMALS}  # as in Tiny ImageNet
    assert found(read("cat/2020/1.jpg", "dog/2020/1.jpg", "dog/2021/1.jpg")) == {"": ANIMALS}


def test_train_among_vehicles_is_a_class() -> None:
    assert found(read("{train,bus,car}")) == {"": {"train", "bus", "car"}}
    assert found(read("{train,bus}", "train/new/3.jpg", "bus/red/3.jpg")) == {"": {"train", "bus"}}
    layout = read("{train,bus,car,test}")
    assert found(layout) == {"": {"train", "bus", "car"}}
    assert "test/: no class folders, so no labels, and left out." in layout.remarks[0]


def test_train_and_test_without_class_folders_are_no_classes() -> None:
    for files in ("{train,test}", "{train,val,test}", "data/{training,testing}"):
        with pytest.raises(LayoutError, match="no class folders"):
            read(files)


@pytest.mark.parametrize("test", ["test/1.jpg", "test/test/1.jpg", "test/unknown/1.jpg", "Testing/images/1.jpg"])
@pytest.mark.parametrize("rest", [("train/{cat,dog}",), ("train/{cat,dog}", "val/{cat,dog}"), ("{cat,dog}",)])
def test_unlabelled_pictures_to_predict_never_stand_in_the_way(test: str, rest: tuple[str, ...]) -> None:
    layout = read(test, *rest)
    assert set().union(*found(layout).values()) == ANIMALS
    assert layout.beside == (test,)
    (remark,) = layout.remarks
    assert remark.startswith(f"{test.partition('/')[0]}/: no class folders, so no labels, and left out.")


def test_a_class_that_is_called_test_stays_one_where_it_has_to() -> None:
    assert found(read("{control,test}")) == {"": {"control", "test"}}
    assert found(read("{valid,invalid,expired}")) == {"": {"valid", "invalid", "expired"}}


def test_folders_beside_splits_are_named() -> None:
    layout = read("train/{cat,dog}", "val/{cat,dog}", "more/{cat,dog}", "scripts/run.py")
    assert found(layout) == {"train": ANIMALS, "val": ANIMALS}
    assert layout.remarks == (
        "more/, scripts/: beside train/, val/ and no split by name, so left out; call it train, val or test if it is "
        "one.",
    )


def test_the_same_split_under_two_names_is_refused() -> None:
    for twice in ("valid", "Validation", "dev_set"):
        with pytest.raises(LayoutError, match="for one split: merge or rename them"):
            read("train/{cat,dog}", "val/{cat,dog}", f"{twice}/{{cat,dog}}")
    with pytest.raises(LayoutError, match="both train/ and training/"):
        read("train/{cat,dog}", "training/{cat,dog}", "val/{cat,dog}")
    assert found(read("train/{cat,dog}", "val/{cat,dog}", "holdout/{cat,dog}")).keys() == {"train", "val", "test"}


def test_validation_and_test_alone_can_be_judged_and_not_trained_on(tmp_path: Path) -> None:
    for name in ("val", "test"):
        for label in ANIMALS:
            (tmp_path / name / label).mkdir(parents=True)
            (tmp_path / name / label / "1.jpg").touch()
    source = open_source(tmp_path)
    assert {sample.split for sample in source.samples} == {"val", "test"}
    with pytest.raises(DataError, match="has val and test and nothing to train on: add train/"):
        split(source)


def test_loose_pictures_and_empty_folders_are_counted(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    for key in ("cat/1.jpg", "dog/1.jpg", "1.jpg", "2.JPG", "notes.txt", "emu/sub/.hidden/1.jpg"):
        (tmp_path / "set" / key).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "set" / key).touch()
    (tmp_path / "set/fox").mkdir()
    with caplog.at_level(logging.INFO, "resnets"):
        source = open_source(tmp_path / "set")
    assert class_names(source.samples) == ("cat", "dog")
    assert source.beside == ("1.jpg", "2.JPG", "notes.txt")
    said = [
        "2 pictures lie beside the class folders, in none, and are left out: 1.jpg, 2.JPG.",
        "emu/, fox/: without pictures, so no class is made of them.",
    ]
    assert caplog.messages == list(source.remarks) == said


def test_loose_pictures_in_a_split_and_a_class_that_is_empty_there() -> None:
    layout = read("train/{cat,dog}", "val/{cat}", "train/1.jpg", empty=["val/dog/", "test/"])
    assert found(layout) == {"train": ANIMALS, "val": {"cat"}}
    assert layout.remarks == (
        "1 picture lies beside the class folders, in none, and is left out: train/1.jpg.",
        "test/, val/dog/: without pictures, so no class is made of them.",
    )


def test_what_is_no_file_makes_no_class() -> None:
    layout = read("{cat,dog}", "run/socket", "cat/pipe", odd=["run/socket", "cat/pipe"])
    assert found(layout) == {"": ANIMALS}
    assert "cat/pipe" in {sample.key for sample in layout.samples}
    assert layout.beside == ("run/socket",)
    assert layout.remarks == ("run/: without pictures, so no class is made of it.",)


COMPOSED, DECOMPOSED = "caf\u00e9", "cafe\u0301"


def test_one_name_in_two_forms_is_one_class() -> None:
    layout = read(f"{COMPOSED}/1.jpg", f"{DECOMPOSED}/2.jpg", "tea/1.jpg", "tea /2.jpg", "milk/1.jpg")
    assert {sample.label: sample.key for sample in layout.samples}.keys() == {COMPOSED, "tea", "milk"}
    assert f"{DECOMPOSED}/2.jpg" in {sample.key for sample in layout.samples}  # as the file is called
    assert sorted(layout.remarks) == [
        f'2 folders are called "{name}", only in other bytes (accents written in another way, or spaces around it): '
        "they are one class."
        for name in (COMPOSED, "tea")
    ]
    across = read(f"train/{COMPOSED}/1.jpg", "train/tea/1.jpg", f"val/{DECOMPOSED}/1.jpg", "val/tea/1.jpg")
    assert found(across) == {"train": {COMPOSED, "tea"}, "val": {COMPOSED, "tea"}}


def test_names_that_differ_in_capitals_stay_two_classes_and_are_said() -> None:
    layout = read("{Cat,cat,dog}")
    assert found(layout) == {"": {"Cat", "cat", "dog"}}
    (remark,) = layout.remarks
    assert remark.startswith('"Cat" and "cat" differ in capitals alone and are 2 classes')


def test_a_class_folder_whose_name_is_not_utf8() -> None:
    layout = read("caf\udce9/1.jpg", "tea/1.jpg")
    assert found(layout) == {"": {r"caf\xe9", "tea"}}
    assert layout.remarks == (r'The name of a class folder is not UTF-8: the class is called "caf\xe9".',)


def test_thousands_of_class_folders_and_deep_ones_take_no_time() -> None:
    sizes = {f"{top}/c{number}/images/1.jpg": 1 for top in ("a_train", "a_val") for number in range(5_000)}
    assert len(class_names(arrange("many", sizes).samples)) == 5_000
    sizes = {f"c{number}/images/1.jpg": 1 for number in range(10_000)}
    assert len(class_names(arrange("many", sizes).samples)) == 10_000
    deep = "a/" * 1000
    assert found(read(f"{deep}cat/1.jpg", f"{deep}dog/1.jpg")) == {"": ANIMALS}


@pytest.mark.parametrize("names", ["abcd", "wxyz", "kqsu", "cfim", "dgjp"])
def test_of_folders_that_share_as_many_names_the_first_is_named(names: str) -> None:
    """Not the one that the hash of a name brings first: the same folders, the same sentence, in every process."""
    one, other = f"{{{names[0]},{names[3]}}}", f"{{{names[1]},{names[2]}}}"
    with pytest.raises(LayoutError, match=f"holds set1/ and set3/, and both hold the folders {names[0]}, {names[3]}:"):
        read(f"set1/{one}", f"set2/{other}", f"set3/{one}", f"set3/{other}")


def told(keys: list[str], odd: set[str], empty: list[str]) -> Layout | str:
    """The layout of files in this order, or what is wrong with them."""
    try:
        return arrange("set", dict.fromkeys(keys, 1), odd=odd, empty=empty)
    except DataError as problem:
        return str(problem)


def test_any_folders_give_a_layout_or_a_sentence_whatever_their_order() -> None:
    random = Random(0)
    names = ["train", "val", "test", "Train", "holdout", "cat", "dog", "Cat", COMPOSED, DECOMPOSED, "images", "setA"]
    refused = 0
    for _ in range(1000):
        some = random.sample(names, random.randint(2, 5))
        keys = sorted(
            {
                "/".join([*random.choices(some, k=random.randint(0, 4)), random.choice(["1.jpg", "2.png", "list.txt"])])
                for _ in range(random.randint(1, 14))
            }
        )
        odd = {key for key in keys if random.random() < 0.1}
        empty = [f"{'/'.join(random.choices(some, k=random.randint(1, 3)))}/"]
        layout = told(keys, odd, empty)
        assert told(random.sample(keys, len(keys)), odd, empty) == layout
        if isinstance(layout, str):
            refused += 1
            assert layout.startswith("set h")  # has, or holds
            continue
        used = {sample.key for sample in layout.samples}
        assert sorted([*used, *layout.beside]) == keys
        assert not used <= odd
        assert len({bool(sample.split) for sample in layout.samples}) == 1
    assert 100 < refused < 900
