"""ONNX files as a source: matched by their graph, with norms folded or not, and certified against ONNX Runtime."""

from __future__ import annotations

import json
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from replicas import trained
from torch import nn

from resnets import convert
from resnets.architecture import CATALOG
from resnets.data.preprocess import Preprocessing
from resnets.errors import ModelFileError
from resnets.inference import as_classifier
from resnets.inference.export import write
from resnets.network import create
from resnets.weights import Model
from resnets.weights.body import load_body
from resnets.weights.certificate import certificate
from resnets.weights.convert import classifier_of, read
from resnets.weights.formats.onnx_file import open_onnx
from resnets.weights.open import open_file
from resnets.weights.recognise import recognise

onnx = pytest.importorskip("onnx")
pytest.importorskip("onnxruntime")

from onnx import TensorProto, helper, numpy_helper  # noqa: E402
from onnx_files import SIDE, export, graph_of, keras_like, logits, node  # noqa: E402


def thin(name, **fields):
    """A network of the catalog with few channels and units."""
    spec = CATALOG[name]
    depths = tuple(min(depth, 2) for depth in spec.depths)
    widths = tuple(8 * 2**stage for stage in range(len(spec.widths)))
    if spec.groups > 1:
        fields |= {"groups": 2, "width_per_group": 32}
    return replace(spec, depths=depths, widths=widths, stem_width=8, **fields)


NETWORKS = (
    *("resnet18", "resnet50", "resnet50_v1", "resnet50d", "resnext50_32x4d", "resnetv2_50", "resnet20"),
    *("preact_resnet110", "preact_resnet164", "wrn_16_8", "caffe_resnet50", "tutorial_resnet18"),
    *("keras_resnet50", "keras_resnet50v2", "slim_resnet_v1_50", "slim_resnet_v2_50"),
)


def made(spec, path, **how):
    """(the network, its file as torch's exporter writes it)."""
    module = trained(create(spec, 5)).float()
    fixed = "same" in (spec.conv_padding, spec.pool_padding)
    side = 32 if spec.stem == "cifar" else SIDE
    return module, export(module, path, moves=not fixed, side=side, **how)


@pytest.mark.parametrize("folds", [True, False], ids=["folded", "whole"])
@pytest.mark.parametrize("name", NETWORKS)
def test_what_an_exporter_writes_comes_back(tmp_path, name, folds):
    spec = thin(name)
    module, path = made(spec, tmp_path / "net.onnx", folds=folds)
    found = recognise(open_file(path))
    model = classifier_of(found)
    own = model.network.plan.spec
    lost = {"norm_momentum", *(("bias", "norm_eps") if folds else ())}  # which nobody can see in it
    assert replace(own, **{field: getattr(spec, field) for field in lost}) == spec
    x = torch.randn(2, 3, *(2 * (32 if spec.stem == "cifar" else SIDE,)), generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        wanted, ours = module(x), model.network(x)
    spread = float(wanted.max() - wanted.min())
    assert float((ours - wanted).abs().max()) < 1e-5 * spread
    if not folds:
        mine, theirs = model.network.state_dict(), module.state_dict()
        assert all(torch.equal(mine[key], theirs[key]) for key in mine if "num_batches" not in key)
    said = certificate(found.file, "onnx", model.network)
    assert said["holds"], said["verdict"]
    assert said["reference"].startswith("ONNX Runtime")
    assert said["seen"]["strides"].endswith("(its nodes)")
    assert list(said["assumed"]) == ["preprocessing"]


def test_folded_norms_are_said_and_training_goes_on_from_such_a_file(tmp_path, capsys):
    _, path = made(thin("resnet18"), tmp_path / "net.onnx", folds=True)
    body = load_body(path)
    assert body.model.classes == tuple("01234")
    said = "net.onnx: 20 of its norms are missing, as if folded into the convolutions, and identities stand in"
    assert capsys.readouterr().err.count(said) == 1
    _, path = made(thin("resnet18"), tmp_path / "whole.onnx", folds=False)
    read(path)
    assert "identities" not in capsys.readouterr().err


def test_a_body_without_a_head(tmp_path):
    class Body(nn.Module):
        def __init__(self, network):
            super().__init__()
            self.network = network

        def forward(self, x):
            for name in ("stem", *self.network.stage_names):
                x = self.network.get_submodule(name)(x)
            return x

    network = trained(create(thin("resnet18"), 5)).float()
    path = export(Body(network), tmp_path / "body.onnx", folds=False)
    with pytest.raises(ModelFileError, match=r"is the body of .* without a head"):
        read(path)
    assert load_body(path).model.classes == ()


def test_our_own_file_without_preparation_comes_back(tmp_path):
    network = trained(create(thin("resnet50"), 3)).float()
    prepared = Preprocessing(image_size=40, mean=(0.4, 0.5, 0.6), std=(0.2, 0.3, 0.4), resize_to=48)
    model = Model(network, ("cat", "dog", "eel"), prepared)
    write(tmp_path / "own.onnx", as_classifier(model), precision="float32", raw=True)
    found = recognise(open_file(tmp_path / "own.onnx"))
    again = classifier_of(found)
    assert (again.classes, again.preprocessing) == (model.classes, prepared)
    assert certificate(found.file, "onnx", again.network)["seen"]["preprocessing"].endswith("(its metadata)")
    x = torch.randn(2, 3, 40, 40, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        assert torch.allclose(again.network(x), network(x), atol=1e-4)


def edited(path, change):
    """A file after something has changed its model."""
    model = onnx.load(str(path))
    change(model)
    onnx.save(model, str(path))
    return path


@pytest.mark.parametrize(
    ("metadata", "wanted"),
    [
        ({"classes": json.dumps(list("abcde"))}, tuple("abcde")),
        ({"names": str(dict(enumerate("abcde")))}, tuple("abcde")),
        ({"id2label": json.dumps({str(i): name for i, name in enumerate("abcde")})}, tuple("abcde")),
        ({"labels": json.dumps(list("abcd"))}, tuple("01234")),
        ({"names": "[" * 10_000}, tuple("01234")),
        ({"names": "{[1]: 2}"}, tuple("01234")),
        ({"names": "__import__('os').system('touch hacked')"}, tuple("01234")),
    ],
)
def test_names_of_classes_come_from_its_metadata(tmp_path, metadata, wanted):
    _, path = made(thin("resnet18"), tmp_path / "net.onnx", folds=True)
    edited(path, lambda model: helper.set_model_props(model, metadata))
    assert read(path).classes == wanted


def test_channels_last_and_norms_that_are_factors_and_terms(tmp_path):
    nodes, tensors = keras_like(8)
    onnx.save(graph_of(nodes, tensors, ("n", 40, 40, 3)), str(tmp_path / "net.onnx"))
    found = recognise(open_file(tmp_path / "net.onnx"))
    model = classifier_of(found)
    spec = model.network.plan.spec
    assert (spec.order, spec.pool_padding, spec.bias, spec.depths) == ("pre", "zero", "unnormed", (1,))
    x = torch.randn(2, 3, 40, 40, generator=torch.Generator().manual_seed(0))
    theirs = logits(tmp_path / "net.onnx", x.permute(0, 2, 3, 1))
    with torch.no_grad():
        assert np.abs(model.network(x).softmax(1).numpy() - theirs).max() < 1e-5
    said = certificate(found.file, "onnx", model.network)
    assert said["holds"], said["verdict"]


class Odd(nn.Module):
    """A network whose first unit has something that no residual network has."""

    def __init__(self, odd):
        super().__init__()
        self.network = create(thin("resnet18"), 5)
        unit = self.network.get_submodule("stage1.unit1")
        odd(self.network, unit)

    def forward(self, x):
        return self.network(x)


def swap(name, new):
    """Put another module in the place of one of the first unit, or of the network."""

    def change(network, unit):
        holder = unit if hasattr(unit, name.partition(".")[0]) else network
        holder.set_submodule(name, new)

    return change


class Gate(nn.Module):
    """Squeeze and excitation."""

    def __init__(self):
        super().__init__()
        self.fc = nn.Conv2d(8, 8, 1)

    def forward(self, x):
        return x * self.fc(x.mean((2, 3), keepdim=True)).sigmoid()


class Joined(nn.Module):
    def forward(self, x):
        return torch.cat([x, x], 1)[:, :8]


@pytest.mark.parametrize(
    ("odd", "said"),
    [
        (swap("relu1", nn.ReLU6()), r"\(Clip\) cuts at 0 and 6"),
        (swap("relu1", nn.LeakyReLU(0.1)), r"\(LeakyRelu\) has no place"),
        (swap("relu1", nn.SiLU()), r"\(Sigmoid\) has no place"),
        (swap("relu1", Gate()), r"no place in a residual network|joins two paths|reads pictures"),
        (swap("relu1", Joined()), r"\(Concat\)"),
        (swap("norm1", nn.InstanceNorm2d(8)), r"\(InstanceNormalization\)"),
        (swap("relu1", nn.Identity()), r"relu1|reads"),
        (swap("conv1", nn.Conv2d(8, 8, 3, padding=2, dilation=2, bias=False)), "dilation 2"),
        (swap("conv1", nn.Conv2d(8, 8, 3, padding=1, padding_mode="reflect", bias=False)), r"\(Pad\)"),
        (swap("stem.pool", nn.AvgPool2d(3, 2, 1)), "average of 3"),
    ],
)
def test_what_is_no_residual_network_is_refused_with_what_does_not_fit(tmp_path, odd, said):
    path = export(trained(Odd(odd)).float(), tmp_path / "odd.onnx", folds=False)
    with pytest.raises(ModelFileError, match=said):
        read(path)


def test_another_kind_of_network_is_refused_with_its_first_node(tmp_path):
    net = nn.Sequential(nn.Conv2d(3, 8, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten(), nn.Linear(8 * 400, 5))
    with pytest.raises(ModelFileError, match=r"no residual network: the node '.*' \(Flatten\)"):
        read(export(net, tmp_path / "vgg.onnx", folds=True))


def test_pictures_that_the_graph_prepares_are_named(tmp_path):
    class Prepared(nn.Module):
        def __init__(self):
            super().__init__()
            self.network = create(thin("resnet18"), 5)

        def forward(self, x):
            return self.network((x - 0.5) / 0.25)

    with pytest.raises(ModelFileError, match=r"\(Sub\) prepares the pictures"):
        read(export(Prepared(), tmp_path / "net.onnx", folds=False))


def behind(*nodes, **tensors):
    """The model with nodes behind its output "y", the last of which gives the new one; they read it as "scores"."""

    def change(model):
        graph, old = model.graph, model.graph.output[0].name
        for one in graph.node:
            one.output[:] = ["scores" if name == old else name for name in one.output]
        graph.node.extend(nodes)
        graph.initializer.extend(numpy_helper.from_array(np.array(value), name) for name, value in tensors.items())
        graph.output[0].CopyFrom(helper.make_tensor_value_info("y", TensorProto.FLOAT, None))

    return change


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (behind(node("Relu", "scores", "y")), r"\(Relu\) stands behind all layers"),
        (behind(node("Clip", "scores", "low", "y"), low=np.float32(0)), r"\(Clip\) stands behind all layers"),
        (behind(node("Softmax", "scores", "y", axis=0)), "has another meaning here"),
        (behind(node("Softmax", "scores", "p"), node("Mul", "p", "two", "y"), two=np.float32(2)), "behind all layers"),
        (behind(node("Softmax", "scores", "p"), node("Softmax", "p", "y")), "behind all layers"),
        (behind(node("Reshape", "scores", "flat", "y"), flat=[1, -1]), "has another meaning here"),
        (behind(node("Cast", "scores", "whole", to=7), node("Cast", "whole", "y", to=1)), r"\(Cast\)"),
        (
            behind(node("CastLike", "scores", "like", "whole"), node("Cast", "whole", "y", to=1), like=[1]),
            r"\(CastLike\)|\(Cast\)",
        ),
        (behind(node("Neg", "scores", "y")), r"\(Neg\) (has no place|stands behind all layers)"),
    ],
)
def test_what_stands_behind_the_head_is_not_passed_over(tmp_path, change, said):
    _, path = made(thin("resnet18"), tmp_path / "net.onnx", folds=False)
    with pytest.raises(ModelFileError, match=said):
        read(edited(path, change))


def test_a_softmax_behind_the_head_is_what_a_model_answers_with(tmp_path):
    module, path = made(thin("resnet18"), tmp_path / "net.onnx", folds=False)
    edited(path, behind(node("Softmax", "scores", "y", axis=-1)))
    model = read(path)
    assert torch.equal(model.network.state_dict()["head.linear.bias"], module.state_dict()["head.linear.bias"])


def before_the_head(*nodes, **tensors):
    """The model with nodes between the mean and the head, which read "mean"; the last gives "y1"."""

    def change(model):
        graph = model.graph
        head = next(one for one in graph.node if one.op_type == "Gemm")
        place, mean = list(graph.node).index(head), head.input[0]
        for one in nodes:
            one.input[:] = [mean if name == "mean" else name for name in one.input]
        head.input[0] = "y1"
        for number, one in enumerate(nodes):
            graph.node.insert(place + number, one)
        graph.initializer.extend(numpy_helper.from_array(np.array(value), name) for name, value in tensors.items())

    return change


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (before_the_head(node("Softmax", "mean", "y1")), r"\(Softmax\)"),
        (before_the_head(node("Relu", "mean", "r"), node("Neg", "r", "y1")), r"\((Relu|Neg)\)"),
        (
            before_the_head(
                *(node("Reshape", "mean", "parts", "p"), node("Transpose", "p", "t", perm=[0, 2, 1, 3])),
                node("Reshape", "t", "whole", "y1"),
                parts=[0, 8, 8, 1],
                whole=[0, 64],
            ),
            r"\(Transpose\)|has another meaning here",
        ),
    ],
)
def test_what_stands_before_the_head_is_not_passed_over(tmp_path, change, said):
    _, path = made(thin("resnet18"), tmp_path / "net.onnx", folds=False)
    with pytest.raises(ModelFileError, match=said):
        read(edited(path, change))


def test_an_average_that_is_not_that_of_all_the_picture_is_refused(tmp_path):
    module = trained(create(thin("resnet18"), 5)).float()
    path = export(module, tmp_path / "net.onnx", folds=False, side=160)  # the last map is 5x5

    def change(model):
        pool = next(one for one in model.graph.node if one.op_type == "GlobalAveragePool")
        pool.op_type = "AveragePool"
        pool.attribute.extend(helper.make_node("A", [], [], kernel_shape=[4, 4], strides=[4, 4]).attribute)
        for axis, size in {0: 1, 2: 160, 3: 160}.items():
            model.graph.input[0].type.tensor_type.shape.dim[axis].dim_value = size

    with pytest.raises(ModelFileError, match="has another meaning here"):
        read(edited(path, change))


def test_a_bias_is_that_of_one_reader_whatever_copies_are_between(tmp_path):
    """Pre-activated: what is added in the branch is a norm's shift, and no bias of the convolution before both."""
    nodes, tensors = keras_like(8)
    stem = next(i for i, one in enumerate(nodes) if one.op_type == "MaxPool")
    nodes.insert(stem + 1, node("Identity", "pooled", "copied"))
    for one in nodes[stem + 2 :]:
        one.input[:] = ["copied" if name == "pooled" else name for name in one.input]
    onnx.save(graph_of(nodes, tensors, ("n", 40, 40, 3)), str(tmp_path / "net.onnx"))
    model = read(tmp_path / "net.onnx")
    x = torch.randn(2, 3, 40, 40, generator=torch.Generator().manual_seed(0))
    theirs = logits(tmp_path / "net.onnx", x.permute(0, 2, 3, 1))
    with torch.no_grad():
        assert np.abs(model.network(x).softmax(1).numpy() - theirs).max() < 1e-5


@pytest.mark.parametrize(("side", "fits"), [(64, True), (33, False)])
def test_paddings_at_the_end_are_a_rule_of_even_sizes(tmp_path, side, fits):
    """What an exporter writes of TensorFlow's SAME for pictures of one size."""
    _, path = made(thin("resnet18"), tmp_path / "net.onnx", folds=False)

    def change(model):
        for one in model.graph.node:
            settings = {a.name: a for a in one.attribute}
            if "strides" in settings and list(settings["strides"].ints) == [2, 2] and "pads" in settings:
                half = settings["pads"].ints[0]
                del settings["pads"].ints[:]
                settings["pads"].ints.extend([max(half - 1, 0)] * 2 + [half] * 2)
        for axis, size in {0: 2, 2: side, 3: side}.items():
            model.graph.input[0].type.tensor_type.shape.dim[axis].dim_value = size
        del model.graph.value_info[:]

    edited(path, change)
    if fits:
        spec = read(path).network.plan.spec
        assert (spec.conv_padding, spec.pool_padding) == ("same", "same")
    else:
        with pytest.raises(ModelFileError, match=r"has another meaning here|does not fit"):
            read(path)


@pytest.mark.parametrize("half", [torch.float16, torch.bfloat16, torch.float64])
def test_other_precisions(tmp_path, half):
    module = trained(create(thin("resnet18"), 5)).float()
    path = export(module, tmp_path / "net.onnx", folds=False)

    def change(model):
        kinds = {
            torch.float16: TensorProto.FLOAT16,
            torch.bfloat16: TensorProto.BFLOAT16,
            torch.float64: TensorProto.DOUBLE,
        }
        for tensor in model.graph.initializer:
            values = torch.from_numpy(numpy_helper.to_array(tensor).copy())
            if values.is_floating_point():
                raw = values.to(half).view(torch.uint8) if values.ndim else values.to(half)
                name, dims = tensor.name, list(tensor.dims)
                tensor.CopyFrom(
                    TensorProto(name=name, dims=dims, data_type=kinds[half], raw_data=raw.numpy().tobytes())
                )

    found = recognise(open_file(edited(path, change)))
    said = certificate(found.file, "onnx", classifier_of(found).network, use_framework=half is torch.float16)
    assert said["holds"], said["verdict"]


# Files of strangers.


def outside(path, location="weights.bin", **place):
    """The model with its tensors in another file."""
    model = onnx.load(str(path))
    onnx.save(model, str(path), save_as_external_data=True, location="weights.bin", size_threshold=0)
    model = onnx.load(str(path), load_external_data=False)
    for tensor in model.graph.initializer:
        for entry in tensor.external_data:
            entry.value = {"location": location, **place}.get(entry.key, entry.value)
    path.write_bytes(model.SerializeToString())


def test_tensors_beside_the_model(tmp_path):
    module, path = made(thin("resnet18"), tmp_path / "net.onnx", folds=False)
    outside(path)
    found = recognise(open_file(path))
    assert {file.name for file in found.file.files} == {"net.onnx", "weights.bin"}
    model = classifier_of(found)
    assert torch.equal(model.network.state_dict()["stem.conv.weight"], module.state_dict()["stem.conv.weight"])
    assert certificate(found.file, "onnx", model.network)["holds"]
    with open(tmp_path / "weights.bin", "r+b") as file:
        file.truncate(1000)
    with pytest.raises(ModelFileError, match=r"'weights\.bin' beside it is cut off"):
        read(path)
    (tmp_path / "weights.bin").unlink()
    with pytest.raises(ModelFileError, match=r"'weights\.bin', which is not beside it"):
        read(path)


@pytest.mark.parametrize(
    ("place", "said"),
    [
        ({"location": "../weights.bin"}, "which is no file beside the model"),
        ({"location": "/etc/passwd"}, "which is no file beside the model"),
        ({"location": ".."}, "which is no file beside the model"),
        ({"offset": "-8"}, "has an odd place"),
        ({"offset": "9" * 17}, "is cut off"),
        ({"length": "4"}, "has an odd place"),
    ],
)
def test_tensors_that_lie_elsewhere_are_not_fetched(tmp_path, place, said):
    _, path = made(thin("resnet18"), tmp_path / "net.onnx", folds=False)
    outside(path, **place)
    with pytest.raises(ModelFileError, match=said):
        read(path)


def test_a_pipe_beside_the_model_is_refused(tmp_path):
    if sys.platform == "win32":
        pytest.skip("has no pipes in folders")
    import os

    _, path = made(thin("resnet18"), tmp_path / "net.onnx", folds=False)
    outside(path)
    (tmp_path / "weights.bin").unlink()
    os.mkfifo(tmp_path / "weights.bin")
    with pytest.raises(ModelFileError, match="is not beside it"):
        read(path)


def test_a_constant_that_would_fill_the_memory_is_not_computed(tmp_path):
    _, path = made(thin("resnet18"), tmp_path / "net.onnx", folds=False)

    def bomb(model):
        graph = model.graph
        graph.initializer.append(numpy_helper.from_array(np.array([10**6, 10**6]), "huge"))
        graph.node.insert(0, node("ConstantOfShape", "huge", "zeros"))
        relu = next(n for n in graph.node if n.op_type == "Relu")
        relu.input[0], first = "shifted", relu.input[0]
        graph.node.insert(list(graph.node).index(relu), node("Add", first, "zeros", "shifted"))

    with pytest.raises(ModelFileError, match="would give a tensor of 1000000x1000000"):
        read(edited(path, bomb))


def test_constants_that_double_are_bounded(tmp_path):
    """Sixty doublings of one number in a chain, which read twice each time would take 2**60 steps."""
    _, path = made(thin("resnet18"), tmp_path / "net.onnx", folds=False)

    def chain(model):
        graph = model.graph
        graph.initializer.append(numpy_helper.from_array(np.ones(8, np.float32).reshape(8, 1, 1), "d0"))
        for i in range(60):
            graph.node.insert(i, node("Add", f"d{i}", f"d{i}", f"d{i + 1}"))
        relu = next(n for n in graph.node if n.op_type == "Relu")
        relu.input[0], first = "shifted", relu.input[0]
        graph.node.insert(list(graph.node).index(relu), node("Mul", first, "d60", "shifted"))

    with pytest.raises(ModelFileError, match="is a second norm where one has its place"):
        read(edited(path, chain))


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda m: m.functions.append(helper.make_function("own", "f", [], [], [], [])), "functions of its own"),
        (lambda m: m.graph.ClearField("output"), "nothing in its graph adds|gives nothing|no residual network"),
        (lambda m: m.ClearField("graph"), "it holds no graph"),
        (lambda m: setattr(m.graph.node[0], "domain", "com.microsoft"), "an operator of 'com.microsoft'"),
        (lambda m: m.graph.node[5].input.__setitem__(0, "nowhere"), "'nowhere', which no node before it gives"),
        (lambda m: m.graph.initializer[0].dims.append(7), "should have"),
        (lambda m: setattr(m.graph.initializer[0], "data_type", 8), "numbers of the type 8"),
        (
            lambda m: m.graph.node[0].attribute.append(helper.make_attribute("pads", [1, 1, 1])),
            "pads as no|makes no sense|two types",
        ),
        (lambda m: _relus(m, 3000), "more layers in a row"),
        (lambda m: _before_relu(m, "Add", np.zeros((0, 1, 1), np.float32)), "reads numbers of the shape"),
        (lambda m: _before_relu(m, "Mul", np.ones((4, 1, 1), np.float32)), "do not fit|is a second norm"),
        (
            lambda m: m.graph.node.insert(0, helper.make_node("Pad", ["pictures"], ["q"], name="p")) or _reads(m, "q"),
            "makes no sense",
        ),
        (lambda m: m.graph.input[0].type.tensor_type.shape.dim.pop(), "its input has 3 dimensions"),
        (lambda m: _sides(m, 20_000), "20,000 x 20,000 pixels alone"),
        (lambda m: _batch(m, 100_000), "100,000 pictures at once"),
    ],
)
def test_damaged_models_are_refused_in_a_sentence(tmp_path, change, said):
    _, path = made(thin("resnet18"), tmp_path / "net.onnx", folds=False)
    with pytest.raises(ModelFileError, match=said):
        read(edited(path, change))


def _before_relu(model, op, numbers):
    graph = model.graph
    graph.initializer.append(numpy_helper.from_array(numbers, "numbers"))
    relu = next(one for one in graph.node if one.op_type == "Relu")
    relu.input[0], first = "changed", relu.input[0]
    graph.node.insert(list(graph.node).index(relu), node(op, first, "numbers", "changed"))


def _relus(model, count):
    graph = model.graph
    relu = next(one for one in graph.node if one.op_type == "MaxPool")
    before, place = relu.input[0], list(graph.node).index(relu)
    for number in range(count):
        pool = helper.make_node(
            "MaxPool", [before if not number else f"m{number - 1}"], [f"m{number}"], name=f"m{number}"
        )
        pool.attribute.extend(
            helper.make_node("A", [], [], kernel_shape=[3, 3], strides=[1, 1], pads=[1] * 4).attribute
        )
        graph.node.insert(place + number, pool)
    graph.node[place + count].input[0] = f"m{count - 1}"


def _reads(model, name):
    model.graph.node[1].input[0] = name


def _sides(model, side):
    for axis in (2, 3):
        model.graph.input[0].type.tensor_type.shape.dim[axis].dim_value = side


def _batch(model, size):
    model.graph.input[0].type.tensor_type.shape.dim[0].dim_value = size


def test_what_no_output_depends_on_is_not_computed(tmp_path):
    _, path = made(thin("resnet18"), tmp_path / "net.onnx", folds=False)

    def change(model):
        model.graph.node.append(node("Sigmoid", "pictures", "nobody"))
        model.graph.initializer.append(numpy_helper.from_array(np.array([2**20, 2**20]), "huge"))
        model.graph.node.append(node("ConstantOfShape", "huge", "nothing"))

    found = recognise(open_file(edited(path, change)))
    assert certificate(found.file, "onnx", classifier_of(found).network, use_framework=False)["holds"]


def test_a_link_out_of_the_folder_is_not_followed_and_one_within_a_store_is(tmp_path):
    store, folder = tmp_path / "store", tmp_path / "model"
    store.mkdir()
    folder.mkdir()
    _, path = made(thin("resnet18"), store / "net.onnx", folds=False)
    outside(path)
    (folder / "net.onnx").symlink_to(path)
    (folder / "weights.bin").symlink_to(store / "weights.bin")
    assert len(read(folder / "net.onnx").classes) == 5
    (folder / "net.onnx").unlink()
    (folder / "net.onnx").write_bytes(path.read_bytes())
    with pytest.raises(ModelFileError, match="which is no file beside the model"):
        read(folder / "net.onnx")


@pytest.mark.parametrize("kind", [np.float32, np.float64, np.float16, np.int64, np.int32, np.int8, np.uint8, np.bool_])
@pytest.mark.parametrize("raw", [True, False], ids=["bytes", "numbers"])
def test_tensors_of_every_type_are_read(tmp_path, kind, raw):
    values = np.array([[0, 1, 2], [3, 100, 1]]).astype(kind)
    if raw:
        tensor = numpy_helper.from_array(values, "t")
    else:
        listed = (values.view(np.uint16) if kind is np.float16 else values).reshape(-1).tolist()
        listed = [int(one) for one in listed] if kind is np.bool_ else listed
        kinds = helper.np_dtype_to_tensor_dtype(np.dtype(kind))
        tensor = TensorProto(name="t", data_type=kinds, dims=values.shape)
        field = {1: "float_data", 11: "double_data", 7: "int64_data"}.get(kinds, "int32_data")
        getattr(tensor, field).extend(listed)
    model = graph_of([], {})
    model.graph.initializer.append(tensor)
    onnx.save(model, str(tmp_path / "one.onnx"))
    found = open_onnx(Path(tmp_path / "one.onnx")).tensors["t"].read()
    assert np.array_equal(found.numpy(), values)
    assert found.numpy().dtype == values.dtype


def test_a_model_is_known_by_its_content(tmp_path):
    _, path = made(thin("resnet18"), tmp_path / "net.onnx", folds=False)
    path.rename(tmp_path / "net.bin")
    assert recognise(open_file(tmp_path / "net.bin")).dialect.name == "onnx"


def test_a_yes_or_no_of_one_number_is_two_classes(tmp_path):
    """The graph gives one number where our network, which has two, gives their difference."""
    module = trained(create(thin("resnet18"), 1)).float()
    path = export(module, tmp_path / "net.onnx", folds=False)
    (tmp_path / "names.txt").write_text("no\nyes\n")
    found = convert(path, tmp_path / "own.safetensors", class_names=tmp_path / "names.txt")
    assert found.model.classes == ("no", "yes")
    x = torch.rand(2, 3, SIDE, SIDE, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        assert torch.allclose(found.model.network(x).softmax(1)[:, 1], module(x)[:, 0].sigmoid(), atol=1e-5)


def test_what_a_proof_would_take_is_known_before_it_is_taken(tmp_path):
    """400 kB that would take 84 GB."""
    tensors = {"w": np.zeros((1, 10_000, 3, 3), np.float32), "v": np.zeros((2, 1), np.float32)}
    for number in (1, 2):
        tensors[f"c{number}"] = np.zeros((1, 1, 3, 3), np.float32)
    nodes = [
        node("Conv", "x", "w", "s", kernel_shape=[3, 3], pads=[1, 1, 1, 1]),
        node("Relu", "s", "r"),
        node("Conv", "r", "c1", "a", kernel_shape=[3, 3], pads=[1, 1, 1, 1]),
        node("Relu", "a", "b"),
        node("Conv", "b", "c2", "c", kernel_shape=[3, 3], pads=[1, 1, 1, 1]),
        node("Add", "c", "r", "d"),
        node("Relu", "d", "e"),
        node("GlobalAveragePool", "e", "f"),
        node("Flatten", "f", "g"),
        node("Gemm", "g", "v", "y", transB=1),
    ]
    onnx.save(graph_of(nodes, tensors, (1, 10_000, 1024, 1024)), str(tmp_path / "net.onnx"))
    with pytest.raises(ModelFileError, match=r"takes .* GiB of memory"):
        read(tmp_path / "net.onnx")
