"""One judgement and all that is known about it, and what is said of it: the question and the answer of `whatnext`."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from resnets.data.reading import USUAL, Reading
from resnets.evaluation.course import Course
from resnets.evaluation.judging import Judgement
from resnets.text import typed
from resnets.weights.again import command, train_again


@dataclass(frozen=True)
class Next:
    """What to do next.

    says        the paragraph, without the command
    limit       "other_images", "guessing", "diverged", "norms", "not_converged", "labels", "pair", "overfitting",
                "few_photos", "unrecognised", "none"
    command     complete, as it is typed; None: nothing that one types helps
    gain        {"top1", "interval"} that is to be expected, as fractions; None: it cannot be told
    """

    says: str
    limit: str
    command: str | None = None
    gain: Mapping[str, Any] | None = None

    def document(self) -> dict[str, Any]:
        """Fit for JSON."""
        return asdict(self)


@dataclass(frozen=True)
class Case:
    """What is asked: a judgement with its figures, how the network was trained, and names as they are typed.

    course      None: nobody knows
    data        that was judged
    model       that judged
    reading     how the model's data is read
    own         whether these are the images that its training held out, in which classes have their usual shares
    """

    judgement: Judgement
    figures: Mapping[str, Any]
    course: Course | None
    data: str
    model: str
    reading: Reading = USUAL
    own: bool = False

    def again(self, **changes: object) -> str | None:
        """The training with other options."""
        return None if self.course is None else train_again(self.course.record, self.course.run, **changes)

    def balanced(self) -> str | None:
        """The training with every class drawn equally often; None where it was, or where nobody knows."""
        return None if self.course is None or self.course.evens_out else self.again(set="sampler=balanced")

    def elsewhere(self) -> str | None:
        """The training from a trained network, by the recipe for that."""
        return None if self.course is None else train_again(self.course.record, None, weights="auto")

    def longer(self, times: int) -> str | None:
        """The training with so many times the epochs, or minutes."""
        if self.course is None:
            return None
        if self.course.record.schedule is not None and (minutes := self.course.record.schedule["minutes"]):
            return self.again(minutes=f"{times * minutes:g}")
        return self.again(epochs=times * max(self.course.record.epochs, 1))

    def look(self) -> str:
        """At the mistakes."""
        return f"resnets evaluate {typed(self.model, self.data)} --report report.html"

    def doctor(self, **options: str) -> str:
        """At the data, read as it was."""
        overrides = (("set", one) for one in self.reading.overrides)
        return command(["resnets", "doctor", self.data], [*overrides, *options.items()])

    @property
    def could_start_elsewhere(self) -> bool:
        """Whether there are weights that it has not begun from."""
        return self.course is not None and self.course.could_start_elsewhere

    @property
    def mistakes(self) -> int:
        """Images that it got wrong."""
        return int((~self.judgement.correct).sum())

    @property
    def gap(self) -> float:
        """By how much it knows its training images better than others, where that is no chance; else 0."""
        learnt, top1 = None if self.course is None else self.course.result.learnt, self.figures["top1"]
        if learnt is None or learnt["interval"][0] <= top1 or learnt["top1"] <= self.figures["top1_interval"][1]:
            return 0.0
        return float(learnt["top1"] - top1)

    @property
    def guess(self) -> float:
        """The loss of who knows the classes' shares alone, in nats, as the recipe counts it; where the training's may
        be others, of who knows nothing."""
        if self.course is None or self.course.evens_out or not (self.own and self.course.drawn):
            return math.log(len(self.judgement.classes))
        return self._of_shares()

    @property
    def least_guess(self) -> float:
        """The least that guessing may have cost: with the classes' shares of the judged images, if those are the
        training's."""
        if self.course is None or self.course.evens_out:
            return self.guess
        return min(self.guess, self._of_shares())

    def _of_shares(self) -> float:
        count, smoothing = len(self.judgement.classes), self.course.smoothing if self.course else 0.0
        shares = np.bincount(self.judgement.labels, minlength=count) / len(self.judgement.labels)
        said = (1 - smoothing) * shares + smoothing / count
        return float(-(said * np.log(np.maximum(said, 1e-12))).sum())

    @property
    def excess(self) -> float:
        """The last epoch's loss above what the recipe's smoothing costs, as a share of what guessing costs above that.

        0 knows all training images, 1 guesses; not a number where that cannot be told (see `Course.least`).
        """
        return self._above(self.guess)

    @property
    def doubt(self) -> float:
        """The same where guessing may have cost the least: what is small here was learnt for certain."""
        return self._above(self.least_guess)

    def _above(self, guess: float) -> float:
        if self.course is None or math.isnan(least := self.course.least):
            return math.nan
        return (self.course.losses[-1] - least) / max(guess - least, 1e-9)
