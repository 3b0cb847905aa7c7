"""Does a training keep the pace that its number of steps was made for? If not for long, that number is refitted."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Iterable
from statistics import median

from resnets.progress import say, warn
from resnets.training.observer import Fallback, Observer, StepRecord, Training
from resnets.training.pace import AIM, MOST_STEPS, Pace, cost, fixed, mean_step
from resnets.training.prepared import Prepared

OFF = 0.04  # of the time: a training that will end so much too late gets fewer steps, and one too early more
QUARTER = 4  # of the steps that are left after a refit: then it is looked again at the latest
SHARE, SECONDS, SHORT = 0.05, 30.0, 0.2  # of the time, the least of it, but no more than this share of a short one


def paced(prepared: Prepared, observers: Iterable[Observer], began: float) -> tuple[Prepared, list[Observer]]:
    """The run with its number of steps fixed, and who looks on: `fixed` where it has minutes, and none fixed yet."""
    asked = prepared.record.asked.minutes is not None and prepared.recipe.epochs > 0
    if prepared.record.asked.minutes is not None and not asked:
        say("The recipe trains a head alone, which takes the time it takes: `minutes` changes nothing.")
    if not asked or prepared.record.schedule is not None:
        return prepared, [*observers]
    prepared, pace = fixed(prepared, began)
    return prepared, [*observers, Pacer(prepared, pace, began)]


class Pacer(Observer):
    """Looks at the time that steps take, and refits the schedule so that the training ends when it should.

    pace    what was foreseen
    began   since when the minutes count, by `time.perf_counter`

    It belongs to the process that has measured the pace: a run that goes on later keeps the steps that its record has.
    """

    def __init__(self, prepared: Prepared, pace: Pace, began: float) -> None:
        self.prepared, self.pace, self.began = prepared, pace, began
        self.whole = 60 * (prepared.record.asked.minutes or 0.0)
        self.window = max(SHARE * self.whole, min(SECONDS, SHORT * self.whole))
        self._open = [0.0, 0.0]  # seconds found and foreseen of the steps that nobody has waited for yet
        self._recent: deque[tuple[float, float]] = deque()  # of those before, as long as they are recent
        self._found = 0.0
        self._due, self._step = 0.0, MOST_STEPS  # a look at the pace may refit again from this time, or step, on

    def stepped(self, training: Training, step: StepRecord) -> None:
        """Look at the pace, where all steps that were made are told."""
        size = training.schedule.image_size(training.recipe, step.step, training.image_size)
        self._open[0] += step.seconds
        self._open[1] += self.pace.step(size, training.schedule.head_alone(training.recipe, step.step))
        if step.step + 1 != training.state.step:
            return
        self._recent.append((self._open[0], self._open[1]))
        self._found += self._open[0]
        self._open = [0.0, 0.0]
        while self._found - self._recent[0][0] >= self.window:
            self._found -= self._recent.popleft()[0]
        due = time.perf_counter() >= self._due or training.state.step >= self._step
        if self._found >= self.window and due:
            self._refit(training, training.state.step, f"at {self._slower:.3g} times the seconds foreseen for a step")

    def fell_back(self, training: Training, fallback: Fallback) -> None:
        """Make room for the steps that are made again; those up to where it was seen keep the rates that they had."""
        self._open = [0.0, 0.0]
        if not training.state.gave_up:
            self._refit(training, fallback.step, f"back from step {fallback.step} to {fallback.back_to}")

    @property
    def _slower(self) -> float:
        """How many times as long as foreseen a step takes of late."""
        return median(found / foreseen for found, foreseen in self._recent) if self._recent else 1.0

    def _refit(self, training: Training, step: int, why: str) -> None:
        """After this step, make as many steps as fit into the time that is left; in the record before they are made."""
        schedule, slower = training.schedule, self._slower
        whole = mean_step(self.prepared, self.pace, schedule)
        beside = cost(self.prepared, self.pace, schedule) / schedule.steps - whole  # looks and checkpoints
        seconds = slower * mean_step(self.prepared, self.pace, schedule, step) + beside
        end = self.began + AIM * self.whole - slower * self.pace.ending
        last = training.state.step + int((end - time.perf_counter()) / seconds)
        last = min(max(step + 1, last), MOST_STEPS)
        if step >= schedule.steps or abs(schedule.steps - last) * seconds <= OFF * self.whole:  # in time, or almost
            return
        before = schedule.steps
        why = f"{why} it would end too {'late' if last < before else 'early'}"
        try:
            self.prepared.refit(step, last, why)
        except OSError as problem:
            warn(f"the training goes on as it was, although {why}, as that cannot be recorded: {problem}")
        else:
            say(f"{why}: {schedule.steps:,} steps instead of {before:,}, so that it ends in time")
        # Where few are left, they may be over before that time: a neighbour was busy, and has gone.
        self._due = time.perf_counter() + self.window
        self._step = training.state.step + max(1, (schedule.steps - training.state.step) // QUARTER)
