"""The observers of every training, beside its log.

How good is the network by now, how far is it, and the checkpoint.
"""

from __future__ import annotations

import time
from contextlib import ExitStack
from pathlib import Path

from resnets.errors import WriteError
from resnets.progress import Tracker, say, track, warn
from resnets.training.log import Log
from resnets.training.observer import EpochRecord, Fallback, Observer, StepRecord, Training
from resnets.weights.run import CHECKPOINT
from resnets.whole import unwritable

SAVES = 0.05  # of the time, at most, for the checkpoints after epochs where the time is what counts


class Progress(Observer):
    """How far it is, and how long it will take, on standard error; a line that stays for every epoch."""

    def started(self, training: Training) -> None:
        """Show where it begins."""
        self._bar(training, training.state.step)
        self._epoch, self._steps, self._seconds, self._waited = 0, 0, 0.0, 0.0

    def stepped(self, training: Training, step: StepRecord) -> None:
        """One batch more."""
        if training.total != self._total:  # it was refitted
            self._ending.close()
            self._bar(training, step.step)
        if step.epoch != self._epoch:
            self._epoch, self._steps, self._seconds, self._waited = step.epoch, 0, 0.0, 0.0
        self._steps += 1
        self._seconds += step.seconds
        self._waited += step.waited
        size = training.batches.batch_size
        pace = f"{self._steps * size / self._seconds:.0f} images/s"
        waiting = f"{self._waited / self._seconds:.0%} waiting for data"
        self._tracker(size, f"epoch {step.epoch}/{training.epochs}, {pace}, {waiting}")

    def epoch_ended(self, training: Training, epoch: EpochRecord) -> None:
        """The epoch in one line."""
        line = f"epoch {epoch.epoch}/{training.epochs}: loss {epoch.loss:.3f}"
        if "top1" in epoch.figures:
            line += f", held-out top-1 {epoch.figures['top1']:.2%}"
        self._tracker.say(f"{line}, {epoch.images_per_second:.0f} images/s, {epoch.waiting:.0%} waiting for data")

    def fell_back(self, training: Training, fallback: Fallback) -> None:
        """The fallback in one line, and the way back on the bar."""
        if not training.state.gave_up:  # which a sentence of its own says
            warn(
                f"the loss is {fallback.loss} at step {fallback.step} (epoch {fallback.epoch}), {fallback.why}: back "
                f"to step {fallback.back_to}, and on at {fallback.rate_share:.3g} of the learning rate."
            )
        self._epoch = 0
        self._tracker((fallback.back_to - fallback.step) * training.batches.batch_size)

    def ended(self, training: Training) -> None:
        """Take the bar away."""
        self._ending.close()

    def _bar(self, training: Training, made: int) -> None:
        size, self._total = training.batches.batch_size, training.total
        self._ending = ExitStack()
        bar = track("training", self._total * size, done=made * size)
        self._tracker: Tracker = self._ending.enter_context(bar)


class Checkpoint(Observer):
    """Saves the state at the start, after every epoch, and every `checkpoint_seconds` in between.

    It has to come after the log, whose position is part of the state.
    """

    def __init__(self, folder: Path, log: Log) -> None:
        self.folder, self.log = folder, log

    def started(self, training: Training) -> None:
        """Save a state that has none yet; WriteError where even that one finds no room."""
        self._counted = self._saved = time.perf_counter()
        self._failing, self._took, self._memory = False, 0.0, training.state.memory
        if not (self.folder / CHECKPOINT).exists():
            try:
                self._save(training)
            except OSError as problem:
                why = problem if isinstance(problem, WriteError) else unwritable(self.folder / CHECKPOINT, problem)
                raise WriteError(
                    f"The training does not begin, since no checkpoint can be kept: {why}", why
                ) from problem

    def stepped(self, training: Training, step: StepRecord) -> None:
        """Save if it is time; only when the steps told are all that were made, and the epoch's end does not do it."""
        due = time.perf_counter() - self._saved >= training.recipe.checkpoint_seconds
        due = due or training.state.memory != self._memory  # a resume shall not try again what did not fit
        if due and step.step + 1 == training.state.step and training.state.step % training.batches.steps:
            self.save(training)

    def epoch_ended(self, training: Training, epoch: EpochRecord) -> None:
        """Save; where the time is what counts, not so often that it takes much of it."""
        dear = time.perf_counter() - self._saved < self._took / SAVES
        if training.schedule.minutes is None or not dear or training.state.step == training.total:
            self.save(training)

    def halted(self, training: Training) -> None:
        """Save."""
        self.save(training)

    def fell_back(self, training: Training, fallback: Fallback) -> None:
        """Save."""
        self.save(training)

    def save(self, training: Training) -> None:
        """Save, or say why not, once until it works again."""
        try:
            self._save(training)
        except OSError as problem:
            # The work goes on: the checkpoint before this one is whole, and space may come back.
            if not self._failing:
                step = training.state.step
                warn(f"no checkpoint at step {step}: {problem}; the last one stays, and it is tried again.")
            self._failing = True
        else:
            if self._failing:
                say(f"checkpoints are written again, from step {training.state.step}.")
            self._failing = False

    def _save(self, training: Training) -> None:
        state, now = training.state, time.perf_counter()
        state.seconds += now - self._counted
        self._counted = self._saved = now
        state.log = self.log.position()
        state.save(self.folder)
        self._memory = state.memory
        self._took = time.perf_counter() - now
