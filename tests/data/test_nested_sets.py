"""Data sets that lie beside other folders, and classes with folders in them: asked or said, never guessed."""

from __future__ import annotations

import pytest
from test_layout import found, read

from resnets.data.labels import LayoutError


@pytest.mark.parametrize(
    "files",
    [
        ("set1/train/{cat,dog}", "set1/val/{cat,dog}", "extra/1.jpg"),
        ("blood-2/images/TRAIN/{eos,lym}", "blood-2/images/TEST/{eos,lym}", "blood-1/scans/1.jpg"),
        ("Original Images/Original Images/{a,b}", "Fold1/Fold1/Train/{a,b}", "Fold1/Fold1/Val/{a,b}"),
        ("a/x/train/{cat,dog}", "a/x/test/{cat,dog}", "b/x/train/{cat,dog}", "b/x/test/{cat,dog}"),
    ],
)
def test_a_data_set_beside_other_folders_is_no_class(files: tuple[str, ...]) -> None:
    with pytest.raises(LayoutError, match=r"with the splits .* in it, and all of it would be one class"):
        read(*files)


def test_two_data_sets_are_asked_for_one() -> None:
    with pytest.raises(LayoutError, match="each with the splits train, val: name one of them as the data"):
        read("fold_0/train/{cat,dog}", "fold_0/val/{cat,dog}", "fold_1/train/{cat,dog}", "fold_1/val/{cat,dog}")


def test_classes_of_folders_alone_are_said() -> None:
    layout = read("data/{cat,dog,emu}", "docs/plot.png")
    assert found(layout) == {"": {"data", "docs"}}
    assert layout.remarks == ("data/: only folders in it, and all below is one class.",)
    assert read("cat/{a,b}", "dog/{c,d}").remarks == (
        "cat/, dog/: only folders in them; each is one class with all below.",
    )
    assert read("cat/images/{x}", "dog/{2020,2021}", "dog/3.jpg").remarks == (), "nothing to take for classes"


def test_a_folder_of_writings_is_no_class() -> None:
    layout = read("cat/{1}", "dog/{1}", "runs/eval.html", "labels/1.txt", "labels/2.txt", "scans/1")
    assert found(layout) == {"": {"cat", "dog", "scans"}}, "a file without an ending may be a picture"
    assert layout.beside == ("labels/1.txt", "labels/2.txt", "runs/eval.html")
    assert layout.remarks == ("labels/, runs/: without pictures, so no class is made of them.",)
    yolo = read(*(f"{side}/{what}" for side in ("train", "val") for what in ("images/1.jpg", "labels/1.txt")))
    assert found(yolo) == {"train": {"images"}, "val": {"images"}}
