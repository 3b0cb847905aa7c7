"""Optimiser, schedules, average: all functions of the step, so that a resumed run computes the same."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor, nn

from resnets.architecture.rows import normed_alone
from resnets.network import ResNet
from resnets.training.muon import REST, Muon
from resnets.training.recipe import Recipe

GROWN = 0.7  # share of the training after which a growing image has reached its full size


def optimiser(network: ResNet, recipe: Recipe, precision: str = "float32") -> torch.optim.SGD:
    """SGD or Muon with a group for each (rate, decay); a group's `scale` times the schedule is its rate.

    With Muon, whose products are of that precision, all but the convolutions move `REST` times as fast, by SGD.

    Norms and biases decay only with `decay_everything`. With `lower_rates` a stage learns at that share of
    the stage above it, the head at the full rate.
    """
    levels = ["head", *reversed(network.stage_names), "stem"]
    # The head never shares a group with the body: while it trains alone, the body has no momentum yet, and torch's
    # fused step wants it of all of a group or of none.
    groups: dict[tuple[bool, int, bool, bool, bool], list[Tensor]] = {}
    normed = {f"{role}.weight" for role in normed_alone(network.plan.rows)}
    for name, parameter in network.named_parameters():
        level = levels.index(name.partition(".")[0])
        turns = recipe.optimiser == "muon" and parameter.ndim == 4
        decays = (recipe.decay_everything or parameter.ndim > 1) and not turns
        share = level if recipe.lower_rates < 1 else 0
        groups.setdefault((level == 0, share, decays, turns, turns and name in normed), []).append(parameter)
    rest = REST if recipe.optimiser == "muon" else 1.0
    table = [
        {
            "params": parameters,
            "scale": recipe.lower_rates**level * (1.0 if turns else rest),
            "weight_decay": recipe.weight_decay if decays else 0.0,
            "orthogonal": turns,
            "keeps": keeps,
        }
        for (_, level, decays, turns, keeps), parameters in groups.items()
    ]
    values: dict[str, Any] = {"lr": recipe.learning_rate, "momentum": recipe.momentum, "nesterov": recipe.nesterov}
    values["fused"] = True
    return torch.optim.SGD(table, **values) if recipe.optimiser == "sgd" else Muon(table, precision=precision, **values)


def rate(recipe: Recipe, step: float, total: int, steps_per_epoch: int, most_warmup: float = 0.5) -> float:
    """The learning rate of a step, 0 <= step < total: warm-up, then cosine to zero or steps down.

    most_warmup     the share of all steps that the warm-up takes at most
    """
    warmup = min(recipe.warmup_epochs * steps_per_epoch, total * most_warmup)
    if step < warmup:
        return recipe.learning_rate * (step + 1) / (warmup + 1)
    if recipe.schedule == "steps":
        passed = sum(step >= share * total for share in recipe.milestones)
        return recipe.learning_rate * float(recipe.decay_factor**passed)
    return recipe.learning_rate * 0.5 * (1 + math.cos(math.pi * (step - warmup) / max(1.0, total - warmup)))


def image_size(recipe: Recipe, place: float, end: int, full: int) -> int:
    """The side of the training images at a place, 0 <= place < end (in epochs or steps): it grows from start_size to
    the full size, which the last one has whatever their number."""
    grown = min(GROWN * end, end - 1)
    share = min(1.0, place / grown) if grown > 0 else 1.0
    size = full * (recipe.start_size + (1 - recipe.start_size) * share)
    step = 16 if full >= 96 else 4
    return full if recipe.start_size == 1 else min(full, max(step, round(size / step) * step))


class Average:
    """A running average of a network's state, norms' statistics included, warmed up over the first steps."""

    def __init__(self, network: nn.Module, decay: float) -> None:
        self.decay = decay
        self.state = {name: tensor.detach().clone() for name, tensor in network.state_dict().items()}
        self._pairs(network)

    def _pairs(self, network: nn.Module) -> None:
        live = network.state_dict()
        floating = [name for name, tensor in live.items() if tensor.is_floating_point()]
        self._mine = [self.state[name] for name in floating]
        self._theirs = [live[name] for name in floating]  # views of the live weights
        self._counters = [(self.state[name], live[name]) for name in live if name not in set(floating)]

    @torch.no_grad()
    def update(self, step: int) -> None:
        """Move towards the live weights, by at least 1 / (step + 10) so that the start is forgotten."""
        torch._foreach_lerp_(self._mine, self._theirs, 1 - min(self.decay, (step + 1) / (step + 10)))
        for mine, theirs in self._counters:
            mine.copy_(theirs)
