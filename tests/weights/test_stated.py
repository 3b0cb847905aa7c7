"""What no tensor shows: what a checkpoint states decides or is refused; what nobody states is said to be assumed."""

from __future__ import annotations

from argparse import Namespace
from dataclasses import replace

import pytest
import torch
from test_convert import model_of, same, state, tiny

from resnets.architecture import CATALOG
from resnets.data.preprocess import Preprocessing
from resnets.errors import ModelFileError
from resnets.network import create
from resnets.weights.body import load_body
from resnets.weights.certificate import certificate
from resnets.weights.convert import classifier_of, read, write
from resnets.weights.open import open_file
from resnets.weights.recognise import recognise

SPEC = replace(CATALOG["resnet50"], widths=(4, 8, 16, 32), stem_width=4)
USUAL = ("strides", "dilation", "pool", "activation", "order", "shortcuts", "epsilon", "answers")


def saved(tmp_path, **beside):
    """A checkpoint with a network under torchvision's names, and something beside it."""
    torch.save({"state_dict": state(SPEC, tmp_path), **beside}, tmp_path / "checkpoint.pth")
    return tmp_path / "checkpoint.pth"


def certified(path, network=None):
    found = recognise(open_file(path), network=network)
    model = classifier_of(found)
    return certificate(found.file, found.dialect.name, model.network, use_framework=False), model


def test_of_a_bare_state_dict_all_that_no_tensor_shows_is_assumed(tmp_path):
    proof, _ = certified(saved(tmp_path))
    assert proof["holds"]
    assert proof["verdict"].startswith("The certificate holds for the graph assumed: ")
    assert tuple(proof["assumed"]) == (*USUAL, "preprocessing")
    assert proof["assumed"]["strides"] == "in the 3x3 convolution of the first unit of a stage"
    assert proof["assumed"]["epsilon"] == "1e-05"
    assert proof["seen"] == {}


@pytest.mark.parametrize(
    "beside",
    [
        {"arch": "resnet50"},
        {"args": Namespace(arch="resnet50", lr=0.1)},
        {"hyper_parameters": {"model": {"backbone": "microsoft/resnet-50"}}},
        {"args": {"model": "timm/resnet50.a1_in1k"}},
        {"hyper_parameters": {"arch": "ResNet50", "maxpool1": True}},
    ],
)
def test_what_a_checkpoint_states_is_seen(tmp_path, beside):
    proof, _ = certified(saved(tmp_path, **beside))
    assert proof["holds"]
    assert tuple(proof["seen"]) == USUAL
    assert "(its checkpoint (" in proof["seen"]["strides"]
    assert tuple(proof["assumed"]) == ("preprocessing",)
    assert proof["verdict"].startswith("The certificate holds: ")


@pytest.mark.parametrize(
    ("fields", "of_strides"),
    [({"stride_conv": "first"}, "first"), ({"stride_conv": "first", "pool_padding": "ceil"}, "first")],
)
def test_a_network_that_the_user_names_decides(tmp_path, fields, of_strides):
    path = saved(tmp_path)
    named = replace(SPEC, **fields)
    proof, model = certified(path, named)
    assert proof["holds"], proof["verdict"]
    assert model.network.plan.spec == named
    assert proof["seen"]["strides"] == f"in the {of_strides} convolution of the first unit of a stage " + (
        "(the network that was named)"
    )
    bare = recognise(open_file(path))
    assert not certificate(bare.file, "torchvision", model.network, use_framework=False)["holds"]


def test_a_stride_that_an_architecture_has_by_its_name_is_taken(tmp_path):
    proof, model = certified(saved(tmp_path, arch="resnet50_v1"))
    assert model.network.plan.spec.stride_conv == "first"
    assert proof["holds"], proof["verdict"]


def test_an_epsilon_that_a_training_was_given_is_taken(tmp_path):
    proof, model = certified(saved(tmp_path, args=Namespace(bn_eps=1e-3)))
    assert model.network.plan.spec.norm_eps == 1e-3
    assert proof["holds"], proof["verdict"]
    assert proof["seen"]["epsilon"] == "0.001 (its checkpoint (bn_eps))"


OTHERS = [
    ({"arch": "resnetblur50"}, "resnetblur50"),
    ({"arch": "seresnet50"}, "seresnet50"),
    ({"args": Namespace(model="resnetaa50")}, "args.model 'resnetaa50'"),
    ({"arch": "my_net"}, "my_net"),
    ({"arch": "resnet34"}, "another network's"),
    ({"args": Namespace(model="resnet50", gp="max")}, "args.gp 'max'"),
    ({"args": {"model_kwargs": {"act_layer": "silu"}}}, "args.model_kwargs.act_layer 'silu'"),
    ({"args": {"output_stride": 8}}, "args.output_stride 8"),
    ({"args": Namespace(backbone="resnet50", dilation=True)}, "args.dilation True"),
    ({"hyper_parameters": {"replace_stride_with_dilation": [False, False, True]}}, "replace_stride_with_dilation"),
    ({"hyper_parameters": {"maxpool1": False}}, "maxpool1 False"),
]


@pytest.mark.parametrize(("beside", "named"), OTHERS)
def test_another_graph_is_refused_by_name_unless_the_user_names_one(tmp_path, beside, named):
    path = saved(tmp_path, **beside)
    with pytest.raises(ModelFileError, match="its checkpoint says ") as problem:
        read(path)
    assert named in str(problem.value)
    assert "say of which with `network`" in str(problem.value)
    assert same(read(path, network=SPEC), model_of(SPEC))


@pytest.mark.parametrize(
    "beside",
    [
        {"args": Namespace(model="runs/resnet_best.pth", name="my_resnet50_run", backbone="vit_b16")},
        {"hyper_parameters": {"act_layer": "relu", "dilation": False, "dilations": [1, 1, 1, 1], "gp": None}},
        {"arch": "resnet", "args": {"output_stride": 32, "global_pool": "avg"}},
        {"config": {"model": "baseline", "maxpool1": True}},
    ],
)
def test_what_names_no_other_graph_is_no_reason(tmp_path, beside):
    assert same(read(saved(tmp_path, **beside)), model_of(SPEC))


FIVE = ("ant", "bee", "cat", "dog", "eel")


@pytest.mark.parametrize(
    "beside",
    [
        {"classes": list(FIVE)},
        {"class_names": FIVE},
        {"class_to_idx": {name: i for i, name in reversed(list(enumerate(FIVE)))}},
        {"idx_to_class": dict(enumerate(FIVE))},
        {"meta": {"dataset_meta": {"classes": FIVE}}},
        {"meta": {"CLASSES": FIVE}},
        {"hyper_parameters": {"class_names": list(FIVE)}},
        {"args": Namespace(id2label={str(i): name for i, name in enumerate(FIVE)})},
    ],
)
def test_the_classes_names_come_with_a_checkpoint(tmp_path, beside):
    assert read(saved(tmp_path, **beside)).classes == FIVE


@pytest.mark.parametrize(
    "beside",
    [{"classes": ["a", "b"]}, {"classes": 5}, {"class_to_idx": {"a": 0, "b": 7}}, {"classes": [0, 1, 1, 0, 2]}],
)
def test_names_that_are_not_those_of_the_head_are_left(tmp_path, beside):
    assert read(saved(tmp_path, **beside)).classes == tuple("01234")


@pytest.mark.parametrize(
    ("beside", "wanted"),
    [
        (
            {"args": Namespace(mean=[0.5, 0.4, 0.3], std=[0.2, 0.3, 0.4])},
            {"mean": (0.5, 0.4, 0.3), "std": (0.2, 0.3, 0.4)},
        ),
        ({"args": {"mean": [127.5] * 3, "std": [127.5] * 3}}, {"mean": (0.5,) * 3, "std": (0.5,) * 3}),
        ({"args": Namespace(img_size=288, crop_pct=1.0)}, {"image_size": 288, "resize_to": 288}),
        ({"args": Namespace(img_size=None, crop_pct=0.95)}, {"image_size": 224, "resize_to": 235}),
        ({"args": Namespace(input_size=[3, 160, 160])}, {"image_size": 160, "resize_to": 182}),
        ({"args": Namespace(val_crop_size=224, val_resize_size=232)}, {"image_size": 224, "resize_to": 232}),
        ({"hyper_parameters": {"interpolation": "bicubic"}}, {"interpolation": "bicubic"}),
    ],
)
def test_the_arguments_of_a_training_say_how_pictures_are_prepared(tmp_path, beside, wanted):
    proof, model = certified(saved(tmp_path, **beside))
    assert {key: getattr(model.preprocessing, key) for key in wanted} == wanted
    who = next(iter(beside))
    assert proof["seen"]["preprocessing"].endswith(f"(its {who})")
    assert "preprocessing" not in proof["assumed"]


@pytest.mark.parametrize(
    "args",
    [
        {"mean": None, "std": None, "img_size": None, "crop_pct": None, "interpolation": "random"},
        {"mean": [0.5, 0.5], "std": [0.5, 0.5]},
        {"mean": [0.5, 0.5, "x"], "std": [0, 0, 0]},
        {"mean": [300.0] * 3, "std": [1.0] * 3},
        {"img_size": [128, 256], "crop_pct": 7},
        {"img_size": 10**9},
        {"img_size": True, "crop_pct": float("nan")},
    ],
)
def test_arguments_that_say_nothing_of_pictures_leave_the_usual(tmp_path, args):
    proof, model = certified(saved(tmp_path, args=Namespace(**args)))
    assert model.preprocessing == Preprocessing.evaluation(224)
    assert "preprocessing" in proof["assumed"]


def test_names_that_stand_twice_are_told_apart(tmp_path):
    beside = {"classes": ["crane", "crane", "cat", "dog", "eel"]}
    assert read(saved(tmp_path, **beside)).classes[:2] == ("crane (0)", "crane (1)")


def test_small_pictures_have_a_stem_that_is_assumed(tmp_path):
    stem = create(replace(SPEC, stem="cifar"), num_classes=5, seed=0).state_dict()["stem.conv.weight"]
    torch.save({**state(SPEC, tmp_path), "conv1.weight": stem}, tmp_path / "cifar.pth")
    proof, model = certified(tmp_path / "cifar.pth")
    assert model.network.plan.spec.stem == "cifar"
    assert proof["holds"], proof["verdict"]
    assert proof["assumed"]["pool"] == "none in the stem"


@pytest.mark.parametrize(("network", "fields"), [("resnet18", {}), ("resnet50", {"stride_conv": "first"})])
def test_weights_of_transformers_without_a_configuration(tmp_path, network, fields):
    """The stride is assumed, or what the user says."""
    spec = replace(tiny(network), **fields)
    write(model_of(spec), tmp_path / "hf", "huggingface")
    path = (tmp_path / "hf" / "model.safetensors").rename(tmp_path / "alone.safetensors")
    proof, model = certified(path, spec if fields else None)
    assert model.network.plan.spec == spec
    assert proof["holds"], proof["verdict"]
    assert ("strides" in proof["assumed"]) == (not fields)


@pytest.mark.parametrize(
    ("dialect", "name"), [("huggingface", "folder"), ("timm", "folder"), ("caffe", "net.caffemodel")]
)
def test_what_a_file_says_itself_is_seen(tmp_path, dialect, name):
    spec = CATALOG["caffe_resnet50" if dialect == "caffe" else "resnet18"]
    write(
        model_of(spec if dialect == "timm" else replace(spec, widths=(4, 8, 16, 32), stem_width=4)),
        tmp_path / name,
        dialect,
    )
    proof, _ = certified(tmp_path / name)
    assert proof["holds"], proof["verdict"]
    assert proof["assumed"] == {}
    assert proof["seen"].keys() == {*USUAL, "preprocessing"}


def test_an_epsilon_says_nothing_of_the_rest(tmp_path):
    proof, _ = certified(saved(tmp_path, args=Namespace(bn_eps=1e-4)))
    assert proof["seen"] == {"epsilon": "0.0001 (its checkpoint (bn_eps))"}
    assert {"strides", "pool"} <= proof["assumed"].keys()


@pytest.mark.parametrize("eps", [-1.0, float("nan"), float("inf"), 0.0, "1e-5"])
def test_an_epsilon_that_is_none_is_no_fact(tmp_path, eps):
    assert read(saved(tmp_path, args=Namespace(bn_eps=eps))).network.plan.spec == SPEC


@pytest.mark.parametrize("name", ["simclr_resnet50", "torchvision.models.resnet50", "resnet50-imagenet", "ResNet 50"])
def test_names_that_hold_a_known_one_are_no_reason(tmp_path, name):
    assert same(read(saved(tmp_path, arch=name)), model_of(SPEC))


@pytest.mark.parametrize("name", ["my_resnet50_run", "resnet50_cls", "ResNet50Classifier", "ResNet50Encoder"])
def test_words_that_may_be_anything_are_no_reason(tmp_path, name):
    assert same(read(saved(tmp_path, args=Namespace(model=name))), model_of(SPEC))


@pytest.mark.parametrize(
    "name", ["se_resnet50", "seresnet50", "resnet50_gn", "resnest50d", "res2net50", "resnet50_ibn_a"]
)
@pytest.mark.parametrize("key", ["arch", "model"])
def test_networks_that_are_known_to_be_others_are_refused(tmp_path, name, key):
    with pytest.raises(ModelFileError, match="a graph that is not known here"):
        read(saved(tmp_path, args={key: name}))


@pytest.mark.parametrize("name", ["wide_resnet50_2", "resnetv2_50", "resnet50d", "slim_resnet_v2_50"])
def test_a_name_that_the_tensors_contradict_is_refused(tmp_path, name):
    with pytest.raises(ModelFileError, match="its tensors are another network's"):
        read(saved(tmp_path, arch=name))


@pytest.mark.parametrize(
    "args", [{"dilation": [1, 1]}, {"act_layer": "nn.ReLU"}, {"output_stride": "32"}, {"global_pool": True}]
)
def test_arguments_that_say_the_usual_are_no_reason(tmp_path, args):
    assert same(read(saved(tmp_path, args=args)), model_of(SPEC))


def test_numbers_of_classes_come_before_lists_of_them(tmp_path):
    beside = {"classes": list("edcba"), "class_to_idx": {name: i for i, name in enumerate("abcde")}}
    assert read(saved(tmp_path, **beside)).classes == tuple("abcde")


@pytest.mark.parametrize(
    "beside",
    [
        {"class_to_idx": {"cat": 0, "kitty": 0, "b": 1, "c": 2, "d": 3, "e": 4}},
        {"class_to_idx": {"a": 0, "b": 1, "c": 2, "d": 3, "e": 4, "z": 99}},
        {"args": {"categories": ["train", "val", "test", "x", "y"]}},
        {"classes": ["a", "b", "c", "d", "e\x1b[31m"]},
    ],
)
def test_names_that_can_be_read_in_two_ways_are_left(tmp_path, beside):
    assert read(saved(tmp_path, **beside)).classes == tuple("01234")


def test_a_body_whose_checkpoint_names_something_unknown_is_taken_where_the_user_names_it(tmp_path):
    path = saved(tmp_path, arch="my_net")
    with pytest.raises(ModelFileError, match="a graph that is not known here"):
        load_body(path)
    assert load_body(path, SPEC).model.network.plan.spec == SPEC
