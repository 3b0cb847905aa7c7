"""Bodies: files whose head is gone, in every world, and where a body is from."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from pathlib import Path

import pytest
import torch
from test_caffe_roles import rewritten
from test_convert import FULL, WRITTEN, model_of, same, weights

from resnets.errors import ModelFileError
from resnets.weights import Model, load, save
from resnets.weights.body import Body, load_body
from resnets.weights.convert import exported, write
from resnets.weights.formats.stored import Foreign
from resnets.weights.formats.torch_file import write_torch
from resnets.weights.open import open_file
from resnets.weights.run import MODEL
from resnets.weights.transfer import open_source


def body_of(model: Model) -> dict[str, torch.Tensor]:
    return {name: tensor for name, tensor in weights(model).items() if not name.startswith("head.linear.")}


def alike(one: Model, other: Model) -> bool:
    """Whether two bodies are the same, whatever their heads."""
    mine, theirs = body_of(one), body_of(other)
    return mine.keys() == theirs.keys() and all(torch.equal(tensor, theirs[name]) for name, tensor in mine.items())


def beheaded(model: Model, place: Path, dialect: str) -> Path:
    """The file of a dialect without the tensors of the head."""
    file, target = exported(model, place, dialect)
    plan = model.network.plan
    naming = target.naming(plan)
    head = {naming(f"head.linear.{leaf}") for leaf in ("weight", "bias")}
    if dialect == "caffe":
        write(model, place, dialect)
        return rewritten(
            place, place.with_name("body"), lambda layers, _: [one for one in layers if one["name"][0][:2] != "fc"][:-1]
        )
    if dialect == "keras":
        h5py = pytest.importorskip("h5py")
        write(model, place, dialect)
        with h5py.File(place, "a") as h5:
            group = h5.get("layers", h5)
            if "layer_names" in group.attrs:
                names = [name for name in group.attrs["layer_names"] if b"predictions" not in name]
                group.attrs["layer_names"] = names
            found = [name for name in group if "dense" in name or "predictions" in name]
            assert len(found) == 1
            del group[found[0]]
        return place
    tensors = {name: stored for name, stored in file.tensors.items() if name not in head}
    assert len(tensors) == len(file.tensors) - 2
    target.write(place, dataclasses.replace(file, tensors=tensors), plan)
    return place


@pytest.mark.parametrize("case", [*WRITTEN, *FULL])
def test_a_file_without_a_head_is_a_body(tmp_path, case):
    dialect, name, spec = (WRITTEN | FULL)[case]
    ours = model_of(spec)
    path = beheaded(ours, tmp_path / name, dialect)
    found = load_body(path)
    assert found.model.classes == ()
    theirs = found.model.network
    assert theirs.plan.spec == spec
    assert alike(found.model, ours)
    assert theirs.plan.num_classes == 1
    assert not theirs.head.linear.weight.any()
    assert not theirs.head.linear.bias.any()


@pytest.mark.parametrize("case", ["torchvision", "huggingface", "caffe", "tf_slim v2", "keras v1"])
def test_what_predicts_nothing_is_refused_in_one_sentence(tmp_path, case):
    dialect, name, spec = WRITTEN[case]
    path = beheaded(model_of(spec), tmp_path / name, dialect)
    for reader in (load, lambda path: open_source(str(path))):
        with pytest.raises(ModelFileError, match=r"is the body of .* without a head.*train on it.*`weights`") as caught:
            reader(path)
        assert "\n" not in str(caught.value)


def state(tmp_path: Path, case: str = "torchvision bottleneck") -> tuple[Model, dict[str, torch.Tensor]]:
    """(a model, the tensors of its state dict in torchvision's names without the head)."""
    ours = model_of(WRITTEN[case][2])
    file, _ = exported(ours, tmp_path / "x.pth", "torchvision")
    return ours, {name: stored.read() for name, stored in file.tensors.items() if not name.startswith("fc.")}


def children(name: str) -> str:
    first, _, rest = name.partition(".")
    numbers = {"conv1": 0, "bn1": 1} | {f"layer{stage}": stage + 3 for stage in range(1, 5)}
    return f"{numbers[first]}.{rest}"


@pytest.mark.parametrize(
    "renamed",
    [
        lambda name: f"module.{name}",
        lambda name: f"backbone.{name}",
        lambda name: f"encoder.{name}",
        children,  # nn.Sequential(*list(resnet.children())[:-1])
        lambda name: f"module.{children(name)}",
    ],
)
def test_names_that_users_give_bodies(tmp_path, renamed):
    ours, tensors = state(tmp_path)
    write_torch(tmp_path / "net.pth", {renamed(name): tensor for name, tensor in tensors.items()})
    found = load_body(tmp_path / "net.pth").model
    assert alike(found, ours)


def test_the_base_model_of_hugging_face_leaves_its_prefix_out(tmp_path):
    ours = model_of(WRITTEN["huggingface"][2])
    file, target = exported(ours, tmp_path / "folder", "huggingface")
    tensors = {name.removeprefix("resnet."): t for name, t in file.tensors.items() if name.startswith("resnet.")}
    target.write(tmp_path / "folder", dataclasses.replace(file, tensors=tensors), ours.network.plan)
    found = load_body(tmp_path / "folder").model
    assert alike(found, ours)


def test_timm_may_say_that_its_maps_are_not_pooled(tmp_path):
    place = beheaded(model_of(FULL["timm resnet18"][2]), tmp_path / "folder", "timm")
    config = json.loads((place / "config.json").read_text())
    config |= {"num_classes": 0, "global_pool": ""}
    (place / "config.json").write_text(json.dumps(config))
    assert load_body(place).model.classes == ()


@pytest.mark.parametrize("missing", ["layer2.0.conv1.weight", "bn1.running_mean"])
def test_a_file_that_lacks_more_than_its_head_is_no_body(tmp_path, missing):
    _, tensors = state(tmp_path, "torchvision")
    del tensors[missing]
    write_torch(tmp_path / "net.pth", tensors)
    with pytest.raises(ModelFileError, match=r"torchvision|dialect"):
        load_body(tmp_path / "net.pth")


def test_half_a_head_is_none(tmp_path):
    _, tensors = state(tmp_path, "torchvision")
    write_torch(tmp_path / "net.pth", {**tensors, "fc.weight": torch.ones(5, 16)})
    with pytest.raises(ModelFileError, match=r"fc\.bias"):
        load_body(tmp_path / "net.pth")


# With a head, and from where.


def test_a_body_with_a_head_has_its_classes(tmp_path):
    dialect, name, spec = WRITTEN["torchvision"]
    ours = model_of(spec)
    write(ours, tmp_path / name, dialect)
    found = load_body(tmp_path / name)
    assert isinstance(found, Body)
    assert found.model.classes == tuple("01234")
    assert same(found.model, ours)


def test_the_origin_of_our_own_file(tmp_path):
    ours = model_of(WRITTEN["torchvision"][2])
    ours = dataclasses.replace(
        ours,
        provenance=dataclasses.replace(
            ours.provenance, pretrained={"tag": "t", "licence": "MIT", "source": "https://example.org"}
        ),
    )
    save(tmp_path / MODEL, ours)
    digest = hashlib.sha256((tmp_path / MODEL).read_bytes()).hexdigest()
    for what, name in ((tmp_path / MODEL, MODEL), (tmp_path, tmp_path.name)):
        origin = load_body(what).origin
        assert json.loads(json.dumps(origin)) == origin
        assert (origin["name"], origin["sha256"], origin["network"]) == (name, digest, "custom")
        assert (origin["licence"], origin["source"]) == ("MIT", "https://example.org")
        assert [one["name"] for one in origin["files"]] == [MODEL]
        assert load_body(what).model.classes == ours.classes


def test_the_origin_of_a_pair_of_files_is_that_with_the_weights(tmp_path):
    dialect, name, spec = WRITTEN["caffe"]
    write(model_of(spec), tmp_path / name, dialect)
    origin = load_body(tmp_path / "net.prototxt").origin
    assert origin["name"] == "net.prototxt"
    assert origin["sha256"] == hashlib.sha256((tmp_path / "net.caffemodel").read_bytes()).hexdigest()
    assert {one["name"] for one in origin["files"]} == {"net.caffemodel", "net.prototxt"}
    assert (origin["licence"], origin["source"]) == (None, None)


def test_what_is_no_body_is_said_as_by_load(tmp_path):
    with pytest.raises(ModelFileError, match="no model file"):
        load_body(tmp_path / "nothing.pth")
    with pytest.raises(ModelFileError, match="network without weights"):
        load_body("resnet18")


def test_the_files_of_a_foreign_body_are_listed_once(tmp_path):
    place = beheaded(model_of(WRITTEN["huggingface"][2]), tmp_path / "folder", "huggingface")
    opened: Foreign = open_file(place)
    assert [one["name"] for one in load_body(place).origin["files"]] == [path.name for path in opened.files]
