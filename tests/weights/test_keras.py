"""Keras: its graph in float64, and its names, order and rules both ways."""

from __future__ import annotations

import signal
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from resnets.architecture import ResNetSpec, plan
from resnets.architecture.catalog import CATALOG
from resnets.errors import ModelFileError
from resnets.network import ResNet
from resnets.weights import Model
from resnets.weights.convert import read, write
from resnets.weights.formats.hdf5 import open_hdf5
from resnets.weights.formats.stored import Foreign, Stored
from resnets.weights.recognise import recognise
from resnets.weights.worlds.keras import witness as emulation
from resnets.weights.worlds.keras.names import Keras
from resnets.weights.worlds.keras.reader import open_keras

h5py = pytest.importorskip("h5py")
KERAS = Keras()
GOLDENS = ["v1.weights.h5", "v1_legacy.h5", "v2.weights.h5", "v2_legacy.h5"]
SIZES = {"depths": (2, 3, 2), "widths": (4, 8, 8), "stem_width": 8}
V1 = replace(CATALOG["keras_resnet50"], **SIZES)
V2 = replace(CATALOG["keras_resnet50v2"], **SIZES)


# The graph


@pytest.mark.parametrize("name", GOLDENS)
def test_the_emulation_gives_what_keras_gave(shared_data, name):
    folder = shared_data / "golden" / "keras"
    arrays = np.load(folder / f"{name[:2]}_io.npz")
    x = torch.from_numpy(arrays["x"]).double().permute(0, 3, 1, 2)
    given = emulation.run(open_keras(folder / name), x)
    assert list(given) == ["stem", "stage1.unit1", "stage1.unit2", "stage2.unit1", "stage2.unit2", "logits"]
    assert float((given["logits"] - torch.from_numpy(arrays["logits"])).abs().max()) < 1e-5


def network(spec: ResNetSpec, classes: int = 5) -> ResNet:
    """A network whose norms are as far from the identity as trained ones."""
    random = torch.Generator().manual_seed(0)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        net = ResNet(plan(spec, num_classes=classes)).eval()
    for name, tensor in net.state_dict().items():
        if name.endswith("running_var"):
            tensor.copy_(10 ** (torch.rand(tensor.shape, generator=random) * 4 - 4))
        elif tensor.ndim == 1:
            tensor.copy_(torch.randn(tensor.shape, generator=random) * 0.3 + (0.5 if "weight" in name else 0))
    return net


def as_keras(net: ResNet, config: Any = None) -> Foreign:
    naming = KERAS.naming(net.plan)
    stored = {}
    for ours, tensor in net.state_dict().items():
        if theirs := naming(ours):
            tensor = tensor.permute(2, 3, 1, 0) if tensor.ndim == 4 else tensor.T if tensor.ndim == 2 else tensor
            stored[theirs] = Stored(tuple(tensor.shape), tensor.dtype, lambda tensor=tensor: tensor.clone())
    return Foreign(Path("net.h5"), "keras", stored, {"keras": config} if config else {}, ())


def configured(**layers: dict) -> dict:
    """A configuration that says so much of these layers."""
    kinds = {"bn": "BatchNormalization", "conv": "Conv2D"}
    said = [{"class_name": kinds[n.rpartition("_")[2]], "config": {"name": n, **s}} for n, s in layers.items()]
    return {
        "class_name": "Functional",
        "config": {"layers": [{"class_name": "Functional", "config": {"layers": said}}]},
    }


@pytest.mark.parametrize("size", [(32, 48), (33, 47)])
@pytest.mark.parametrize("spec", [V1, V2, replace(V2, depths=(1, 2, 1))], ids=["v1", "v2", "v2 of one unit"])
def test_the_emulation_and_the_network_agree_in_every_unit(spec, size):
    net = network(spec).double()
    x = torch.randn(2, 3, *size, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    given = emulation.run(as_keras(net), x)
    with torch.no_grad():
        wanted = {"logits": net(x)}
        for role, features in net.features(x).items():
            wanted[role if role == "stem" else f"{role}.unit{spec.depths[int(role[5:]) - 1]}"] = features
    for role, activation in wanted.items():
        assert float((given[role] - activation).abs().max()) < 1e-11 * float(activation.abs().max()), role
    units = [f"stage{s}.unit{u}" for s, depth in enumerate(spec.depths, 1) for u in range(1, depth + 1)]
    assert list(given) == ["stem", *units, "logits"]


def test_the_emulation_takes_epsilon_and_strides_from_the_configuration():
    x = torch.randn(1, 3, 64, 64, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    net = network(V1).double()
    plain = emulation.run(as_keras(net), x)
    epsilon = emulation.run(as_keras(net, configured(conv1_bn={"epsilon": 0.1})), x)
    assert not torch.allclose(epsilon["stem"], plain["stem"])
    strides = configured(conv3_block1_1_conv={"strides": [1, 1]}, conv3_block1_0_conv={"strides": 1})
    given = emulation.run(as_keras(net, strides), x)
    assert given["stage2.unit1"].shape[2:] == plain["stage1.unit1"].shape[2:] == (16, 16)
    assert plain["stage2.unit1"].shape[2:] == (8, 8)


@pytest.mark.parametrize(
    ("said", "says"),
    [
        ({"conv1_bn": {"epsilon": -1}}, "epsilon -1"),
        ({"conv1_bn": {"epsilon": "x"}}, "epsilon 'x'"),
        ({"conv1_conv": {"strides": 0}}, "strides"),
        ({"conv1_conv": {"strides": [2, 1]}}, "strides"),
        ({"conv1_conv": {"strides": 10**9}}, "strides"),
    ],
)
def test_the_emulation_refuses_a_configuration_that_makes_no_sense(said, says):
    with pytest.raises(ModelFileError, match=says):
        emulation.run(as_keras(network(V1), configured(**said)), torch.zeros(1, 3, 32, 32, dtype=torch.float64))


def test_the_emulation_names_a_layer_that_is_missing():
    file = as_keras(network(V1))
    tensors = {name: stored for name, stored in file.tensors.items() if name != "conv2_block2_3_bn/beta"}
    with pytest.raises(ModelFileError, match="it has no conv2_block2_3_bn/beta"):
        emulation.run(replace(file, tensors=tensors), torch.zeros(1, 3, 32, 32, dtype=torch.float64))


# The dialect


@pytest.mark.parametrize("suffix", [".weights.h5", ".h5"])
@pytest.mark.parametrize("spec", [V1, V2], ids=["v1", "v2"])
def test_a_round_trip_is_exact(tmp_path, spec, suffix):
    net = network(spec)
    model = Model(net, tuple("abcde"), KERAS.preprocessing(as_keras(net), spec))
    path = tmp_path / f"net{suffix}"
    assert write(model, path, "keras") == (path,)
    again = read(path)
    assert again.network.plan.spec == spec
    assert again.preprocessing == model.preprocessing
    for name, tensor in net.state_dict().items():
        assert torch.equal(again.network.state_dict()[name], tensor), name


@pytest.mark.parametrize("version", ["v1", "v2"])
def test_a_written_file_has_the_groups_of_keras_in_its_order(shared_data, tmp_path, version):
    folder = shared_data / "golden" / "keras"
    model = read(folder / f"{version}_legacy.h5")
    write(model, tmp_path / "net.h5", "keras")
    write(model, tmp_path / "net.weights.h5", "keras")

    def named(path: Path) -> dict[str, str]:
        layers = open_hdf5(memoryview(path.read_bytes()))["layers"]
        return {group: (layers[group]["vars"].text("name") or [""])[0] for group in layers.members}

    wanted, given = named(folder / f"{version}.weights.h5"), named(tmp_path / "net.weights.h5")
    assert given.pop("input_layer") == wanted.pop("input_layer").removesuffix("_1")  # numbered by the session
    assert given == wanted
    orders = [
        open_hdf5(memoryview(path.read_bytes())).text("layer_names")
        for path in (tmp_path / "net.h5", folder / f"{version}_legacy.h5")
    ]
    assert orders[0][1:] == orders[1][1:]


def test_an_older_file_is_what_keras_2_wrote(tmp_path):
    write(
        Model(network(V1), tuple("abcde"), KERAS.preprocessing(as_keras(network(V1)), V1)), tmp_path / "n.h5", "keras"
    )
    with h5py.File(tmp_path / "n.h5") as file:
        assert file.attrs["keras_version"].startswith("2.")
        assert list(file["conv1_conv"].attrs["weight_names"]) == [b"conv1_conv/kernel:0", b"conv1_conv/bias:0"]
        assert list(file["conv1_relu"].attrs["weight_names"]) == []
        assert file["conv1_conv/conv1_conv/kernel:0"].shape == (7, 7, 3, 8)


def test_a_long_list_of_layers_is_split_as_keras_does(tmp_path, monkeypatch):
    monkeypatch.setattr("resnets.weights.worlds.keras.writer.MAX_ATTRIBUTE_BYTES", 400)
    net = network(V1)
    model = Model(net, tuple("abcde"), KERAS.preprocessing(as_keras(net), V1))
    write(model, tmp_path / "net.h5", "keras")
    with h5py.File(tmp_path / "net.h5") as file:
        assert "layer_names" not in file.attrs
        assert all(file.attrs[name].nbytes <= 400 for name in file.attrs if name.startswith("layer_names"))
    assert torch.equal(read(tmp_path / "net.h5").network.head.linear.weight, net.head.linear.weight)


def test_writing_twice_gives_the_same_bytes(tmp_path):
    net = network(V2)
    model = Model(net, tuple("abcde"), KERAS.preprocessing(as_keras(net), V2))
    for name in ("a.h5", "b.h5"):
        write(model, tmp_path / name, "keras")
    assert (tmp_path / "a.h5").read_bytes() == (tmp_path / "b.h5").read_bytes()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.h5", "b.h5"]


def test_writing_without_h5py_names_the_command(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "h5py", None)
    with pytest.raises(ModelFileError, match=r'pip install "resnets\[convert\]"'):
        KERAS.write(tmp_path / "net.h5", as_keras(network(V1)), plan(V1))
    assert not list(tmp_path.iterdir())


@pytest.mark.skipif(sys.platform != "linux", reason="limits the size of files as Linux does")
@pytest.mark.parametrize("name", ["net.h5", "net.weights.h5"])
def test_a_full_disk_leaves_what_was_there(tmp_path, name):
    import resource

    file = as_keras(network(V1))
    (tmp_path / name).write_bytes(b"before")
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    before = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (60_000, limits[1]))
    try:
        with pytest.raises(ModelFileError, match="cannot be written"):
            KERAS.write(tmp_path / name, file, plan(V1))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        signal.signal(signal.SIGXFSZ, before)
    assert [path.read_bytes() for path in tmp_path.iterdir()] == [b"before"]


@pytest.mark.parametrize("name", ["net.keras", "net.hdf5", "net"])
def test_only_names_that_keras_loads_are_written(tmp_path, name):
    with pytest.raises(ModelFileError, match=r"\.weights\.h5"):
        KERAS.write(tmp_path / name, as_keras(network(V1)), plan(V1))


@pytest.mark.parametrize("name", ["keras_resnet50", "keras_resnet50v2"])
def test_files_without_names_of_layers_are_known_by_the_numbers_of_their_classes(name):
    p = plan(name, num_classes=3)
    with torch.device("meta"):
        named = as_keras(ResNet(p))
    unnamed = _unnamed(p, named)
    found = recognise(unnamed)
    assert found.plan.spec == CATALOG[name]
    assert found.file.tensors["conv2_block1_0_conv/kernel"] is unnamed.tensors["conv2d_3/kernel"]
    assert found.file.tensors["conv1_conv/kernel"] is unnamed.tensors["conv2d/kernel"]


def test_a_network_of_ones_own_in_a_file_without_names_is_refused_with_the_mend():
    net = network(V1)
    with pytest.raises(ModelFileError, match=r"numbers its layers .* Keras 3\.4 or later"):
        recognise(_unnamed(net.plan, as_keras(net)))


def _unnamed(p: Any, named: Foreign) -> Foreign:
    """As a file of Keras 3.0 gives it: the groups' names stand for the layers'."""
    seen: dict[str, int] = {}
    layers: dict[str, str] = {}
    kinds = {"conv": "conv2d", "bn": "batch_normalization", "predictions": "dense"}
    for row_name in _order(p):
        kind = kinds[row_name.rpartition("_")[2]]
        number = seen[kind] = seen.get(kind, -1) + 1
        layers[row_name] = f"{kind}_{number}" if number else kind
    return replace(
        named,
        tensors={f"{layers[n.partition('/')[0]]}/{n.partition('/')[2]}": t for n, t in named.tensors.items()},
    )


def _order(p: Any) -> list[str]:
    """The layers that have weights, in the order of Keras: the shortcut's between the second and the third."""
    v2 = p.spec.order == "pre"
    names = ["conv1_conv"] + ([] if v2 else ["conv1_bn"])
    for s, stage in enumerate(p.stages, 2):
        for u, unit in enumerate(stage, 1):
            b = f"conv{s}_block{u}_"
            projects = any(row.kind == "conv" for row in unit.shortcut)
            names += [f"{b}preact_bn"] * v2 + [f"{b}1_conv", f"{b}1_bn", f"{b}2_conv", f"{b}2_bn"]
            names += [f"{b}0_conv"] * projects + [f"{b}3_conv"]
            names += [] if v2 else [f"{b}0_bn"] * projects + [f"{b}3_bn"]
    return names + ["post_bn"] * v2 + ["predictions"]


def test_a_head_of_another_name_and_counters_are_no_obstacle():
    file = as_keras(network(V1))
    tensors = {name.replace("predictions", "probs"): stored for name, stored in file.tensors.items()}
    tensors["seed_generator/state"] = Stored((2,), torch.uint32, lambda: torch.zeros(2, dtype=torch.uint32))
    found = recognise(replace(file, tensors=tensors))
    assert found.plan.spec == V1
    assert found.names["head.linear.weight"] == "probs/kernel"


def test_preprocessing_is_that_of_preprocess_input():
    pixels = torch.tensor([[[[10, 100, 200]]]], dtype=torch.uint8)  # one RGB pixel
    first = KERAS.preprocessing(as_keras(network(V1)), V1).normalise(pixels).flatten()
    torch.testing.assert_close(first, torch.tensor([200 - 103.939, 100 - 116.779, 10 - 123.68]))
    second = KERAS.preprocessing(as_keras(network(V2)), V2).normalise(pixels).flatten()
    torch.testing.assert_close(second, torch.tensor([10.0, 100.0, 200.0]) / 127.5 - 1)


def test_pictures_are_cropped_for_imagenet_and_stretched_for_others():
    imagenet = KERAS.preprocessing(as_keras(network(V1, 1000)), V1)
    assert (imagenet.resize, imagenet.resize_to, imagenet.image_size) == ("shorter", 256, 224)
    own = KERAS.preprocessing(as_keras(network(V1, 5)), V1)
    assert (own.resize, own.resize_to, own.image_size) == ("stretch", 224, 224)
