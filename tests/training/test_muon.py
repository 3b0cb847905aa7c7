"""Muon's step against what it promises: orthogonal directions, a share of a weight's own norm, SGD for the rest."""

from __future__ import annotations

import dataclasses

import pytest
import torch
import torch.nn.functional as F

from resnets.architecture import ResNetSpec
from resnets.network import create
from resnets.training import Observer, resume, train
from resnets.training.muon import LEAST, REST, Muon, orthogonal
from resnets.training.optim import optimiser
from resnets.training.recipe import Recipe
from resnets.weights import load

TINY = ResNetSpec(depths=(1, 1), widths=(8, 16), stem="cifar", stem_width=8)


def with_gradients(network, seed=0):
    generator = torch.Generator().manual_seed(seed)
    for parameter in network.parameters():
        parameter.grad = torch.randn(parameter.shape, generator=generator)
    return network


@pytest.mark.parametrize("shape", [(16, 144), (144, 16), (32, 32), (1, 9), (64, 27)])
def test_what_comes_out_is_nearly_orthogonal_and_turned_by_as_little_as_can_be(shape):
    x = torch.randn(shape, generator=torch.Generator().manual_seed(0))
    left, values, right = torch.linalg.svd(x, full_matrices=False)
    seen = left.T @ orthogonal(x) @ right.T  # the nearest orthogonal matrix would be the identity here
    clear = values > 0.1 * x.norm()
    diagonal = seen.diagonal()[clear]
    assert ((diagonal > 0.6) & (diagonal < 1.3)).all()
    assert (seen - torch.diag(seen.diagonal())).abs().max() < 1e-4


def test_zero_stays_zero_and_no_number_is_lost():
    assert orthogonal(torch.zeros(4, 36)).equal(torch.zeros(4, 36))
    assert torch.isfinite(orthogonal(torch.full((4, 36), 1e-30))).all()
    assert torch.isfinite(orthogonal(torch.full((4, 36), 1e15))).all()


@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
def test_a_convolution_moves_by_a_share_of_its_norm_whatever_the_gradients_size(layout):
    moved = []
    for scale in (1.0, 1e-6, 1e6):
        network = with_gradients(create(TINY, 3, seed=0), seed=7).to(memory_format=layout)
        before = {name: p.detach().clone() for name, p in network.named_parameters()}
        for parameter in network.parameters():
            parameter.grad *= scale
        optimiser(network, Recipe(optimiser="muon", learning_rate=0.02)).step()
        after = dict(network.named_parameters())
        for name, old in before.items():
            if old.ndim == 4:
                # Its length stays, so that of the step's share along the weight only a part is seen.
                assert ((after[name] - old).norm() / old.norm()).item() == pytest.approx(0.02, rel=0.05), name
                assert after[name].norm().item() == pytest.approx(old.norm().item(), rel=1e-5), name
        moved.append({name: after[name] - old for name, old in before.items() if old.ndim == 4})
    for other in moved[1:]:
        for name, one in moved[0].items():
            torch.testing.assert_close(other[name], one, rtol=1e-3, atol=1e-5)


def test_the_memory_layout_changes_nothing():
    found = []
    for layout in (torch.contiguous_format, torch.channels_last):
        network = with_gradients(create(TINY, 3, seed=0)).to(memory_format=layout)
        moves = optimiser(network, Recipe(optimiser="muon"))
        for seed in range(3):
            with_gradients(network, seed)
            moves.step()
        found.append([p.detach().contiguous() for p in network.parameters()])
    for one, other in zip(*found, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-5, atol=1e-6)


def test_norms_biases_and_the_head_move_as_in_sgd():
    recipe = Recipe(optimiser="muon", learning_rate=0.1, weight_decay=0.01)
    mine, theirs = (create(TINY, 3, seed=0) for _ in range(2))
    one, other = optimiser(mine, recipe), optimiser(theirs, Recipe(learning_rate=0.1, weight_decay=0.01))
    assert isinstance(one, Muon)
    assert not isinstance(other, Muon)
    assert {(group["orthogonal"], group["scale"]) for group in one.param_groups} == {(True, 1.0), (False, REST)}
    for seed in range(3):
        with_gradients(mine, seed), with_gradients(theirs, seed)
        one.step(), other.step()
    for (name, a), (_, b) in zip(mine.named_parameters(), theirs.named_parameters(), strict=True):
        assert torch.equal(a, b) == (a.ndim != 4), name


@pytest.mark.parametrize(("order", "free"), [("post", set()), ("pre", {"stem.conv", "stage1.unit1.conv2"})])
def test_lengths_stay_where_nothing_but_a_norm_reads_them(order, free):
    """Gradients that point along the weight, as an orthogonal step does in part, and noise: for hundreds of steps."""
    network = create(dataclasses.replace(TINY, order=order), 3, seed=0)
    before = {name: p.norm().item() for name, p in network.named_parameters() if p.ndim == 4}
    moves = optimiser(network, Recipe(optimiser="muon", learning_rate=0.06))
    for seed in range(300):
        with_gradients(network, seed)
        for parameter in network.parameters():
            parameter.grad -= 3 * parameter.detach()
        moves.step()
    after = {name: p.norm().item() for name, p in network.named_parameters() if p.ndim == 4}
    for name, length in before.items():
        if name.removesuffix(".weight") in free or ".shortcut." in name:
            continue
        if order == "pre" and name.endswith("unit1.conv2.weight"):
            continue
        assert after[name] == pytest.approx(length, rel=1e-3), name
    assert all(after[f"{name}.weight"] > 10 * before[f"{name}.weight"] for name in free)


def test_a_weight_that_starts_at_zero_grows_and_then_keeps_its_length():
    network = create(TINY, 3, seed=0)
    weight = network.get_submodule("stage1.unit1.conv1").weight
    with torch.no_grad():
        weight.zero_()
    moves, lengths = optimiser(network, Recipe(optimiser="muon", learning_rate=0.3)), []
    for _ in range(60):
        with_gradients(network, 0)  # the same direction each time
        moves.step()
        lengths.append(weight.norm().item())
    assert lengths[0] > 0
    assert max(lengths) == pytest.approx(lengths[-1], rel=1e-4)
    assert lengths[-1] >= LEAST * len(weight) ** 0.5


def test_a_weight_of_zeros_and_a_weight_without_a_gradient():
    network = with_gradients(create(TINY, 3, seed=0))
    convolutions = [p for p in network.parameters() if p.ndim == 4]
    with torch.no_grad():
        convolutions[0].zero_()
    convolutions[1].grad = None
    kept = convolutions[1].detach().clone()
    optimiser(network, Recipe(optimiser="muon")).step()
    assert convolutions[0].abs().sum() > 0
    assert torch.isfinite(convolutions[0]).all()
    assert torch.equal(convolutions[1], kept)


def test_directions_of_small_gradients_are_learnt_as_well():
    """Least squares of inputs that vary ten times as much in one direction as in another."""
    generator = torch.Generator().manual_seed(0)
    spread = torch.logspace(0, -1, 8).view(8, 1, 1)
    x = torch.randn(256, 8, 1, 1, generator=generator) * spread
    wanted, start = (torch.randn(8, 8, 1, 1, generator=generator) for _ in range(2))
    left = {}
    for turns in (False, True):
        weight = start.clone().requires_grad_()
        moves = Muon(
            [{"params": [weight], "orthogonal": turns}], precision="float32", lr=0.3, momentum=0.9, nesterov=True
        )
        for step in range(100):
            moves.param_groups[0]["lr"] = (0.05 if turns else 0.3) * (1 - step / 100)
            F.mse_loss(F.conv2d(x, weight), F.conv2d(x, wanted)).backward()
            moves.step()
            moves.zero_grad()
        left[turns] = float((weight.detach() - wanted)[:, -1].norm() / (start - wanted)[:, -1].norm())
    assert left[True] < 0.4 < 0.7 < left[False], left


def test_without_momentum_nothing_is_kept_and_a_run_goes_on(tmp_path):
    class Stop(Observer):
        def stepped(self, training, step):
            if step.step == 3:
                raise KeyboardInterrupt

    about = {"model": TINY, "image_size": 8, "epochs": 1, "recipe": "quick"}
    wishes = ["momentum=0", "nesterov=false", "min_steps=0", "checkpoint_seconds=0"]
    with pytest.raises(KeyboardInterrupt):
        train("digits", out=tmp_path / "cut", overrides=wishes, observers=[Stop()], **about)
    resume(tmp_path / "cut")
    train("digits", out=tmp_path / "whole", overrides=wishes, **about)
    cut, whole = (load(tmp_path / name).network.state_dict() for name in ("cut", "whole"))
    assert all(cut[name].equal(whole[name]) for name in whole)
