"""`resnets export`: what it writes, what it refuses, and what it leaves behind."""

import json

import numpy as np
import pytest
import torch
from PIL import Image

from resnets.acceptance import exported, gate
from resnets.cli.main import main
from resnets.errors import ExportError, ParameterError
from resnets.inference import load
from resnets.inference.quantize import Quantisation
from resnets.inference.readback import runtimes


@pytest.fixture(autouse=True)
def _short(monkeypatch):
    """Speeds are measured, but not well."""
    monkeypatch.setattr(exported, "SECONDS", 0.02)


@pytest.mark.parametrize(
    ("name", "precision", "readers"),
    [
        ("m.onnx", "float32", ["onnxruntime", "openvino"]),
        ("m.onnx", "int8", ["onnxruntime", "openvino"]),
        ("m.xml", "int8", ["openvino"]),
        ("m.xml", "bfloat16", ["openvino"]),
        ("m.pt2", "float32", ["torch.export"]),
        ("m.safetensors", "float16", ["resnets"]),
    ],
)
def test_what_is_written_is_as_good(classifier, tmp_path, name, precision, readers):
    document = exported.export(classifier, tmp_path / name, precision=precision, data="digits").document()
    assert document["written"]
    assert [row["runtime"] for row in document["table"]] == readers
    assert document["top1_source"] > 0.7  # else this test says nothing
    assert document["top1_source"] - document["top1_exported"] <= gate.MAX_DROP / 100
    for row in document["table"]:
        low, high = row["top1_interval"]
        assert low < row["top1"] < high
        assert row["bytes"] == sum(path.stat().st_size for path in tmp_path.iterdir())
        assert row["latency_ms"] > 0 < row["images_per_second"]
    assert {path.stem for path in tmp_path.iterdir()} == {"m"}


def test_a_file_says_what_the_classifier_says_of_photos_of_odd_shapes(classifier, tmp_path):
    exported.export(classifier, tmp_path / "m.onnx")
    random = np.random.default_rng(0)
    digits = [Image.fromarray(picture) for picture in gate.examples(classifier, "digits").judged.images[:24]]
    for opened in runtimes(tmp_path / "m.onnx", classifier.preprocessing, "float32"):
        for digit in digits:
            width, height = (int(side) for side in random.integers(3, 90, 2))
            image = np.asarray(digit.resize((width, height), Image.Resampling.BICUBIC))
            own = classifier.logits(classifier.preprocessing.pixels(Image.fromarray(image))[None])
            assert int(opened(image[None]).argmax()) == int(own.argmax()), (opened.runtime, width, height)


def test_our_own_file_in_float16_is_half_as_large_and_loads(classifier, tmp_path):
    sizes = {}
    for precision in ("float32", "float16"):
        exported.export(classifier, tmp_path / f"{precision}.safetensors", precision=precision)
        sizes[precision] = (tmp_path / f"{precision}.safetensors").stat().st_size
    weights = classifier.network.plan.parameters  # what is not weights stays as it is
    assert sizes["float32"] - sizes["float16"] > 0.9 * 2 * weights
    picture = Image.fromarray(gate.examples(classifier, "digits").judged.images[0])
    one, other = (load(tmp_path / f"{name}.safetensors").predict([picture])[0].top for name in sizes)
    assert [name for name, _ in one[:1]] == [name for name, _ in other[:1]]
    assert one[0][1] == pytest.approx(other[0][1], abs=0.02)


@pytest.mark.parametrize(
    ("name", "wish", "said"),
    [
        ("m.safetensors", {"precision": "int8"}, r"stores float32 or float16, not int8"),
        ("m.safetensors", {"raw": True}, r"has the preprocessing beside the network: leave `raw` out"),
        ("m.onnx", {"precision": "float16"}, r"float16 is what a model file \(\.safetensors\) can store"),
    ],
)
def test_what_a_format_does_not_hold_is_said_before_any_work(tmp_path, name, wish, said):
    with pytest.raises(ParameterError, match=said):
        exported.export("no such model", tmp_path / name, **wish)


@pytest.mark.parametrize("factor", [0.02, 500])
def test_a_spoilt_calibration_writes_nothing(classifier, tmp_path, monkeypatch, factor):
    """As from pictures that are all but black, or that were never normalised."""
    measure_ranges = gate.measure_ranges

    def spoilt(graph, batches):
        good = measure_ranges(graph, batches)
        return Quantisation(ranges={name: (a * factor, b * factor) for name, (a, b) in good.ranges.items()})

    monkeypatch.setattr(gate, "measure_ranges", spoilt)
    (tmp_path / "m.onnx").write_bytes(b"what stood there")
    with pytest.raises(ExportError):
        exported.export(classifier, tmp_path / "m.onnx", precision="int8", data="digits")
    assert [path.name for path in tmp_path.iterdir()] == ["m.onnx"]
    assert (tmp_path / "m.onnx").read_bytes() == b"what stood there"


def test_float32_too_is_judged(classifier, tmp_path, monkeypatch):
    monkeypatch.setattr(exported.Opened, "logits", lambda self, pixels: torch.zeros(len(pixels), 10))
    with pytest.raises(ExportError, match=r"loses [\d.]+ points"):
        exported.export(classifier, tmp_path / "m.onnx", data="digits")
    assert not list(tmp_path.iterdir())


def test_on_the_command_line(trained, tmp_path, capsys):
    arguments = ["export", trained, str(tmp_path / "m.onnx"), "--precision", "int8", "--data", "digits"]
    assert main([*arguments, "--json"]) == 0
    document = json.loads(capsys.readouterr().out)
    assert document["written"] is True
    assert main(arguments) == 0
    shown = capsys.readouterr().out
    assert "onnxruntime" in shown
    assert "top-1 % (95 %)" in shown
    assert max(map(len, shown.splitlines())) <= 100


@pytest.mark.parametrize(
    ("arguments", "status", "said"),
    [
        (["m.onnx", "--precision", "int8"], 2, "--data DATA"),
        (["m.tflite"], 2, ".onnx, .xml, .pt2 or .safetensors"),
        (["m.onnx", "--precision", "int4"], 2, "int4"),
        (["m.pt2", "--precision", "int8", "--data", "digits"], 2, "take .onnx or .xml"),
        (["nowhere/m.onnx"], 2, "no folder"),
    ],
)
def test_bad_wishes(trained, tmp_path, capsys, monkeypatch, arguments, status, said):
    monkeypatch.chdir(tmp_path)
    assert main(["export", trained, *arguments]) == status
    told = capsys.readouterr()
    assert said in told.err
    assert "Traceback" not in told.err
    assert not list(tmp_path.iterdir())


def test_a_refusal_on_the_command_line(trained, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(exported.Opened, "logits", lambda self, pixels: torch.zeros(len(pixels), 10))
    assert main(["export", trained, str(tmp_path / "m.onnx"), "--data", "digits", "--json"]) == 1
    document = json.loads(capsys.readouterr().out)
    assert document["written"] is False
    assert "points" in document["why"]


@pytest.mark.parametrize("wrong", [-1, 101, float("nan"), float("inf")])
def test_a_drop_that_makes_no_sense_is_refused_before_work(tmp_path, wrong):
    with pytest.raises(ParameterError, match="`max_drop` is a number of points from 0 to 100"):
        exported.export("nothing is opened", tmp_path / "m.onnx", max_drop=wrong)
