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

from resnets.architecture import Plan, Row
from resnets.architecture.rows import INPUT, readers
from resnets.network import ResNet

OUTPUT = "logits"
_NONE = torch.empty(0)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Step:
    """One kernel's work. Values are named after the step that makes them; the network's input is "input".

    kind      conv: convolution of `input`, plus bias, plus `addend` if there is one, then ReLU if `relu`
              affine: `input` * weight + bias, channel by channel, then ReLU if `relu`
              add: `input` + `addend`, then ReLU if `relu`, where no convolution can take the addition along
              relu: the ReLU of `input` alone, where no step before can
              max_pool, avg_pool, subsample, pad: as the row says (see `Row`)
              head: the mean over height and width, then the linear layer; the last step, named "logits"
    name      the role of its row, unique; "logits" for the head
    addend    the value that is added; no later step reads it
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
    plan = network.plan if image_size is None else network.plan.at(image_size)
    weights = _Weights(network)
    return Graph(tuple(weights.put_into(step, rows) for step, rows in outline(plan)), plan)


def outline(plan: Plan) -> Iterator[tuple[Step, list[Row]]]:
    """Every step without its weights, and the rows whose work it does.

    A row takes along what alone reads it: a convolution its norm and then an addition; a convolution, a norm and an
    addition a relu. Of two convolutions that could take an addition along, the branch's does; it then runs where the
    addition stands, which is the last to read either operand. What stem, units and head give out is always a value
    of its own: stored quantisations know the values by name.
    """
    rows, reading = plan.rows, readers(plan.rows)
    by_role = {row.role: row for row in rows}
    given_out = {part[-1].role for part in (plan.stem, *(unit.rows for stage in plan.stages for unit in stage))}

    def follower(row: Row, kind: str) -> list[Row]:
        """The row that alone reads another, if it is of a kind."""
        found = reading[row.role] if row.role not in given_out else []
        return found if len(found) == 1 and found[0].kind == kind else []

    adding: dict[str, list[Row]] = {}  # role of an addition -> the convolution, and its norm, that take it along
    for row in rows:
        if row.kind == "conv":
            work = [row, *follower(row, "norm")]
            for addition in follower(work[-1], "add"):
                adding.setdefault(addition.role, work)
    waiting = {row.role for work in adding.values() for row in work}

    step_of = {INPUT: INPUT}  # role -> the step that gives its value
    for row in rows:
        if row.role in step_of or row.role in waiting or row.kind == "global_pool":
            continue  # another row takes it along
        if row.kind == "linear":
            pool = by_role[row.reads[0]]
            yield Step(kind="head", name=OUTPUT, input=step_of[pool.reads[0]], row=pool), [pool, row]
            continue
        work, addend = [*adding.get(row.role, ()), row], None
        if row.kind == "conv":
            work += follower(row, "norm")
        if row.kind == "add":
            addend = next(step_of[role] for role in reversed(row.reads) if role in step_of)
        relu = follower(work[-1], "relu") if row.kind in ("conv", "norm", "add") else []
        main = work[0]
        yield (
            Step(
                kind="affine" if main.kind == "norm" else main.kind,
                name=main.role,
                input=step_of[main.reads[0]],
                row=main,
                addend=addend,
                relu=bool(relu),
            ),
            work,
        )
        step_of.update({done.role: main.role for done in work + relu})


class _Weights:
    """The numbers of a network as the steps want them."""

    def __init__(self, network: ResNet) -> None:
        self.network = network

    def put_into(self, step: Step, rows: Sequence[Row]) -> Step:
        """The step with the weights of the rows whose work it does."""
        match step.kind:
            case "conv":
                weight, bias = self._folded(rows[0], next((row for row in rows if row.kind == "norm"), None))
            case "affine":
                weight, bias = (t.float() for t in self._scale_and_shift(rows[0]))
            case "head":
                linear = self.network.get_submodule(rows[-1].role)
                assert isinstance(linear, nn.Linear)
                weight, bias = (t.detach().float().cpu().clone() for t in (linear.weight, linear.bias))
            case _:
                return step
        return replace(step, weight=weight, bias=bias)

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
