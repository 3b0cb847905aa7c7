"""The middle of a run: from what was prepared, or from a checkpoint, to a trained network."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import torch

from resnets.errors import TrainingError
from resnets.training import command, loop, room
from resnets.training.divergence import Ending, Guard
from resnets.training.glance import Glance
from resnets.training.keeping import Keeper
from resnets.training.log import Log, TensorBoard
from resnets.training.observer import Observer, Training
from resnets.training.observers import Checkpoint, Progress
from resnets.training.prepare import Prepared
from resnets.training.setup import label_indices
from resnets.training.state import State
from resnets.training.step import Step
from resnets.training.weighing import Weighing
from resnets.weights.run import CHECKPOINT


def fit(prepared: Prepared, observers: Iterable[Observer] = ()) -> State:
    """Train from where the run stands to its end; a run that is there already is left alone.

    observers   see `resnets.training.Observer`

    Where a command is asked to finish (see `command`), the state is that of the step where it was.

    The folder then holds the checkpoint of the last step and the whole log. Raises TrainingError when the training
    diverges and lower rates do not help (see `divergence`), a batch does not fit into memory, or the checkpoint cannot
    be read.
    """
    recipe, folder, record = prepared.recipe, prepared.folder, prepared.record
    batches, state = prepared.batches(), prepared.reached()
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
    room.check(folder, state, keeps_best=recipe.keep == "best")
    counts = np.bincount(label_indices(prepared.train, record.classes))
    weighing = Weighing.of(recipe, counts, state.device)
    step = Step(state, recipe, prepared.schedule, precision=record.precision, weighing=weighing)
    log = Log(folder, state.log)
    board = TensorBoard.beside(folder, state.step)
    ours = [log, *board, Progress(), Checkpoint(folder, log), Ending(prepared)]
    watching = [Glance.of(prepared), *Keeper.of(prepared), *observers, *ours]
    epoch, begun = divmod(state.step, batches.steps)
    try:
        earlier = log.losses(epoch + 1) if begun else ()
        guard = Guard(training, folder, len(record.classes), spare=prepared.start is not None)
        with command.steps_in(folder) as enough:
            loop.run(training, prepared.inputs(state.layout), step, watching, earlier, guard, enough)
    except torch.OutOfMemoryError as problem:
        size = batches.batch_size
        raise TrainingError(
            f"A batch of {size} does not fit into memory: try `overrides=['batch_size={max(2, size // 2)}']`, "
            "or a smaller `image_size`."
        ) from problem
    finally:
        log.close()  # also where an observer before it fails at the start
    return state
