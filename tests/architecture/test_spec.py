"""A spec refuses what cannot be built, says why, and survives JSON."""

import dataclasses
import json

import pytest

from resnets.architecture import CATALOG, ResNetSpec, names, plan, spec_of
from resnets.architecture.spec import CHOICES, ORDERS
from resnets.errors import SpecError


@pytest.mark.parametrize(
    ("fields", "why"),
    [
        ({"depths": (2, 2)}, "depths has 2 stages but widths has 4"),
        ({"depths": ()}, "depths is a tuple"),
        ({"depths": (2, 2, 2, 0)}, "depths is a tuple"),
        ({"widths": (64, 128, 256, 51.2)}, "widths is a tuple"),
        ({"block": "inverted"}, "block is one of basic, bottleneck"),
        ({"block": "bottelneck"}, 'Did you mean "bottleneck"'),
        ({"order": 3}, "order is one of post"),
        ({"groups": 32}, "a basic block has none"),
        ({"width_per_group": 128}, "a basic block has none"),
        ({"stride_conv": "first"}, "strides its first 3x3 anyway"),
        ({"block": "bottleneck", "widths": (8, 16, 32, 64), "width_per_group": 3}, "must be a multiple of 64"),
        ({"shortcut": "pad", "stem_width": 128}, "may be narrower"),
        ({"shortcut": "pad", "pad_side": "both", "widths": (64, 67, 128, 256)}, "even number of new channels"),
        ({"pad_side": "both"}, "the other shortcuts have none"),
        ({"shortcut": "none", "zero_init_last": True}, "would output zeros"),
        ({"stem": "cifar", "pool_padding": "ceil"}, "the cifar stem has none"),
        ({"order": "pre", "stem_activation": False}, "never has an activation"),
        ({"bias": "unnormed"}, "the same as 'never'"),
        ({"norm_eps": 0.0}, "norm_eps is a number above 0"),
        ({"norm_momentum": 1.5}, "norm_momentum is a number above 0"),
        ({"zero_init_last": 1}, "true or false"),
        ({"depths": (10**6,) * 4}, "too large"),
        ({"widths": (10**6,) * 4}, "too large"),
        ({"stem": "deep", "stem_width": 1}, "stem_width is a whole number of at least 2"),
    ],
)
def test_contradictions_are_refused_with_a_reason(fields, why):
    with pytest.raises(SpecError, match=why):
        ResNetSpec(**fields)


@pytest.mark.parametrize("name", names())
def test_every_catalog_entry_survives_json(name):
    spec = CATALOG[name]
    assert ResNetSpec.from_dict(json.loads(json.dumps(spec.to_dict()))) == spec


def test_every_order_of_the_choices_is_in_the_table():
    assert tuple(ORDERS) == CHOICES["order"]


def test_an_unknown_field_names_the_nearest():
    with pytest.raises(SpecError, match='Did you mean "widths"'):
        ResNetSpec.from_dict({"width": [64]})


def test_an_unknown_name_names_the_nearest():
    with pytest.raises(SpecError, match='"resnet50"'):
        spec_of("resnet5O")


def test_names_match_patterns():
    assert names("wrn_*") == ["wrn_16_2", "wrn_16_8", "wrn_28_10", "wrn_40_4"]
    assert names("nothing*") == []


def test_a_spec_is_frozen():
    with pytest.raises(dataclasses.FrozenInstanceError):
        ResNetSpec().block = "bottleneck"


@pytest.mark.parametrize(
    ("arguments", "why"),
    [
        ({"num_classes": 0}, "num_classes"),
        ({"in_channels": -1}, "in_channels"),
        ({"image_size": True}, "image_size"),
        ({"output_stride": 4}, "output_stride"),
    ],
)
def test_plan_checks_its_arguments(arguments, why):
    with pytest.raises(SpecError, match=why):
        plan("resnet18", **arguments)


def test_an_image_too_small_for_a_ceil_pool_is_refused():
    spec = dataclasses.replace(spec_of("resnet18"), pool_padding="ceil")
    with pytest.raises(SpecError, match=r"too small: nothing of it is left at stem\.pool"):
        plan(spec, image_size=1)


@pytest.mark.parametrize("network", [50, None, ["resnet18"], {"depths": [2]}])
def test_what_is_no_name_is_one_sentence(network):
    with pytest.raises(SpecError, match="A network is a name or a ResNetSpec"):
        plan(network)
