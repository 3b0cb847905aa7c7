"""From calibration images to grids: what the ranges are, which values are stored, in which order layers stay float."""

from itertools import pairwise

import pytest
import torch

from resnets.architecture import ResNetSpec
from resnets.architecture.rows import INPUT
from resnets.errors import ModelFileError
from resnets.inference.lower import OUTPUT, lower
from resnets.inference.quantize import (
    BEFORE_ADD,
    Quantisation,
    fallbacks,
    measure_ranges,
    quantised_weight,
    sensitivity,
    stored,
    weight_scales,
)
from resnets.network import create

POST = ResNetSpec(depths=(2, 2), widths=(8, 16), stem="cifar", block="basic")
PRE = ResNetSpec(depths=(2, 2), widths=(8, 16), stem="cifar", block="basic", order="pre")


def graph_of(spec):
    return lower(create(spec, num_classes=4, seed=0).eval(), 16)


def images(count=6, seed=0):
    return torch.randn(count, 3, 16, 16, generator=torch.Generator().manual_seed(seed))


def test_a_range_is_the_mean_of_the_images_extremes():
    x = torch.stack([torch.full((3, 16, 16), 1.0), torch.full((3, 16, 16), -3.0)])
    x[0, 0, 0, 0], x[1, 0, 0, 0] = 2.0, 5.0
    graph = graph_of(POST)
    for batches in ([x], [x[:1], x[1:]]):
        found = measure_ranges(graph, batches)
        assert found.ranges[INPUT] == (pytest.approx(-1.5), pytest.approx(3.5))
        assert found.images == 2


def test_every_value_has_a_range_and_zero_is_in_it():
    graph = graph_of(POST)
    found = measure_ranges(graph, [images()])
    assert {step.name for step in graph.steps} <= found.ranges.keys() | {"logits"}
    assert {step.name + BEFORE_ADD for step in graph.steps if step.addend} <= found.ranges.keys()
    assert all(low <= 0 <= high for low, high in found.ranges.values())
    for step in graph.convolutions:
        assert step.relu == (found.ranges[step.name][0] == 0)


def test_calibration_sees_what_the_network_computes():
    network = create(POST, num_classes=4, seed=0).eval()
    x = images()
    found = measure_ranges(lower(network, 16), [x])
    with torch.inference_mode():
        maps = network.features(x)
    for value, name in (("stem.conv", "stem"), ("stage2.unit2.conv2", "stage2")):
        largest = float(maps[name].flatten(1).amax(1).mean())
        assert found.ranges[value][1] == pytest.approx(largest, rel=1e-4)


def test_calibration_without_images():
    with pytest.raises(ValueError, match="needs images"):
        measure_ranges(graph_of(POST), [])


@pytest.mark.parametrize("pair", [(0.0, 2.55), (-1.0, 1.55), (-2.55, 0.0), (0.0, 0.0)])
def test_a_grid_has_zero_on_it_and_reaches_both_ends(pair):
    scale, zero = Quantisation(ranges={"x": pair}).grid("x")
    assert 0 <= zero <= 255
    assert scale > 0
    for end in pair:
        level = round(end / scale) + zero
        assert -1 <= level <= 256
        assert scale * (level - zero) == pytest.approx(end, abs=scale)


def test_weights_keep_their_largest_exactly():
    weight = torch.randn(5, 3, 3, 3, generator=torch.Generator().manual_seed(0)) * torch.logspace(-3, 2, 5).reshape(
        -1, 1, 1, 1
    )
    rounded = quantised_weight(weight)
    assert rounded.dtype == torch.int8
    assert rounded.abs().amax((1, 2, 3)).tolist() == [127] * 5
    back = rounded * weight_scales(weight).reshape(-1, 1, 1, 1)
    assert float(((back - weight).abs() / weight_scales(weight).reshape(-1, 1, 1, 1)).max()) <= 0.5001
    assert torch.equal(quantised_weight(torch.zeros(2, 1, 1, 1)), torch.zeros(2, 1, 1, 1, dtype=torch.int8))


def test_what_is_stored():
    graph = graph_of(POST)
    quantisation = measure_ranges(graph, [images()])
    last = graph.convolutions[-1].name
    everything = {INPUT} | {step.name for step in graph.convolutions}
    assert stored(graph, quantisation) == everything - {last}  # the head reads float
    floats = [step.name for step in graph.convolutions]
    assert stored(graph, quantisation.keeping(floats)) == frozenset()
    # The addend of a sum that stays float stays float too, unless a convolution reads it.
    shortcut = "stage2.unit1.shortcut.conv"
    readers = [step.name for step in graph.convolutions if step.input == "stage2.unit1.conv2"]
    assert shortcut not in stored(graph, quantisation.keeping([*readers, "stage2.unit2.conv2"]))


def test_the_sums_of_pre_activation_stay_float():
    graph = graph_of(PRE)
    kept = stored(graph, measure_ranges(graph, [images()]))
    sums = {step.name for step in graph.steps if step.addend}
    assert not kept & sums
    assert {step.input for step in graph.convolutions} <= kept


def test_sensitivity_finds_the_spoilt_layer():
    graph = graph_of(POST)
    quantisation = measure_ranges(graph, [images()])
    victim = graph.convolutions[3]
    low, high = quantisation.ranges[victim.input]
    spoilt = Quantisation(ranges={**quantisation.ranges, victim.input: (low / 50, high / 50)})
    errors = sensitivity(graph, spoilt, images())
    readers = {step.name for step in graph.convolutions if step.input == victim.input}
    assert max(errors, key=errors.__getitem__) in readers
    fine = sensitivity(graph, quantisation, images())
    assert errors[victim.name] > 5 * fine[victim.name]


def test_the_order_of_falling_back():
    graph = graph_of(POST)
    quantisation = measure_ranges(graph, [images()])
    tries = list(fallbacks(graph, quantisation, images()))
    first, last = graph.convolutions[0].name, graph.convolutions[-1].name
    assert [set(one.floats) for one in tries[:3]] == [set(), {first}, {first, last, OUTPUT}]
    errors = sensitivity(graph, quantisation, images())
    rest = sorted(errors.keys() - {first, last}, key=errors.__getitem__, reverse=True)
    assert tries[3].floats == {first, last, OUTPUT, rest[0]}
    sizes = {step.name: step.row.macs for step in graph.convolutions}
    for one, more in pairwise(tries):
        assert one.floats < more.floats
    assert sum(sizes.get(name, 0) for name in tries[-1].floats) <= sum(sizes.values()) / 2


def test_to_and_from_a_document():
    graph = graph_of(POST)
    quantisation = measure_ranges(graph, [images()]).keeping(["stem.conv"])
    assert Quantisation.from_dict(quantisation.to_dict(), graph) == quantisation


@pytest.mark.parametrize(
    "spoil",
    [
        lambda d: d.pop("ranges"),
        lambda d: d.update(floats=["nothing"]),
        lambda d: d.update(images="many"),
        lambda d: d["ranges"].update({"stem.conv": [1, 2]}),
        lambda d: d["ranges"].update({"stem.conv": [0, float("nan")]}),
        lambda d: d["ranges"].pop("stem.conv"),
        lambda d: d.update(ranges=[1]),
    ],
)
def test_a_document_that_cannot_be(spoil):
    graph = graph_of(POST)
    document = measure_ranges(graph, [images()]).to_dict()
    spoil(document)
    with pytest.raises(ModelFileError, match="calibrate again"):
        Quantisation.from_dict(document, graph)
