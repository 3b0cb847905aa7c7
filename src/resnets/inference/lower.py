"""A trained network -> the few steps that an engine runs: one step is one kernel's work.

Norms are folded into the convolutions before them (in float64), and a convolution's step takes the ReLU and the
residual addition behind it along. Every engine, the calibration and every exported file start from these steps, so
that there is one place in which "what the network computes" is decided after training.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn

from resnets.architecture import Plan, Row, Unit
from resnets.architecture import plan as make_plan
from resnets.network import ResNet

INPUT = "input"
OUTPUT = "logits"
_NONE = torch.empty(0)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Step:
    """One kernel's work. Values are named after the step that makes them; the network's input is "input".

    kind      conv: convolution of `input`, plus bias, plus `addend` if there is one, then ReLU if `relu`
              affine: `input` * weight + bias, channel by channel, then ReLU if `relu`
              max_pool, avg_pool, subsample, pad: as the row says (see `Row`)
              head: the mean over height and width, then the linear layer; the last step, named "logits"
    name      the role of its row, unique; "logits" for the head
    weight    conv (O, I / groups, K, K), affine (C,), head (classes, C); float32; empty for the other kinds
    bias      conv (O,), affine (C,), head (classes,); float32; empty for the other kinds
    """

    kind: str
    name: str
    input: str
    row: Row
    addend: str | None = None
    relu: bool = False
    weight: Tensor = _NONE
    bias: Tensor = _NONE


@dataclass(frozen=True, slots=True, eq=False)
class Graph:
    """The steps of a network in the order in which they run, and the plan for the size of image that usually comes."""

    steps: tuple[Step, ...]
    plan: Plan

    @property
    def input_shape(self) -> tuple[int, int, int]:
        """(C, H, W) of the images that usually come; others are taken as well."""
        return self.plan.in_channels, self.plan.image_size, self.plan.image_size

    @property
    def num_classes(self) -> int:
        """Length of an image's logits."""
        return self.plan.num_classes

    @property
    def convolutions(self) -> tuple[Step, ...]:
        """The steps that hold almost all of the work."""
        return tuple(step for step in self.steps if step.kind == "conv")

    def readers(self, name: str) -> tuple[Step, ...]:
        """The steps that read a value, as input or as addend."""
        return tuple(step for step in self.steps if name in (step.input, step.addend))


def lower(network: ResNet, image_size: int | None = None) -> Graph:
    """The steps of `network` as it stands, for evaluation; the weights are copies.

    image_size: of the square images that will usually come (shapes in `row` follow from it). Default: the plan's own.
    Running statistics are used whatever the mode of the network.
    """
    plan = network.plan
    if image_size is not None and image_size != plan.image_size:
        plan = make_plan(plan.spec, plan.num_classes, plan.in_channels, plan.output_stride, image_size)
    make = _Lowering(network)
    steps: list[Step] = list(make.line(plan.stem, INPUT))
    for unit in (unit for stage in plan.stages for unit in stage):
        steps += make.unit(unit, steps[-1].name)
    steps += make.line([row for row in plan.head if row.kind in ("norm", "relu")], steps[-1].name)
    pool, linear = plan.head[-2:]
    module = network.get_submodule(linear.role)
    assert isinstance(module, nn.Linear)
    weight, bias = module.weight.detach().float().cpu().clone(), module.bias.detach().float().cpu().clone()
    steps.append(Step(kind="head", name=OUTPUT, input=steps[-1].name, row=pool, weight=weight, bias=bias))
    return Graph(tuple(steps), plan)


class _Lowering:
    def __init__(self, network: ResNet) -> None:
        self.network = network

    def unit(self, unit: Unit, x: str) -> Iterator[Step]:
        """branch(x) + shortcut(x): the addition and the last ReLU belong to the branch's last convolution."""
        shared = 2 if unit.shares_preactivation else 0
        for step in self.line(unit.branch[:shared], x):
            yield step
            x = step.name
        branch = list(self.line(unit.branch[shared:], x))
        shortcut = list(self.line(unit.shortcut, x))
        yield from branch[:-1]
        yield from shortcut
        relu = any(row.kind == "relu" for row in unit.after)
        addend = (shortcut[-1].name if shortcut else x) if unit.residual else None
        yield replace(branch[-1], addend=addend, relu=branch[-1].relu or relu)

    def line(self, rows: Sequence[Row], x: str) -> Iterator[Step]:
        """Rows that run one after the other, from the value `x` on."""
        i = 0
        while i < len(rows):
            row, norm, i = rows[i], None, i + 1
            if row.kind == "conv" and i < len(rows) and rows[i].kind == "norm":
                norm, i = rows[i], i + 1
            relu = row.kind in ("conv", "norm") and i < len(rows) and rows[i].kind == "relu"
            i += relu
            weight = bias = _NONE
            if row.kind == "conv":
                weight, bias = self._folded(row, norm)
            elif row.kind == "norm":
                weight, bias = (t.float() for t in self._scale_and_shift(row))
            kind = "affine" if row.kind == "norm" else row.kind
            yield Step(kind=kind, name=row.role, input=x, row=row, relu=relu, weight=weight, bias=bias)
            x = row.role

    def _folded(self, row: Row, norm: Row | None) -> tuple[Tensor, Tensor]:
        """Weight and bias of a convolution with the norm behind it."""
        conv = self.network.get_submodule(row.role)
        assert isinstance(conv, nn.Conv2d)
        weight = conv.weight.detach().double().cpu()
        bias = torch.zeros(len(weight), dtype=torch.float64) if conv.bias is None else conv.bias.detach().double().cpu()
        if norm is not None:
            scale, shift = self._scale_and_shift(norm)
            weight, bias = weight * scale.reshape(-1, 1, 1, 1), bias * scale + shift
        return weight.float(), bias.float()

    def _scale_and_shift(self, row: Row) -> tuple[Tensor, Tensor]:
        """A norm with its running statistics as x * scale + shift, in float64."""
        norm = self.network.get_submodule(row.role)
        assert isinstance(norm, nn.BatchNorm2d)
        mean, variance = (getattr(norm, what).double().cpu() for what in ("running_mean", "running_var"))
        scale = norm.weight.detach().double().cpu() / torch.sqrt(variance + norm.eps)
        return scale, norm.bias.detach().double().cpu() - mean * scale
