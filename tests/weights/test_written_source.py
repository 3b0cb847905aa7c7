"""A network written as its world's own source computes what it computes here."""

from __future__ import annotations

import ast
import builtins
import dataclasses
import sys
import types

import pytest
import torch

import resnets
from resnets.architecture import CATALOG, ResNetSpec, names, plan
from resnets.cli.main import main
from resnets.errors import ModelFileError
from resnets.weights.worlds.base import Part
from resnets.weights.worlds.caffe.source import prototxt
from resnets.weights.worlds.keras.config import layers
from resnets.weights.worlds.keras.names import layer_name
from resnets.weights.worlds.keras.source import keras_source
from resnets.weights.worlds.torch.names import torch_naming
from resnets.weights.worlds.torch.source import torch_source, torchvision_has
from resnets.weights.worlds.torchvision.names import PARTS, UNIT

MOST_LINES, LONGEST = 150, 120
OTHERS = {
    "option C": ResNetSpec(shortcut="all", depths=(1, 2), widths=(8, 16), stem="cifar", stem_width=8),
    "half on both sides": dataclasses.replace(CATALOG["resnet20"], pad_side="both"),
    "same": ResNetSpec(conv_padding="same", pool_padding="same"),
    "valid": ResNetSpec(pool_padding="valid", bias="always"),
    "pre-activated D": ResNetSpec(shortcut="avgpool", order="pre", stem="deep", block="bottleneck"),
    "last unit, D": ResNetSpec(shortcut="avgpool", stride_unit="last"),
    "five stages": ResNetSpec(depths=(1, 2, 1, 1, 3), widths=(8, 8, 16, 16, 32), stem_width=8),
}


def small(spec):
    """The same choices in narrow stages, whose depths stay: what repeats is written as a repetition."""
    shrunk = {"widths": tuple(max(width // 8, 4) for width in spec.widths), "stem_width": max(spec.stem_width // 8, 4)}
    inner = {"width_per_group": 64 if spec.width_per_group % 64 == 0 else 128, "groups": min(spec.groups, 2)}
    depths = tuple(min(depth, 4) for depth in spec.depths)
    return dataclasses.replace(spec, **shrunk, **inner, depths=depths)


def check(spec, size):
    """The file runs alone, takes our state, and has our logits."""
    made = plan(spec, 7, image_size=size)
    text = torch_source(made, "a network")
    lines = text.splitlines()
    assert len(lines) <= MOST_LINES
    assert max(map(len, lines)) <= LONGEST
    modules = {
        name.name if isinstance(node, ast.Import) else node.module
        for node in ast.walk(ast.parse(text))
        if isinstance(node, ast.Import | ast.ImportFrom)
        for name in node.names
    }
    assert modules <= {"collections", "torch", "torch.nn.functional"}
    found = {}
    exec(compile(text, "source", "exec"), found)
    theirs = found["ResNet"](7).eval()
    ours = resnets.create(spec, 7, seed=0).train()
    random = torch.Generator().manual_seed(1)
    for module in ours.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.momentum = 1.0
    with torch.inference_mode():  # norms that have seen something, so that nothing explodes in a thousand layers
        ours(torch.randn(4, 3, size, size, generator=random))
    ours.eval()
    state = ours.state_dict()
    if torchvision_has(spec):
        naming = torch_naming(PARTS, UNIT)
        state = {naming(key): value for key, value in state.items()}
    theirs.load_state_dict(state)
    with torch.inference_mode():
        for side in (size, size + 1):
            x = torch.randn(2, 3, side, side, generator=random)
            a, b = ours(x), theirs(x)
            assert float((a - b).abs().max()) <= 1e-5 * float(a.max() - a.min())


@pytest.mark.parametrize("name", names())
def test_the_source_of_every_entry_is_the_network(name):
    check(small(CATALOG[name]), 33 if CATALOG[name].stem == "cifar" else 66)


@pytest.mark.parametrize("name", OTHERS)
def test_the_source_of_other_choices_is_the_network(name):
    check(OTHERS[name], 33 if OTHERS[name].stem == "cifar" else 66)


@pytest.mark.slow
@pytest.mark.parametrize("name", names())
def test_every_entry_as_it_is(name):
    check(CATALOG[name], CATALOG[name].image_size // 2)


def test_torchvisions_names_are_those_of_torchvisions_networks():
    theirs = [name for name in names() if torchvision_has(CATALOG[name])]
    assert theirs == [
        *("resnet10", "resnet18", "resnet26", "resnet34", "resnet50", "resnet101", "resnet152"),
        *("resnext50_32x4d", "resnext101_32x8d", "resnext101_64x4d", "wide_resnet50_2", "wide_resnet101_2"),
    ]


def test_the_verb_writes_both(tmp_path, capsys, monkeypatch):
    words = ["--torch", str(tmp_path / "net.py"), "--prototxt", str(tmp_path / "net.prototxt")]
    assert main(["show", "resnet20", *words]) == 2
    assert "no layer that adds channels of zeros" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []
    assert main(["show", "caffe_resnet50", "--classes", "5", *words]) == 0
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "net", raising=False)
    assert __import__("net").ResNet().head.linear.out_features == 5
    sys.modules.pop("net")
    text = (tmp_path / "net.prototxt").read_text()
    assert text.startswith('name: "caffe_resnet50"\nlayer {\n  name: "data"\n  type: "Input"\n')
    assert 'name: "res2a_branch1"' in text
    for flag, place in (("--torch", "net.txt"), ("--prototxt", "net.py"), ("--torch", "no/net.py")):
        capsys.readouterr()
        assert main(["show", "resnet18", flag, str(tmp_path / place)]) == 2
        assert "Traceback" not in capsys.readouterr().err


def test_all_files_or_none(tmp_path, capsys):
    """A drawing among them; and two names of one place are one."""
    for words in (
        ["resnet20", "--diagram", tmp_path / "d.svg", "--prototxt", tmp_path / "p.prototxt"],
        ["keras_resnet50", "--torch", tmp_path / "net.py", "--keras", tmp_path / "sub" / ".." / "net.py"],
        ["resnet50_v1", "--torch", tmp_path / "a.py", "--prototxt", tmp_path / "sub.prototxt"],
    ):
        (tmp_path / "sub").mkdir(exist_ok=True)
        (tmp_path / "sub.prototxt").mkdir(exist_ok=True)
        assert main(["show", *map(str, words)]) == 2
        assert "Traceback" not in capsys.readouterr().err
        assert sorted(path.name for path in tmp_path.iterdir()) == ["sub", "sub.prototxt"]


@pytest.mark.parametrize(("flag", "ending"), [("--torch", "py"), ("--prototxt", "prototxt"), ("--diagram", "svg")])
def test_nobodys_file_is_replaced_but_an_older_one_of_ours(tmp_path, capsys, flag, ending):
    mine, ours = tmp_path / f"train.{ending}", tmp_path / f"net.{ending}"
    mine.write_text("import resnets\n")
    assert main(["show", "caffe_resnet50", flag, str(mine)]) == 2
    assert "was not written by this command" in capsys.readouterr().err
    assert mine.read_text() == "import resnets\n"
    assert [main(["show", name, flag, str(ours)]) for name in ("caffe_resnet50", "caffe_resnet101")] == [0, 0]
    if ending == "svg":
        assert [main(["show", "resnet18", "--against", "resnet34", flag, str(ours)]) for _ in range(2)] == [0, 0]


def test_the_prototxt_is_that_of_a_conversion(tmp_path):
    from resnets.data.preprocess import Preprocessing
    from resnets.weights.convert import write

    spec = small(CATALOG["caffe_resnet50"])
    network = resnets.create(spec, 3, seed=0)
    write(resnets.Model(network, ("a", "b", "c"), Preprocessing.evaluation(64)), tmp_path / "a.caffemodel", "caffe")
    theirs = [line for line in (tmp_path / "a.prototxt").read_text().splitlines() if not line.startswith("#")]
    assert theirs == prototxt(plan(spec, 3, image_size=64), "resnet").splitlines()
    with pytest.raises(ModelFileError, match="no layer that adds channels of zeros"):
        prototxt(plan("resnet20"), "resnet20")


@pytest.mark.parametrize("name", names("keras_*"))
def test_keras_source_has_the_layers_of_keras(name):
    """Run in Keras itself by tests/parity; here its layers are those that the network's weights are written for."""
    made = plan(name)
    text = keras_source(made, name)
    ast.parse(text)
    assert len(text.splitlines()) <= MOST_LINES
    assert max(map(len, text.splitlines())) <= LONGEST
    assert recorded(text, made.image_size) == {
        layer.name: layer.reads
        for layer in layers(made, lambda role: layer_name(made, Part.of(f"{role}.output")))
        if layer.kind != "InputLayer"
    }


def recorded(text, side):
    """What each layer of a source reads, by running it with layers that only write that down."""
    found, unnamed = {}, iter(["max_pooling2d", *(f"max_pooling2d_{n}" for n in range(1, 99))])

    class Layers:
        def __getattr__(self, kind):
            def make(*values, name=None, **settings):
                name = name or next(unnamed)

                def call(x):
                    found[name] = tuple(x) if isinstance(x, list) else (x,)
                    return name

                return call

            return make

    stand_in = types.ModuleType("keras")
    stand_in.Input, stand_in.Model, stand_in.layers = lambda shape: "input_layer", lambda *ends: ends, Layers()
    defined = {"__builtins__": {**vars(builtins), "__import__": lambda *_: stand_in}}
    exec(compile(text, "source", "exec"), defined)
    defined["resnet"](side=side)
    return found


@pytest.mark.parametrize("name", ["keras_resnet50", "keras_resnet50v2"])
@pytest.mark.parametrize("stride", [8, 16])
def test_a_network_that_dilates_is_not_written_for_keras(name, stride):
    with pytest.raises(ModelFileError, match="have four stages, and do not dilate"):
        keras_source(plan(name, output_stride=stride), name)


def test_only_what_keras_has_is_written_for_keras(tmp_path, capsys):
    assert main(["show", "resnet18", "--keras", str(tmp_path / "r.py")]) == 2
    assert "resnet18 cannot be written for Keras" in capsys.readouterr().err
    assert not (tmp_path / "r.py").exists()
    assert main(["-q", "show", "keras_resnet50", "--keras", str(tmp_path / "r.py")]) == 0
    assert capsys.readouterr().err == ""
    assert (tmp_path / "r.py").read_text().startswith('"""keras_resnet50: 25,')
