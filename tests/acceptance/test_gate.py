"""The gate: int8 that is good passes, a spoilt calibration is refused, and nobody is judged on what calibrated it."""

import dataclasses
import json

import pytest
import torch

import resnets
from resnets.acceptance import gate
from resnets.errors import DataError, ExportError, ResnetsError
from resnets.inference import choice, engines
from resnets.inference.lower import lower
from resnets.inference.quantize import Quantisation, fallbacks, measure_ranges


@pytest.fixture
def home(monkeypatch, tmp_path):
    monkeypatch.setenv("RESNETS_HOME", str(tmp_path / "home"))
    return tmp_path / "home"


@pytest.fixture(scope="module")
def digits(trained):
    return gate.examples(resnets.load(trained), "digits")


def judge(classifier, digits):
    """What judges a quantisation, run by the torch engine."""
    size = classifier.preprocessing.image_size
    source = digits.top1(classifier.logits)

    def use(quantisation):
        classifier.use(engines.make("torch", classifier.network, "int8", image_size=size, quantisation=quantisation))
        judgement = gate.Verdict(len(digits.labels), source, digits.top1(classifier.logits))
        judgement.check()
        return judgement

    return use


def ranges(classifier, digits):
    graph = lower(classifier.network, classifier.preprocessing.image_size)
    x = classifier.preprocessing.normalise(torch.from_numpy(digits.calibration[:64]))
    return graph, measure_ranges(graph, [x]), x


def test_a_good_calibration_passes(classifier, digits):
    quantisation, judgement = gate.first_good(gate.attempts(classifier, digits), judge(classifier, digits))
    assert judgement.top1_source > 0.8  # else this test says nothing
    assert judgement.drop <= gate.MAX_DROP
    assert quantisation.images == gate.CALIBRATION
    assert judgement.images == len(digits.labels)


@pytest.mark.parametrize("factor", [0.02, 500])
def test_a_spoilt_calibration_is_refused(classifier, digits, factor):
    """As from pictures that are all but black, or that were never normalised."""
    graph, good, x = ranges(classifier, digits)
    spoilt = Quantisation(ranges={name: (a * factor, b * factor) for name, (a, b) in good.ranges.items()})
    with pytest.raises(ExportError, match=r"int8 is refused: .* at best top-1 [\d.]+ % .* \d+ images") as caught:
        gate.first_good(fallbacks(graph, spoilt, x), judge(classifier, digits))
    assert caught.value.exit_status == 1


def test_one_spoilt_layer_is_left_in_float(classifier, digits):
    graph, good, x = ranges(classifier, digits)
    victim = next(step for step in graph.convolutions if step.name == "stage3.unit1.conv1")
    spoilt = Quantisation(ranges={**good.ranges, victim.input: tuple(0.01 * end for end in good.ranges[victim.input])})
    quantisation, judgement = gate.first_good(fallbacks(graph, spoilt, x), judge(classifier, digits))
    assert victim.name in quantisation.floats
    assert len(quantisation.floats) < len(graph.convolutions)
    assert judgement.drop <= gate.MAX_DROP


def test_nothing_is_judged_on_what_calibrated_it(classifier, digits, photo_folder, monkeypatch):
    asked = []
    real = gate.cached

    def spy(source, samples, preprocessing):
        asked.append({sample.key for sample in samples})
        return real(source, samples, preprocessing)

    monkeypatch.setattr(gate, "cached", spy)
    gate.examples(classifier, "digits")
    judged, calibration = asked
    assert not judged & calibration
    # Class folders without a split, which the network was not trained on: they are divided.
    folder = photo_folder(classes=classifier.classes, images=6)
    asked.clear()
    found = gate.examples(classifier, folder)
    judged, calibration = asked
    assert not judged & calibration
    assert len(judged) + len(calibration) == 60
    assert len(found.labels) == 45


def test_too_few_images(classifier, photo_folder):
    with pytest.raises(DataError, match="too few"):
        gate.examples(classifier, photo_folder(classes=classifier.classes, images=2))


def test_int8_wants_images_once(classifier, home, capsys):
    with pytest.raises(DataError, match="`data=DATA`"):
        gate.session_for(classifier, "torch", "int8")
    gate.session_for(classifier, "torch", "int8", "digits")
    capsys.readouterr()
    engine = gate.session_for(classifier, "torch", "int8")
    assert engine.precision == "int8"
    assert "judged earlier" in capsys.readouterr().err
    (kept,) = home.glob("int8/*.json")
    kept.write_text(json.dumps({"quantisation": {}}))
    with pytest.raises(DataError, match="`data=DATA`"):
        gate.session_for(classifier, "torch", "int8")


def test_another_network_does_not_get_the_calibration(classifier, home):
    gate.session_for(classifier, "torch", "int8", "digits")
    with torch.no_grad():
        classifier.network.get_parameter("head.linear.bias").add_(1)
    with pytest.raises(DataError, match="`data=DATA`"):
        gate.session_for(classifier, "torch", "int8")


def test_auto_takes_the_fastest(classifier, home, monkeypatch):
    monkeypatch.setattr(choice, "fastest", lambda *_, **__: ("torch", {}))
    assert gate.session_for(classifier, "auto", "float32").name == "torch"
    assert gate.session_for(classifier, "auto", "bfloat16").precision == "bfloat16"


def test_auto_takes_what_passes(classifier, home, monkeypatch, capsys):
    """An engine whose int8 is refused is left out, and the others are not refused with it."""
    made = engines.make

    def spoilt(name, *arguments, **options):
        engine = made(name, *arguments, **options)
        if name == "torch" and options.get("quantisation"):
            engine._run = lambda x: torch.full((len(x), 10), float("nan"))
        return engine

    monkeypatch.setattr(engines, "make", spoilt)
    engine = gate.session_for(classifier, "auto", "int8", "digits")
    assert engine.name in ("onnxruntime", "openvino")
    assert "engine torch is left out: int8 is refused" in capsys.readouterr().err
    with monkeypatch.context() as patch:  # of a killed table the rest is made by the same engine
        patch.setattr(choice, "_measure", None)
        assert gate.session_for(classifier, "auto", "int8").name == engine.name
    with pytest.raises(ExportError, match="int8 is refused"):
        gate.session_for(classifier, "torch", "int8", "digits")


def test_what_is_no_number_is_no_answer(digits):
    assert digits.top1(lambda pixels: torch.full((len(pixels), 10), float("nan"))) == 0


def test_damaged_images_do_not_judge(classifier, photo_folder):
    folder = photo_folder(classes=classifier.classes, images=4)
    for path in list(folder.rglob("*.jpg"))[::2]:
        path.write_bytes(path.read_bytes()[:40])
    with pytest.raises(DataError, match="too few"):
        gate.examples(classifier, folder)


def test_unknown_words(classifier):
    with pytest.raises(ResnetsError, match="no engine 'tensorrt'"):
        gate.session_for(classifier, "tensorrt", "float32")
    with pytest.raises(ResnetsError, match="no precision 'int4'"):
        gate.session_for(classifier, "torch", "int4")


def test_the_digest_changes_with_what_a_prediction_depends_on(classifier, trained):
    again = resnets.load(trained)
    assert classifier.digest == again.digest
    turned = dataclasses.replace(again.model, classes=again.classes[::-1])
    assert classifier.digest != turned.digest


class Guessing:
    """An engine that knows nothing."""

    precision, quantisation, name = "int8", None, "guessing"

    def __init__(self, classes):
        self.classes = classes

    def __call__(self, x):
        return torch.zeros(len(x), self.classes)


def test_the_baseline_is_the_network_whatever_engine_it_has_now(trained, home, tmp_path):
    """An int8 that was judged before would be judged against itself, and losses would add up unseen."""
    classifier = resnets.load(trained)
    own = classifier.export(tmp_path / "own.safetensors", precision="float16", data="digits").top1_source
    classifier.use(Guessing(10))
    assert classifier.export(tmp_path / "again.safetensors", precision="float16", data="digits").top1_source == own
    assert own > 0.8
    name = "openvino" if "openvino" in engines.installed() else "torch"
    gate.session_for(classifier, name, "int8", "digits")
    (kept,) = (home / "int8").glob("*.json")
    assert json.loads(kept.read_text())["judgement"]["top1_source"] == own


@pytest.mark.parametrize(
    ("images", "before", "after", "most"), [(200, 0.95, 0.945, 0.5), (100, 0.95, 0.94, 1), (20, 0.95, 0.85, 10)]
)
def test_exactly_the_drop_that_is_allowed_passes(images, before, after, most):
    gate.Verdict(images, before, after).check(most)
    with pytest.raises(ExportError):
        gate.Verdict(images, before, after - 1 / images).check(most)
