"""Static post-training quantisation: from calibration images to the grid of every value.

Activations are uint8 with one grid for each value, weights are int8 with one scale for each output channel. The same
numbers drive the torch engine (whose head stays float32) and every exported file, so that all of them round alike.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any, Self, cast

import torch
from torch import Tensor

from resnets.architecture.rows import INPUT
from resnets.errors import ModelFileError
from resnets.inference.lower import OUTPUT, Graph, Step
from resnets.inference.runner import Kernel, Runner

LEVELS = 255  # of uint8: q = 0..255
BEFORE_ADD = ":before_add"
"""Suffix of the value that a convolution with an addend gives before the addition."""
POOLED = "pooled"
"""The mean over height and width, which the linear layer reads."""

_KEEPING = ("max_pool", "subsample", "pad")  # steps whose output lies on the grid of their input


@dataclass(frozen=True, kw_only=True)
class Quantisation:
    """Which real numbers each value's grid spans, and which convolutions stay float.

    ranges      name of a value -> (least, largest), with least <= 0 <= largest, so that zero is on the grid
    floats      names of convolutions that are not quantised; "logits" for the head
    images      how many images the ranges come from
    """

    ranges: Mapping[str, tuple[float, float]]
    floats: frozenset[str] = frozenset()
    images: int = 0

    def grid(self, value: str) -> tuple[float, int]:
        """(scale, zero_point) of uint8: real = scale * (q - zero_point)."""
        least, largest = self.ranges[value]
        scale = max(largest - least, 1e-12) / LEVELS
        return scale, min(max(round(-least / scale), 0), LEVELS)

    def keeping(self, more: Iterable[str]) -> Quantisation:
        """The same, with more steps left in float."""
        return replace(self, floats=self.floats | set(more))

    def to_dict(self) -> dict[str, Any]:
        """Ready for JSON."""
        return {
            "ranges": {name: list(pair) for name, pair in self.ranges.items()},
            "floats": sorted(self.floats),
            "images": self.images,
        }

    @classmethod
    def from_dict(cls, document: Any, graph: Graph) -> Self:
        """The inverse of `to_dict`, checked against the graph that it is for. Raises ModelFileError."""
        try:
            pairs = {str(name): (float(low), float(high)) for name, (low, high) in document["ranges"].items()}
            found = cls(ranges=pairs, floats=frozenset(document["floats"]), images=int(document["images"]))
        except (TypeError, KeyError, ValueError, AttributeError) as error:
            raise ModelFileError("This is no quantisation: calibrate again.") from error
        finite = all(-1e30 < low <= 0 <= high < 1e30 for low, high in pairs.values())
        quantisable = {OUTPUT} | {step.name for step in graph.convolutions}
        if not finite or not _values(graph) <= pairs.keys() or not found.floats <= quantisable:
            raise ModelFileError("The quantisation is not of this network: calibrate again.")
        return found


def measure_ranges(graph: Graph, batches: Iterable[Tensor]) -> Quantisation:
    """Watch the float32 network at work.

    batches     (N, C, H, W) float32, normalised. A few hundred images of all classes are enough

    A range goes from the mean of the images' least values to the mean of their largest: one odd image does not stretch
    the grid of all others. Only the pooled values, few and each of weight, keep the widest range.

    Raises ValueError when there are no images.
    """
    watch = _Watch(graph)
    for batch in batches:
        watch(batch)
    if not watch.images:
        raise ValueError("calibration needs images")
    ranges = {name: (float(low / watch.images), float(high / watch.images)) for name, (low, high) in watch.sums.items()}
    ranges[POOLED] = watch.pooled
    for step in graph.steps:
        if step.kind in _KEEPING:
            ranges[step.name] = ranges[step.input]
    return Quantisation(ranges=ranges, images=watch.images)


def weight_scales(weight: Tensor) -> Tensor:
    """(O,) float32, one for each output channel of (O, ...): real = scale * q with q in -127..127."""
    return weight.flatten(1).abs().amax(dim=1).clamp_min(1e-12) / 127


def quantised_weight(weight: Tensor) -> Tensor:
    """A weight (O, ...) on its scales, int8."""
    return (
        (weight / weight_scales(weight).reshape(-1, *[1] * (weight.ndim - 1))).round_().clamp_(-127, 127).to(torch.int8)
    )


def stored(graph: Graph, quantisation: Quantisation) -> frozenset[str]:
    """The values that are kept as uint8.

    They are what int8 convolutions read; the addends of those among them whose sum is kept so too; and what comes
    before a pool or a resampling of such a value, where zero is the least of the grid (behind a ReLU), so that the
    step can work on uint8.
    """
    int8 = {step.name for step in graph.convolutions} - quantisation.floats
    kept = {step.input for step in graph.convolutions if step.name in int8}
    for step in reversed(graph.steps):  # the readers of a value come before the value itself
        if step.name not in kept:
            continue
        if step.name in int8 and step.addend:
            kept.add(step.addend)
        elif step.kind in _KEEPING and quantisation.grid(step.input)[1] == 0:
            kept.add(step.input)
    return frozenset(kept)


def _values(graph: Graph) -> set[str]:
    """The values whose grids may be asked for."""
    read = {name for step in graph.steps for name in (step.input, step.addend) if name}
    return read | {POOLED} | {step.name + BEFORE_ADD for step in graph.convolutions if step.addend}


class _Watch(Runner):
    """Sums up, image by image, the least and the largest of every value."""

    def __init__(self, graph: Graph) -> None:
        super().__init__(graph)
        self.images, self.pooled = 0, (0.0, 0.0)
        self.sums: dict[str, tuple[Tensor, Tensor]] = {}

    def enter(self, x: Tensor) -> Tensor:
        self.images += len(x)
        return self.note(INPUT, super().enter(x))

    def kernel(self, step: Step) -> Kernel:
        if step.kind != "conv" or step.addend is None:
            whole = super().kernel(step)
            return lambda x, addend: self.note(step.name, whole(x, addend))
        run = super().kernel(replace(step, relu=False))

        def sum_up(x: Tensor, addend: Tensor | None) -> Tensor:
            y = self.note(step.name + BEFORE_ADD, run(x, None))
            y += cast(Tensor, addend)
            return self.note(step.name, y.relu_() if step.relu else y)

        return sum_up

    def head(self, step: Step) -> Kernel:
        run = super().head(step)

        def pool(x: Tensor, _: Tensor | None) -> Tensor:
            least, largest = x.mean((2, 3)).aminmax()
            self.pooled = min(self.pooled[0], float(least)), max(self.pooled[1], float(largest))
            return run(x, None)

        return pool

    def note(self, name: str, x: Tensor) -> Tensor:
        least, largest = x.flatten(1).aminmax(dim=1)
        low, high = self.sums.get(name, (torch.zeros(()), torch.zeros(())))
        self.sums[name] = low + least.clamp_max(0).sum(), high + largest.clamp_min(0).sum()
        return x


class Rounded(Runner):
    """What int8 means, in float32: convolutions and head round their inputs and their weights to their grids.

    only    the name of the one step that does so; None: all but those that the quantisation leaves in float
    """

    def __init__(self, graph: Graph, quantisation: Quantisation, only: str | None = None) -> None:
        self.quantisation, self.only = quantisation, only
        super().__init__(graph)

    def convolution(self, step: Step) -> Kernel:
        """As `Runner.convolution`, rounded where this step rounds."""
        exact = super().convolution(step)
        scales = weight_scales(step.weight).reshape(-1, 1, 1, 1)
        rounded = super().convolution(replace(step, weight=quantised_weight(step.weight) * scales))

        def run(x: Tensor, addend: Tensor | None) -> Tensor:
            return rounded(self._on_grid(x, step.input), addend) if self._rounds(step) else exact(x, addend)

        return run

    def head(self, step: Step) -> Kernel:
        """As `Runner.head`, rounded where this step rounds."""
        exact = super().head(step)
        weight = quantised_weight(step.weight) * weight_scales(step.weight).reshape(-1, 1)

        def run(x: Tensor, _: Tensor | None) -> Tensor:
            if not self._rounds(step):
                return exact(x, None)
            return torch.nn.functional.linear(self._on_grid(x.mean((2, 3)), POOLED), weight, step.bias)

        return run

    def _rounds(self, step: Step) -> bool:
        return step.name not in self.quantisation.floats if self.only is None else step.name == self.only

    def _on_grid(self, x: Tensor, value: str) -> Tensor:
        return torch.fake_quantize_per_tensor_affine(x, *self.quantisation.grid(value), 0, LEVELS)


def sensitivity(graph: Graph, quantisation: Quantisation, batch: Tensor) -> dict[str, float]:
    """How far each convolution alone, when quantised, moves the logits: root mean square over their own spread.

    batch: (N, C, H, W) float32, normalised
    """
    run = Rounded(graph, quantisation, only="")
    exact = run(batch)
    found = {}
    for step in graph.convolutions:
        run.only = step.name
        found[step.name] = float((run(batch) - exact).square().mean().sqrt() / exact.std())
    return found


def fallbacks(graph: Graph, quantisation: Quantisation, batch: Tensor) -> Iterator[Quantisation]:
    """From all in int8 to half of the work in float, for as long as the accuracy does not suffice.

    First the first convolution stays float, then the last and the head, then the most sensitive of the others
    (measured on `batch`, see `sensitivity`): one, two more, four more, until half of the multiply-adds are float.
    """
    yield quantisation
    first, last = graph.convolutions[0].name, graph.convolutions[-1].name
    yield quantisation.keeping([first])
    quantisation = quantisation.keeping([first, last, OUTPUT])
    yield quantisation
    errors = sensitivity(graph, quantisation, batch)
    order = sorted(errors.keys() - {first, last}, key=errors.__getitem__, reverse=True)
    macs = {step.name: step.row.macs for step in graph.convolutions}
    room = sum(macs.values()) / 2 - sum(macs.get(name, 0) for name in quantisation.floats)
    count = 1
    while order:
        more, order, count = order[:count], order[count:], 2 * count
        while more and sum(macs[name] for name in more) > room:
            more, order = more[:-1], []
        room -= sum(macs[name] for name in more)
        if more:
            quantisation = quantisation.keeping(more)
            yield quantisation
