"""What a file says of its classes and pictures, and what its user says of its network, is believed before any guess."""

from __future__ import annotations

import dataclasses
import shutil
from pathlib import Path

import pytest
import torch
from test_convert import model_of, tiny

import resnets
from resnets.architecture import CATALOG
from resnets.data.preprocess import Preprocessing
from resnets.errors import DataError, ModelFileError
from resnets.weights import load, save
from resnets.weights.body import load_body
from resnets.weights.convert import write
from resnets.weights.transfer import open_source


@pytest.fixture
def home(monkeypatch, tmp_path) -> Path:
    monkeypatch.setenv("RESNETS_HOME", str(tmp_path / "home"))
    (tmp_path / "home").mkdir()
    return tmp_path / "home"


def akamaster(path: Path, classes: int, **beside) -> Path:
    """A checkpoint as its trainer saves it, of torchvision's names and without projections."""
    spec = dataclasses.replace(CATALOG["resnet20"], depths=(1, 1, 1), widths=(4, 8, 16), stem_width=4)
    state = {}
    for name, tensor in model_of(spec, classes).network.state_dict().items():
        role = name.replace("stem.conv", "conv1").replace("stem.norm", "bn1").replace("head.linear", "linear")
        for stage in (1, 2, 3):
            role = role.replace(f"stage{stage}.unit1.", f"layer{stage}.0.")
        state[role.replace("norm1", "bn1").replace("norm2", "bn2")] = tensor.clone()
    torch.save({"state_dict": state, **beside}, path)
    return path


def test_ten_classes_that_a_checkpoint_names_are_not_those_of_cifar(tmp_path):
    crops = [f"crop{i}" for i in range(10)]
    said = {"class_to_idx": {name: i for i, name in enumerate(crops)}, "args": {"mean": [0.5] * 3, "std": [0.25] * 3}}
    model = load(akamaster(tmp_path / "crops.th", 10, **said))
    assert list(model.classes) == crops
    assert (model.preprocessing.mean, model.preprocessing.std) == ((0.5,) * 3, (0.25,) * 3)


def test_ten_classes_without_names_are_taken_for_cifars_aloud(tmp_path, capsys):
    assert load(akamaster(tmp_path / "net.th", 10)).classes[:2] == ("airplane", "automobile")
    assert "its ten classes are taken for CIFAR-10's" in capsys.readouterr().err
    assert load(akamaster(tmp_path / "net.th", 7)).classes == tuple("0123456")


def test_the_tutorials_checkpoint_is_believed_too(tmp_path):
    write(model_of(tiny("tutorial_resnet18")), tmp_path / "net.pth", "tutorial")
    state = torch.load(tmp_path / "net.pth", weights_only=True)
    torch.save({"state_dict": state, "classes": list("vwxyz")}, tmp_path / "said.pth")
    assert load(tmp_path / "said.pth").classes == tuple("vwxyz")


@pytest.fixture
def bare(tmp_path) -> Path:
    """Torchvision's names, and the stride in the 1x1, which no tensor shows."""
    state = model_of(tiny("resnet50_v1")).network.state_dict()
    write(model_of(tiny("resnet50")), tmp_path / "names.pth", "torchvision")
    names = list(torch.load(tmp_path / "names.pth", weights_only=True))
    torch.save(dict(zip(names, (t.clone() for t in state.values()), strict=True)), tmp_path / "bare.pth")
    return tmp_path / "bare.pth"


def test_the_network_that_the_user_names_is_tried_first(bare):
    v1, usual = tiny("resnet50_v1"), tiny("resnet50")
    assert load_body(bare, v1).model.network.plan.spec.stride_conv == "first"
    assert load_body(bare, usual).model.network.plan.spec.stride_conv == "spatial"
    assert load_body(bare).model.network.plan.spec.stride_conv == "spatial"
    assert load_body(bare, tiny("resnet18")).model.network.plan.spec.block == "bottleneck"  # it is what it is


@pytest.mark.parametrize(
    "way", [lambda tag: load(tag), lambda tag: load_body(tag).model, lambda tag: open_source(tag).model]
)
def test_the_network_that_the_registry_names_is_believed(home, tmp_path, way):
    path = tmp_path / "net.pth"
    model = model_of(dataclasses.replace(CATALOG["resnet50"], stem_width=64), classes=5)
    write(model, path, "torchvision")
    row = f'[[weights]]\ntag = "x"\naddress = "{path}"\nlicence = "mine"\n'
    (home / "registry.toml").write_text(row + 'network = "resnet50_v1"\n')
    assert way("local:x").network.plan.spec.stride_conv == "first"
    (home / "registry.toml").write_text(row + 'network = "resnet50"\n')
    assert way("local:x").network.plan.spec.stride_conv == "spatial"
    (home / "registry.toml").write_text(row + 'network = "custom"\n')
    assert way("local:x").network.plan.spec.stride_conv == "spatial"
    (home / "registry.toml").write_text(row + 'network = "resnet50"\ndialect = "nonsense"\n')
    with pytest.raises(ModelFileError, match="nonsense"):
        way("local:x")


def test_half_of_a_preprocessing_in_the_registry_takes_the_rest_with_it(home, tmp_path):
    own = Preprocessing.evaluation(64, mean=(0.1, 0.2, 0.3), std=(0.4, 0.5, 0.6))
    model = dataclasses.replace(model_of(tiny("resnet18")), preprocessing=own)
    save(tmp_path / "net.safetensors", model)
    row = '[[weights]]\ntag = "x"\nnetwork = "resnet18"\nlicence = "mine"\n'
    row += f'address = "{tmp_path}/net.safetensors"\n'
    (home / "registry.toml").write_text(row + 'channels = "BGR"\n')
    found = load_body("local:x").model.preprocessing
    assert (found.channels, found.mean, found.std) == ("BGR", (0.3, 0.2, 0.1), (0.6, 0.5, 0.4))
    (home / "registry.toml").write_text(row + "image_size = 320\n")
    found = load_body("local:x").model.preprocessing
    assert (found.image_size, found.resize_to) == (320, round(own.resize_to * 320 / 64))


@pytest.mark.parametrize("out", ["net.safetensors", "./net.safetensors"])
def test_an_export_never_takes_the_place_of_its_source(tmp_path, out, monkeypatch):
    monkeypatch.chdir(tmp_path)
    save("net.safetensors", model_of(tiny("resnet18")))
    before = Path("net.safetensors").read_bytes()
    with pytest.raises(DataError, match="is what is to be exported"):
        resnets.export("net.safetensors", out, precision="float16")
    assert Path("net.safetensors").read_bytes() == before


def test_an_export_never_takes_the_place_of_anybodys_files(trained, tmp_path):
    run = shutil.copytree(trained, tmp_path / "run")
    write(model_of(tiny("resnet50")), tmp_path / "hub", "huggingface")
    for source, place in ((run, run / "model.safetensors"), (tmp_path / "hub", tmp_path / "hub" / "model.safetensors")):
        with pytest.raises(DataError, match="is what is to be exported"):
            resnets.export(source, place, precision="float16")
    assert resnets.export(run, tmp_path / "half.safetensors", precision="float16").written


def test_a_certificate_is_beside_what_it_is_about(tmp_path):
    write(model_of(tiny("resnet18")), tmp_path / "net.pth", "torchvision")
    (tmp_path / "sub").mkdir()
    out = tmp_path / "own.safetensors"
    with pytest.raises(ModelFileError, match="both the result and its certificate"):
        resnets.convert(tmp_path / "net.pth", out, certificate=tmp_path / "sub" / ".." / "own.safetensors")
    caffe = tmp_path / "net.caffemodel"
    write(model_of(tiny("caffe_resnet50")), tmp_path / "theirs.caffemodel", "caffe")
    with pytest.raises(ModelFileError, match="is what it is about"):
        resnets.convert(
            tmp_path / "theirs.caffemodel", caffe, target_dialect="caffe", certificate=caffe.with_suffix(".prototxt")
        )
    assert "layer" in caffe.with_suffix(".prototxt").read_text()


def test_a_weights_file_of_thousands_of_odd_names_is_refused_in_seconds(tmp_path):
    """Every missing name was compared with every other, for hours."""
    state = {
        "conv1.weight": torch.zeros(1, 3, 3, 3),
        "fc.weight": torch.zeros(2, 1),
        "layer1.0.conv2.weight": torch.zeros(1),
    }
    state |= {f"layer1.{n}.conv1.weight": torch.zeros(1, 1, 3, 3) for n in range(3000)}
    state |= {f"layer1.{n}.bn1.weights": torch.zeros(1) for n in range(20_000)}
    torch.save(state, tmp_path / "net.pth")
    with pytest.raises(ModelFileError) as caught:
        load(tmp_path / "net.pth")
    assert len(str(caught.value)) < 20_000


@pytest.mark.parametrize(("dialect", "name"), [("torchvision", "net.pth"), ("huggingface", "hub")])
def test_a_fifth_stage_is_no_network_of_worlds_that_stride_there(tmp_path, dialect, name):
    """Ours goes on by dilation, and no tensor would show the difference."""
    spec = dataclasses.replace(tiny("resnet50"), depths=(1,) * 5, widths=(8,) * 5)
    with pytest.raises(ModelFileError):
        write(model_of(spec), tmp_path / name, dialect)
    assert not (tmp_path / name).exists()


def test_what_a_dialect_knows_no_name_overrules(home, tmp_path):
    """A name says no more than the family's: akamaster's zeros lie on both sides, and its classes are known."""
    path = akamaster(tmp_path / "net.th", 10)
    row = f'[[weights]]\ntag = "x"\naddress = "{path}"\nlicence = "mine"\n'
    for more in ("", 'network = "resnet20"\n'):
        (home / "registry.toml").write_text(row + more)
        found = load("local:x")
        assert (found.network.plan.spec.pad_side, found.classes[0]) == ("both", "airplane")
    spec = dataclasses.replace(found.network.plan.spec, pad_side="end")
    assert load_body(path, spec).model.network.plan.spec.pad_side == "both"
    keras = tmp_path / "net.h5"
    write(model_of(tiny("keras_resnet50")), keras, "keras")
    row = f'[[weights]]\ntag = "x"\naddress = "{keras}"\nlicence = "mine"\nnetwork = "resnet50"\n'
    (home / "registry.toml").write_text(row)
    assert load("local:x").network.plan.spec.bias != "never"


def test_a_file_found_by_its_structure_is_of_the_network_that_is_named(bare, home, tmp_path):
    """Under names of nobody."""
    state = torch.load(bare, weights_only=True)
    torch.save(
        {f"layer_{number}.{name.rpartition('.')[2]}": t for number, (name, t) in enumerate(state.items())},
        tmp_path / "odd.pth",
    )
    try:
        usual = load_body(tmp_path / "odd.pth").model
    except ModelFileError:
        pytest.skip("it is not found by its structure")
    assert usual.network.plan.spec.stride_conv == "spatial"
    assert load_body(tmp_path / "odd.pth", tiny("resnet50_v1")).model.network.plan.spec.stride_conv == "first"


def test_what_its_user_types_wins_over_what_a_checkpoint_says(tmp_path):
    """Somebody's own resnet.py that calls itself resnet50."""
    write(model_of(CATALOG["resnet50"]), tmp_path / "names.pth", "torchvision")
    torch.save(
        {"arch": "resnet50", "state_dict": torch.load(tmp_path / "names.pth", weights_only=True)}, tmp_path / "own.pth"
    )
    assert load_body(tmp_path / "own.pth").model.network.plan.spec.stride_conv == "spatial"
    assert load_body(tmp_path / "own.pth", "resnet50_v1").model.network.plan.spec.stride_conv == "first"
