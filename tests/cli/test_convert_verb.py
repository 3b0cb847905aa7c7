"""`resnets convert` as people call it."""

from __future__ import annotations

import dataclasses
import json

import pytest
import torch

from resnets.architecture import CATALOG
from resnets.cli.main import main
from resnets.data.preprocess import Preprocessing
from resnets.network import create
from resnets.weights import Model, load, save
from resnets.weights.convert import write

SPEC = dataclasses.replace(CATALOG["resnet50"], depths=(1, 1), widths=(8, 16), stem_width=8)


@pytest.fixture
def model() -> Model:
    network = create(SPEC, num_classes=3, seed=0).eval()
    return Model(network, ("blue", "green", "red"), Preprocessing.evaluation(32))


@pytest.fixture
def foreign(model, tmp_path, capsys):
    write(model, tmp_path / "net.pth", "torchvision")
    capsys.readouterr()
    return tmp_path / "net.pth"


def test_a_foreign_file_becomes_a_model_file_with_a_certificate(foreign, tmp_path, capsys):
    out, proof = tmp_path / "model.safetensors", tmp_path / "proof.json"
    assert main(["convert", str(foreign), str(out), "--certificate", str(proof), "--json"]) == 0
    document = json.loads(capsys.readouterr().out)
    assert {"source", "target", "dialect", "network", "classes", "certificate"} <= document.keys()
    assert (document["dialect"], document["network"], document["classes"]) == ("torchvision", "custom", 3)
    assert {"holds", "max_abs", "relative", "argmax_agreement", "reference", "assumed"} == document[
        "certificate"
    ].keys()
    assert document["certificate"]["holds"] is True
    written = json.loads(proof.read_text())
    assert [unit["role"] for unit in written["units"]] == ["stem", "stage1.unit1", "stage2.unit1"]
    assert len(written["source"]["files"][0]["sha256"]) == len(written["target"]["files"][0]["sha256"]) == 64
    assert load(out).network.plan.spec == SPEC


def test_there_and_back_between_two_foreign_worlds(foreign, tmp_path, capsys):
    folder, proof = tmp_path / "folder", tmp_path / "proof.json"
    command = ["convert", str(foreign), str(folder), "--to", "huggingface", "--certificate", str(proof)]
    assert main(command) == 0
    assert "The certificate holds" in capsys.readouterr().out
    assert [side["holds"] for side in json.loads(proof.read_text())["sides"]] == [True, True]
    assert main(["convert", str(folder), str(tmp_path / "again.pth"), "--to", "torchvision"]) == 0
    one, other = (torch.load(path, weights_only=True) for path in (foreign, tmp_path / "again.pth"))
    assert one.keys() == other.keys()
    assert all(torch.equal(one[name], other[name]) for name in one)


def test_a_certificate_that_does_not_hold_is_status_1_and_names_the_first_role(foreign, tmp_path, capsys, monkeypatch):
    import resnets.weights.worlds.torchvision.witness as emulation

    right = emulation.run

    def wrong(file, x):
        found = right(file, x)
        return {role: y + 0.1 if role in ("stage2.unit1", "logits") else y for role, y in found.items()}

    monkeypatch.setattr(emulation, "run", wrong)
    monkeypatch.setattr("resnets.weights.certificate.framework", lambda *_: None)
    out = tmp_path / "model.safetensors"
    assert main(["convert", str(foreign), str(out), "--certificate", str(tmp_path / "p.json")]) == 1
    assert "does not hold: stage2.unit1 is the first to differ" in capsys.readouterr().out
    assert json.loads((tmp_path / "p.json").read_text())["first_difference"] == "stage2.unit1"


def test_a_probe_alone_writes_nothing_and_with_a_target_gives_it_what_did_best(foreign, photo_folder, tmp_path, capsys):
    photos = photo_folder(("blue", "green", "red"))
    before = sorted(tmp_path.iterdir())
    assert main(["convert", str(foreign), "--probe", str(photos), "--images", "6", "--json"]) == 0
    ranking = json.loads(capsys.readouterr().out)["probe"]
    assert sorted(tmp_path.iterdir()) == before
    assert {"what", "accuracy", "loss", "images", "preprocessing", "graph"} == ranking[0].keys()
    out = tmp_path / "model.safetensors"
    assert main(["convert", str(foreign), str(out), "--probe", str(photos), "--images", "6"]) == 0
    assert "than what the file has" in capsys.readouterr().out  # six images are too few to overrule it
    assert load(out).preprocessing == Preprocessing.evaluation(224)
    assert {"what", "accuracy"} <= ranking[0].keys()


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["{foreign}"], "name the file to write (DST), or labelled images (--probe)"),
        (["{foreign}", "{foreign}", "--to", "torchvision"], "is the source itself"),
        (["{foreign}", "out.bin"], "does not end in .safetensors"),
        (["{foreign}", "out.onnx"], "out.onnx is for other runtimes, which `resnets export"),
        (["{foreign}", "out.safetensors", "--to", "tensorflow"], "There is no dialect 'tensorflow'"),
        (["{foreign}", "out.safetensors", "--from", "kears"], 'Did you mean "keras"?'),
        (["{foreign}", "out.safetensors", "--model", "resnet51"], "There is no network 'resnet51'"),
        (["{foreign}", "out.safetensors", "--classes", "9", "--certificate", "p.json"], "--classes gives a fresh head"),
        (["{foreign}", "out.safetensors", "--classes", "9", "--probe", "photos"], "--classes gives a fresh head"),
        (["{foreign}", "out.safetensors", "--images", "9"], "name them with --probe"),
        (["{foreign}", "out.safetensors", "--certificate", "{foreign}"], "is the source itself"),
        (["{foreign}", "out.safetensors", "--certificate", "out.safetensors"], "both the result and its certificate"),
        (["{foreign}", "out.safetensors", "--certificate", "no/p.json"], "There is no folder no"),
        (["{foreign}", "no/out.safetensors"], "There is no folder no"),
        (["{foreign}", "out.safetensors", "--from", "resnets"], "was not written by resnets"),
        (["{own}", "out.safetensors", "--model", "resnet18"], "leave --model, --classes and --prefix out"),
        (["{run}", "{run}", "--to", "huggingface"], "is a source, or a model of resnets itself"),
        (["{foreign}", "--probe", "{foreign}", "--certificate", "p.json"], "name the file to write"),
        (["nothing.pth", "out.safetensors"], "There is no model file nothing.pth."),
        (["resnet50", "out.safetensors"], "resnet50 is a network without weights"),
        (["{own}", "out.safetensors", "--certificate", "p.json"], "both are our own"),
    ],
)
def test_wrong_usage_is_one_clear_sentence_and_status_2(foreign, model, tmp_path, monkeypatch, capsys, arguments, said):
    monkeypatch.chdir(tmp_path)
    save(tmp_path / "own.safetensors", model)
    (tmp_path / "run").mkdir()
    save(tmp_path / "run" / "model.safetensors", model)
    names = {"{foreign}": str(foreign), "{own}": str(tmp_path / "own.safetensors"), "{run}": str(tmp_path / "run")}
    before = foreign.read_bytes()
    assert main(["convert", *(names.get(word, word) for word in arguments)]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert said in err
    assert "Traceback" not in err
    assert foreign.read_bytes() == before
    assert not (tmp_path / "out.safetensors").exists()


def test_every_verb_takes_a_foreign_file(foreign, photo_folder, capsys):
    photos = photo_folder(("0", "1", "2"))
    assert main(["predict", str(foreign), str(photos / "0"), "--json"]) == 0
    assert len(json.loads(capsys.readouterr().out)["predictions"]) == 4
    assert main(["evaluate", str(foreign), str(photos), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["images"] == 12
