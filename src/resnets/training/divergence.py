"""Does a training still learn? Its losses are watched, and where they run away it goes back to the last good state.

What is watched is a function of the losses, and is saved with the state: a run that was killed before, during or after
a fallback goes on to the same bits.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median
from typing import Any, Self

from resnets.errors import TrainingError, WriteError
from resnets.progress import warn
from resnets.text import printable
from resnets.training.observer import Fallback, Observer, StepRecord, Training
from resnets.training.prepared import Prepared
from resnets.training.recipe import Recipe
from resnets.training.state import FALLBACKS, Good
from resnets.whole import write_text

SHARE = 0.25  # of its rate, with which a training goes on after a fallback
LISTING = "not-finite.txt"
SHORT, LONG = (3, 64), (20, 1024)  # the least steps and images of the two running levels, each a median
RUNAWAY = 100.0  # times the scale: one such loss is enough
FAR = 3.0  # times the scale: the short level
SCALE = math.log(10)  # nats, at least: sure and wrong costs as much among two classes as among ten, and passes
ABOVE = 1.25  # times the scale: the long level
KNOWING = 0.7  # of the loss of guessing: below it the long level shows that something was learnt
CALM = 0.25  # of the reference, above the best short level: up to here a state is good


@dataclass
class Watch:
    """The losses of a run so far, as far as they matter.

    guess           the loss of guessing, ln(classes); nats
    batch_size      images of a step: a median of few images says little, so the levels have as many steps as they need
    first           the loss of the first step, which depends on no rate; None: none yet
    best, known     the least short and long level so far; None: none yet
    recent          the last losses, as many as the long level has
    """

    guess: float
    batch_size: int
    first: float | None = None
    best: float | None = None
    known: float | None = None
    recent: list[float] = field(default_factory=list)

    @property
    def reference(self) -> float:
        """What a loss is measured by: guessing between two classes or more, or where the run began."""
        return max(self.guess, math.log(2), self.first or 0.0)

    @property
    def scale(self) -> float:
        """What a loss is measured by that is to be far off: a first step at the full rate costs some nats anywhere."""
        return max(self.reference, SCALE)

    def sees(self, loss: float) -> str:
        """Take the loss of the next step; why the training goes wrong, in words, or "" where it does not."""
        if not math.isfinite(loss):
            return "which is no number"
        if self.first is None:
            self.first = loss
        short, long = (max(steps, -(-images // self.batch_size)) for steps, images in (SHORT, LONG))
        self.recent = [*self.recent[1 - long :], loss]
        if loss > RUNAWAY * self.scale:
            return f"where guessing gives {self.guess:.3g}"
        if len(self.recent) >= short:
            level = median(self.recent[-short:])
            if level > FAR * self.scale:
                return f"and {level:.4g} over {short} steps, where guessing gives {self.guess:.3g}"
            self.best = level if self.best is None else min(level, self.best)
        if len(self.recent) == long:
            level = median(self.recent)
            if level > ABOVE * self.scale:
                return f"and {level:.4g} over {long} steps, where guessing gives {self.guess:.3g}"
            if self.known is not None and self.known < KNOWING * self.guess and level >= self.guess:
                return f"and {level:.4g} over {long} steps, no better than guessing, where it had been {self.known:.4g}"
            self.known = level if self.known is None else min(level, self.known)
        return ""

    @property
    def calm(self) -> bool:
        """Whether the last loss, and the short level, are near the best."""
        short = max(SHORT[0], -(-SHORT[1] // self.batch_size))
        level = median(self.recent[-short:])
        best = self.reference if self.best is None else self.best
        return level <= best + CALM * self.reference and self.recent[-1] <= 2 * self.reference

    def to_dict(self) -> dict[str, Any]:
        """What a checkpoint holds."""
        return {"first": self.first, "best": self.best, "known": self.known, "recent": list(self.recent)}

    @classmethod
    def of(cls, guess: float, batch_size: int, kept: Mapping[str, Any]) -> Self:
        """As it was when `to_dict` said so; {}: at the start, or of a checkpoint by an older version."""
        numbers = {name: kept.get(name) for name in ("first", "best", "known")}
        return cls(guess, batch_size, **numbers, recent=list(kept.get("recent", ())))


class Guard:
    """Watches over a training, keeps its last good state, and takes it back there.

    folder      of the run, for the list of the files of a bad batch
    classes     of the training
    spare       whether there is a network beside the one that is trained, the head alone: then the training ends at
                its last good state where it would else be an error (see `Ending`)

    A state is good that stands between two epochs, near the best loss so far, and whose own loss is too: which is known
    one step later.
    """

    def __init__(self, training: Training, folder: Path, classes: int, spare: bool = False) -> None:
        self.folder, self.classes, self.spare = folder, classes, spare
        self.watch = self._watch(training, training.state.watch)
        self._candidate: Good | None = None

    def epoch_begins(self, training: Training) -> None:
        """Keep what may turn out to be a good state."""
        state = training.state
        self._candidate = state.snapshot(self.watch.to_dict())
        if state.step == 0:  # nothing has gone wrong yet
            state.good = self._candidate

    def sees(self, training: Training, step: StepRecord) -> Fallback | None:
        """Whether the training went wrong in this step: then its state is a good one again, at a lower rate.

        Raises TrainingError, which names the step, the files of its batch and what to try, when that was done often
        enough, or there is no state to go back to; with a spare network that is a warning, and the end (`gave_up`).
        """
        state = training.state
        why = self.watch.sees(step.loss)
        if not why:
            if self._candidate is not None and self.watch.calm:
                state.good = self._candidate
            self._candidate = None
            state.watch = self.watch.to_dict()
            return None
        good, loss = state.good, f"{step.loss:.4g}"
        ends = good is None or good.step == step.step or len(state.fallbacks) >= FALLBACKS
        if ends:
            advice = self._advice(training, step, why)
            if good is None or not self.spare:
                raise TrainingError(advice)
            warn(advice)
        assert good is not None
        state.go_back(good, 1.0 if ends else SHARE)
        fallback = Fallback(
            step=step.step, epoch=step.epoch, loss=loss, why=why, back_to=good.step, rate_share=state.rate_share
        )
        state.fallbacks.append(fallback.document())
        self.watch, self._candidate = self._watch(training, good.watch), None
        return fallback

    def _watch(self, training: Training, kept: Mapping[str, Any]) -> Watch:
        return Watch.of(math.log(self.classes), training.batches.batch_size, kept)

    def _advice(self, training: Training, step: StepRecord, why: str) -> str:
        recipe, state = training.recipe, training.state
        files = [printable(n) for n in training.batches.names(step.epoch - 1, step.step % training.batches.steps)]
        listing, listed = self.folder / LISTING, ""
        with suppress(WriteError):  # the advice is of more use than that the disk is full
            write_text(listing, "\n".join(files) + "\n")
            listed = f", all listed in {listing}"
        where = (
            f"The loss is {step.loss:.4g} at step {step.step} (epoch {step.epoch}), {why}, on a batch of {len(files)} "
            f"files from {files[0]} to {files[-1]}{listed}."
        )
        if step.step == 0:
            return (
                f"{where} Nothing was learnt by then, so no rate is to blame: start from other `weights`, "
                "and look at these files."
            )
        tried = recipe.learning_rate * state.rate_share
        went = f"The rate fell back {len(state.fallbacks)} times, to {tried:.2g}" if state.fallbacks else ""
        knobs = [f"`overrides=['learning_rate={min(tried / 4, Recipe.learning_rate):.2g}']`"]
        if recipe.weight_decay * recipe.learning_rate >= 0.1:
            knobs.append("`overrides=['weight_decay=0.0005']`")
        if len(files) < 32:  # each norm takes its mean and variance over these few images
            knobs.append(f"more images at once, `overrides=['batch_size={2 * len(files)}']`")
        knobs.append("`overrides=['precision=float32']`")
        if not self.spare:
            knobs.append("`weights` of a trained network to start from")
        again = f"{went}, and it diverged again." if went else "It has no good state to go back to."
        return (
            f"{where} {again} Usually the learning rate is too high: try {', or '.join(knobs)}; and ask "
            "`resnets doctor` about the data."
        )


class Ending(Observer):
    """Ends a training that gave up where it went back to, in the run's record too.

    That it gave up stands in the state, so it has to come after the checkpoint: a run that is killed between the two
    ends where it is resumed.
    """

    def __init__(self, prepared: Prepared) -> None:
        self.prepared = prepared

    def started(self, training: Training) -> None:
        """End it, if it should have been."""
        state = training.state
        if state.gave_up and state.step < training.total:
            last = state.fallbacks[-1]
            self.prepared.refit(state.step, state.step, f"it went wrong at step {last['step']} at a low rate, too")
            warn(f"the training ends with its last good state, after {state.step:,} steps.")

    def fell_back(self, training: Training, fallback: Fallback) -> None:
        """End it, if this was the end."""
        self.started(training)
