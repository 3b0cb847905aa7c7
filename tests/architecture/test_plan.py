"""Parameters and multiply-adds against the published figures, and the rows against the papers."""

import json
from pathlib import Path

import pytest

from resnets.architecture import CATALOG, names, plan, profile
from resnets.architecture.rows import INPUT

GOLDEN = json.loads((Path(__file__).parents[1] / "golden" / "catalog.json").read_text())

# torchvision's weights metadata: parameters exact, multiply-adds in 10^9 to three decimals.
IMAGENET = {
    "resnet18": (11_689_512, 1.814),
    "resnet34": (21_797_672, 3.664),
    "resnet50": (25_557_032, 4.089),
    "resnet101": (44_549_160, 7.801),
    "resnet152": (60_192_808, 11.514),
    "resnext50_32x4d": (25_028_904, 4.230),
    "resnext101_32x8d": (88_791_336, 16.414),
    "resnext101_64x4d": (83_455_272, 15.460),
    "wide_resnet50_2": (68_883_240, 11.398),
    "wide_resnet101_2": (126_886_696, 22.753),
}


@pytest.mark.parametrize("name", IMAGENET)
def test_imagenet_family_equals_the_published_figures(name):
    parameters, gmacs = IMAGENET[name]
    assert plan(name).parameters == parameters
    assert round(plan(name).macs / 1e9, 3) == gmacs


@pytest.mark.parametrize(
    ("name", "parameters"),
    [
        ("resnet50_v1", 25_557_032),
        ("plain34", 21_623_848),
        ("resnet20", 269_722),
        ("wrn_28_10", 36_479_194),
        ("resnet50d", 25_576_264),
        ("resnetv2_50", 25_549_352),
        ("keras_resnet50", 25_636_712 - 53_120),  # Keras's own summary: all, less those that are not trained
        ("keras_resnet50v2", 25_613_800 - 45_440),
    ],
)
def test_other_exact_parameters(name, parameters):
    assert plan(name).parameters == parameters


@pytest.mark.parametrize(
    ("name", "millions", "digits"),
    [
        ("resnet32", 0.46, 2),
        ("resnet44", 0.66, 2),
        ("resnet56", 0.85, 2),
        ("resnet110", 1.7, 1),
        ("resnet1202", 19.4, 1),
        ("resnext29_8x64d", 34.4, 1),
        ("resnext29_16x64d", 68.2, 1),
    ],
)
def test_cifar_family_equals_the_papers(name, millions, digits):
    assert round(plan(name).parameters / 1e6, digits) == millions


def test_resnet20_with_projections_has_the_published_parameters():
    import dataclasses

    assert plan(dataclasses.replace(CATALOG["resnet20"], shortcut="projection")).parameters == 272_474


def test_the_v1_stride_costs_fewer_multiply_adds():
    assert round(plan("resnet50_v1").macs / 1e9, 2) == 3.86


def test_a_bottleneck_at_256_channels_has_69632_weights():
    unit = plan("resnet50").stages[0][1]
    assert sum(row.parameters for row in unit.rows if row.kind == "conv") == 69_632


@pytest.mark.parametrize("name", names())
def test_the_catalog_equals_its_golden(name):
    made = plan(name)
    assert {"parameters": made.parameters, "macs": made.macs, "rows": len(made.rows)} == GOLDEN[name]


def test_the_golden_has_every_name():
    assert list(GOLDEN) == names()


def test_resnet18_gives_the_familiar_shapes():
    made = plan("resnet18", num_classes=10)
    shapes = {row.role: row.output for row in made.rows}
    assert shapes["stem.conv"] == (64, 112, 112)
    assert shapes["stage1.unit2.relu2"] == (64, 56, 56)
    assert shapes["stage2.unit2.relu2"] == (128, 28, 28)
    assert shapes["stage3.unit2.relu2"] == (256, 14, 14)
    assert shapes["stage4.unit2.relu2"] == (512, 7, 7)
    assert shapes["head.pool"] == (512, 1, 1)
    assert shapes["head.linear"] == (10, 1, 1)


def _strides(name):
    return {row.role: row.stride for row in plan(name).rows if row.kind == "conv" and row.stride > 1}


def test_the_stride_stands_where_the_dialects_put_it():
    import dataclasses

    from resnets.architecture import ResNetSpec

    shared = {"stem.conv", "stage2.unit1.shortcut.conv", "stage3.unit1.shortcut.conv", "stage4.unit1.shortcut.conv"}
    assert set(_strides("resnet50")) == shared | {f"stage{s}.unit1.conv2" for s in (2, 3, 4)}
    assert set(_strides("resnet50_v1")) == shared | {f"stage{s}.unit1.conv1" for s in (2, 3, 4)}
    slim = dataclasses.replace(CATALOG["resnet50"], stride_unit="last")
    assert isinstance(slim, ResNetSpec)
    assert set(_strides(slim)) == {"stem.conv", "stage1.unit3.conv2", "stage2.unit4.conv2", "stage3.unit6.conv2"}
    kinds = {row.role: row.kind for row in plan(slim).rows}
    assert kinds["stage1.unit3.shortcut.subsample"] == "subsample"


def test_biases_follow_the_rule():
    import dataclasses

    def biased(spec):
        return {row.role for row in plan(spec).rows if row.kind == "conv" and row.bias}

    v1, v2 = CATALOG["resnet50"], CATALOG["resnetv2_50"]
    assert biased(v1) == set()
    assert biased(dataclasses.replace(v1, bias="stem")) == {"stem.conv"}
    unnormed = biased(dataclasses.replace(v2, bias="unnormed"))
    assert "stem.conv" in unnormed
    assert "stage1.unit1.shortcut.conv" in unnormed
    assert {role.rpartition(".")[2] for role in unnormed if role.count(".") == 2} == {"conv3"}
    assert len(biased(dataclasses.replace(v1, bias="always"))) == 53


@pytest.mark.parametrize("name", names())
def test_rows_read_what_stands_before_them(name):
    made = plan(name, image_size=33)
    shapes = {INPUT: (3, 33, 33)}
    for row in made.rows:
        assert row.role not in shapes
        assert [shapes[role] for role in row.reads] == [row.input] * (2 if row.kind == "add" else 1)
        assert (row.pad_side is not None) == (row.kind == "pad")
        shapes[row.role] = row.output
    read = {role for row in made.rows for role in row.reads}
    assert set(shapes) - read == {"head.linear"}  # nothing is computed in vain


def reads(unit):
    return {row.role.removeprefix(unit.role + "."): row.reads for row in unit.rows}


def test_what_changes_the_shape_reads_the_first_activation_and_an_identity_the_input():
    """He 2016, figure 4e."""
    changing, same = plan("resnetv2_50").stages[1][:2]
    assert reads(changing)["shortcut.conv"] == ("stage2.unit1.relu1",)
    assert reads(changing)["add"] == ("stage2.unit1.conv3", "stage2.unit1.shortcut.conv")
    assert reads(same)["add"] == ("stage2.unit2.conv3", "stage2.unit1.add")
    assert reads(plan("resnet50").stages[1][0])["shortcut.conv"] == ("stage1.unit3.relu3",)
    assert reads(plan("slim_resnet_v2_50").stages[0][2])["shortcut.subsample"] == ("stage1.unit2.add",)


@pytest.mark.parametrize(
    ("name", "fork", "shortcut", "after"),
    [
        ("resnet50", "stage1.unit3.relu3", ["conv", "norm"], ["relu"]),
        ("resnet50d", "stage1.unit3.relu3", ["avg_pool", "conv", "norm"], ["relu"]),
        ("resnet20", "stage1.unit3.relu2", ["pad"], ["relu"]),
        ("resnetv2_50", "stage2.unit1.relu1", ["conv"], []),
        ("plain18", None, [], ["relu"]),
    ],
)
def test_what_rows_are_to_a_unit_follows_from_what_they_read(name, fork, shortcut, after):
    unit = plan(name).stages[1][0]
    assert unit.fork == fork
    assert [row.kind for row in unit.shortcut] == shortcut
    assert [row.kind for row in unit.after] == after
    assert {row.role for row in unit.branch}.isdisjoint(row.role for row in (*unit.shortcut, *unit.after))
    assert (unit.addition is None) == (fork is None)


def test_a_plan_is_shown_in_one_line():
    shown = repr(plan("resnet1202"))
    assert shown == "Plan(resnet1202: 3x32x32 -> 10 classes, 4,207 rows, 19,421,274 parameters, 2,829,238,912 MACs)"


def test_profile_adds_up():
    made = plan("resnet50")
    total = profile(made.rows)
    assert (total.parameters, total.macs) == (made.parameters, made.macs)
    # The published 11.1 M activations of ResNet-50 (Radosavovic 2020) count convolution outputs alone.
    convolutions = sum(c * h * w for c, h, w in (row.output for row in made.rows if row.kind == "conv"))
    assert round(convolutions / 1e6, 1) == 11.1
    assert total.activations > convolutions
    assert total.training_bytes > 4 * convolutions
