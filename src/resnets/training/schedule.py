"""How many steps a training makes, and how far along its way each of them is: a number that run.json records.

Rate, image size and warm-up are functions of that, so that a resumed run computes the same. A schedule can be refitted
while it runs: the rest of the way is then gone in fewer steps, or in more, from where it stands.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from resnets.training import optim
from resnets.training.recipe import Recipe
from resnets.weights.run import RunRecord

WARMUP = 0.1  # of the steps, at most, where the time decides how many there are


class Schedule:
    """The steps of one training.

    planned         as many as were foreseen when it began
    per_epoch       steps of an epoch; the last epoch may have fewer
    minutes         the time that it was made for; None: its epochs decided
    evaluate_every  epochs between two looks at the held-out images; None: as the recipe says
    pace            what was measured before it began, fit for JSON
    refitted        {"step", "from", "to", "why"}, each from a step on: that many steps in all became so many
    """

    def __init__(
        self,
        planned: int,
        per_epoch: int,
        *,
        minutes: float | None = None,
        evaluate_every: int | None = None,
        pace: Mapping[str, Any] | None = None,
    ) -> None:
        self.planned, self.per_epoch, self.minutes = planned, per_epoch, minutes
        self.evaluate_every, self.pace = evaluate_every, pace or {}
        self.refitted: list[dict[str, Any]] = []

    @classmethod
    def of(cls, record: RunRecord, per_epoch: int) -> Schedule:
        """As a run's record has it; one that says nothing of steps has whole epochs."""
        if record.schedule is None:
            return cls(record.epochs * per_epoch, per_epoch)
        known = record.schedule
        schedule = cls(
            known["steps"],
            per_epoch,
            minutes=known["minutes"],
            evaluate_every=known["evaluate_every"],
            pace=known["pace"],
        )
        schedule.refitted = [dict(one) for one in known["refitted"]]
        if schedule.refitted:
            schedule.planned = schedule.refitted[0]["from"]
        return schedule

    def document(self) -> dict[str, Any]:
        """As run.json holds it."""
        return {
            "minutes": self.minutes,
            "steps": self.steps,
            "evaluate_every": self.evaluate_every,
            "pace": dict(self.pace),
            "refitted": [dict(one) for one in self.refitted],
        }

    @property
    def steps(self) -> int:
        """Of the whole training, as it stands."""
        return self.refitted[-1]["to"] if self.refitted else self.planned

    @property
    def epochs(self) -> int:
        """The last one may be a part of one."""
        return -(-self.steps // self.per_epoch)

    def refit(self, step: int, to: int, why: str) -> None:
        """Come to the end after `to` steps, step <= to; the first `step` of them, not all, are made already."""
        self.refitted.append({"step": step, "from": self.steps, "to": to, "why": why})

    def place(self, step: int) -> float:
        """Where on the planned way, 0 to `planned`, a step is: the step itself until the schedule is refitted."""
        place: float = step
        for one in reversed(self.refitted):
            if place > one["step"]:
                place = one["step"] + (place - one["step"]) * (one["from"] - one["step"]) / (one["to"] - one["step"])
        return place

    def rate(self, recipe: Recipe, step: int) -> float:
        """The learning rate of a step, 0 <= step < steps."""
        warmup = 0.5 if self.minutes is None else WARMUP
        return optim.rate(recipe, self.place(step), self.planned, self.per_epoch, warmup)

    def image_size(self, recipe: Recipe, step: int, full: int) -> int:
        """The side of a step's images: it changes between epochs, or, where the time decides, whenever it is due."""
        if self.minutes is None:
            return optim.image_size(recipe, step // self.per_epoch, self.planned // self.per_epoch, full)
        return optim.image_size(recipe, self.place(step), self.planned, full)

    def head_alone(self, recipe: Recipe, step: int) -> bool:
        """Whether a step trains the head alone: for `head_epochs`, and no more than their share of the recipe's."""
        share = self.planned if self.minutes is None else self.planned * recipe.head_epochs / recipe.epochs
        return self.place(step) < min(recipe.head_epochs * self.per_epoch, share)

    def glances(self, recipe: Recipe, epoch: int) -> bool:
        """Whether the held-out images are looked at after an epoch, 1 the first: every so many, and after the last.

        Where looks are dear, none comes just before the judging.
        """
        every = self.evaluate_every or recipe.evaluate_every
        return epoch % every == 0 or (epoch == self.epochs and every == recipe.evaluate_every)
