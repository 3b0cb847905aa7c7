"""How long things take here: measured in the first seconds on a copy of the network, to fix the number of steps.

The copy is thrown away. All that the run's bits have of it is that number, which run.json records.
"""

from __future__ import annotations

import copy
import dataclasses
import os
import tempfile
import time
from collections.abc import Callable, Collection, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from itertools import chain, count
from pathlib import Path
from typing import Any

import numpy as np

from resnets.evaluation import calibrate
from resnets.evaluation.answers import BATCH
from resnets.inference import Classifier
from resnets.progress import duration, say, warn
from resnets.training import checkpoint
from resnets.training.glance import LOOKED_AT, Glance
from resnets.training.loop import READ_BACK
from resnets.training.memory import Memory
from resnets.training.observers import SAVES
from resnets.training.prepared import Prepared
from resnets.training.schedule import Schedule
from resnets.training.state import State
from resnets.training.step import Step
from resnets.training.wide import current
from resnets.weights import Model

AIM = 0.98  # of the time: a little less than all of it
MOST_STEPS = 10**9
LOOKS = 0.03  # of the time of the steps, at most, for looks at the held-out images
SHARE, LEAST, MOST = 0.03, 1.0, 30.0  # of the time, and seconds, that steps are measured for, about
WARM = 1  # steps of a kind, at least, that are not counted
PLACES = 200  # of the way that stand for all steps
FEW = 4  # images that a first look has, which is not timed
CALIBRATED = 400  # images that calibration is tried on
PAGES = 4.0  # seconds for curves, report and model, imports included; they depend little on the data
CURVE = 6.0  # for the learning curve of a run that starts from a body, see `training.learning`


@dataclass(frozen=True, kw_only=True)
class Pace:
    """Seconds.

    steps       of a step, by the side of its images and whether the head trains alone
    epoch       for what begins an epoch
    glance      for a look at the held-out images
    saving      of a checkpoint
    ending      from the last step to the end of the process
    spent       since the work began, this measurement included
    memory      what a step had to do to take less of it
    """

    steps: Mapping[tuple[int, bool], float]
    epoch: float
    glance: float
    saving: float
    ending: float
    spent: float
    memory: Memory = field(default_factory=Memory)

    def document(self) -> dict[str, Any]:
        """As run.json holds it."""
        steps = [
            {"image_size": size, "head_alone": alone, "seconds": seconds}
            for (size, alone), seconds in self.steps.items()
        ]
        seconds = {one.name: getattr(self, one.name) for one in dataclasses.fields(self) if one.name != "memory"}
        return {**seconds, "steps": steps}

    def step(self, size: int, alone: bool) -> float:
        """Of a step at any size: what lies between two sizes that were measured costs what its pixels say."""
        known = sorted((side * side, seconds) for (side, head), seconds in self.steps.items() if head == alone)
        return float(np.interp(size * size, [pixels for pixels, _ in known], [seconds for _, seconds in known]))


def fixed(prepared: Prepared, began: float) -> tuple[Prepared, Pace]:
    """The same run with as many steps as its minutes allow, which its run.json then says, and what decided that.

    began       since when they count, by `time.perf_counter`
    """
    minutes = prepared.record.asked.minutes or 0.0
    pace = measured(prepared, began)
    left = AIM * 60 * minutes - pace.spent - pace.ending
    schedule = fitting(prepared, pace, left)
    if left <= cost(prepared, pace, schedule):
        warn(
            f"Opening, judging and the report take {duration(pace.spent + pace.ending)} here, so {minutes:g} minutes "
            f"are too short: the training makes {schedule.steps} step{'s' * (schedule.steps > 1)}; give more `minutes`."
        )
    else:
        epochs = schedule.steps / schedule.per_epoch
        say(
            f"{minutes:g} minutes: {schedule.steps:,} steps, which are {epochs:.3g} epochs; {duration(pace.spent)} "
            f"have passed, and {duration(pace.ending)} are kept for judging and report"
        )
    planned, memory = schedule.document(), pace.memory.document()
    record = dataclasses.replace(prepared.record, schedule=planned, epochs=schedule.epochs, memory=memory)
    record.write(prepared.folder)
    return dataclasses.replace(prepared, record=record), pace


def fitting(prepared: Prepared, pace: Pace, left: float) -> Schedule:
    """The longest schedule that comes to its end in `left` seconds; one step, where there is no time."""
    most, least = MOST_STEPS, 1
    while least < most:
        middle = (least + most + 1) // 2
        if cost(prepared, pace, _planned(prepared, pace, middle)) <= left:
            least = middle
        else:
            most = middle - 1
    return _planned(prepared, pace, least)


def cost(prepared: Prepared, pace: Pace, schedule: Schedule) -> float:
    """Seconds of a schedule, without what comes before and after it."""
    training = schedule.steps * mean_step(prepared, pace, schedule)
    looks = pace.glance * schedule.epochs / (schedule.evaluate_every or prepared.recipe.evaluate_every)
    between = min(prepared.recipe.checkpoint_seconds, training / schedule.epochs)
    if prepared.recipe.checkpoint_seconds:
        between = max(between, pace.saving / SAVES)
    saves = min(schedule.steps, training / between if between else schedule.steps) + 2
    return training + looks + schedule.epochs * pace.epoch + saves * pace.saving


def mean_step(prepared: Prepared, pace: Pace, schedule: Schedule, since: int = 0) -> float:
    """Seconds of a step, over those from `since` to the end."""
    places = [since + (place + 0.5) / PLACES * (schedule.steps - since) for place in range(PLACES)]
    kinds = [_kind(prepared, schedule, int(place)) for place in places]
    seconds = {kind: pace.step(*kind) for kind in set(kinds)}
    return sum(seconds[kind] for kind in kinds) / PLACES


def _planned(prepared: Prepared, pace: Pace, steps: int) -> Schedule:
    """A schedule of so many steps, that looks at the held-out images no more often than it can afford."""
    recipe, per_epoch = prepared.recipe, prepared.batches().steps
    minutes = prepared.record.asked.minutes
    schedule = Schedule(steps, per_epoch, minutes=minutes, pace=pace.document())
    epoch = per_epoch * mean_step(prepared, pace, schedule)
    schedule.evaluate_every = max(recipe.evaluate_every, int(np.ceil(pace.glance / (LOOKS * epoch))))
    return schedule


def _kind(prepared: Prepared, schedule: Schedule, step: int) -> tuple[int, bool]:
    recipe, full = prepared.recipe, prepared.preprocessing.image_size
    return schedule.image_size(recipe, step, full), schedule.head_alone(recipe, step)


def measured(prepared: Prepared, began: float) -> Pace:
    """Measure the pace on a copy of the network, and leave everything as it was."""
    minutes = prepared.record.asked.minutes or 1.0
    network, record = copy.deepcopy(prepared.network), prepared.record
    state = State(network, prepared.recipe, prepared.device, record.precision, Memory.read(record.memory))
    way = Schedule(PLACES, max(1, PLACES // prepared.recipe.epochs), minutes=minutes)
    kinds = {_kind(prepared, way, step) for step in range(PLACES)}
    steps = _steps(prepared, state, kinds, min(MOST, max(LEAST, SHARE * 60 * minutes)))
    glance, judging = _looks(prepared, state)
    state.good = state.snapshot({})
    epoch = _timed(lambda: state.snapshot({})) + _timed(lambda: next(iter(prepared.batches().epoch(0))))
    saving = _timed(lambda: _saved(state, prepared.folder))
    return Pace(
        steps=steps,
        epoch=epoch,
        glance=glance,
        saving=saving,
        ending=judging + saving + PAGES + (CURVE if prepared.start is not None else 0),
        spent=time.perf_counter() - began,
        memory=state.memory,
    )


def _steps(
    prepared: Prepared, state: State, kinds: Collection[tuple[int, bool]], budget: float
) -> dict[tuple[int, bool], float]:
    """Seconds of a step of each kind: at its largest size and its smallest, and between them where there is time."""
    end = time.perf_counter() + budget
    found = {}
    for alone in (True, False):
        sizes = sorted(size for size, head in kinds if head == alone)
        chosen = dict.fromkeys((sizes[-1], sizes[0], sizes[len(sizes) // 2]) if sizes else ())
        for place, size in enumerate(chosen):
            left = end - time.perf_counter()
            if place < 2 or left > 0:
                found[size, alone] = _step_seconds(prepared, state, size, alone, max(0.0, left) / (3 - place))
    return dict(sorted(found.items()))


def _step_seconds(prepared: Prepared, state: State, size: int, alone: bool, budget: float) -> float:
    """Seconds of a step and its batch, once it is warm: half of those that were tried took less."""
    wide = current()
    batches, inputs = prepared.batches(wide.part() if wide else slice(None)), prepared.inputs(state.layout)
    step = Step(state, prepared.recipe, Schedule(MOST_STEPS, 1), precision=prepared.record.precision)
    bunch = 1 if state.device == "cpu" else READ_BACK
    state.train(head_alone=alone)
    found: list[float] = []
    begin = previous = time.perf_counter()
    for number, batch in enumerate(chain.from_iterable(map(batches.epoch, count())), start=1):
        loss = step(*inputs(batch, size))
        if number % bunch:
            continue
        loss.item()  # which waits for the device
        now = time.perf_counter()
        found.append((now - previous) / bunch)
        previous = now
        if len(found) > WARM and now - begin >= budget * (1 if len(found) > WARM + 2 else 2):
            break
    return float(np.median(found[max(WARM, len(found) // 4) :]))


def _looks(prepared: Prepared, state: State) -> tuple[float, float]:
    """Seconds of a look at all held-out images, and of judging them at full precision and calibrating on that."""
    cache, classes = prepared.held_out, prepared.record.classes
    images = cache.images[:BATCH]
    again = min(LOOKED_AT, len(cache.images), len(prepared.train.images))  # which a look is at, too
    share = len(cache.images) / len(images)
    glance = Glance.of(prepared, BATCH)
    classifier = Classifier(Model(state.trained(), classes, prepared.preprocessing))
    pixels = cache.images[:CALIBRATED]
    noise = np.random.default_rng(0)
    logits = noise.normal(size=(len(pixels), len(classes))).astype(np.float32)
    labels = noise.integers(0, len(classes), len(pixels))

    def timed(first: Callable[[], object], work: Callable[[], object]) -> float:
        first()  # imports and the like
        return _timed(work)

    look = timed(lambda: Glance.of(prepared, FEW).look(state), lambda: glance.look(state))
    judge = timed(lambda: classifier.logits(images[:FEW]), lambda: classifier.logits(images))
    calibration = timed(*[lambda: calibrate(pixels, logits, labels)] * 2)
    judging = share * judge + len(cache.images) / len(pixels) * calibration
    candidates = 1 + (prepared.start is not None) + (prepared.recipe.keep == "best")
    return share * look * (1 + again / len(cache.images)), judging * candidates


def _saved(state: State, folder: Path) -> None:
    """What a checkpoint costs, in a file that has no name, so that a kill leaves nothing."""
    with suppress(OSError), tempfile.TemporaryFile(dir=folder) as file:  # a full disk is told of later
        checkpoint.pour(file, *state.contents())
        file.flush()
        os.fsync(file.fileno())


def _timed(work: Callable[[], object]) -> float:
    begin = time.perf_counter()
    work()
    return time.perf_counter() - begin
