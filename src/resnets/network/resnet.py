"""plan -> torch.nn.Module: stem, stages of units, head. State names are the plan's roles."""

from __future__ import annotations

from contextlib import AbstractContextManager

import torch
from torch import Tensor, nn

from resnets.architecture import Plan, ResNetSpec
from resnets.architecture import plan as make_plan
from resnets.network.init import initialise
from resnets.network.recompute import recomputed
from resnets.network.units import Wired


class ResNet(nn.Module):
    """A residual network, built from a plan.

    Input (N, C, H, W) float, already preprocessed, of any height and width that the strides leave
    something of; output (N, num_classes) logits.

    recompute   where training keeps little for the backward pass and computes it again, what the second time happens
                in; None: everything is kept. See `network.recompute`
    """

    def __init__(self, plan: Plan) -> None:
        super().__init__()
        self.plan = plan
        self.recompute: AbstractContextManager[object] | None = None
        self.stem = Wired(plan.stem, plan.spec)
        self.stage_names = [f"stage{i + 1}" for i in range(len(plan.stages))]
        for name, units in zip(self.stage_names, plan.stages, strict=True):
            stage = nn.Sequential()
            for unit in units:
                stage.add_module(unit.role.rpartition(".")[2], Wired(unit.rows, plan.spec))
            self.add_module(name, stage)
        self.head = Wired(plan.head, plan.spec)

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, H, W) -> (N, num_classes)."""
        x = self.stem(x)
        for name in self.stage_names:
            stage = getattr(self, name)
            x = stage(x) if self.recompute is None else recomputed(stage, x, self.recompute)
        return self.head(x)  # type: ignore[no-any-return]

    def features(self, x: Tensor) -> dict[str, Tensor]:
        """(N, C, H, W) -> {"stem": .., "stage1": .., ...}, each (N, C', H', W').

        With pre-activation the last stage is given as the addition leaves it, before the head's norm.
        """
        maps = {"stem": self.stem(x)}
        x = maps["stem"]
        for name in self.stage_names:
            x = maps[name] = getattr(self, name)(x)
        return maps


def create(
    network: str | ResNetSpec,
    num_classes: int | None = None,
    in_channels: int = 3,
    output_stride: int = 32,
    seed: int | None = None,
) -> ResNet:
    """Build a network with fresh weights.

    network, num_classes, in_channels, output_stride: as in `resnets.plan`, which raises SpecError.
    seed: makes the weights reproducible; None draws them from torch's global generator.
    """
    planned = make_plan(network, num_classes, in_channels, output_stride)
    # Layers draw weights of their own as they are made: with a seed the global generator stays as it is.
    with torch.random.fork_rng(devices=[], enabled=seed is not None):
        net = ResNet(planned)
    initialise(net, net.plan, seed)
    return net


def with_new_head(network: ResNet, num_classes: int, seed: int | None = None) -> ResNet:
    """The same body, with a fresh linear layer for another number of classes."""
    p = network.plan
    new = create(p.spec, num_classes, p.in_channels, p.output_stride, seed)
    body = {name: tensor for name, tensor in network.state_dict().items() if not name.startswith("head.linear.")}
    new.load_state_dict(body, strict=False)
    return new
