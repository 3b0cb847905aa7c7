"""Two networks side by side: which choices differ, and how that is said."""

import dataclasses
from itertools import combinations

import pytest

from resnets.architecture import CATALOG, ResNetSpec, names, plan
from resnets.architecture.spec import CHOICES
from resnets.inspection import compare
from resnets.inspection.words import WORDS, in_short, said

SETTING = {"image_size", "num_classes", "in_channels", "output_stride"}


def test_one_choice_with_its_cost():
    found = compare(plan("resnet50"), plan("resnet50_v1"), ("A", "B"))
    assert found.choices == {"stride_conv": ("spatial", "first")}
    assert found.words == (
        "B strides in the first 1×1 convolution of a bottleneck (the paper, Caffe, Keras); "
        "A in the 3×3 convolution of a bottleneck (torchvision's v1.5).",
        "B has as many parameters and 231.2 M fewer MACs.",
    )
    assert found.sentence == " ".join(found.words)


def test_every_choice_has_a_sentence_of_its_own():
    found = compare(plan("resnet18"), plan("plain34"), ("A", "B"))
    assert found.words == (
        "B has 3 + 4 + 6 + 3 units in its stages; A 2 + 2 + 2 + 2.",
        "B has no shortcuts (a plain network); "
        "A fits its shortcuts to a new shape with a 1×1 convolution (projection, option B).",
        "B has 1.85 times the parameters and 2.01 times the MACs.",
    )


@pytest.mark.parametrize(
    ("one", "other", "cost"),
    [
        ("caffe_resnet50", "keras_resnet50", "26,496 more parameters and the same MACs"),
        ("keras_resnet50", "caffe_resnet50", "26,496 fewer parameters and the same MACs"),
        ("resnet50", "resnet20", "1/95 of the parameters and 1/101 of the MACs"),
        ("resnet50", "resnet18", "0.457 times the parameters and 0.444 times the MACs"),
    ],
)
def test_the_cost_is_said_as_people_would(one, other, cost):
    assert compare(plan(one), plan(other), ("A", "B")).words[-1] == f"B has {cost}."


def test_the_same_network():
    found = compare(plan("resnet18"), plan("resnet18"), ("A", "B"))
    assert (found.choices, found.sentence) == ({}, "A and B are the same network.")


def test_the_setting_counts_as_a_difference():
    found = compare(plan("resnet18"), plan("resnet18", num_classes=10, image_size=96), ("A", "B"))
    assert found.choices == {"image_size": (224, 96), "num_classes": (1000, 10)}
    assert found.words[:2] == ("B takes images of 96×96 pixels; A 224×224.", "B tells 10 classes apart; A 1,000.")


def test_what_matters_to_training_alone_is_called_so():
    trained = plan(dataclasses.replace(CATALOG["resnet18"], zero_init_last=True))
    assert "differ in training alone" in compare(plan("resnet18"), trained, ("A", "B")).sentence
    assert "training alone" not in compare(plan("resnet18"), plan("resnet34"), ("A", "B")).sentence


def test_a_choice_that_means_nothing_for_a_network_is_not_said_of_it():
    """A basic unit has no 1×1 that could stride, and no groups."""
    words = compare(plan("resnet18"), plan("resnet50_v1"), ("A", "B")).words
    assert "B strides in the first 1×1 convolution of a bottleneck (the paper, Caffe, Keras)." in words


def spec_with(field, value):
    """A spec that has a value, and whatever else that value asks for."""
    needs = {
        "stride_conv": {"block": "bottleneck"},
        "pad_side": {"shortcut": "pad"},
        "bias": {"order": "pre"} if value == "unnormed" else {},
    }
    return ResNetSpec(**{**needs.get(field, {}), field: value})


@pytest.mark.parametrize("field", [field.name for field in dataclasses.fields(ResNetSpec)])
def test_every_value_of_every_field_has_words(field):
    default = getattr(ResNetSpec(), field)
    values = CHOICES.get(field, (True, False) if isinstance(default, bool) else (default,))
    texts = [said(field, plan(spec_with(field, value))) for value in values if field in WORDS]
    if field in ("groups", "width_per_group"):  # of a bottleneck alone
        texts = [said(field, plan("resnext50_32x4d"))]
    assert len(texts) == len(set(texts)) == len(values)
    assert all(verb and rest for verb, rest, _ in texts)


def test_there_are_words_for_nothing_else():
    assert set(WORDS) == {field.name for field in dataclasses.fields(ResNetSpec)} | SETTING


def test_every_pair_of_the_catalog_has_words_for_all_that_differs():
    plans = {name: plan(name, image_size=64) for name in names()}
    for pair in combinations(plans, 2):
        found = compare(plans[pair[0]], plans[pair[1]], pair)
        about = found.words[:-1] if found.choices else ()
        training = "training alone" in found.sentence
        assert len(about) == len(found.choices) + training, pair
        for words in found.words:
            assert words.endswith("."), pair
            assert pair[0] in words or pair[1] in words or training, pair
            assert not set(words) & set("|{}_'[]") - set("_'"), words
            assert "  " not in words, words


@pytest.mark.parametrize(
    ("name", "short"),
    [
        ("resnet18", "basic units (3×3, 3×3) · post-activation (v1) · projection shortcuts (option B)"),
        ("plain18", "basic units (3×3, 3×3) · post-activation (v1) · plain: no shortcuts"),
        (
            "wrn_28_10",
            "basic units (3×3, 3×3) · pre-activation (v2) · projection shortcuts (option B) · 10 times as wide",
        ),
    ],
)
def test_a_network_in_a_few_words(name, short):
    assert " · ".join(in_short(CATALOG[name])) == short


@pytest.mark.parametrize("pair", [("resnet50", "resnet1202"), ("resnet20", "resnetv2_50")])
def test_parts_add_up_to_both_networks_even_when_one_has_fewer_stages(pair):
    plans = [plan(name) for name in pair]
    found = compare(*plans, pair)
    assert len(found.parts) == 2 + 4
    for side, made in enumerate(plans):
        parts = [both[side] for both in found.parts if both[side]]
        assert sum(part.parameters for part in parts) == made.parameters
        assert sum(part.macs for part in parts) == made.macs
        assert [part.name for part in parts] == ["stem", *(f"stage{i + 1}" for i in range(len(made.stages))), "head"]
        assert parts[-2].output == (made.head[0].input)


def test_other_classes_are_no_difference_in_training_alone():
    """A run from scratch beside its name: zero-init, and ten classes."""
    mine = plan(dataclasses.replace(CATALOG["resnet18"], zero_init_last=True), 10)
    assert "training alone" not in compare(mine, plan("resnet18"), ("mine", "resnet18")).sentence
    same = plan(dataclasses.replace(CATALOG["resnet18"], zero_init_last=True))
    assert "training alone" in compare(same, plan("resnet18"), ("mine", "resnet18")).sentence
