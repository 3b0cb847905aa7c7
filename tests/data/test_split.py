"""Splits: those that the data brings, the seeded one, and classes that do not fit."""

from __future__ import annotations

import json
import shutil
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest

from resnets.data.labels import check_classes, class_names
from resnets.data.open import open_source
from resnets.data.sample import Sample
from resnets.data.source import Source
from resnets.data.split import split
from resnets.errors import DataError


class Listed(Source):
    """A source of names alone: ``counts`` images of each class."""

    def __init__(self, counts: dict[str, int]) -> None:
        sizes = {f"{label}/{number:04}.jpg": 1 for label, count in counts.items() for number in range(count)}
        super().__init__("listed", sizes, str)


@pytest.mark.parametrize(
    ("given", "held_out"),
    [(("train", "val"), "val"), (("train", "test"), "test"), (("train", "val", "test"), "val")],
)
def test_given_splits_are_taken(given: tuple[str, ...], held_out: str, photo_folder: Callable[..., Path]) -> None:
    source = open_source(photo_folder(splits=given, images=3))
    splits = split(source, seed=5, fraction=0.9)
    assert {sample.split for sample in splits.train} == {"train"}
    assert {sample.split for sample in splits.held_out} == {held_out}
    assert splits.record() == {
        "origin": "folders",
        "held_out_name": held_out,
        "seed": None,
        "fraction": None,
        "counts": {"train": 6, held_out: 6},
    }


def test_a_seeded_split_is_stratified_complete_and_recorded() -> None:
    source = Listed({"ant": 50, "bee": 10, "cow": 2})
    splits = split(source, seed=3, fraction=0.2)
    assert Counter(sample.label for sample in splits.held_out) == {"ant": 10, "bee": 2, "cow": 1}
    assert sorted((*splits.train, *splits.held_out), key=lambda sample: sample.key) == list(source.samples)
    assert list(splits.train) == sorted(splits.train, key=lambda sample: sample.key)
    record = json.loads(json.dumps(splits.record()))
    assert record["held_out_keys"] == [sample.key for sample in splits.held_out]
    assert {key: record[key] for key in ("origin", "held_out_name", "seed", "fraction", "counts")} == {
        "origin": "seeded",
        "held_out_name": "val",
        "seed": 3,
        "fraction": 0.2,
        "counts": {"train": 49, "val": 13},
    }


GOLDEN = ["a/0002.jpg", "a/0006.jpg", "a/0008.jpg", "b/0003.jpg", "b/0006.jpg", "b/0007.jpg"]


def test_a_seeded_split_is_the_same_forever() -> None:
    held_out = [sample.key for sample in split(Listed({"a": 9, "b": 9}), seed=1, fraction=0.3).held_out]
    assert held_out == GOLDEN
    assert held_out != [sample.key for sample in split(Listed({"a": 9, "b": 9}), seed=2, fraction=0.3).held_out]


@pytest.mark.parametrize("fraction", [0.001, 0.5, 0.999])
def test_every_class_is_on_both_sides_at_any_fraction(fraction: float) -> None:
    splits = split(Listed({f"class{number:03}": 2 + number % 7 for number in range(200)}), fraction=fraction)
    assert len(class_names(splits.train)) == len(class_names(splits.held_out)) == 200


def test_what_cannot_be_split_is_explained() -> None:
    with pytest.raises(DataError, match=r'Class "cow" has a single image.*add another image or remove'):
        split(Listed({"ant": 5, "cow": 1}))
    for fraction in (0.0, 1.0, -1.0, float("nan")):
        with pytest.raises(DataError, match="must lie between 0 and 1"):
            split(Listed({"ant": 5, "cow": 5}), fraction=fraction)
    with pytest.raises(DataError, match="seed must lie between"):
        split(Listed({"ant": 5, "cow": 5}), seed=-1)


@pytest.mark.parametrize(("lost", "kept"), [("train", "val/"), ("val", "train/")])
def test_a_class_in_one_split_only_is_named(lost: str, kept: str, photo_folder: Callable[..., Path]) -> None:
    folder = photo_folder(classes=("cat", "dog", "emu"), splits=("train", "val"))
    shutil.rmtree(folder / lost / "emu")
    with pytest.raises(DataError, match=f'"emu" of {kept} is missing in {lost}/: add photos to {lost}/emu/'):
        split(open_source(folder))


def test_check_classes_names_a_few_of_many() -> None:
    def samples(labels: str, split: str) -> list[Sample]:
        return [Sample(f"{split}/{label}/1.jpg", label, split, 1) for label in labels]

    check_classes({"train": samples("abc", "train"), "val": samples("cba", "val")})
    with pytest.raises(DataError, match='"c", "d", "e" and 2 more of train/ are missing in val/'):
        check_classes({"train": samples("abcdefg", "train"), "val": samples("ab", "val")})
    with pytest.raises(DataError, match='Class "c" of train/ is missing in val/'):
        check_classes(
            {name: samples(labels, name) for name, labels in (("train", "abc"), ("val", "ab"), ("test", "ab"))}
        )
    with pytest.raises(DataError, match="only one class"):
        check_classes({"train": samples("a", "train"), "val": samples("a", "val")})


def test_class_names_are_sorted_and_shared() -> None:
    samples = [Sample(f"{label}/1", label, "", 1) for label in ("b", "a", "B", "10", "9")]
    assert class_names(samples) == ("10", "9", "B", "a", "b")
