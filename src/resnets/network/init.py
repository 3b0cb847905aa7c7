"""Fresh weights as in the papers, reproducible by a seed."""

from __future__ import annotations

import torch
from torch import nn

from resnets.architecture import Plan, Unit


def initialise(net: nn.Module, plan: Plan, seed: int | None = None) -> None:
    """Draw the weights of the network of a plan in place.

    Convolutions: normal with variance 2 / (kernel^2 * output channels) ("fan out", He 2015b, as in the
    authors' and torchvision's code). Norms: scale 1, shift 0. Head: normal with deviation 0.01 and zero bias
    (the authors' code). With `zero_init_last` the last weights on every branch's way into the addition are zero.
    """
    generator = None if seed is None else torch.Generator().manual_seed(seed)
    for module in net.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu", generator=generator)
            if module.bias is not None:
                nn.init.zeros_(module.bias)
        elif isinstance(module, nn.BatchNorm2d):
            module.reset_parameters()
        elif isinstance(module, nn.Linear):
            nn.init.normal_(module.weight, std=0.01, generator=generator)
            nn.init.zeros_(module.bias)
    if plan.spec.zero_init_last:
        for stage in plan.stages:
            for unit in stage:
                nn.init.zeros_(net.get_parameter(_last_weight(unit)))


def _last_weight(unit: Unit) -> str:
    """Of the norm or the convolution that decides alone whether the branch adds anything."""
    return next(f"{row.role}.weight" for row in reversed(unit.branch) if row.parameters)
