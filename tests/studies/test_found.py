"""What may be said of runs: means, intervals, and what cannot be told from chance."""

from __future__ import annotations

import math

import pytest
from scipy.stats import ttest_ind

from resnets.architecture import plan
from resnets.studies import STUDIES
from resnets.studies.found import APART, points, said
from studied import found, run


def test_with_three_seeds_welch_decides():
    ours, theirs = (0.90, 0.92, 0.91), (0.89, 0.90, 0.91)
    runs = [run("v1.5", s, top1=x) for s, x in enumerate(ours)] + [run("v1", s, top1=x) for s, x in enumerate(theirs)]
    difference = found("stride-place", runs).difference("v1.5", "v1")
    low, high = ttest_ind(ours, theirs, equal_var=False).confidence_interval(0.95)
    assert difference.value == pytest.approx(0.01)
    assert difference.interval == pytest.approx((low, high))
    assert not difference.told
    words = said(found("stride-place", runs), "v1.5", "v1")
    assert "+1.0 points" in words
    assert "cannot be told from chance" in words


def test_with_few_seeds_small_differences_are_not_told():
    for gap, told in ((APART - 0.01, False), (APART + 0.01, True)):
        runs = [run("v1.5", top1=0.9), run("v1", top1=0.9 - gap)]
        assert found("stride-place", runs).difference("v1.5", "v1").told is told
    assert found("stride-place", runs).spread("v1", "top1") is None
    assert "one seed a network" in found("stride-place", runs).chance


def test_the_interval_of_a_mean_is_students():
    runs = [run("v1", seed, top1=value) for seed, value in enumerate((0.5, 0.6, 0.7))]
    low, high = found("stride-place", runs).spread("v1", "top1")
    assert (low + high) / 2 == pytest.approx(0.6)
    assert (high - low) / 2 == pytest.approx(4.302653 * 0.1 / math.sqrt(3), rel=1e-4)


def test_an_interval_stays_a_share():
    runs = [run("v1", seed, top1=value) for seed, value in enumerate((0.90, 0.95, 0.99))]
    assert found("stride-place", runs).spread("v1", "top1")[1] == 1.0


def test_what_few_images_show_is_not_told():
    for images, told in ((20, False), (2000, True)):
        runs = [run("v1.5", top1=1.0, images=images), run("v1", top1=0.9, images=images)]
        assert found("stride-place", runs).difference("v1.5", "v1").told is told
    alike = [run("v1.5", s, top1=0.978) for s in range(3)] + [run("v1", s, top1=0.975) for s in range(3)]
    assert not found("stride-place", alike).difference("v1.5", "v1").told


def verdict(study, **shares):
    """What a study finds where its members have these shares, "_" for "-" in their names; others have 90 %."""
    runs = [run(m.name, top1=shares.get(m.name.replace("-", "_"), 0.9)) for m in STUDIES[study].members(True)]
    return STUDIES[study].says(found(study, runs))[1]


@pytest.mark.parametrize(
    ("study", "shares", "holds"),
    [
        ("bottleneck", {"basic": 0.98}, False),  # worse in the same time, too
        ("bottleneck", {"bottleneck": 0.8}, None),  # what is told is not what is asked
        ("bottleneck", {"basic": 0.8}, True),
        ("bottleneck", {"bottleneck": 0.98}, True),
        ("activation-order", {"pre": 0.98, "norm_after_add": 0.8}, True),
        ("activation-order", {"norm_after_add": 0.8}, None),  # pre is no better than post
        ("activation-order", {"relu_pre": 0.99, "norm_after_add": 0.8}, False),  # another one is the best
        ("cardinality", {"32x4d": 0.98}, True),
        ("cardinality", {"1x64d": 0.98}, False),
    ],
)
def test_only_what_is_told_decides(study, shares, holds):
    members = {m.name.replace("-", "_") for m in STUDIES[study].members(True)}
    assert shares.keys() <= members
    found_to = verdict(study, **shares)
    assert found_to is holds


@pytest.mark.parametrize(
    ("plain", "residual", "holds"), [(1000, 2, True), (2, 1000, False), (3, 2, None), (0, 2, None)]
)
def test_gradients_are_compared_by_how_often_they_grow(plain, residual, holds):
    runs = []
    for member in STUDIES["gradients"].members(True):
        roles = [unit.role for stage in plan(member.spec).stages for unit in stage]
        grows = plain if member.name.startswith("plain") else residual
        figures = {f"{kind}gradient {role}": 1e-3 for kind in ("", "first ") for role in roles}
        figures |= {f"{kind}gradient {roles[0]}": grows * 1e-3 for kind in ("", "first ")}
        if not grows:
            figures = {}
        runs.append(run(member.name, course=({"epoch": 1, "taught_top1": 0.9, "top1": 0.9, **figures},)))
    says, found_to = STUDIES["gradients"].says(found("gradients", runs))
    assert found_to is holds
    assert ("With shortcuts the gradient of a sum goes on" in says) is (holds is True)


def degradation(plain, residual, twice):
    made = []
    for kind, values in (("plain{}", plain), ("resnet{}", residual), ("plain{}-twice", twice)):
        made += [run(kind.format(depth), train_top1=value) for depth, value in values.items()]
    return STUDIES["degradation"].says(found("degradation", made))


@pytest.mark.parametrize(
    ("plain", "residual", "holds"),
    [
        ((0.99, 0.26), (0.99, 1.0), True),
        ((0.99, 0.26), (0.99, 0.90), False),  # the residual ones degrade, too
        ((0.60, 0.90), (0.99, 0.99), False),  # deeper is better
        ((0.99, 0.97), (0.99, 0.99), None),
        ((0.99, 0.26), (0.10, 0.10), False),  # they learn less than the plain ones
        ((0.99, 0.26), (0.99, 0.96), None),  # more than may be lost, and less than can be told
    ],
)
def test_degradation_says_what_the_runs_say(plain, residual, holds):
    between = {20: 0, 32: 0.5, 44: 0.5, 56: 1}

    def at(ends):
        return {depth: ends[0] + share * (ends[1] - ends[0]) for depth, share in between.items()}

    says, found_to = degradation(at(plain), at(residual), {20: plain[0], 56: plain[1]})
    assert found_to is holds
    assert f"({points(plain[1] - plain[0])} points)" in says
    assert ("it is no overfitting" in says) is (plain[1] < plain[0] - APART)
    assert ("cannot be told from these runs" in says) is (abs(plain[1] - plain[0]) < APART)


def test_plain_networks_that_lacked_steps_alone_show_nothing():
    plain, residual = {20: 0.99, 32: 0.9, 44: 0.9, 56: 0.5}, dict.fromkeys((20, 32, 44, 56), 0.99)
    assert degradation(plain, residual, {20: 0.99, 56: 0.60})[1] is True
    assert degradation(plain, residual, {20: 0.99, 56: 0.99})[1] is None


@pytest.mark.parametrize("study", STUDIES)
@pytest.mark.parametrize("quick", [True, False])
def test_every_study_says_and_draws_something_of_equal_runs(study, quick):
    """Where all networks are alike, nothing that the paper says can be told."""
    members = STUDIES[study].members(quick)
    units = {m.name: [u.role for s in plan(m.spec).stages for u in s] for m in members}
    runs = []
    for member in members:
        figures = {f"{kind}gradient {role}": 1e-3 for kind in ("", "first ") for role in units[member.name]}
        runs.append(run(member.name, course=({"epoch": 1, "taught_top1": 0.9, "top1": 0.9, **figures},)))
    all_alike = found(study, runs, quick)
    says, holds = STUDIES[study].says(all_alike)
    assert says.endswith(".")
    assert "nan" not in says
    assert holds is None
    plots = list(STUDIES[study].draws(all_alike))
    assert plots
    assert all(line.points for plot in plots for line in plot.lines)
    assert list(STUDIES[study].draws(found(study, runs[:1], quick)))  # a study that is not over yet


@pytest.mark.parametrize("study", STUDIES)
def test_members_have_names_of_their_own_and_build(study):
    for quick in (True, False):
        members = STUDIES[study].members(quick)
        assert len({member.name for member in members}) == len(members) >= 2
        for member in members:
            assert plan(member.spec, 10, image_size=32).parameters
            if member.as_long_as is not None:
                assert any(other.name == member.as_long_as for other in members)
                assert any(other.spec == member.spec and other.as_long_as is None for other in members)
            assert member.name.replace("-", "").replace(".", "").replace("_", "").isalnum()  # a folder's name


def test_width_and_depth_have_the_same_weights():
    for quick in (True, False):
        weights = [plan(m.spec).parameters for m in STUDIES["width-or-depth"].members(quick)]
        assert max(weights) / min(weights) < 1.25


def test_cardinality_has_about_the_same_multiply_adds():
    for quick in (True, False):
        macs = [plan(m.spec).macs for m in STUDIES["cardinality"].members(quick)]
        assert max(macs) / min(macs) < 1.1


def test_a_bottleneck_has_a_seventeenth_of_the_weights():
    runs = [run(member.name) for member in STUDIES["bottleneck"].members(True)]
    assert "1,179,648 weights as two 3×3 and 69,632" in STUDIES["bottleneck"].says(found("bottleneck", runs))[0]


def test_a_course_is_the_mean_of_whole_epochs():
    def course(*values):
        return tuple({"epoch": epoch, "top1": value} for epoch, value in enumerate(values, 1))

    runs = [run("v1", 0, course=course(0.2, 0.4)), run("v1", 1, course=course(0.4, 0.6))]
    assert found("stride-place", runs).course("v1", "top1") == [(1, pytest.approx(0.3)), (2, pytest.approx(0.5))]
