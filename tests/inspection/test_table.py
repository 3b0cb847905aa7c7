"""The layer table, without any terminal."""

import pytest

from resnets.architecture import ResNetSpec, names, plan
from resnets.inspection import count, layer_table, macs, total


def number(text):
    return int(text.replace(",", "")) if text else 0


def unfolded(lines):
    """(line, how often it stands for itself) for every line: a fold's indented lines count many times."""
    times = 1
    for line in lines:
        if " × " in line.label:
            times = int(line.label.rpartition(" ")[2])
            continue
        if not line.label.startswith(" "):
            times = 1
        yield line, times


@pytest.mark.parametrize("name", names())
def test_the_column_of_parameters_adds_up_to_the_total(name):
    made = plan(name)
    norms, sums = total(made)
    listed = sum(number(line.parameters) * times for line, times in unfolded(layer_table(made)))
    assert listed + number(norms.parameters) == number(sums.parameters) == made.parameters


@pytest.mark.parametrize("name", names())
def test_no_convolution_is_left_out(name):
    made = plan(name)
    shown = sum(times for line, times in unfolded(layer_table(made)) if ".conv" in line.label or "  conv" in line.label)
    assert shown == sum(row.kind == "conv" for row in made.rows)


def test_three_identical_units_fold_and_two_do_not():
    labels = [line.label for line in layer_table(plan(ResNetSpec(depths=(2, 3, 4, 1))))]
    assert "stage1.unit2.conv1" in labels
    assert "stage2.unit3.conv1" in labels  # units 2 and 3 are identical, but only two
    assert "stage3.unit2..unit4 × 3" in labels
    assert "stage3.unit3.conv1" not in labels


def test_units_fold_only_when_their_inputs_agree_too():
    """Without a shortcut, a first unit that widens differs from the others in its input alone."""
    widening = ResNetSpec(depths=(4,), widths=(32,), stem_width=16, shortcut="none")
    labels = [line.label for line in layer_table(plan(widening))]
    assert "stage1.unit1.conv1" in labels
    assert "stage1.unit2..unit4 × 3" in labels


def test_a_deep_network_is_a_short_table():
    assert len(layer_table(plan("resnet1202"))) < 30


def test_every_part_starts_once():
    starts = [line.label for line in layer_table(plan("resnet1202")) if line.starts]
    assert starts == [
        "stem.conv",
        "stage1.unit1..unit200 × 200",
        "stage2.unit1.conv1",
        "stage3.unit1.conv1",
        "head.pool",
    ]


def test_layers_that_change_the_shape_are_shown_even_without_weights():
    lines = {line.label: line for line in layer_table(plan("resnet20"))}
    pad = lines["stage2.unit1.shortcut.pad"]
    assert (pad.kernel, pad.stride, pad.output, pad.parameters) == ("", "2", "32×16×16", "")
    assert not any("relu" in label or "norm" in label or "add" in label for label in lines)


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0, "0.0 k"),
        (5_120, "5.1 k"),
        (118_013_952, "118.0 M"),
        (1_814_073_344, "1.814 G"),
        (22_753_000_000, "22.753 G"),
    ],
)
def test_macs_in_words(value, text):
    assert macs(value) == text


def test_count_groups_thousands():
    assert count(11_689_512) == "11,689,512"


def test_dilation_stands_beside_the_kernel():
    dense = plan("resnet50", output_stride=8)
    kernels = {line.kernel for line in layer_table(dense)}
    assert {"3×3", "3×3 d2", "3×3 d4"} <= kernels
