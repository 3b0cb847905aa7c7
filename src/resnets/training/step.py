"""One step of gradient descent, and what it is given: the same for `resnets train` and `resnets bench --task train`."""

from __future__ import annotations

import gc
from contextlib import nullcontext
from dataclasses import dataclass

import torch
from torch import Tensor

from resnets.data.augment import Augmentation, mix
from resnets.data.batches import Batch
from resnets.data.preprocess import Preprocessing
from resnets.errors import TrainingError
from resnets.machine import processor_flags, ran_out
from resnets.progress import warn
from resnets.training.gradients import ByProduct, gains
from resnets.training.recipe import Recipe
from resnets.training.schedule import Schedule
from resnets.training.state import State
from resnets.training.weighing import Targets, Weighing
from resnets.training.wide import Wide


@dataclass(frozen=True, kw_only=True)
class Inputs:
    """From a batch to what a step is given: moved to the device, augmented there, and blended if the recipe says so."""

    augmentation: Augmentation
    preprocessing: Preprocessing
    mixup: float
    device: str
    layout: torch.memory_format

    def __call__(self, batch: Batch, size: int) -> tuple[Tensor, Tensor, Tensor | None]:
        """(images (B, 3, size, size) float32, classes (B,), share of an image's own class (B,) or None: all of it)."""
        images, dice, labels = (t.to(self.device, non_blocking=True) for t in (batch.images, batch.dice, batch.labels))
        x = self.augmentation(images, dice, size, self.preprocessing).contiguous(memory_format=self.layout)
        share = None
        if self.mixup:
            x, share = mix(x, dice, self.mixup)
        return x, labels, share


class Step:
    """Forward, loss, backward, optimiser, average: moves a state by one step.

    state           what it moves
    recipe          loss, rate, average
    schedule        which the rate is a function of
    precision       "float32", or "bfloat16" for autocast
    weighing        of classes of unequal size
    wide            the processes that each have a part of a batch; None: this one has all of it
    """

    def __init__(
        self,
        state: State,
        recipe: Recipe,
        schedule: Schedule,
        *,
        precision: str,
        weighing: Weighing | None = None,
        wide: Wide | None = None,
    ) -> None:
        self.state, self.recipe, self.schedule, self.precision = state, recipe, schedule, precision
        self.weighing, self.wide = weighing or Weighing(), wide
        tiles = precision == "bfloat16" and state.device == "cpu" and "amx_bf16" in processor_flags()
        self.gradients = ByProduct() if tiles and gains(state.network) else nullcontext()

    def __call__(self, x: Tensor, labels: Tensor, share: Tensor | None = None) -> Tensor:
        """Make one step; returns the loss, still on the device, so that nobody has to wait for it: of the whole batch.

        x (B, 3, S, S) float32, normalised; labels (B,) int64; share (B,) of an image's own class, the rest being that
        of the image before it in the batch.
        """
        state = self.state
        loss = self._fitted(x, labels, share)
        if self.wide is not None:
            weight = self.weighing.total(Targets.of(labels, share))
            loss, state.memory = self.wide.average(state.network, loss, weight, state.memory)
        now = self.schedule.rate(self.recipe, state.step) * state.rate_share
        for group in state.optimiser.param_groups:
            group["lr"] = now * group["scale"]
        state.optimiser.step()
        state.optimiser.zero_grad(set_to_none=True)
        if state.average is not None:
            state.average.update(state.step)
        state.step += 1
        return loss

    def backward(self, x: Tensor, labels: Tensor, share: Tensor | None = None) -> Tensor:
        """Forward, loss and backward alone, of what a step is given: gradients are added to those that are there.

        Returns the loss as a step does.
        """
        targets, memory, network = Targets.of(labels, share), self.state.memory, self.state.network
        count = memory.parts(len(x))
        network.recompute = self.gradients if memory.recompute else None
        try:
            if count == 1:
                return self._part(x, targets)
            whole, total = torch.zeros((), device=x.device), self.weighing.total(targets)
            for part, its in zip(x.tensor_split(count), targets.parts(count), strict=True):
                whole += self._part(part, its, self.weighing.total(its) / total)
            return whole
        finally:
            network.recompute = None  # nobody who copies the network shall compute anything twice

    def _part(self, x: Tensor, targets: Targets, counts: float = 1.0) -> Tensor:
        """Forward, loss and backward of a part of a batch, which counts by so much of it; its share of the loss."""
        half = self.precision == "bfloat16"
        with torch.autocast(self.state.device, torch.bfloat16, enabled=half), self.gradients:
            logits = self.state.network(x)
        loss = self.weighing.loss(logits.float(), targets, self.recipe.label_smoothing)
        loss = loss if counts == 1 else loss * counts
        loss.backward()  # type: ignore[no-untyped-call]
        return loss.detach()

    def _fitted(self, x: Tensor, labels: Tensor, share: Tensor | None) -> Tensor:
        """`backward`; where memory runs out, once more with less of it, from where the step began.

        Raises TrainingError where nothing is left to save.
        """
        state, buffers = self.state, list(self.state.network.buffers())
        before = [one.clone() for one in buffers]
        while True:
            try:
                return self.backward(x, labels, share)
            except (RuntimeError, MemoryError) as problem:
                if not ran_out(problem):
                    raise
                least, less = len(x) // state.memory.parts(len(x)), state.memory.less(len(x))
                if less is None:
                    raise TrainingError(
                        f"Not even {least} images fit into memory at step {state.step}: try a smaller `image_size`, "
                        "another network, or end other programs."
                    ) from problem
            # Only here is what the failed try had kept free: the exception held it.
            gc.collect()
            state.memory = less
            state.optimiser.zero_grad(set_to_none=True)
            for one, then in zip(buffers, before, strict=True):
                one.copy_(then)
            if state.device == "cuda":
                torch.cuda.empty_cache()
            warn(f"memory ran out at step {state.step}: from here on, {less.words(len(x))}.")
