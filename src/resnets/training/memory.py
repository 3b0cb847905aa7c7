"""A step that has to fit into memory: what it takes, and two ways to take less, of which the first changes no number.

1. Activation checkpointing: units are computed once more in the backward pass instead of being kept, see
   `resnets.network.recompute`.
2. Gradient accumulation: a batch goes through the network in parts one after another, whose gradients add up to those
   of the batch. Norms take the statistics of a part, and their running averages move with each.

They are chosen before the first step where what is free is known to be too little, since a system may kill a process
that takes too much without a word; and whenever memory runs out.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any, Self

from resnets import machine
from resnets.architecture import Plan, Unit, plan
from resnets.architecture.profile import profile
from resnets.network import ResNet
from resnets.network.recompute import chunks
from resnets.progress import warn
from resnets.store import size
from resnets.training.recipe import Recipe
from resnets.weights.checked import field

SHARE = 0.8  # of the free memory that a step may take
BESIDE = 1.25  # times what is kept: with it, gradients on their way and what the library sets aside
LEAST = 2  # images of a part: a norm has no statistics of one


@dataclass(frozen=True, kw_only=True)
class Memory:
    """What a step does to take less memory.

    recompute   whether units are computed again in the backward pass
    accumulate  parts that a batch goes through the network in
    """

    recompute: bool = False
    accumulate: int = 1

    @classmethod
    def of(cls, recipe: Recipe) -> Self:
        """As a recipe wants it from the first step on."""
        return cls(recompute=recipe.recompute, accumulate=recipe.accumulate)

    @classmethod
    def read(cls, table: Mapping[str, Any] | None) -> Self:
        """The reverse of `document`; None: of an older version, which had no choice.

        Raises ModelFileError, which names the field, for what it cannot be.
        """
        if table is None:
            return cls()
        return cls(
            recompute=field(table, "recompute", bool, where="memory."),
            accumulate=field(table, "accumulate", int, where="memory.", low=1),
        )

    def document(self) -> dict[str, Any]:
        """Fit for JSON."""
        return asdict(self)

    def less(self, batch: int) -> Self | None:
        """The next that takes less, for a step of so many images; None: there is none."""
        return self.finer(batch) if self.recompute else replace(self, recompute=True)

    def finer(self, batch: int) -> Self | None:
        """In twice as many parts, or as many as there can be; None: there are no more."""
        now = self.parts(batch)
        more = min(2 * now, batch // LEAST)
        return replace(self, accumulate=more) if more > now else None

    def parts(self, batch: int) -> int:
        """In how many parts a batch of so many images goes."""
        return max(1, min(self.accumulate, batch // LEAST))

    def needed(self, sized: Plan, batch: int, precision: str, frozen: int = 0) -> int:
        """Bytes that a step of so many images takes, about: what is kept of them, gradients, momentum.

        sized   the network's plan at the size of the images
        frozen  stages that are not trained, nor is the stem then
        """
        stages = sized.stages[frozen:]
        ends = [*(() if frozen else sized.stem), *sized.head]
        rows = [*ends, *(row for units in stages for unit in units for row in unit.rows)]
        kept = profile(rows).training_bytes
        if self.recompute:
            kept = profile(ends).training_bytes + _of_chunks(stages)
        images = -(-batch // self.parts(batch))
        half = precision == "bfloat16"
        return round(BESIDE * kept * images / (2 if half else 1)) + 3 * 4 * profile(sized.rows).parameters

    def words(self, batch: int) -> str:
        """What it does, in words."""
        said = ["units are computed again in the backward pass, which takes time and changes no number"]
        said = said if self.recompute else []
        if self.accumulate > 1:
            said += [
                f"a batch of {batch} goes through the network in {self.parts(batch)} parts, whose gradients add up"
            ]
        return ", and ".join(said)


def _of_chunks(stages: Sequence[Sequence[Unit]]) -> int:
    """Bytes of a float32 image where units are computed again: what enters each chunk, and one with its gradients."""
    kept = most = 0
    for units in stages:
        for chunk in chunks(len(units)):
            rows = [row for unit in units[chunk] for row in unit.rows]
            channels, height, width = rows[0].input
            kept += 4 * channels * height * width
            most = max(most, profile(rows).training_bytes)
    return kept + 2 * most


def fitting(recipe: Recipe, network: ResNet, image_size: int, images: int, precision: str, device: str) -> Memory:
    """What a run does from its first step on: as its recipe says, or more where little is free, which is said.

    images      there are to train on

    A graphics processor is asked nothing: what it has no room for, it says.
    """
    memory = Memory.of(recipe)
    if device != "cpu":
        return memory
    own, batch, free = network.plan, min(recipe.batch_size, images), machine.free_memory()
    sized = plan(own.spec, own.num_classes, own.in_channels, own.output_stride, image_size=image_size)

    def needed(how: Memory) -> int:
        return how.needed(sized, batch, precision, recipe.freeze)

    if needed(memory) <= SHARE * free:
        return memory
    said = f"a step takes about {size(needed(memory))} of memory, and {size(free)} are free"
    first = min(replace(memory, recompute=True), memory, key=needed)  # of shallow networks nothing is spared
    found: Memory | None = first
    while found is not None and needed(found) > SHARE * free:
        found = found.finer(batch)
    if found is None:  # ever smaller parts spoil the norms, and are not enough
        warn(f"{said}: it may run out. Try a smaller batch_size or image_size, or end other programs.")
        return first
    warn(f"{said}: {found.words(batch)}.")
    return found
