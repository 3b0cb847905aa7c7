"""A schedule: a recorded number of steps, which can be refitted once it runs, and everything that follows from it."""

from __future__ import annotations

import dataclasses
import itertools
import json
from pathlib import Path

import pytest

from resnets.errors import ModelFileError
from resnets.training import Recipe
from resnets.training.schedule import WARMUP, Schedule
from resnets.weights.run import RunRecord

BEFORE = Path(__file__).parents[1] / "data_before" / "finished"


def timed(planned: int, per_epoch: int = 10) -> Schedule:
    return Schedule(planned, per_epoch, minutes=1.0)


def rates(schedule: Schedule, recipe: Recipe) -> list[float]:
    return [schedule.rate(recipe, step) for step in range(schedule.steps)]


@pytest.mark.parametrize("steps", [1, 2, 3, 9, 10, 11, 95, 1000])
def test_any_number_of_steps_rises_for_a_tenth_and_falls_to_the_end(steps):
    recipe = Recipe(warmup_epochs=5, learning_rate=1.0)
    found = rates(timed(steps), recipe)
    top = found.index(max(found))
    assert top <= WARMUP * steps + 1
    assert found[top:] == sorted(found[top:], reverse=True)
    assert all(0 < rate <= 1 for rate in found)
    if steps >= 95:
        assert found[-1] < 0.001


def test_the_last_epoch_may_be_a_part_of_one():
    assert [timed(steps).epochs for steps in (1, 10, 11, 20)] == [1, 1, 2, 2]
    assert [timed(25).glances(Recipe(evaluate_every=2), epoch) for epoch in (1, 2, 3)] == [False, True, True]


@pytest.mark.parametrize(
    ("step", "to"), [(0, 50), (3, 50), (40, 60), (99, 100), (150, 151), (150, 190), (40, 300), (199, 260)]
)
def test_a_schedule_that_is_refitted_goes_the_same_way_in_so_many_steps(step, to):
    recipe = Recipe(warmup_epochs=1, learning_rate=1.0)
    schedule = timed(200)
    whole = rates(schedule, recipe)
    schedule.refit(step, to, "slow")
    found = rates(schedule, recipe)
    assert len(found) == to
    assert found[: step + 1] == whole[: step + 1]  # no jump where it begins
    places = [schedule.place(one) for one in range(to + 1)]
    assert places == sorted(places)
    assert places[-1] == pytest.approx(200)
    strides = {round(b - a, 9) for a, b in itertools.pairwise(places[step:])}
    assert strides == {round((200 - step) / (to - step), 9)}


def test_it_can_be_refitted_again_where_it_stands():
    schedule = timed(200)
    schedule.refit(40, 120, "slow")
    schedule.refit(90, 90, "nothing better came")
    assert (schedule.steps, schedule.epochs, schedule.planned) == (90, 9, 200)
    assert schedule.place(80) == 40 + 40 * 160 / 80


def test_images_grow_within_an_epoch_where_the_time_decides():
    recipe = Recipe(start_size=0.75)
    sizes = [timed(100, per_epoch=500).image_size(recipe, step, 128) for step in range(100)]
    assert sizes == sorted(sizes)
    assert sorted(set(sizes)) == [96, 112, 128]
    assert sizes.index(128) < 70
    by_epoch = Schedule(4 * 500, 500)
    assert len({by_epoch.image_size(recipe, step, 128) for step in range(500)}) == 1


@pytest.mark.parametrize("epochs", [1, 2, 3, 4, 10])
def test_the_last_epoch_is_at_full_size(epochs):
    """With one epoch or two nothing was ever seen at the size at which it is judged."""
    recipe, schedule = Recipe(start_size=0.5), Schedule(epochs * 7, 7)
    sizes = [schedule.image_size(recipe, 7 * epoch, 128) for epoch in range(epochs)]
    assert sizes == sorted(sizes)
    assert sizes[-1] == 128
    assert sizes[0] == (64 if epochs > 1 else 128)


def test_the_head_trains_alone_for_no_more_than_its_share():
    recipe = Recipe(epochs=8, head_epochs=2)
    assert sum(timed(40, per_epoch=100).head_alone(recipe, step) for step in range(40)) == 10
    assert sum(timed(4000, per_epoch=10).head_alone(recipe, step) for step in range(4000)) == 20
    assert sum(Schedule(80, 10).head_alone(recipe, step) for step in range(80)) == 20


def test_a_record_brings_it_back():
    schedule = timed(200, per_epoch=7)
    schedule.refit(40, 120, "slow")
    record = dataclasses.replace(RunRecord.read(BEFORE), schedule=json.loads(json.dumps(schedule.document())))
    again = Schedule.of(RunRecord.from_dict(json.loads(json.dumps(record.to_dict()))), per_epoch=7)
    assert again.document() == schedule.document()
    assert (again.planned, again.steps) == (200, 120)
    assert "schedule" not in RunRecord.read(BEFORE).to_dict()  # nor of other runs of today


GOOD = {"minutes": 1.0, "steps": 9, "evaluate_every": None, "pace": {}, "refitted": []}
CUT = {"step": 4, "from": 12, "to": 9, "why": "slow"}


@pytest.mark.parametrize(
    "change",
    [
        {"steps": -1},
        {"steps": True},
        {"steps": 1e300},
        {"minutes": -1},
        {"minutes": "5"},
        {"evaluate_every": 0},
        {"pace": None},
        {"refitted": [{**CUT, "to": 3}]},
        {"refitted": [{**CUT, "step": 12, "to": 15}], "steps": 15},
        {"refitted": [{**CUT, "step": 10}]},
        {"refitted": [{**CUT, "step": -1}]},
        {"refitted": [{**CUT, "why": None}]},
        {"refitted": [CUT], "steps": 12},
        {"refitted": [CUT, {**CUT, "from": 8, "to": 7}], "steps": 7},
        {"refitted": [[]]},
    ],
)
def test_a_schedule_that_cannot_be_is_named(change):
    table = RunRecord.read(BEFORE).to_dict()
    RunRecord.from_dict({**table, "schedule": {**GOOD, "refitted": [CUT]}})
    RunRecord.from_dict({**table, "schedule": {**GOOD, "steps": 15, "refitted": [{**CUT, "to": 15}]}})
    older = {key: value for key, value in GOOD.items() if key != "refitted"} | {"shortened": [CUT]}
    assert RunRecord.from_dict({**table, "schedule": older}).schedule == {**GOOD, "refitted": [CUT]}
    with pytest.raises(ModelFileError, match=r"schedule\."):
        RunRecord.from_dict({**table, "schedule": {**GOOD, **change}})
