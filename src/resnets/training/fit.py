"""The middle of a run: from what was prepared, or from a checkpoint, to a trained network."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from contextlib import suppress

import numpy as np

from resnets.errors import TrainingError
from resnets.inference.session import torch_shared
from resnets.machine import ran_out
from resnets.training import command, loop, room
from resnets.training.divergence import Ending, Guard
from resnets.training.glance import Glance
from resnets.training.keeping import Keeper
from resnets.training.log import Log, TensorBoard
from resnets.training.observer import Observer, Training
from resnets.training.observers import Checkpoint, Progress
from resnets.training.prepared import Prepared
from resnets.training.setup import label_indices
from resnets.training.state import State
from resnets.training.step import Step
from resnets.training.weighing import Weighing
from resnets.training.wide import current
from resnets.weights.run import CHECKPOINT


def fit(prepared: Prepared, observers: Iterable[Observer] = ()) -> State:
    """Train from where the run stands to its end; a run that is there already is left alone.

    observers   see `resnets.training.Observer`

    Where a command is asked to finish (see `command`), the state is that of the step where it was.

    The folder then holds the checkpoint of the last step and the whole log. Raises TrainingError when the training
    diverges and lower rates do not help (see `divergence`), not even a few images fit into memory (see `memory`), or
    the checkpoint cannot be read.
    """
    recipe, folder, record = prepared.recipe, prepared.folder, prepared.record
    wide = current()
    batches, state = prepared.batches(wide.part() if wide else slice(None)), prepared.reached()
    training = Training(
        recipe=recipe,
        schedule=prepared.schedule,
        preprocessing=prepared.preprocessing,
        batches=batches,
        state=state,
    )
    if state.step >= training.total:
        if not (folder / CHECKPOINT).exists():  # of a head alone, which makes no step
            state.save(folder)
        return state
    if wide is not None and batches.batch_size < wide.size:
        raise TrainingError(f"A batch of {batches.batch_size} images has no part for each of {wide.size} processes.")
    if wide is not None and batches.batch_size < 2 * wide.size and _shrinks_to_a_pixel(prepared):
        raise TrainingError(
            f"A batch of {batches.batch_size} images leaves one for some of {wide.size} processes, and norms of one "
            "pixel have no statistics of one image: fewer `processes`, or a larger batch or `image_size`."
        )
    counts = np.bincount(label_indices(prepared.train, record.classes))
    weighing = Weighing.of(recipe, counts, state.device)
    step = Step(state, recipe, prepared.schedule, precision=record.precision, weighing=weighing, wide=wide)
    guard = Guard(training, folder, len(record.classes), spare=prepared.start is not None)
    try:
        if wide is None or wide.leads:
            _watched(prepared, training, step, guard, observers)
        else:
            _steps(prepared, training, step, guard, [])
    except ValueError as problem:
        if "more than 1 value per channel" not in str(problem):
            raise
        raise TrainingError(
            "A norm has one image of one pixel to take its statistics of: a larger batch or `image_size`, or fewer "
            "`processes`."
        ) from problem
    except (RuntimeError, MemoryError) as problem:
        if not ran_out(problem):
            raise
        size = batches.batch_size  # not by a step, which would have taken less
        raise TrainingError(
            f"The device has no memory left: try `overrides=['batch_size={max(2, size // 2)}']`, or a smaller "
            "`image_size`."
        ) from problem
    return state


def _shrinks_to_a_pixel(prepared: Prepared) -> bool:
    rows = prepared.network.plan.at(prepared.preprocessing.image_size).rows
    return any(row.kind == "norm" and row.output[1:] == (1, 1) for row in rows)


def _watched(prepared: Prepared, training: Training, step: Step, guard: Guard, observers: Iterable[Observer]) -> None:
    """Make the steps, with log, checkpoint and everybody who looks on."""
    folder, state = prepared.folder, training.state
    room.check(folder, state, keeps_best=training.recipe.keep == "best")
    log = Log(folder, state.log)
    board = TensorBoard.beside(folder, state.step)
    ours = [log, *board, Progress(), Checkpoint(folder, log), Ending(prepared)]
    epoch, begun = divmod(state.step, training.batches.steps)
    try:
        watching = [Glance.of(prepared), *Keeper.of(prepared), *observers, *ours]
        _steps(prepared, training, step, guard, watching, log.losses(epoch + 1) if begun else ())
    finally:
        log.close()  # also where an observer before it fails at the start


def _steps(
    prepared: Prepared,
    training: Training,
    step: Step,
    guard: Guard,
    watching: Sequence[Observer],
    earlier: Iterable[float] = (),
) -> None:
    inputs, wide = prepared.inputs(training.state.layout), step.wide
    with command.steps_in(prepared.folder) as enough, torch_shared() as look:
        if wide is None:
            loop.run(training, inputs, step, watching, earlier, guard, enough, look)
            return

        def agree() -> None:
            wide.agree(training.schedule, enough)
            if wide.over:
                raise _Over

        with suppress(_Over):
            loop.run(training, inputs, step, watching, earlier, guard, lambda: wide.halted, agree)
        if not wide.over:  # those who follow end when they are told
            wide.agree(training.schedule, enough, over=wide.leads)


class _Over(Exception):
    """Rank 0 makes no more steps."""
