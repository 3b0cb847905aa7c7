"""`resnets show --diagram`: where the drawing goes, and what is said before any work is done."""

import json
import os
from xml.etree import ElementTree

import pytest

from resnets.architecture import plan
from resnets.cli.main import main
from resnets.inspection import diagram, diagrams


def test_draws_into_a_file_beside_the_table(tmp_path, capsys):
    out = tmp_path / "net.svg"
    assert main(["show", "resnet20", "--classes", "7", "--diagram", str(out)]) == 0
    assert out.read_text(encoding="utf-8") == diagram(plan("resnet20", num_classes=7), "resnet20")
    captured = capsys.readouterr()
    assert "stage1.unit1" in captured.out
    assert str(out) in captured.err
    assert os.listdir(tmp_path) == ["net.svg"]


def test_unfold_draws_every_unit(tmp_path):
    out = tmp_path / "net.svg"
    assert main(["show", "resnet20", "--diagram", str(out), "--unfold"]) == 0
    assert out.read_text(encoding="utf-8") == diagram(plan("resnet20"), "resnet20", unfold=True)


def test_against_draws_both(tmp_path, capsys):
    out = tmp_path / "net.svg"
    assert main(["show", "resnet18", "--against", "resnet34", "--diagram", str(out), "--json"]) == 0
    drawn = diagrams(plan("resnet18"), plan("resnet34"), ("resnet18", "resnet34"))
    assert out.read_text(encoding="utf-8") == drawn
    assert json.loads(capsys.readouterr().out)["against"]["name"] == "resnet34"


def test_a_network_against_itself_is_drawn_too(tmp_path):
    out = tmp_path / "net.svg"
    assert main(["show", "resnet18", "--against", "resnet18", "--diagram", str(out)]) == 0
    assert "are the same network" in "".join(ElementTree.parse(out).getroot().itertext())


@pytest.mark.parametrize(
    ("place", "message"),
    [
        ("net.png", "does not end in .svg"),
        ("net", "does not end in .svg"),
        (".", "does not end in .svg"),
        ("missing/net.svg", "There is no folder"),
    ],
)
@pytest.mark.parametrize("name", ["resnet18", "resnt"])
def test_a_wrong_place_is_said_before_any_work(tmp_path, monkeypatch, capsys, name, place, message):
    monkeypatch.chdir(tmp_path)
    assert main(["show", name, "--diagram", place]) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.startswith("error: ")
    assert message in captured.err
    assert captured.err.count("\n") == 1
    assert os.listdir(tmp_path) == []


def test_unfold_without_a_diagram_is_wrong_usage(capsys):
    assert main(["show", "resnet18", "--unfold"]) == 2
    assert "--diagram" in capsys.readouterr().err


def test_a_disk_that_is_full_leaves_what_stood_there(tmp_path, monkeypatch, capsys):
    out = tmp_path / "net.svg"
    before = '<svg class="resnets-diagram">before</svg>'
    out.write_text(before)

    def full(number):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    assert main(["show", "resnet18", "--diagram", str(out)]) == 2
    assert "No space left on device" in capsys.readouterr().err
    assert out.read_text() == before
    assert os.listdir(tmp_path) == ["net.svg"]


def test_a_folder_in_the_way_is_one_sentence(tmp_path, capsys):
    (tmp_path / "net.svg").mkdir()
    assert main(["show", "resnet18", "--diagram", str(tmp_path / "net.svg")]) == 2
    assert "is a folder" in capsys.readouterr().err
    assert os.listdir(tmp_path) == ["net.svg"]
