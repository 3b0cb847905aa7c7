"""What folders of classes are called in words: by a list beside the data, or by WordNet's words for ImageNet's."""

from __future__ import annotations

import dataclasses
import json
import zipfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import resnets
from resnets.architecture import ResNetSpec
from resnets.cli.main import main
from resnets.data.open import open_source
from resnets.data.titles import LONGEST, shown, titles_of, wordnet
from resnets.errors import ModelFileError
from resnets.training import train

TWO_WAYS = "it can be read in more than one way; write `folder title` on each line"
SPEC = ResNetSpec(depths=(1, 1), widths=(8, 16), stem="cifar", stem_width=8)


def photos(root: Path, folders: tuple[str, ...], count: int = 6) -> Path:
    noise = np.random.default_rng(0)
    for place, folder in enumerate(folders):
        (root / folder).mkdir(parents=True)
        for number in range(count):
            pixels = noise.integers(40 * place, 40 * place + 90, (8, 8, 3)).astype(np.uint8)
            Image.fromarray(pixels).save(root / folder / f"{number}.png")
    return root


def found(root: Path, folders: tuple[str, ...]) -> tuple[dict[str, str], str]:
    return titles_of(open_source(root), folders)


# The lists ------------------------------------------------------------------------------------------------


def test_wordnet_has_the_thousand_classes_in_the_order_of_their_logits():
    words = wordnet()
    assert len(words) == 1000
    assert list(words) == sorted(words)
    assert [list(words.values())[place] for place in (0, 217, 482, 999)] == [
        "tench",
        "English springer",
        "cassette player",
        "toilet tissue",
    ]


def test_folders_of_imagenet_have_their_words(tmp_path):
    folders = ("n02979186", "n01440764", "n99999999", "cat")
    titles, remark = found(photos(tmp_path / "photos", folders), folders)
    assert titles == {"n02979186": "cassette player", "n01440764": "tench"}
    assert remark == ""
    assert shown("n02979186", titles) == "cassette player (n02979186)"
    assert shown("cat", titles) == "cat"


@pytest.mark.parametrize(
    ("name", "text", "folders", "titles"),
    [
        ("classes.txt", "a tabby cat\nb\tdog", ("a", "b"), {"a": "tabby cat", "b": "dog"}),
        ("classes.txt", "a, tabby\nb: dog\n\n# a = no", ("a", "b"), {"a": "tabby", "b": "dog"}),
        ("classes.txt", "0 cat\n1 dog", ("0", "1"), {"0": "cat", "1": "dog"}),
        ("classes.txt", "cat\ngolf ball", ("0", "1"), {"0": "cat", "1": "golf ball"}),
        ("classes.txt", "cat\ngolf ball", ("1", "2"), {"1": "cat", "2": "golf ball"}),
        ("classes.txt", "\ufeffcat\r\ndog\r\n", ("00", "01"), {"00": "cat", "01": "dog"}),
        ("classes.txt", "n01440764 Schleie", ("n01440764", "x"), {"n01440764": "Schleie"}),
        ("Classes.TXT", "a cat\nb dog", ("a", "b"), {"a": "cat", "b": "dog"}),
        ("classes.json", '{"a": "cat", "b": "dog", "z": "no"}', ("a", "b"), {"a": "cat", "b": "dog"}),
        ("classes.json", '{"0": ["a", "cat"], "1": ["b", "dog"]}', ("a", "b"), {"a": "cat", "b": "dog"}),
        ("classes.json", '["cat", "dog"]', ("0", "1"), {"0": "cat", "1": "dog"}),
        ("classes.txt", "a\nb", ("a", "b"), {}),  # a list of the folders themselves
        ("classes.txt", "1 a\n2 b", ("a", "b"), {}),
        ("classes.txt", "a a\nb dog", ("a", "b"), {"b": "dog"}),
        (
            "classes.txt",
            "2 Stop\n1 Speed 20\n0 Speed 30",
            ("00", "01", "02"),
            {"00": "Speed 30", "01": "Speed 20", "02": "Stop"},
        ),
        ("classes.json", '{"0": "cat", "1": "dog"}', ("00", "01"), {"00": "cat", "01": "dog"}),
        ("classes.txt", "#red\n#blue", ("0", "1"), {"0": "#red", "1": "#blue"}),
        ("classes.txt", "red panda\nred\nblue", ("red", "red panda", "blue"), {}),
        ("classes.txt", "Apple\nPear\nPear 2\nPear Abate", ("Apple", "Pear", "Pear 2", "Pear Abate"), {}),
        ("classes.txt", "cat 0\ndog 1", ("cat", "dog"), {}),
        ("classes.json", '{"cat": "0", "dog": "1"}', ("cat", "dog"), {}),
        ("classes.txt", "1 001.Albatross\n2 002.Auklet", ("001.Albatross", "002.Auklet"), {}),
    ],
)
def test_a_list_beside_the_data_names_the_folders(tmp_path, name, text, folders, titles):
    root = photos(tmp_path / "photos", folders)
    (root / name).write_bytes(text.encode())
    assert found(root, folders) == (titles, "")


@pytest.mark.parametrize(
    ("name", "content", "why"),
    [
        ("classes.txt", b"x cat\ny dog\nz emu", "it names none of the folders"),
        ("classes.txt", b"cat\ndog\nemu", "it names none of the folders"),  # three titles for two numbers
        ("classes.txt", b"\xff\xfe\0", "it is no list of names"),
        ("classes.json", b"[" * 100_000, "it is no list of names"),
        ("classes.json", b"3", "it is no list of names"),
        ("classes.json", b'{"0": 1, "1": null}', "it names none of the folders"),
        ("classes.txt", b"0 " + b"x" * 2**23, "it is larger than 4 MiB"),
        ("classes.txt", b"1 cent\n0 euro\n1 euro", TWO_WAYS),
        ("classes.txt", b"0 zero\n0 null", TWO_WAYS),
    ],
)
def test_a_list_of_no_use_is_named_and_nothing_else_happens(tmp_path, name, content, why):
    root = photos(tmp_path / "photos", ("0", "1"))
    (root / name).write_bytes(content)
    titles, remark = found(root, ("0", "1"))
    assert titles == {}
    assert remark == f"{name} gives the classes no titles: {why}."


def test_a_line_of_folders_is_no_title_of_the_first(tmp_path):
    root = photos(tmp_path / "photos", ("cat", "dog", "bird"))
    (root / "classes.txt").write_text("cat, dog, bird\n")
    assert found(root, ("bird", "cat", "dog")) == ({}, f"classes.txt gives the classes no titles: {TWO_WAYS}.")


def test_a_list_of_no_use_does_not_hide_another(tmp_path):
    root = photos(tmp_path / "photos", ("a", "b"))
    (root / "classes.json").write_text("{")
    (root / "classes.txt").write_text("a cat\nb dog\n")
    assert found(root, ("a", "b")) == ({"a": "cat", "b": "dog"}, "")


def test_a_title_is_one_line_of_bounded_length(tmp_path):
    root = photos(tmp_path / "photos", ("a", "b"))
    (root / "classes.json").write_text(json.dumps({"a": "x\n\x1b[31m" + "y" * 1000, "b": " \n "}))
    titles, _ = found(root, ("a", "b"))
    assert list(titles) == ["a"]
    assert titles["a"].startswith("x \\x1b[31my")
    assert len(titles["a"]) == LONGEST


def test_a_list_in_an_archive_counts_too(tmp_path):
    root = photos(tmp_path / "photos", ("a", "b"))
    (root / "classes.txt").write_text("a cat\nb dog\n")
    with zipfile.ZipFile(tmp_path / "photos.zip", "w") as archive:
        for path in sorted(root.rglob("*.*")):
            archive.write(path, f"photos/{path.relative_to(root)}")
    assert found(tmp_path / "photos.zip", ("a", "b")) == ({"a": "cat", "b": "dog"}, "")


# A model keeps both ---------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def trained(tmp_path_factory) -> tuple[Path, Path]:
    root = tmp_path_factory.mktemp("titles")
    data = photos(root / "photos", ("n01440764", "n02979186"), 12)
    short = ["epochs=2", "batch_size=8", "min_steps=0", "precision=float32"]
    train(data, model=SPEC, image_size=8, weights="none", overrides=short, out=root / "run")
    return data, root / "run"


def test_the_model_file_keeps_folders_and_titles(trained, tmp_path):
    _, run = trained
    model = resnets.load(run)
    assert model.classes == ("n01440764", "n02979186")
    assert model.titles == {"n01440764": "tench", "n02979186": "cassette player"}
    model.save(tmp_path / "copy.safetensors")
    assert resnets.load(tmp_path / "copy.safetensors").titles == model.titles


def test_whoever_shows_a_class_shows_its_title(trained, capsys, tmp_path):
    data, run = trained
    picture = str(data / "n01440764" / "0.png")
    assert main(["predict", str(run), picture]) == 0
    assert "tench (n01440764) " in capsys.readouterr().out
    assert main(["predict", str(run), picture, "--json"]) == 0
    document = json.loads(capsys.readouterr().out)
    assert document["titles"]["n01440764"] == "tench"
    assert {one["name"] for one in document["predictions"][0]["top"]} == {"n01440764", "n02979186"}
    assert main(["evaluate", str(run), str(data), "--report", str(tmp_path / "report.html")]) == 0
    assert "cassette player (n02979186)" in capsys.readouterr().out
    assert "cassette player (n02979186)" in (tmp_path / "report.html").read_text()
    assert main(["evaluate", str(run), str(data), "--json"]) == 0
    document = json.loads(capsys.readouterr().out)
    assert document["titles"] == {"n01440764": "tench", "n02979186": "cassette player"}
    assert main(["explain", str(run), picture, "--out", str(tmp_path / "explained.svg")]) == 0


def test_a_model_that_starts_from_it_keeps_its_titles(trained, tmp_path):
    _, run = trained
    resnets.save(
        dataclasses.replace(resnets.load(run).model, titles={"n01440764": "Schleie"}), tmp_path / "m.safetensors"
    )
    data = photos(tmp_path / "photos", ("n01440764", "dog"))
    short = ["epochs=1", "batch_size=8", "min_steps=0", "precision=float32", "probe=false", "head_epochs=0"]
    options = {"recipe": "quick", "overrides": short, "out": tmp_path / "run"}
    train(data, weights=tmp_path / "m.safetensors", **options)
    assert resnets.load(tmp_path / "run").titles == {"n01440764": "Schleie"}
    (data / "classes.txt").write_text("n01440764 tinca\ndog Hund\n")
    train(data, weights=tmp_path / "m.safetensors", **options | {"out": tmp_path / "other"})
    assert resnets.load(tmp_path / "other").titles == {"n01440764": "tinca", "dog": "Hund"}


@pytest.mark.parametrize(
    "titles", [["a"], {"n01440764": 3}, {"cat": "no such class"}, {"n01440764": ""}, {"n01440764": "x" * 10**6}]
)
def test_titles_of_a_file_that_cannot_be_are_refused(trained, tmp_path, titles):
    model = resnets.load(trained[1]).model
    with pytest.raises(ModelFileError, match="title"):
        resnets.save(dataclasses.replace(model, titles=titles), tmp_path / "model.safetensors")
