"""Every engine computes what the network computes, and `auto` takes the fastest of those that do."""

import json
import os
import subprocess
import sys
from dataclasses import replace

import pytest
import torch

from resnets.architecture import spec_of
from resnets.errors import ResnetsError
from resnets.inference import choice, engines
from resnets.inference.lower import lower
from resnets.network import create

SIZE = 40


def small(name):
    """The catalog's network with one unit a stage and narrow stages: every kind of step, little work."""
    spec = spec_of(name)
    groups = {"groups": 4, "width_per_group": 4} if spec.groups > 1 else {}
    depths, widths = (2,) + (1,) * (len(spec.depths) - 1), (16, 32, 48, 64)[: len(spec.depths)]
    return replace(spec, depths=depths, widths=widths, stem_width=16, **groups)


def network_of(name, seed=0):
    """A network whose norms have seen something, in evaluation mode."""
    network = create(small(name), 7, seed=seed)
    with torch.no_grad():
        for _ in range(3):
            network.train()(torch.randn(4, 3, SIZE, SIZE, generator=torch.Generator().manual_seed(seed)))
    return network.eval()


def images(count, size=SIZE):
    x = torch.randn(count, 3, *(size if isinstance(size, tuple) else (size, size)))
    return x.contiguous(memory_format=torch.channels_last)


def off(logits, reference):
    return float((logits - reference).abs().max() / (reference.max() - reference.min()))


def engine_of(name, network, precision, batch=8):
    if name not in engines.installed():
        pytest.skip(f"the engine {name} is not installed")
    from resnets.inference.quantize import measure_ranges

    quantisation = measure_ranges(lower(network, SIZE), [images(16)]) if precision == "int8" else None
    return engines.make(name, network, precision, image_size=SIZE, batch=batch, quantisation=quantisation)


KINDS = ["resnet18", "resnet50_v1", "resnext50_32x4d", "resnet50d", "resnetv2_50", "resnet20", "slim_resnet_v2_50"]
UNCOMPILED = [(name, p) for name in ("torch", "onnxruntime", "openvino") for p in engines.PRECISIONS]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(("name", "precision"), [pair for pair in UNCOMPILED if engines.supported(*pair)])
def test_an_engine_computes_what_the_network_computes(name, precision, kind):
    torch.manual_seed(0)
    network = network_of(kind)
    engine = engine_of(name, network, precision)
    assert (engine.name, engine.precision) == (name, precision)
    for x in (images(8), images(1), images(3), images(2, (33, 47)), images(2).contiguous()):
        before = x.clone()
        logits = engine(x)
        with torch.no_grad():
            reference = network(x)
        assert logits.shape == reference.shape
        assert logits.dtype == torch.float32
        assert off(logits, reference) < {"float32": 1e-5, "bfloat16": 0.05, "int8": 0.25}[precision]
        assert torch.equal(x, before)


@pytest.mark.filterwarnings("ignore:.torch.jit:DeprecationWarning")  # torch's own, when it imports its compiler
@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_the_compiled_engine_computes_it_for_every_number_of_images(precision):
    torch.manual_seed(0)
    network = network_of("resnet20")
    engine = engine_of("compiled", network, precision, batch=4)
    for x in (images(4), images(1), images(3).contiguous(), images(9)):
        with torch.no_grad():
            assert off(engine(x), network(x)) < {"float32": 1e-5, "bfloat16": 0.05}[precision]
    assert all(parameter.requires_grad for parameter in network.parameters())  # it can still be trained
    assert torch._inductor.config.freezing is False  # the setting of the process is as it was


def test_an_answer_outlives_the_next_question():
    network = network_of("resnet18")
    for name in set(engines.installed()) - {"compiled"}:
        engine = engine_of(name, network, "float32")
        first = engine(images(2))
        kept = first.clone()
        engine(images(2))
        assert torch.equal(first, kept), name


def test_the_network_may_change_afterwards():
    network = network_of("resnet18")
    x = images(2)
    for name in set(engines.installed()) - {"compiled"}:
        engine = engine_of(name, network, "float32")
        before = engine(x)
        with torch.no_grad():
            network.stem.conv.weight.mul_(1.5)
        assert torch.equal(engine(x), before), name


@pytest.mark.parametrize(
    ("there", "precision", "wanted"),
    [
        (["torch", "openvino"], "int8", "openvino"),
        (["torch", "onnxruntime"], "int8", "torch"),
        (["torch", "openvino"], "bfloat16", "torch"),
    ],
)
def test_the_usual_engine(monkeypatch, there, precision, wanted):
    monkeypatch.setattr(engines, "installed", lambda: there)
    assert engines.usual(precision) == wanted


def test_what_there_is():
    assert engines.installed()[0] == "torch"
    assert [name for name in engines.KINDS if name in engines.installed()] == engines.installed()
    assert engines.supported("torch", "int8")
    assert not engines.supported("compiled", "int8")
    assert not engines.supported("onnxruntime", "bfloat16")
    assert not engines.supported("tensorrt", "float32")


@pytest.mark.parametrize(
    ("name", "precision", "message"),
    [
        ("openvinno", "float32", "There is no engine 'openvinno'. Did you mean \"openvino\"?"),
        ("tpu", "float32", "There is no engine 'tpu'. There are torch, compiled, onnxruntime and openvino."),
        ("torch", "bflot16", "There is no precision 'bflot16'. Did you mean \"bfloat16\"?"),
        ("torch", "fp4", "There is no precision 'fp4'. There are float32, bfloat16 and int8."),
        ("compiled", "int8", "The engine compiled does not compute in int8: torch, onnxruntime and openvino do."),
        ("onnxruntime", "bfloat16", "does not compute in bfloat16: torch, compiled and openvino do."),
        ("torch", "int8", "int8 needs a calibration"),
    ],
)
def test_what_there_is_not(name, precision, message):
    with pytest.raises(ResnetsError) as caught:
        engines.make(name, network_of("resnet20"), precision)
    assert message in str(caught.value)


def test_a_missing_compiler_is_named(monkeypatch):
    monkeypatch.setenv("CXX", "no-such-compiler")
    assert "compiled" not in engines.installed()
    with pytest.raises(ResnetsError, match="needs a C\\+\\+ compiler"):
        engines.make("compiled", network_of("resnet20"))


@pytest.mark.parametrize(("name", "missing"), [("onnxruntime", "onnxruntime"), ("openvino", "openvino")])
def test_a_missing_package_is_named(monkeypatch, name, missing):
    monkeypatch.setitem(__import__("sys").modules, missing, None)
    with pytest.raises(ResnetsError, match=f"The package {missing} is missing: pip install"):
        engines.make(name, network_of("resnet20"))


class Fake:
    """An engine of a name that answers as the network does, shifted by `lie` times the spread."""

    def __init__(self, name, network, lie=0.0):
        self.name, self.precision, self.network, self.lie = name, "float32", network, lie

    def __call__(self, x):
        with torch.no_grad():
            logits = self.network(x)
        return logits + self.lie * (logits.max() - logits.min())


def choose(monkeypatch=None, times=None, lies=(), precision="float32", digest=None, calls=None, **options):
    network = network_of("resnet20")
    times = times or {"torch": 0.2, "onnxruntime": 0.1, "openvino": 0.15}

    def make(name, network, precision, **_):
        if calls is not None:
            calls.append(name)
        return Fake(name, network, dict(lies).get(name, 0.0))

    def timer(engine, x):
        assert x.shape[0] == options.get("batch", 8)
        return times[engine.name]

    return choice.fastest(
        network,
        precision,
        image_size=32,
        candidates=list(times),
        make=make,
        timer=timer,
        model_digest=digest,
        **options,
    )


def test_auto_takes_the_fastest(capsys):
    name, report = choose(batch=4)
    assert name == report["engine"] == "onnxruntime"
    assert report["images_per_second"] == {"torch": 20, "onnxruntime": 40, "openvino": pytest.approx(4 / 0.15)}
    said = capsys.readouterr().err
    assert said == ("engine onnxruntime: 2.00 times torch, 1.50 times openvino, 40 images/s in float32, batches of 4\n")


@pytest.mark.parametrize(("precision", "lie", "taken"), [("float32", 1e-3, "torch"), ("bfloat16", 1e-3, "openvino")])
def test_an_engine_that_computes_something_else_is_not_taken(capsys, precision, lie, taken):
    name, report = choose(times={"torch": 0.2, "openvino": 0.1}, lies={"openvino": lie}, precision=precision)
    assert name == taken
    assert list(report["refused"]) == (["openvino"] if taken == "torch" else [])
    assert ("openvino is left out: its logits are off by" in capsys.readouterr().err) is (taken == "torch")


def test_an_engine_that_cannot_be_made_is_not_taken():
    def make(name, network, precision, **_):
        if name == "openvino":
            raise RuntimeError("no such instruction\nat line 3")
        return Fake(name, network)

    network = network_of("resnet20")
    name, report = choice.fastest(network, candidates=["openvino", "torch"], make=make, timer=lambda *_: 1.0)
    assert name == "torch"
    assert report["refused"] == {"openvino": "it failed: no such instruction"}


def test_when_all_are_wrong_none_is_taken():
    with pytest.raises(choice.NoEngineError, match="No engine computes what the network computes in float32: torch:"):
        choose(times={"torch": 1.0}, lies={"torch": 0.5})


def test_wrong_logits():
    reference = torch.tensor([[0.0, 1.0, 10.0], [0.0, 9.0, 10.0]])
    swapped = reference.clone()
    swapped[1] = torch.tensor([0.0, 9.9, 9.8])
    assert choice.wrong(reference + 1e-4, reference, "float32") is None
    assert "off by" in choice.wrong(reference + 0.1, reference, "float32")
    assert choice.wrong(reference.clone().fill_(torch.nan), reference, "int8")
    assert "logits are (2, 2)" in choice.wrong(reference[:, :2], reference, "int8")
    # Ten parts in a hundred of the spread lie between the two classes, which is more than bfloat16 may be off.
    tight = torch.tensor([[0.0, 9.4, 10.0], [0.0, 9.7, 10.0]])
    assert choice.wrong(torch.tensor([[0.0, 9.75, 9.7], [0.0, 9.7, 10.0]]), tight, "bfloat16") == (
        "it names another class than the network in float32"
    )
    assert choice.wrong(torch.tensor([[0.0, 9.4, 10.0], [0.0, 9.9, 9.8]]), tight, "bfloat16") is None


@pytest.fixture
def own_cache(monkeypatch, tmp_path):
    monkeypatch.setenv("RESNETS_HOME", str(tmp_path / "home"))
    return tmp_path / "home" / "engines"


def test_what_was_measured_is_found_again(own_cache, capsys):
    calls = []
    first = choose(digest="abc", calls=calls)
    second = choose(digest="abc", calls=calls)
    assert calls == ["torch", "onnxruntime", "openvino"]
    assert second == (first[0], {**first[1], "kept": True})
    assert "measured before" in capsys.readouterr().err
    assert not list(own_cache.glob(".*"))


@pytest.mark.parametrize("change", [{"digest": "other"}, {"batch": 1}, {"precision": "bfloat16"}, {"digest": None}])
def test_what_was_measured_counts_for_the_same_alone(own_cache, change):
    calls = []
    choose(digest="abc", calls=calls)
    choose(**{"digest": "abc", "calls": calls, **change})
    assert len(calls) == 6


@pytest.mark.parametrize(
    "damage",
    [
        lambda text: text[:20],
        lambda text: "[]",
        lambda text: text.replace('"engine": "onnxruntime"', '"engine": "rm -rf"'),
        lambda text: json.dumps({**json.loads(text), "images_per_second": {}}),
        lambda text: json.dumps({**json.loads(text), "images_per_second": {"onnxruntime": -1}}),
        lambda text: "\x00\xff",
    ],
)
def test_a_damaged_cache_is_measured_again(own_cache, damage):
    choose(digest="abc")
    (kept,) = own_cache.iterdir()
    whole = kept.read_text()
    kept.write_text(damage(whole))
    calls = []
    name, report = choose(digest="abc", calls=calls)
    assert (name, report["kept"], len(calls)) == ("onnxruntime", False, 3)
    assert kept.read_text() == whole


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no pipes here")
def test_what_others_can_write_and_pipes_are_measured_again(own_cache):
    choose(digest="abc")
    (kept,) = own_cache.iterdir()
    kept.chmod(0o666)
    assert not choose(digest="abc")[1]["kept"]
    assert choose(digest="abc")[1]["kept"]
    kept.unlink()
    os.mkfifo(kept)
    assert not choose(digest="abc")[1]["kept"]
    assert choose(digest="abc")[1]["kept"]


def test_a_cache_that_cannot_be_written_stops_nothing(own_cache):
    own_cache.parent.mkdir()
    own_cache.write_text("a file where the folder should be")
    assert choose(digest="abc")[0] == "onnxruntime"


def test_auto_with_the_real_engines(capsys):
    candidates = [name for name in engines.installed() if name != "compiled"]
    network = network_of("resnet18")
    name, report = choice.fastest(network, image_size=SIZE, batch=2, candidates=candidates)
    assert name in candidates
    assert report["refused"] == {}
    assert list(report["images_per_second"]) == candidates
    assert report["images_per_second"][name] == max(report["images_per_second"].values())


def test_a_signal_finds_its_stack_after_engines_that_came_and_went():
    """OpenVINO sets a stack for signals aside on a processor with AMX, and used to leave a freed one behind."""
    said = subprocess.run([sys.executable, "-c", CAME_AND_WENT], capture_output=True, text=True)
    assert (said.returncode, said.stdout) == (0, "stopped\n"), said.stderr


CAME_AND_WENT = """
import signal
from resnets.inference import engines
from resnets.network import create

network = create("resnet20", num_classes=2).eval()
first = engines.make("openvino", network)
second = engines.make("openvino", network)
del first
del second
try:
    signal.raise_signal(signal.SIGINT)
except KeyboardInterrupt:
    print("stopped")
"""
