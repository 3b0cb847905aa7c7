"""What README.md says to type works when it is typed from top to bottom, in a folder with nothing but photos.

The command lines run in this process and the example in Python as it stands; only the shipped recipe
and the measuring of speeds are shortened.
"""

import re
import shlex
from pathlib import Path

import pytest

from resnets.acceptance import exported
from resnets.inference import choice
from resnets.training import recipe
from typed import blocks, lines, photos, run, shorter

README = (Path(__file__).parents[1] / "README.md").read_text(encoding="utf-8")
# The beginnings of commands that are not run here, and why.
LEFT_OUT = {
    "python3 -m venv": "installs over the network; `.ci/run` and its tests do it",
    "resnets bench": "takes minutes; tests/benchmark",
    "resnets study": "takes minutes; tests/studies",
    "resnets predict timm:": "fetches over the network; tests/weights",
}


def left_out(line):
    return next((why for start, why in LEFT_OUT.items() if line.startswith(start)), None)


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A folder with photos/ and new/."""
    return photos(tmp_path_factory.mktemp("readme"))


@pytest.fixture
def here(place, monkeypatch, tmp_path_factory):
    """At that folder, with a shorter recipe of the same name."""
    monkeypatch.setattr(recipe, "SHIPPED", shorter(tmp_path_factory.mktemp("recipes")))
    for measures in (choice, exported):  # which engine is the fastest is not asked here
        monkeypatch.setattr(measures, "SECONDS", 0.02)
    monkeypatch.chdir(place)


def test_every_command_works_in_the_order_in_which_it_stands(here, capsys):
    assert sum(left_out(line) is None for line in lines(README)) >= 17
    for line in lines(README):
        if not left_out(line):
            assert run(line) == 0, f"{line}\n{capsys.readouterr().err}"
    written = ["doctor.html", "report.html", "why.png", "resnet50.svg", "proof.json", "photos.onnx", "labels.parquet"]
    assert [name for name in written if not Path(name).exists()] == []


def test_the_example_in_python_works(here):
    (example,) = blocks(README, "python")
    found = {}
    exec(example, found)
    assert found["features"].keys() == {"stem", "stage1", "stage2", "stage3", "stage4"}
    assert found["result"].document()["top1"] == found["result"].top1
    assert len(found["classifier"].classes) == 3


def test_nothing_is_left_out_that_is_not_there():
    for start in LEFT_OUT:
        assert any(line.startswith(start) for line in lines(README)), start


def test_what_is_typed_needs_nothing_that_was_not_made_before():
    """Every run folder and file that a command reads was written by one above it."""
    made = {"photos/", "new/1.jpg", "new/", "new/*.jpg"}
    for line in lines(README):
        if line.startswith("python3"):
            continue
        words = shlex.split(line)[1:]
        wanted = {word for word in words[1:] if re.search(r"[/.]", word) and "timm:" not in word}
        fresh = {
            words[words.index(flag) + 1]
            for flag in ("--out", "--html", "--report", "--diagram", "--torch")
            if flag in words
        }
        fresh |= {words[words.index("--certificate") + 1]} if "--certificate" in words else set()
        if words[0] in ("convert", "export", "pack"):
            fresh |= {word for word in words[2:3] if not word.startswith("--")}
        assert wanted - fresh <= made, line
        made |= fresh
