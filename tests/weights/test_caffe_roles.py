"""Caffe's files under any names: the graph says which layer is which, or that it is no residual network."""

from __future__ import annotations

import dataclasses
import random
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from caffe_files import HE, NECK, TINY, lively, model, picture
from test_caffe_dialect import NETWORKS

from resnets.errors import ModelFileError
from resnets.weights import load
from resnets.weights.certificate import certificate
from resnets.weights.convert import model_of, read, write
from resnets.weights.formats.prototxt import parse
from resnets.weights.formats.stored import Foreign, Stored
from resnets.weights.open import open_file
from resnets.weights.recognise import recognise
from resnets.weights.worlds.caffe.framework import _roles
from resnets.weights.worlds.caffe.reader import open_caffe
from resnets.weights.worlds.caffe.witness import run
from resnets.weights.worlds.caffe.writer import write_caffe

RESIDUAL = {name: spec for name, spec in NETWORKS.items() if spec.shortcut != "none"}
Net = list[dict[str, Any]]  # the layers of a .prototxt


def plain(tree: Any) -> Any:
    """A tree of messages with Python's truth instead of words."""
    if isinstance(tree, dict):
        return {name: plain(value) for name, value in tree.items()}
    return (
        [plain(value) for value in tree] if isinstance(tree, list) else {"true": True, "false": False}.get(tree, tree)
    )


def rewritten(source: Path, target: Path, change: Callable[[Net, random.Random], Net | None]) -> Path:
    """The same pair of files with other layers; a layer that has a "was" takes the weights of that one."""
    net = parse(source.with_suffix(".prototxt").read_text())
    blobs = {layer.name: layer.blobs for layer in open_caffe(source).documents["graph"]}
    layers = plain(net["layer"])
    for layer in layers:
        layer.setdefault("bottom", [])
        layer["was"] = list(layer["name"])
    layers = change(layers, random.Random(0)) or layers
    was = {layer["name"][0]: layer.pop("was", [""])[0] for layer in layers}
    weights = {name: blobs.get(old, ()) for name, old in was.items()}

    def shaped(name: str) -> list[Stored]:
        kind = next(layer["type"][0] for layer in layers if layer["name"][0] == name)
        return [
            dataclasses.replace(one, shape=(*one.shape, 1, 1)) if kind == "Convolution" and len(one.shape) == 2 else one
            for one in weights[name]
        ]

    target.mkdir(exist_ok=True)
    return write_caffe(target / "any.caffemodel", {"name": net["name"], "layer": layers}, shaped)[0]


def anyhow(layers: Net, rng: random.Random) -> None:
    """Random names for layers and for blobs, some of which look like He's."""
    made: set[str] = set()

    def made_up() -> str:
        while True:
            name = rng.choice(("res", "bn", "scale", "conv_", "")) + "".join(rng.choices("abcdef0123", k=7))
            if name not in made:
                made.add(name)
                return name

    names = {blob: made_up() for layer in layers for blob in (*layer["top"], *layer["bottom"])}
    for layer in layers:
        layer["name"] = [made_up()]
        layer["top"] = [names[blob] for blob in layer["top"]]
        layer["bottom"] = [names[blob] for blob in layer["bottom"]]


def misleading(layers: Net, rng: random.Random) -> None:
    """He's names, each on another layer of the same type."""
    by_type: dict[str, list[str]] = {}
    for layer in layers:
        by_type.setdefault(layer["type"][0], []).append(layer["name"][0])
    for names in by_type.values():
        names.append(names.pop(0))
    for layer in layers:
        layer["name"] = [by_type[layer["type"][0]].pop(0)]


def nowhere_in_place(layers: Net, rng: random.Random) -> None:
    """Every layer has a blob of its own, and every reader of a sum a relu of its own."""
    holds: dict[str, str] = {}
    for layer in layers:
        layer["bottom"] = [holds.get(blob, blob) for blob in layer["bottom"]]
        holds[layer["top"][0]] = layer["top"][0] = f"of {layer['name'][0]}"
    for relu in [layer for layer in layers if layer["type"] == ["ReLU"]]:
        for i, reader in enumerate([one for one in layers if relu["top"][0] in one["bottom"]][1:]):
            twin = {**relu, "name": [f"{relu['name'][0]} {i}"], "top": [f"{relu['top'][0]} {i}"]}
            layers.insert(layers.index(relu), twin)
            reader["bottom"] = [twin["top"][0] if one == relu["top"][0] else one for one in reader["bottom"]]


def shuffled(layers: Net, rng: random.Random) -> Net:
    """In another order in which each layer still stands behind what it reads."""
    nowhere_in_place(layers, rng)
    there, order = set[str](), list[dict[str, Any]]()
    while len(order) < len(layers):
        ready = [one for one in layers if one not in order and there.issuperset(one["bottom"])]
        order.append(rng.choice(ready))
        there.update(order[-1]["top"])
    anyhow(order, rng)
    return order


def split(layers: Net, rng: random.Random) -> Net:
    """With the layers that Caffe puts in wherever a blob is read twice; and a Dropout and a Flatten before the head."""
    nowhere_in_place(layers, rng)
    found: Net = []
    for layer in layers:
        found.append(layer)
        readers = [one for one in layers if layer["top"][0] in one["bottom"]]
        if len(readers) > 1:
            tops = [f"{layer['top'][0]}_split_{i}" for i in range(len(readers))]
            found.append({"name": [f"s {tops[0]}"], "type": ["Split"], "bottom": list(layer["top"]), "top": tops})
            for reader, top in zip(readers, tops, strict=True):
                reader["bottom"] = [top if one == layer["top"][0] else one for one in reader["bottom"]]
    head = next(i for i, layer in enumerate(found) if layer["type"] == ["InnerProduct"])
    blob = found[head]["bottom"]
    found[head:head] = [
        {"name": [kind], "type": [kind], "bottom": list(blob), "top": list(blob)} for kind in ("Dropout", "Flatten")
    ]
    return found


def point_head(layers: Net, rng: random.Random) -> None:
    """The head as a 1x1 convolution."""
    anyhow(layers, rng)
    (head,) = (layer for layer in layers if layer["type"] == ["InnerProduct"])
    (param,) = head.pop("inner_product_param")
    head |= {"type": ["Convolution"], "convolution_param": [{**param, "kernel_size": [1]}]}


def point_head_before_the_pool(layers: Net, rng: random.Random) -> Net:
    """And before the mean, which is a window as large as the map of the declared 64 pixels."""
    point_head(layers, rng)
    *others, pool, head, soft = layers
    (param,) = pool["pooling_param"]
    pool["pooling_param"] = [{"pool": param["pool"], "kernel_size": [4], "stride": [1]}]
    head["bottom"], pool["bottom"], soft["bottom"] = pool["bottom"], head["top"], pool["top"]
    return [*others, head, pool, soft]


CHANGES = [anyhow, misleading, nowhere_in_place, shuffled, split, point_head, point_head_before_the_pool]


def _first(file: Foreign) -> int:
    """Where the first layer of a unit stands."""
    names = [layer.name for layer in file.documents["graph"]]
    return next(i for i, name in enumerate(names) if "2a_branch" in name)


def agreeing(source: Path, other: Path) -> None:
    """Both files give one network, and what each is in Caffe."""
    ours, found = load(source).network, recognise(open_file(other))
    theirs = model_of(found).network
    assert theirs.plan.spec == ours.plan.spec
    x = picture(2, 3, 64, 64).float()
    with torch.no_grad():
        assert torch.equal(theirs(x), ours(x))
    assert certificate(found.file, "caffe", theirs, use_framework=False)["holds"]
    originals = found.file.documents["originals"]
    layers = {layer.name for layer in open_file(other).documents["graph"]}
    for graph in ("graph", "wired"):
        names = [layer.name for layer in found.file.documents[graph]]
        assert len(set(names)) == len(names)
    asked = _roles(found.file)  # of OpenCV
    assert layers.issuperset(originals[name] for name in asked.values())
    assert asked["stem"] == found.file.documents["graph"][_first(found.file)].bottoms[0]


@pytest.mark.parametrize("spec", RESIDUAL.values(), ids=RESIDUAL)
def test_names_do_not_matter_nor_does_the_order(tmp_path, spec):
    source = write(model(spec), tmp_path / "net.caffemodel", "caffe")[0]
    agreeing(source, rewritten(source, tmp_path / "other", shuffled))


@pytest.mark.parametrize("change", CHANGES)
@pytest.mark.parametrize("spec", [HE, NETWORKS["pre"]], ids=["he", "pre"])
def test_nor_does_the_form_of_the_graph(tmp_path, spec, change):
    spec = dataclasses.replace(spec, depths=(1, 2, 1), widths=(4, 8, 16))  # 4 pixels in the end
    source = write(model(spec), tmp_path / "net.caffemodel", "caffe")[0]
    agreeing(source, rewritten(source, tmp_path / "other", change))


def test_the_golden_under_random_names_gives_the_same_logits(tmp_path, shared_data):
    source = shared_data / "golden/caffe/tiny50.caffemodel"
    other = rewritten(source, tmp_path / "other", anyhow)
    agreeing(source, other)
    x = picture(1, 3, 64, 64)
    assert torch.equal(run(open_caffe(source), x)["logits"], run(recognise(open_file(other)).file, x)["logits"])


def test_published_names_stay(tmp_path):
    source = write(model(NETWORKS["long"]), tmp_path / "net.caffemodel", "caffe")[0]
    file = recognise(open_file(source)).file
    assert all(name == old for name, old in file.documents["originals"].items())


def test_a_folder_of_caffes_is_named_as_a_whole(tmp_path):
    source = write(model(), tmp_path / "net.caffemodel", "caffe")[0]
    assert load(tmp_path).network.plan.spec == HE
    (tmp_path / "b.caffemodel").write_bytes(source.read_bytes())
    with pytest.raises(ModelFileError, match="several models"):
        load(tmp_path)


# What is no residual network.


def drop(kind: str) -> Callable[[Net, random.Random], Net]:
    """Without the layers of a type: who read them reads what they read last."""

    def change(layers: Net, rng: random.Random) -> Net:
        for layer in [one for one in layers if one["type"] == [kind]]:
            for other in layers:
                other["bottom"] = [layer["bottom"][-1] if one in layer["top"] else one for one in other["bottom"]]
            layers.remove(layer)
        anyhow(layers, rng)
        return layers

    return change


def second_head(layers: Net, rng: random.Random) -> None:
    head = next(layer for layer in layers if layer["type"] == ["InnerProduct"])
    layers.append({**head, "name": ["again"], "top": ["again"]})
    anyhow(layers, rng)


def early_head(layers: Net, rng: random.Random) -> None:
    head = next(layer for layer in layers if layer["type"] == ["InnerProduct"])
    layers.insert(layers.index(head), {**head, "name": ["early"], "bottom": ["pool1"], "top": ["early"]})
    anyhow(layers, rng)


def retyped(kind: str, to: str) -> Callable[[Net, random.Random], None]:
    """The last but one layer of a type is of another."""

    def change(layers: Net, rng: random.Random) -> None:
        [layer for layer in layers if layer["type"] == [kind]][-2]["type"] = [to]
        anyhow(layers, rng)

    return change


def from_afar(layers: Net, rng: random.Random) -> None:
    """The last shortcut begins two units before, with as many channels."""
    sums = [layer for layer in layers if layer["type"] == ["Eltwise"]]
    sums[-1]["bottom"][0] = sums[-3]["top"][0]
    anyhow(layers, rng)


def three_at_once(layers: Net, rng: random.Random) -> None:
    one = next(layer for layer in layers if layer["type"] == ["Eltwise"])
    one["bottom"].append(one["bottom"][0])
    anyhow(layers, rng)


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (drop("Eltwise"), "nothing in its graph adds a shortcut to a branch"),
        (second_head, "it has 2 heads"),
        (early_head, "it has 2 heads"),
        (retyped("ReLU", "TanH"), r"\(TanH\) has no place"),
        (retyped("Eltwise", "Concat"), r"\(Concat\) has no place"),
        (from_afar, "not all that the layer .* adds comes from the sum before it"),
        (three_at_once, "adds 3 things"),
        (drop("Convolution"), "does not add a branch of two or three convolutions"),
    ],
)
def test_what_is_no_residual_network_is_refused_in_one_sentence(tmp_path, change, says):
    spec = dataclasses.replace(HE, depths=(1, 3))
    source = write(model(spec), tmp_path / "net.caffemodel", "caffe")[0]
    other = rewritten(source, tmp_path / "other", change)
    with pytest.raises(ModelFileError, match=says) as caught:
        load(other)
    assert "\n" not in str(caught.value)


def test_a_difference_in_a_graph_is_said_under_the_files_own_name_too(tmp_path):
    def undone(layers: Net, rng: random.Random) -> None:
        named = next(layer for layer in layers if layer["name"] == ["res3a_branch1"])
        named["convolution_param"][0]["stride"] = [1]
        anyhow(layers, rng)
        named["name"] = ["their shortcut"]

    source = write(model(), tmp_path / "net.caffemodel", "caffe")[0]
    with pytest.raises(ModelFileError, match=r"res3a_branch1 \(their shortcut\) +stride 1x1 +stride 2x2"):
        load(rewritten(source, tmp_path / "other", undone))


def test_a_published_network_under_other_names_loads(shared_data):
    """open_nsfw: conv_stage0_block0_branch2a, a bias in every convolution, half the width."""
    folder = shared_data / "weights/open_nsfw"
    if not folder.is_dir():
        pytest.skip("no such weights here")
    found = recognise(open_file(folder))
    network = model_of(found).network
    spec = network.plan.spec
    assert (spec.depths, spec.widths, spec.bias, spec.stride_conv) == (
        (3, 4, 6, 3),
        (32, 64, 128, 256),
        "always",
        "first",
    )
    assert certificate(found.file, "caffe", network, use_framework=False)["holds"]


def test_lively_networks_of_these_tests_are_lively():
    """Or equal logits would say nothing."""
    x = picture(2, 3, 64, 64).float()
    with torch.no_grad():
        assert all(float(lively(spec)(x).std()) > 0.01 for spec in (TINY, NECK))


def test_a_snapshot_without_its_graph_is_taken_as_it_is_at_rest(shared_data, tmp_path, capsys):
    """The .caffemodel's own graph is that of the training, whose norms say use_global_stats: false."""
    folder = shared_data / "weights/open_nsfw"
    if not folder.is_dir():
        pytest.skip(f"there is no {folder}")
    name = "resnet_50_1by2_nsfw.caffemodel"
    alone = Path(shutil.copy(folder / name, tmp_path))
    found = recognise(open_file(alone))
    network, beside = read(alone).network, read(folder / name).network
    assert "holds the graph that trained it" in capsys.readouterr().err
    assert network.plan.spec == beside.plan.spec
    state = beside.state_dict()
    assert all(torch.equal(tensor, state[key]) for key, tensor in network.state_dict().items())
    assert certificate(found.file, "caffe", network, use_framework=False)["holds"]
