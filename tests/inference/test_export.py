"""What is written for other runtimes says what the network says, in each of them."""

from __future__ import annotations

import collections
import dataclasses
import json

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from PIL import Image

from resnets.architecture import CATALOG, ResNetSpec, plan
from resnets.data.preprocess import Preprocessing
from resnets.errors import DataError, ExportError, ResnetsError
from resnets.inference import Classifier, export, readback
from resnets.inference.export import write
from resnets.inference.lower import Graph, Step, lower
from resnets.inference.onnx_graph import model
from resnets.inference.quantize import Rounded, measure_ranges
from resnets.inference.readback import runtimes
from resnets.machine import int8_saturates, openvino_core
from resnets.network import ResNet, create
from resnets.weights import Calibration, Model, Provenance

CLASSES = ("ant", "bee", "cat", "dog", "eel")
F32 = {"INFERENCE_PRECISION_HINT": "f32"}
NEAR = 0.3 if int8_saturates() else 0.15  # without VNNI, runtimes add int8 products in 16 bits


def small(spec, depth=1):
    """The same choices with few units and narrow ones."""
    return dataclasses.replace(
        spec,
        depths=(depth,) * len(spec.depths),
        widths=tuple(max(min(width, 512) // 8, 4) for width in spec.widths),
        width_per_group=64 if spec.width_per_group % 64 == 0 else 128,
        groups=min(spec.groups, 2),
        stem_width=max(spec.stem_width // 8, 4),
    )


# Entries that differ in size alone become one. Rules that no entry has come from `convert`.
SMALL = {small(spec): name for name, spec in CATALOG.items()}
SMALL |= {
    small(ResNetSpec(conv_padding="same", pool_padding="same")): "tf_same",
    small(ResNetSpec(bias="always", pool_padding="valid")): "early_keras",
    small(dataclasses.replace(CATALOG["resnet20"], pad_side="both")): "akamaster",
    small(ResNetSpec(shortcut="avgpool", stem="cifar")): "v1_avgpool",
}


def lively(spec, seed=0, output_stride=32) -> ResNet:
    """A network whose norms have seen data, so that nothing vanishes or explodes on its way."""
    network = create(spec, num_classes=5, seed=seed, output_stride=output_stride).train()
    for module in network.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.momentum = 1.0
    with torch.no_grad():
        network(noise(8, 33, 40))
    return network.eval()


def noise(*shape, seed=0):
    shape = (shape[0], 3, *shape[1:])
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def in_onnxruntime(made, x):
    session = onnxruntime.InferenceSession(made.SerializeToString(), providers=["CPUExecutionProvider"])
    return session.run(["logits"], {"input": x.numpy()})[0]


def in_openvino(made, x):
    core = openvino_core()
    return core.compile_model(core.read_model(made.SerializeToString()), "CPU", F32)(x.numpy())["logits"]


def relative(given, wanted):
    return float(np.abs(np.asarray(given) - np.asarray(wanted)).max() / np.ptp(np.asarray(wanted)))


@pytest.mark.parametrize("output_stride", [32, 8])
@pytest.mark.parametrize("spec", SMALL, ids=SMALL.values())
def test_every_kind_of_entry_gives_its_logits(spec, output_stride):
    if output_stride == 8 and (spec.stem == "cifar" or spec.conv_padding == "same"):
        pytest.skip("its stride never exceeds 8, or it never dilates")
    network = lively(spec, output_stride=output_stride)
    made = model(lower(network))
    onnx.checker.check_model(made, full_check=True)
    session = onnxruntime.InferenceSession(made.SerializeToString(), providers=["CPUExecutionProvider"])
    core = openvino_core()
    compiled = core.compile_model(core.read_model(made.SerializeToString()), "CPU", F32)
    for n, height, width in ((2, 33, 40), (1, 64, 51)):  # odd and even sides, so that every padding rule shows
        x = noise(n, height, width, seed=1)
        with torch.inference_mode():
            wanted = network(x)
        assert relative(session.run(None, {"input": x.numpy()})[0], wanted) < 1e-5
        assert relative(compiled(x.numpy())[0], wanted) < 1e-5


QUANTISED = {
    "resnet18": small(CATALOG["resnet18"], depth=2),
    "resnet50d": small(CATALOG["resnet50d"]),
    "resnetv2_50": small(CATALOG["resnetv2_50"], depth=2),
    "preact_resnet110": small(CATALOG["preact_resnet110"], depth=2),
    "resnet20": small(CATALOG["resnet20"]),
    "plain18": small(CATALOG["plain18"]),
    "keras_resnet50": small(CATALOG["keras_resnet50"]),
    "tutorial_resnet18": small(CATALOG["tutorial_resnet18"]),
}


@pytest.mark.parametrize("name", QUANTISED)
def test_int8_runs_in_int8(name, tmp_path):
    network = lively(QUANTISED[name])
    graph, x = lower(network, 33), noise(8, 33, 33)
    quantisation = measure_ranges(graph, [x])
    wanted = Rounded(graph, quantisation)(x)

    made = model(graph, precision="int8", quantisation=quantisation)
    onnx.checker.check_model(made, full_check=True)
    options = onnxruntime.SessionOptions()
    options.optimized_model_filepath = str(tmp_path / "optimised.onnx")
    options.log_severity_level = 3  # it warns that an optimised model is for this machine alone
    session = onnxruntime.InferenceSession(made.SerializeToString(), options, providers=["CPUExecutionProvider"])
    kinds = collections.Counter(node.op_type for node in onnx.load(tmp_path / "optimised.onnx").graph.node)
    assert kinds["QLinearConv"] == len(graph.convolutions)
    assert not {"Conv", "FusedConv", "NhwcFusedConv"} & kinds.keys()
    assert relative(session.run(None, {"input": x.numpy()})[0], wanted) < NEAR

    core = openvino_core()
    compiled = core.compile_model(core.read_model(made.SerializeToString()), "CPU", F32)
    nodes = [node.get_rt_info() for node in compiled.get_runtime_model().get_ordered_ops()]
    computed = [n["runtimePrecision"].astype(str) for n in nodes if n["layerType"].astype(str) == "Convolution"]
    assert computed == ["u8"] * len(graph.convolutions)
    assert relative(compiled(x.numpy())[0], wanted) < NEAR


def test_convolutions_that_stay_float_are_float():
    graph, x = lower(lively(QUANTISED["resnet18"]), 33), noise(8, 33, 33)
    first, last = graph.convolutions[0].name, graph.convolutions[-1].name
    quantisation = measure_ranges(graph, [x]).keeping([first, last])
    made = model(graph, precision="int8", quantisation=quantisation)
    kinds = {i.name: i.data_type for i in made.graph.initializer}
    assert kinds[f"{first}.weight"] == kinds[f"{last}.weight"] == onnx.TensorProto.FLOAT
    quantised = [kind for name, kind in kinds.items() if name.endswith("weight.stored")]
    assert quantised == [onnx.TensorProto.INT8] * (len(graph.convolutions) - 2 + 1)  # and the head
    wanted = Rounded(graph, quantisation)(x)
    assert relative(in_onnxruntime(made, x), wanted) < 0.15
    assert relative(in_openvino(made, x), wanted) < 0.15


@pytest.mark.parametrize("weight", [0.0, 1e-15])
def test_a_channel_without_weights_keeps_its_bias_in_int8(weight):
    network = lively(ResNetSpec(depths=(1,), widths=(8,), stem="cifar", stem_width=8))
    with torch.no_grad():
        network.get_parameter("stem.conv.weight")[3] = weight
        network.get_buffer("stem.norm.running_mean")[3] = 0
        network.get_parameter("stem.norm.bias")[3] = 5
    graph, x = lower(network, 16), noise(4, 16, 16)
    made = model(graph, precision="int8", quantisation=measure_ranges(graph, [x]))
    with torch.inference_mode():
        assert relative(in_onnxruntime(made, x), network(x)) < 0.1
        assert relative(in_openvino(made, x), network(x)) < 0.1


def test_more_than_an_onnx_file_can_hold_is_refused():
    p = plan("resnet18", image_size=32)
    step = Step(kind="conv", name="stem.conv", input="input", row=p.stem[0], weight=torch.empty(2**30, device="meta"))
    with pytest.raises(ResnetsError, match=r"2 GB .* \.pt2"):
        model(Graph((step,), p))


def model_of(depth=1, size=32, **fields) -> Model:
    network = lively(small(CATALOG["resnet18"], depth))
    return Model(network, CLASSES, Preprocessing.evaluation(size, resize_to=size + 4, **fields))


def classifier(depth=1, size=32, **fields) -> Classifier:
    return Classifier(model_of(depth, size, **fields))


@pytest.fixture(scope="module")
def trained() -> Classifier:
    made = model_of(channels="BGR")
    more = {"calibration": Calibration(1.7), "provenance": Provenance(other={"data": "synthetic"})}
    return Classifier(dataclasses.replace(made, **more))


@pytest.fixture(scope="module")
def quantisation(trained):
    return measure_ranges(lower(trained.network, 32), [noise(16, 32, 32)])


@pytest.fixture
def photos():
    """Two pictures (31, 57, 3)."""
    coarse = np.random.default_rng(5).integers(0, 256, (2, 6, 9, 3), dtype=np.uint8)
    return np.stack([np.asarray(Image.fromarray(i).resize((57, 31), Image.Resampling.BICUBIC)) for i in coarse])


READERS = {".onnx": ["onnxruntime", "openvino"], ".xml": ["openvino"], ".pt2": ["torch.export"]}


@pytest.fixture(scope="module")
def exported(trained, tmp_path_factory):
    """A folder with whole.onnx, whole.xml, whole.pt2 in float32, and what `write` returned for each."""
    folder = tmp_path_factory.mktemp("exported")
    return folder, {suffix: write(folder / f"whole{suffix}", trained, precision="float32") for suffix in READERS}


def check_file(path, trained, photos, precision, raw, table):
    """In every runtime a file gives the classifier's logits, for pictures and for what is prepared already."""
    assert [row["runtime"] for row in table] == READERS[path.suffix]
    assert all(row["relative"] <= readback.TOLERANCES[precision] for row in table)
    p = trained.preprocessing
    wanted = trained.logits(np.stack([p.pixels(Image.fromarray(photo)) for photo in photos]))
    tolerance = {"float32": 1e-4, "bfloat16": 0.05, "int8": 0.3}[precision]
    for opened in runtimes(path, p, precision):
        assert opened.raw is raw
        pixels = np.stack([p.pixels(Image.fromarray(photo)) for photo in photos])
        assert relative(opened.logits(pixels), wanted) < tolerance
        assert relative(opened(photos), wanted) < max(tolerance, 0.01)
        assert relative(opened(photos[:1]), wanted[:1]) < max(2 * tolerance, 0.02)


@pytest.mark.parametrize("suffix", READERS)
def test_a_file_is_the_classifier(trained, exported, photos, suffix):
    folder, tables = exported
    check_file(folder / f"whole{suffix}", trained, photos, "float32", False, tables[suffix])
    assert sorted(path.name for path in folder.iterdir()) == ["whole.bin", "whole.onnx", "whole.pt2", "whole.xml"]


@pytest.mark.parametrize(
    ("name", "precision", "raw"),
    [
        *(("a.onnx", "bfloat16", False), ("a.onnx", "int8", False), ("a.onnx", "float32", True)),
        *(("a.xml", "bfloat16", True), ("a.xml", "int8", False), ("a.pt2", "bfloat16", True)),
    ],
)
def test_other_precisions_and_raw_files(trained, quantisation, photos, tmp_path, name, precision, raw):
    try:
        table = write(tmp_path / name, trained, precision=precision, quantisation=quantisation, raw=raw)
    except ExportError as problem:
        if precision == "int8" and int8_saturates():
            pytest.skip(f"refused, as it should be: {problem}")
        raise
    check_file(tmp_path / name, trained, photos, precision, raw, table)


def test_a_pt2_file_takes_pictures_of_any_size(trained, exported):
    (opened,) = runtimes(exported[0] / "whole.pt2", trained.preprocessing, "float32")
    for shape in ((1, 1, 1), (1, 1, 300), (3, 300, 2), (1, 36, 36), (2, 36, 36)):
        images = np.random.default_rng(0).integers(0, 256, (*shape, 3), dtype=np.uint8)
        pixels = np.stack([trained.preprocessing.pixels(Image.fromarray(image)) for image in images])
        assert relative(opened(images), trained.logits(pixels)) < 0.05


def test_int8_has_no_pt2(trained, quantisation, tmp_path):
    with pytest.raises(ResnetsError, match=r"int8 .* \.onnx or \.xml"):
        write(tmp_path / "a.pt2", trained, precision="int8", quantisation=quantisation)


def test_probabilities_and_what_the_file_says(trained, exported, photos):
    session = onnxruntime.InferenceSession(exported[0] / "whole.onnx", providers=["CPUExecutionProvider"])
    opened = openvino_core().read_model(exported[0] / "whole.xml")
    compiled = openvino_core().compile_model(opened, "CPU", F32)
    extra = {export.METADATA: ""}
    program = torch.export.load(exported[0] / "whole.pt2", extra_files=extra)
    answers = (
        dict(zip(("probabilities", "logits"), session.run(None, {"images": photos}), strict=True)),
        compiled(photos),
        {name: answer.detach() for name, answer in program.module()(torch.from_numpy(photos)).items()},
    )
    for answer in answers:
        probabilities, logits = (torch.tensor(np.asarray(answer[name])) for name in ("probabilities", "logits"))
        assert torch.allclose(probabilities, torch.softmax(logits / 1.7, 1), atol=1e-6)
    said = (
        session.get_modelmeta().custom_metadata_map,
        {key: opened.get_rt_info(["resnets", key]).astype(str) for key in export.metadata(trained, "float32")},
        json.loads(extra[export.METADATA]),
    )
    for text in said:
        assert json.loads(text["classes"]) == list(CLASSES)
        assert Preprocessing.from_dict(json.loads(text["preprocessing"])) == trained.preprocessing
        assert json.loads(text["provenance"]) == {"data": "synthetic"}
        assert text["precision"] == "float32"


def test_bfloat16_halves_the_file(tmp_path):
    wide = Classifier(Model(lively(ResNetSpec(depths=(1, 1), widths=(64, 64))), CLASSES, Preprocessing.evaluation(32)))
    for suffix in (".onnx", ".xml"):
        for precision in ("float32", "bfloat16"):
            write(tmp_path / f"{precision}{suffix}", wide, precision=precision)
        sizes = [
            (tmp_path / precision).with_suffix(suffix.replace("xml", "bin")).stat().st_size
            for precision in ("float32", "bfloat16")
        ]
        assert sizes[1] < 0.6 * sizes[0]


def test_a_raw_file_takes_images_of_any_size(trained, tmp_path):
    write(tmp_path / "raw.onnx", trained, precision="float32", raw=True)
    session = onnxruntime.InferenceSession(tmp_path / "raw.onnx", providers=["CPUExecutionProvider"])
    said = session.get_modelmeta().custom_metadata_map  # which stays, as the documents say
    assert said == export.metadata(trained, "float32")
    assert Preprocessing.from_dict(json.loads(said["preprocessing"])) == trained.preprocessing
    for opened in runtimes(tmp_path / "raw.onnx", trained.preprocessing, "float32"):
        for shape in ((1, 40, 40), (3, 33, 64), (2, 65, 37)):
            x = noise(*shape)
            with torch.inference_mode():
                assert relative(opened.run(x.numpy()), trained.network(x)) < 1e-5


def test_a_file_that_does_not_hold_up_is_deleted(trained, tmp_path, monkeypatch):
    out = tmp_path / "model.onnx"
    out.write_bytes(b"what was here before")
    exact = model

    def spoilt(graph, **fields):
        made = exact(graph, **fields)
        bias = next(i for i in made.graph.initializer if i.name == "logits.bias")
        bias.CopyFrom(onnx.numpy_helper.from_array(onnx.numpy_helper.to_array(bias) + 0.01, bias.name))
        return made

    monkeypatch.setattr(export, "model", spoilt)
    with pytest.raises(ExportError, match=r"onnxruntime .* 0\.0001 is the most"):
        write(out, trained, precision="float32")
    assert [path.name for path in tmp_path.iterdir()] == ["model.onnx"]
    assert out.read_bytes() == b"what was here before"
    monkeypatch.undo()
    write(out, trained, precision="float32")
    assert onnx.load(out).producer_name == "resnets"


def test_whoever_asked_for_a_file_may_refuse_it(trained, tmp_path):
    def accept(opened, size):
        assert [one.runtime for one in opened] == ["openvino"]
        assert size == sum(path.stat().st_size for path in next(tmp_path.iterdir()).iterdir())
        raise ExportError("no")

    with pytest.raises(ExportError, match="no"):
        write(tmp_path / "model.xml", trained, precision="float32", accept=accept)
    assert not list(tmp_path.iterdir())


def test_what_no_runtime_reads_is_said_in_a_sentence(trained, tmp_path):
    (tmp_path / "broken.onnx").write_bytes(b"nothing")
    with pytest.raises(ExportError, match=r"broken\.onnx: onnxruntime cannot read it"):
        runtimes(tmp_path / "broken.onnx", trained.preprocessing, "float32")


def test_a_place_that_cannot_be_is_refused_at_once(trained, tmp_path):
    (tmp_path / "folder.onnx").mkdir()
    for place, why in (
        ("model.tflite", r"\.onnx, \.xml, \.pt2 or \.safetensors"),
        ("model", r"\.onnx, \.xml, \.pt2 or \.safetensors"),
        ("folder.onnx", "is a folder"),
        ("nowhere/model.onnx", "no folder"),
    ):
        with pytest.raises(DataError, match=why):
            write(tmp_path / place, trained, precision="float32")
    assert [path.name for path in tmp_path.iterdir()] == ["folder.onnx"]


def test_a_missing_package_is_named(trained, tmp_path, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "onnx", None)
    with pytest.raises(ResnetsError, match=r'onnx is missing: pip install "resnets\[export\]"'):
        write(tmp_path / "model.onnx", trained, precision="float32")
