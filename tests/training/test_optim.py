"""Rates against values worked out by hand, groups against their rule, the average against a plain loop."""

from __future__ import annotations

import copy
import itertools

import pytest
import torch

from resnets.architecture import ResNetSpec
from resnets.network import create
from resnets.training.optim import Average, optimiser, rate
from resnets.training.recipe import Recipe

TINY = ResNetSpec(depths=(1, 1), widths=(8, 16), stem="cifar", stem_width=8)


def rates(recipe: Recipe, total: int, steps_per_epoch: int) -> list[float]:
    return [rate(recipe, step, total, steps_per_epoch) for step in range(total)]


# The schedule --------------------------------------------------------------------------------------------


def test_warm_up_rises_evenly_and_reaches_the_rate_when_it_is_over():
    recipe = Recipe(learning_rate=0.5, warmup_epochs=1.0)
    assert rates(recipe, 100, 4)[:5] == pytest.approx([0.1, 0.2, 0.3, 0.4, 0.5])
    assert max(rates(recipe, 100, 4)) == 0.5


def test_cosine_falls_to_zero():
    recipe = Recipe(learning_rate=0.8, warmup_epochs=0)
    found = rates(recipe, 8, 2)
    # 0.4 (1 + cos(pi s / 8)) at 0, 45, 90 and 135 degrees
    assert found[::2] == pytest.approx([0.8, 0.4 + 0.4 * 0.5**0.5, 0.4, 0.4 - 0.4 * 0.5**0.5])
    assert all(later < earlier for earlier, later in itertools.pairwise(found))
    long = rates(recipe, 1000, 10)
    assert 0 < long[-1] < 1e-5
    assert rate(recipe, 1000, 1000, 10) == pytest.approx(0, abs=1e-12)  # where the next step would be


def test_cosine_begins_where_the_warm_up_ends():
    recipe = Recipe(learning_rate=0.8, warmup_epochs=2)
    found = rates(recipe, 20, 2)
    assert found[:4] == pytest.approx([0.16, 0.32, 0.48, 0.64])
    assert found[4] == 0.8
    assert found[12] == pytest.approx(0.4)  # the middle of the sixteen steps that are left


def test_the_papers_steps():
    """He 2015, section 4.2: 0.1, divided by 10 at 32k and 48k, ended at 64k."""
    recipe = Recipe(learning_rate=0.1, schedule="steps", milestones=(0.5, 0.75), decay_factor=0.1, warmup_epochs=0)
    wanted = {0: 0.1, 31_999: 0.1, 32_000: 0.01, 47_999: 0.01, 48_000: 0.001, 63_999: 0.001}
    found = {step: rate(recipe, step, 64_000, 351) for step in wanted}
    assert found == pytest.approx(wanted, rel=1e-9)


def test_steps_have_a_warm_up_too_and_milestones_of_any_order():
    recipe = Recipe(learning_rate=1.0, schedule="steps", milestones=(0.8, 0.4), decay_factor=0.5, warmup_epochs=1)
    assert rates(recipe, 10, 3) == pytest.approx([0.25, 0.5, 0.75, 1, 0.5, 0.5, 0.5, 0.5, 0.25, 0.25])


@pytest.mark.parametrize("schedule", ["cosine", "steps"])
@pytest.mark.parametrize("total", [1, 2, 3, 7])
def test_a_short_training_is_not_all_warm_up(schedule, total):
    found = rates(Recipe(learning_rate=0.3, warmup_epochs=50, schedule=schedule), total, 100)
    assert all(0 < value <= 0.3 for value in found)
    assert max(found) > 0.1


# The groups ----------------------------------------------------------------------------------------------


def grouped(network, recipe: Recipe) -> dict[str, tuple[float, float]]:
    """Parameter name to (scale, weight decay); every parameter must be in one group."""
    found = {}
    by_id = {id(parameter): name for name, parameter in network.named_parameters()}
    for group in optimiser(network, recipe).param_groups:
        for parameter in group["params"]:
            name = by_id.pop(id(parameter))
            found[name] = (group["scale"], group["weight_decay"])
    assert not by_id
    return found


def test_norms_and_biases_do_not_decay():
    network = create(TINY, 3)
    found = grouped(network, Recipe(weight_decay=0.01))
    kinds = {name: type(network.get_submodule(name.rpartition(".")[0])).__name__ for name in found}
    for name, (scale, decay) in found.items():
        assert scale == 1
        plain = kinds[name] == "BatchNorm2d" or name.endswith("bias")
        assert decay == (0.0 if plain else 0.01), name
    assert {decay for _, decay in found.values()} == {0.0, 0.01}
    assert found["head.linear.bias"] == (1, 0.0)
    assert found["head.linear.weight"] == (1, 0.01)


def test_everything_decays_where_the_papers_say_so():
    found = grouped(create(TINY, 3), Recipe(weight_decay=0.01, decay_everything=True))
    assert set(found.values()) == {(1, 0.01)}


@pytest.mark.parametrize("decay_everything", [False, True])
def test_each_stage_learns_slower_than_the_one_above_it(decay_everything):
    found = grouped(create(TINY, 3), Recipe(lower_rates=0.5, decay_everything=decay_everything))
    levels = {"head": 1.0, "stage2": 0.5, "stage1": 0.25, "stem": 0.125}
    for name, (scale, _) in found.items():
        assert scale == levels[name.partition(".")[0]], name
    assert {name.partition(".")[0] for name in found} == set(levels)


def test_the_optimiser_is_the_recipes():
    chosen = optimiser(create(TINY, 3), Recipe(momentum=0.7, nesterov=True))
    assert {(group["momentum"], group["nesterov"]) for group in chosen.param_groups} == {(0.7, True)}
    plain = optimiser(create(TINY, 3), Recipe(momentum=0.0, nesterov=False))
    assert {(group["momentum"], group["nesterov"]) for group in plain.param_groups} == {(0.0, False)}


# The average ---------------------------------------------------------------------------------------------


def test_the_average_is_that_of_a_plain_loop():
    network = create(TINY, 3, seed=0).train()
    average = Average(network, 0.8)
    naive = {name: tensor.double().clone() for name, tensor in network.state_dict().items()}
    random = torch.Generator().manual_seed(0)
    for step in range(60):
        with torch.no_grad():
            for parameter in network.parameters():
                parameter.add_(torch.randn(parameter.shape, generator=random))
            network(torch.randn(2, 3, 8, 8, generator=random))  # moves the norms' statistics and counters
        average.update(step)
        # From the warm-up rule: 1/10, 2/11, ..., until the decay is reached at 31/40 < 0.8 <= 32/41.
        keep = min(0.8, (step + 1) / (step + 10))
        for name, tensor in network.state_dict().items():
            whole = not tensor.is_floating_point()
            naive[name] = tensor.double() if whole else keep * naive[name] + (1 - keep) * tensor.double()
    assert naive["stem.norm.num_batches_tracked"] == 60
    for name, tensor in average.state.items():
        assert tensor.dtype == network.state_dict()[name].dtype
        torch.testing.assert_close(tensor.double(), naive[name].clone(), rtol=1e-5, atol=1e-5)


def test_the_average_leaves_the_network_alone_and_is_no_view_of_it():
    network = create(TINY, 3, seed=0)
    before = copy.deepcopy(network.state_dict())
    average = Average(network, 0.5)
    average.update(0)
    assert all(torch.equal(tensor, before[name]) for name, tensor in network.state_dict().items())
    own = {tensor.data_ptr() for tensor in average.state.values()}
    assert not own & {tensor.data_ptr() for tensor in network.state_dict().values()}
    with torch.no_grad():
        for tensor in network.state_dict().values():
            tensor.zero_()
    assert all(torch.equal(tensor, before[name]) for name, tensor in average.state.items())


def test_the_average_starts_close_to_the_live_weights():
    network = create(TINY, 3, seed=0)
    average = Average(network, 0.999)
    with torch.no_grad():
        network.head.linear.weight.fill_(1.0)
    average.update(0)
    start = create(TINY, 3, seed=0).head.linear.weight
    torch.testing.assert_close(average.state["head.linear.weight"], 0.1 * start + 0.9)
