"""A run that can begin, or go on: everything that a training needs, and its folder."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Self

import numpy as np
import torch

from resnets.data.augment import Augmentation
from resnets.data.batches import Batches, CachedBatches
from resnets.data.cache import Cache
from resnets.data.preprocess import Preprocessing
from resnets.diagnosis import Diagnosis
from resnets.errors import TrainingError
from resnets.network import ResNet
from resnets.text import printable
from resnets.training import identity, setup
from resnets.training.headstart import HeadStart
from resnets.training.memory import Memory, fitting
from resnets.training.recipe import Recipe
from resnets.training.schedule import Schedule
from resnets.training.state import State
from resnets.training.step import Inputs
from resnets.training.wide import current
from resnets.weights.run import CHECKPOINT, RunRecord


@dataclass(frozen=True, kw_only=True, eq=False)
class Prepared:
    """A run that can begin, or go on.

    record          what its run.json says: what was asked, and what that came to
    network         with the weights to start from; it is trained in place
    new_head        whether its head is not that of the weights to start from
    train, held_out decoded images
    held_out_name   "val" or "test"
    familiar        (N,) bool: training images that the weights to start from had been trained on
    flattering      how many held-out images they had been trained on
    findings        of a quick look for what is wrong with the data
    titles          class -> what it is called in words
    start           the head that the run starts from; None: it starts from the network alone
    seconds         that all this took
    """

    folder: Path
    record: RunRecord
    recipe: Recipe
    network: ResNet
    new_head: bool
    device: str
    preprocessing: Preprocessing
    augmentation: Augmentation
    train: Cache
    held_out: Cache
    held_out_name: str
    familiar: np.ndarray
    flattering: int
    findings: Diagnosis
    titles: Mapping[str, str]
    seconds: float
    start: HeadStart | None = None

    def batches(self, part: slice = slice(None)) -> Batches:
        """The training images. part: of each batch, as `CachedBatches` takes it."""
        keys = [sample.key for sample in self.train.samples]
        labels = setup.label_indices(self.train, self.record.classes)
        recipe, seed = self.recipe, self.record.asked.seed
        data, even = (self.train.images, labels, keys), recipe.sampler == "balanced"
        return CachedBatches(*data, recipe.batch_size, seed, recipe.workers, balanced=even, part=part)

    def inputs(self, layout: torch.memory_format) -> Inputs:
        """What makes a batch fit for a step."""
        return Inputs(
            augmentation=self.augmentation,
            preprocessing=self.preprocessing,
            mixup=self.recipe.mixup,
            device=self.device,
            layout=layout,
        )

    @cached_property
    def schedule(self) -> Schedule:
        """The steps of the whole training; it may be refitted while it runs."""
        return Schedule.of(self.record, self.batches().steps)

    @property
    def total(self) -> int:
        """Steps of the whole training."""
        return self.schedule.steps

    def settled(self) -> Self:
        """The same, whose record has the schedule as it stands."""
        if not self.schedule.refitted:
            return self
        schedule = self.schedule
        now = dataclasses.replace(self.record, schedule=schedule.document(), epochs=schedule.epochs)
        return dataclasses.replace(self, record=now)

    def fitted(self) -> Self:
        """The same, whose record says in how many processes it is made, and what a step does for its memory."""
        size, images, precision = self.preprocessing.image_size, len(self.train.images), self.record.precision
        memory, group = Memory.of(self.recipe), current()
        if self.record.epochs:
            memory = fitting(self.recipe, self.network, size, images, precision, self.device)
        processes = group.size if group else 1
        record = dataclasses.replace(self.record, memory=memory.document(), processes=processes)
        return dataclasses.replace(self, record=record)

    def refit(self, step: int, to: int, why: str) -> None:
        """As `Schedule.refit`, in the run's record too. Raises WriteError, and nothing has changed."""
        self.schedule.refit(step, to, why)
        try:
            self.settled().record.write(self.folder)
        except OSError:
            self.schedule.refitted.pop()
            raise

    def reached(self, *, trains: bool = True) -> State:
        """Where the run stands: at its checkpoint, or at the start. trains: as in `reopen`.

        Raises TrainingError for a checkpoint that is damaged, or that another run has written.
        """
        state = State(self.network, self.recipe, self.device, self.record.precision, Memory.read(self.record.memory))
        own = identity.short(identity.identity(self.record))
        if (self.folder / CHECKPOINT).exists():
            state.load(self.folder)
            identity.check(identity.without(own, () if trains else identity.ELSEWHERE), state.identity or {})
            if state.step > self.total:
                shown = printable(str(self.folder / CHECKPOINT))
                raise TrainingError(f"{shown} stands at step {state.step} of {self.total}: start a new run.")
        state.identity = own
        if self.recipe.recompute:  # which changes no number, so that it may be asked for on the way
            state.memory = dataclasses.replace(state.memory, recompute=True)
        return state
