"""Detection, round trips, and what is said when a file does not fit."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import pytest
import torch

from resnets.architecture import CATALOG, ResNetSpec
from resnets.data.preprocess import Preprocessing
from resnets.errors import ModelFileError, SpecError
from resnets.network import create
from resnets.weights import Model, load, save
from resnets.weights.convert import read, write
from resnets.weights.formats.torch_file import write_torch
from resnets.weights.worlds import DIALECTS, Dialect

SMALL = {"depths": (2, 1, 2), "widths": (8, 16, 16), "stem_width": 8}


def tiny(name: str) -> ResNetSpec:
    """The named network, with few and narrow units."""
    return dataclasses.replace(CATALOG[name], **SMALL)


# dialect, what is written, network; a second spec of the same dialect where it has two ways
WRITTEN = {
    "torchvision": ("torchvision", "net.pth", tiny("resnet18")),
    "torchvision bottleneck": ("torchvision", "net.safetensors", tiny("resnet50")),
    "torchvision resnext": (
        "torchvision",
        "net.pth",
        dataclasses.replace(tiny("resnet50"), groups=4, width_per_group=32),
    ),
    "huggingface": ("huggingface", "folder", tiny("resnet50")),
    "huggingface basic": ("huggingface", "folder", tiny("resnet18")),
    "huggingface v1": ("huggingface", "folder", tiny("resnet50_v1")),
    "tutorial": ("tutorial", "net.pth", tiny("tutorial_resnet18")),
    "caffe": ("caffe", "net.caffemodel", tiny("caffe_resnet50")),
    "caffe 101": (
        "caffe",
        "net.caffemodel",
        dataclasses.replace(tiny("caffe_resnet101"), depths=(3, 4, 8, 3), widths=(4,) * 4),
    ),
    "tf_slim v1": ("tf_slim", "net.ckpt", tiny("slim_resnet_v1_50")),
    "tf_slim v2": ("tf_slim", "net.ckpt", tiny("slim_resnet_v2_50")),
    "keras v1": ("keras", "net.weights.h5", tiny("keras_resnet50")),
    "keras v2": ("keras", "net.weights.h5", tiny("keras_resnet50v2")),
    "keras v1 legacy": ("keras", "net.h5", tiny("keras_resnet50")),
    "keras v2 legacy": ("keras", "net.h5", tiny("keras_resnet50v2")),
}
# timm's configuration names an architecture, so that only real ones can be written
FULL = {f"timm {name}": ("timm", "folder", CATALOG[name]) for name in ("resnet18", "resnet18d", "resnetv2_50")}


def model_of(spec: ResNetSpec, classes: int = 5) -> Model:
    """A network whose every number is its own, so that no mix-up goes unnoticed."""
    network = create(spec, num_classes=classes, seed=1).eval()
    generator = torch.Generator().manual_seed(2)
    with torch.no_grad():
        for name, tensor in network.state_dict().items():
            if tensor.is_floating_point():
                noise = torch.rand(tensor.shape, generator=generator)
                tensor.copy_(noise + 0.5 if "running_var" in name else tensor + 0.2 * (noise - 0.5))
    return Model(network, tuple("abcdefghij"[:classes]), Preprocessing.evaluation(64))


def weights(model: Model) -> dict[str, torch.Tensor]:
    """Everything but torch's count of training steps, which is no weight and which most formats do not keep."""
    return {name: t for name, t in model.network.state_dict().items() if not name.endswith("num_batches_tracked")}


def same(one: Model, other: Model) -> bool:
    mine, theirs = weights(one), weights(other)
    return mine.keys() == theirs.keys() and all(torch.equal(mine[name], theirs[name]) for name in mine)


@pytest.mark.parametrize("name", [*WRITTEN, *FULL])
def test_there_and_back_is_bit_equal_and_detected(tmp_path, name):
    dialect, file, spec = {**WRITTEN, **FULL}[name]
    model = model_of(spec)
    written = write(model, tmp_path / file, dialect)
    assert all(path.exists() for path in written)
    again = load(tmp_path / file)
    assert again.provenance.converted["dialect"] == dialect
    assert again.network.plan.spec == spec
    assert same(model, again)
    x = torch.rand(2, 3, 49, 49)
    with torch.inference_mode():
        assert torch.equal(model.network(x), again.network(x))


def test_every_written_dialect_has_a_round_trip():
    tested = {dialect for dialect, *_ in {**WRITTEN, **FULL}.values()}
    assert tested == {name for name, dialect in DIALECTS.items() if type(dialect).write is not Dialect.write}


def state(spec: ResNetSpec, tmp_path: Path, dialect: str = "torchvision") -> dict[str, torch.Tensor]:
    """A foreign state dict."""
    write(model_of(spec), tmp_path / "written.pth", dialect)
    return torch.load(tmp_path / "written.pth", weights_only=True)


@pytest.mark.parametrize("wrap", ["state_dict", "model", "model_ema", "module.", "module.module.", "_orig_mod."])
def test_the_wrappings_of_training_scripts_are_looked_through(tmp_path, wrap):
    tensors = state(tiny("resnet18"), tmp_path)
    if wrap.endswith("."):
        checkpoint = {"epoch": 3, "state_dict": {wrap + name: tensor for name, tensor in tensors.items()}}
    else:
        checkpoint = {wrap: tensors, "optimizer": {"state": {0: {"momentum_buffer": torch.ones(3)}}}, "epoch": 3}
    torch.save(checkpoint, tmp_path / "checkpoint.pth")
    assert same(load(tmp_path / "checkpoint.pth"), model_of(tiny("resnet18")))


def test_averaged_weights_are_preferred(tmp_path):
    tensors = state(tiny("resnet18"), tmp_path)
    raw = {name: tensor + 1 for name, tensor in tensors.items()}
    torch.save({"state_dict": raw, "state_dict_ema": tensors}, tmp_path / "checkpoint.pth")
    assert same(load(tmp_path / "checkpoint.pth"), model_of(tiny("resnet18")))


def test_old_files_without_counters_are_whole(tmp_path):
    tensors = {name: t for name, t in state(tiny("resnet18"), tmp_path).items() if "num_batches" not in name}
    write_torch(tmp_path / "old.pth", tensors)
    assert same(load(tmp_path / "old.pth"), model_of(tiny("resnet18")))


def test_half_precision_is_read_as_float32_and_said(tmp_path, capsys):
    halves = {name: t.half() if t.is_floating_point() else t for name, t in state(tiny("resnet18"), tmp_path).items()}
    write_torch(tmp_path / "half.pth", halves)
    read_again = weights(load(tmp_path / "half.pth"))
    assert all(tensor.dtype == torch.float32 for tensor in read_again.values())
    assert torch.equal(read_again["stem.conv.weight"], halves["conv1.weight"].float())
    assert "float16" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda t: t.pop("layer3.1.bn2.running_mean"), ["missing", "layer3.1.bn2.running_mean", "stage3.unit2.norm2"]),
        (lambda t: t.update({"layer1.0.se.fc1.weight": torch.ones(2, 8)}), ["extra", "layer1.0.se.fc1.weight"]),
        (lambda t: t.update({"bn1.bias": torch.ones(9)}), ["misshapen", "bn1.bias", "(9,)", "(8,)"]),
        (lambda t: t.update({"bn1.wieght": t.pop("bn1.weight")}), ["missing", 'Did you mean "bn1.wieght"?', "extra"]),
        (lambda t: t.pop("fc.weight"), ["torchvision: it has no fc.weight"]),
        (lambda t: t.update({"layer1.0.conv1.weight": torch.ones(8, 8, 5, 5)}), ["misshapen", "(8, 8, 5, 5)"]),
    ],
)
def test_what_does_not_fit_is_a_table_and_nothing_is_loaded(tmp_path, change, words):
    tensors = state(tiny("resnet18"), tmp_path)
    change(tensors)
    write_torch(tmp_path / "odd.pth", tensors)
    with pytest.raises(ModelFileError) as problem:
        load(tmp_path / "odd.pth")
    for word in [*words, str(tmp_path / "odd.pth")]:
        assert word in str(problem.value)


def test_a_table_is_not_endless(tmp_path):
    tensors = state(tiny("resnet18"), tmp_path)
    tensors |= {f"more.{i}.weight": torch.ones(1) for i in range(300)}
    write_torch(tmp_path / "odd.pth", tensors)
    with pytest.raises(ModelFileError, match=r"and 280 more"):
        load(tmp_path / "odd.pth")


def test_something_else_altogether_is_said_to_be_none(tmp_path):
    write_torch(tmp_path / "vit.pth", {"blocks.0.attn.qkv.weight": torch.ones(6, 2)})
    with pytest.raises(ModelFileError, match=r"is no residual network: by its structure, it has too few tensors"):
        load(tmp_path / "vit.pth")


def test_from_and_model_override_the_detection(tmp_path):
    write_torch(tmp_path / "v1.pth", state(tiny("resnet50"), tmp_path))
    assert read(tmp_path / "v1.pth").network.plan.spec.stride_conv == "spatial"
    with pytest.raises(SpecError, match=r"There is no network"):
        read(tmp_path / "v1.pth", network="resnet51")
    with pytest.raises(ModelFileError, match=r"There is no dialect 'torchvison'.*\"torchvision\""):
        read(tmp_path / "v1.pth", dialect="torchvison")
    with pytest.raises(ModelFileError, match=r"timm|tutorial"):
        read(tmp_path / "v1.pth", dialect="tutorial")
    first = dataclasses.replace(tiny("resnet50"), stride_conv="first")
    model = read(tmp_path / "v1.pth", network=first)
    assert model.network.plan.spec == first
    assert same(model, model_of(tiny("resnet50")))


def test_another_number_of_classes_replaces_the_head_alone_and_says_so(tmp_path, capsys):
    write_torch(tmp_path / "net.pth", state(tiny("resnet18"), tmp_path))
    model = read(tmp_path / "net.pth", num_classes=3)
    assert model.classes == ("0", "1", "2")
    assert "head for 5 classes is replaced" in capsys.readouterr().err
    old, new = weights(model_of(tiny("resnet18"))), weights(model)
    assert {n for n in old if not (old[n].shape == new[n].shape and torch.equal(old[n], new[n]))} == {
        "head.linear.weight",
        "head.linear.bias",
    }
    assert same(read(tmp_path / "net.pth", num_classes=5), model_of(tiny("resnet18")))


@pytest.mark.parametrize(
    ("dialect", "file", "spec", "words"),
    [
        ("torchvision", "n.pth", tiny("resnet50_v1"), "stride_conv='first'"),
        ("torchvision", "n.pth", tiny("slim_resnet_v1_50"), "torchvision has no such network"),
        ("torchvision", "n.pth", dataclasses.replace(tiny("resnet18"), norm_eps=1e-3), "norm_eps=0.001"),
        ("keras", "n.weights.h5", tiny("resnet50"), "keras"),
        ("tf_slim", "n.ckpt", tiny("resnet18"), "tf_slim"),
        ("huggingface", "folder", tiny("resnet50d"), "huggingface"),
        ("timm", "folder", tiny("resnet18"), "timm has no network"),
        ("torchvision", "n.pth", dataclasses.replace(CATALOG["resnet20"], shortcut="projection"), "stem='cifar'"),
        ("torchvision", "n.pth", dataclasses.replace(tiny("resnet18"), bias="always"), "bias='always'"),
        ("akamaster", "n.th", CATALOG["resnet20"], "read, not written"),
    ],
)
def test_a_network_that_a_dialect_does_not_have_is_refused_before_anything_is_written(
    tmp_path, dialect, file, spec, words
):
    with pytest.raises(ModelFileError, match=words):
        write(model_of(spec), tmp_path / file, dialect)
    assert list(tmp_path.iterdir()) == []


def test_preprocessing_and_classes_travel_in_a_hugging_face_folder(tmp_path, capsys):
    model = model_of(tiny("resnet18"), classes=3)
    wanted = Preprocessing.evaluation(96, interpolation="bicubic", mean=(0.1, 0.2, 0.3))
    model = dataclasses.replace(model, classes=("crane", "crab", "kite"), preprocessing=wanted)
    write(model, tmp_path / "folder", "huggingface")
    again = load(tmp_path / "folder")
    assert again.classes == model.classes
    assert again.preprocessing == model.preprocessing
    assert capsys.readouterr().err == ""
    model = dataclasses.replace(model, preprocessing=dataclasses.replace(model.preprocessing, channels="BGR"))
    write(model, tmp_path / "folder", "huggingface")
    assert "cannot say how this model wants its pictures" in capsys.readouterr().err


def test_names_that_a_configuration_gives_twice_stay_apart(tmp_path):
    write(model_of(tiny("resnet18"), classes=3), tmp_path / "folder", "huggingface")
    config = json.loads((tmp_path / "folder" / "config.json").read_text())
    config["id2label"] = {"0": "crane", "1": "kite", "2": "crane"}
    (tmp_path / "folder" / "config.json").write_text(json.dumps(config))
    assert load(tmp_path / "folder").classes == ("crane (0)", "kite", "crane (2)")


@pytest.mark.parametrize("architecture", ["resnetblur18", "resnetaa50", "seresnet18", "resnet50_gn"])
def test_a_timm_network_with_the_same_tensors_but_another_graph_is_refused(tmp_path, architecture):
    write(model_of(CATALOG["resnet18"]), tmp_path / "folder", "timm")
    config = json.loads((tmp_path / "folder" / "config.json").read_text())
    config["architecture"] = architecture
    (tmp_path / "folder" / "config.json").write_text(json.dumps(config))
    with pytest.raises(ModelFileError, match=architecture):
        load(tmp_path / "folder")


@pytest.mark.parametrize(
    ("text", "readable"),
    [("[]", 0), ("{", 0), ('{"a": ' * 20000, 0), ('{"depths": 3, "id2label": [1]}', 1), ('{"id2label": 7}', 1)],
)
def test_an_odd_configuration_is_answered(tmp_path, text, readable):
    write(model_of(tiny("resnet18")), tmp_path / "folder", "huggingface")
    (tmp_path / "folder" / "config.json").write_text(text)
    if readable:
        assert len(load(tmp_path / "folder").classes) == 5
    else:
        with pytest.raises(ModelFileError, match=r"config\.json"):
            load(tmp_path / "folder")


def test_our_own_file_is_told_from_others_by_its_content(tmp_path):
    model = model_of(tiny("resnet18"))
    save(tmp_path / "model.safetensors", model)
    assert load(tmp_path / "model.safetensors").classes == model.classes
    assert load(tmp_path / "model.safetensors").provenance.converted is None
    write(model, tmp_path / "foreign.safetensors", "torchvision")
    assert load(tmp_path / "foreign.safetensors").provenance.converted["dialect"] == "torchvision"


def test_a_converted_model_is_a_model_file_like_any_other(tmp_path):
    write(model_of(tiny("resnet50")), tmp_path / "net.pth", "torchvision")
    model = read(tmp_path / "net.pth")
    save(tmp_path / "model.safetensors", model)
    again = load(tmp_path / "model.safetensors")
    assert same(model, again)
    assert again.provenance.converted["files"][0]["name"] == "net.pth"
    assert len(again.provenance.converted["files"][0]["sha256"]) == 64


@pytest.mark.parametrize("path", ["nothing.pth", "empty.pth", "text.pth", "folder"])
def test_what_is_no_checkpoint_is_one_clear_sentence(tmp_path, path):
    (tmp_path / "empty.pth").touch()
    (tmp_path / "text.pth").write_text("hello " * 100)
    (tmp_path / "folder").mkdir()
    with pytest.raises(ModelFileError, match=path) as problem:
        load(tmp_path / path)
    assert str(problem.value).count("\n") == 0


def test_a_failed_writing_leaves_what_stood_there_and_nothing_else(tmp_path, monkeypatch):
    model = model_of(tiny("caffe_resnet50"))
    write(model, tmp_path / "net.caffemodel", "caffe")
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    with torch.no_grad():
        model.network.get_parameter("head.linear.bias").add_(1)

    def fails(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.replace", fails)
    with pytest.raises(ModelFileError, match="No space left on device"):
        write(model, tmp_path / "net.caffemodel", "caffe")
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before


@pytest.mark.parametrize(("dialect", "source", "target"), [("caffe", "n.caffemodel", "n.prototxt")])
def test_a_source_is_never_replaced_by_a_sibling_of_the_target(tmp_path, dialect, source, target):
    model = model_of(tiny("caffe_resnet50"))
    kept = write(model, tmp_path / source, dialect)
    with pytest.raises(ModelFileError, match="is a source"):
        write(model, tmp_path / target, dialect, keep=kept)


def test_a_model_of_our_own_is_never_replaced_by_a_folder_of_others(tmp_path):
    model = model_of(tiny("resnet18"))
    save(tmp_path / "model.safetensors", model)
    with pytest.raises(ModelFileError, match="a model of resnets itself"):
        write(model, tmp_path, "huggingface")
    assert [path.name for path in tmp_path.iterdir()] == ["model.safetensors"]
    assert same(load(tmp_path), model)


def test_an_output_stride_that_a_file_cannot_say_is_refused(tmp_path):
    dense = create(tiny("resnet50"), num_classes=5, output_stride=8).eval()
    with pytest.raises(ModelFileError, match="output_stride=8"):
        write(Model(dense, tuple("abcde"), Preprocessing.evaluation(64)), tmp_path / "n.pth", "torchvision")


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda t: t["fc.bias"].fill_(float("nan")), "not finite"),
        (lambda t: t["bn1.running_var"].sub_(9), "variance below 0"),
        (
            lambda t: t.update({"fc.weight": t["fc.weight"].to(torch.complex64)}),
            "is complex64, and a weight is a float",
        ),
        (lambda t: t.update({"conv1.weight": t["conv1.weight"].to(torch.int8)}), "is int8, and a weight is a float"),
        (lambda t: t.update({"fc.weight": t["fc.weight"].double() + 1e300}), "not finite"),
    ],
)
def test_numbers_that_no_network_computes_with_are_refused(tmp_path, change, words):
    tensors = state(tiny("resnet18"), tmp_path)
    change(tensors)
    torch.save(tensors, tmp_path / "odd.pth")
    with pytest.raises(ModelFileError, match=words):
        load(tmp_path / "odd.pth")


def test_prefixes_whose_removal_would_merge_two_names_stay(tmp_path):
    tensors = state(tiny("resnet18"), tmp_path)
    mixed = {"module." + name: tensor for name, tensor in tensors.items()} | {
        "conv1.weight": tensors["conv1.weight"] * 0
    }
    write_torch(tmp_path / "odd.pth", mixed)
    with pytest.raises(ModelFileError, match=r"conv1\.weight and module\.conv1\.weight are both in it"):
        load(tmp_path / "odd.pth")


def test_a_small_first_convolution_under_torchvisions_names_is_said_aloud(tmp_path, capsys):
    tensors = state(tiny("resnet18"), tmp_path)
    tensors["conv1.weight"] = torch.rand(8, 3, 3, 3)
    write_torch(tmp_path / "cifar.pth", tensors)
    assert load(tmp_path / "cifar.pth").network.plan.spec.stem == "cifar"
    assert "taken for CIFAR's stem" in capsys.readouterr().err


@pytest.mark.parametrize("name", ["pytorch_model.bin", "model.safetensors"])
def test_a_lone_file_of_a_hub_takes_the_configuration_beside_it(tmp_path, name):
    spec = tiny("resnet50_v1")
    write(model_of(spec), tmp_path / "folder", "huggingface")
    if name.endswith(".bin"):
        from safetensors.torch import load_file

        torch.save(load_file(tmp_path / "folder" / "model.safetensors"), tmp_path / "folder" / name)
    assert load(tmp_path / "folder" / name).network.plan.spec == spec


@pytest.mark.parametrize("text", ["[1]", "{", '{"architecture": "mynet"}', '{"downsample_in_bottleneck": true}'])
def test_another_projects_configuration_beside_a_lone_file_is_nothing(tmp_path, text):
    write(model_of(tiny("resnet50")), tmp_path / "net.safetensors", "torchvision")
    (tmp_path / "config.json").write_text(text)
    model = load(tmp_path / "net.safetensors")
    assert model.provenance.converted["dialect"] == "torchvision"
    assert model.network.plan.spec == tiny("resnet50")


def test_a_dialect_that_the_user_names_wins_over_a_configuration(tmp_path):
    write(model_of(CATALOG["resnet18"]), tmp_path / "folder", "timm")
    assert read(tmp_path / "folder").provenance.converted["dialect"] == "timm"
    assert read(tmp_path / "folder", dialect="torchvision").provenance.converted["dialect"] == "torchvision"
