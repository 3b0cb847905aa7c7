"""The loop: a batch, a step, and everybody who looks on is told. Nothing else happens between two steps.

Where the guard sees that the training went wrong, it goes on from an earlier step.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Sequence
from contextlib import ExitStack

import numpy as np
import torch
from torch import Tensor

from resnets.progress import warn
from resnets.training.divergence import Guard
from resnets.training.observer import EpochRecord, Observer, StepRecord, Training
from resnets.training.step import Inputs, Step

READ_BACK = 20  # on a GPU, steps between two looks at the losses: each look waits for the device


def run(
    training: Training,
    inputs: Inputs,
    step: Step,
    observers: Sequence[Observer],
    earlier: Iterable[float] = (),
    guard: Guard | None = None,
    enough: Callable[[], bool] = lambda: False,
    between: Callable[[], None] = lambda: None,
) -> None:
    """Train to the end, from wherever the state stands.

    observers   told in this order, and of the end in the reverse one
    earlier     the losses of the steps that the first epoch has made already, before a resume
    guard       what sees a training go wrong, and takes it back
    enough      asked after every step whether to halt there
    between     called before every step
    """
    with ExitStack() as ending:
        for observer in observers:
            observer.started(training)
            ending.push(_ending(observer, training))
        while training.state.step < training.total:
            _epoch(training, inputs, step, observers, list(earlier), guard, enough, between)
            earlier = ()
            if enough():
                break
        if training.state.step < training.total:
            for observer in observers:
                observer.halted(training)


def _ending(observer: Observer, training: Training) -> Callable[..., None]:
    """What tells an observer of the end. If it fails then, that does not hide why the training ended."""

    def end(kind: type[BaseException] | None, *_: object) -> None:
        try:
            observer.ended(training)
        except Exception as problem:
            if kind is None:
                raise
            warn(f"{type(observer).__name__}.ended failed, too: {type(problem).__name__}: {problem}")

    return end


def _epoch(
    training: Training,
    inputs: Inputs,
    step: Step,
    observers: Sequence[Observer],
    losses: list[float],
    guard: Guard | None,
    enough: Callable[[], bool],
    between: Callable[[], None],
) -> None:
    """From where the state stands to the end of its epoch or of the training, or to where it went wrong."""
    recipe, batches, state, schedule = training.recipe, training.batches, training.state, training.schedule
    epoch, start = divmod(state.step, batches.steps)
    at_once = state.device == "cpu" or recipe.checkpoint_seconds == 0
    alone: bool | None = None
    if guard is not None and start == 0:
        guard.epoch_begins(training)
    pending: list[tuple[Tensor, float, float]] = []
    waited = 0.0
    began = previous = time.perf_counter()
    for batch in batches.epoch(epoch, start):
        between()
        if alone is not (alone := schedule.head_alone(recipe, state.step)):
            state.train(head_alone=alone)
        size = schedule.image_size(recipe, state.step, training.image_size)
        loss = step(*inputs(batch, size))
        now = time.perf_counter()
        pending.append((loss, now - previous, batch.waited))
        previous = now
        waited += batch.waited
        last = batch.step == batches.steps - 1 or state.step == training.total
        halts = enough()
        if at_once or len(pending) >= READ_BACK or last or halts:
            told = _tell(training, epoch, pending, observers, guard)
            if told is None:
                return
            losses += told
        if state.step >= training.total:  # which a look at the step may have changed
            break
        if halts and not last:
            return
    seconds = time.perf_counter() - began
    record = EpochRecord(
        step=state.step,
        epoch=epoch + 1,
        loss=float(np.mean(losses)),
        image_size=size,
        seconds=seconds,
        images_per_second=(state.step - epoch * batches.steps - start) * batches.batch_size / seconds,
        waiting=waited / seconds,
    )
    for observer in observers:
        observer.epoch_ended(training, record)


def _tell(
    training: Training,
    epoch: int,
    pending: list[tuple[Tensor, float, float]],
    observers: Sequence[Observer],
    guard: Guard | None,
) -> list[float] | None:
    """Read the losses since the last look, tell of their steps, and return them; None after a fallback."""
    losses: list[float] = torch.stack([loss for loss, _, _ in pending]).tolist()
    state = training.state
    first = state.step - len(pending)
    for number, (loss, (_, seconds, waited)) in enumerate(zip(losses, pending, strict=True), start=first):
        record = StepRecord(
            step=number,
            epoch=epoch + 1,
            loss=loss,
            rate=training.schedule.rate(training.recipe, number) * state.rate_share,
            seconds=seconds,
            waited=waited,
        )
        if guard is not None and (fallback := guard.sees(training, record)) is not None:
            for observer in observers:
                observer.fell_back(training, fallback)
            return None
        for observer in observers:
            observer.stepped(training, record)
    pending.clear()
    return losses
