"""Who looks on while a network is trained, and what is shown: the interface of log, evaluation, checkpoint, progress.

An observer of your own does whatever a training should do beside training:

    class Best(Observer):
        def epoch_ended(self, training, epoch):
            self.top1 = max(getattr(self, "top1", 0.0), epoch.figures.get("top1", 0.0))

    resnets.train("photos/", observers=[Best()])
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Any

from resnets.data.batches import Batches
from resnets.data.preprocess import Preprocessing
from resnets.training.recipe import Recipe
from resnets.training.schedule import Schedule
from resnets.training.state import State


@dataclass(frozen=True, kw_only=True)
class Training:
    """A training in progress. Look at everything, change nothing: that is what keeps it exact.

    recipe      every value
    schedule    the steps, and what each of them is made with
    preprocessing   of the images that are judged
    batches     where the images come from
    state       network, optimiser, average, and `state.step`, the steps made; `state.trained()` is a copy to judge
    """

    recipe: Recipe
    schedule: Schedule
    preprocessing: Preprocessing
    batches: Batches
    state: State

    @property
    def image_size(self) -> int:
        """Of the full images, in pixels; they may have grown to it."""
        return self.preprocessing.image_size

    @property
    def total(self) -> int:
        """Steps of the whole training."""
        return self.schedule.steps

    @property
    def epochs(self) -> int:
        """How often each image is seen; the last time may be a part of one."""
        return self.schedule.epochs


@dataclass(frozen=True, kw_only=True, slots=True)
class StepRecord:
    """One step that was made.

    step        its number, 0 the first
    epoch       its epoch, 1 the first
    loss        of its batch, before the step; nats
    rate        the learning rate
    seconds     since the step before it
    waited      seconds of these in which the network waited for its images
    """

    step: int
    epoch: int
    loss: float
    rate: float
    seconds: float
    waited: float


@dataclass(frozen=True, kw_only=True, slots=True)
class EpochRecord:
    """One epoch that ended; the last one may have had fewer steps.

    step                steps made when it ended
    epoch               its number, 1 the first
    loss                mean over its steps, those before a resume included
    image_size          of its last images, in pixels
    seconds             of its steps; of a resumed epoch, those since
    images_per_second   in these seconds
    waiting             the share of these seconds in which the network waited for its images
    figures             what observers measured; whatever an earlier one puts there, later ones log and show
    """

    step: int
    epoch: int
    loss: float
    image_size: int
    seconds: float
    images_per_second: float
    waiting: float
    figures: dict[str, float] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True, slots=True)
class Fallback:
    """A training that went wrong went back to its last good state, and goes on from there at a lower rate.

    step, epoch     where it was seen, the first is 0 and 1; this step was told to nobody
    loss            of that step, as a text, since it may be no number
    why             in words
    back_to         the steps made that stand now
    rate_share      of the recipe's learning rate, from here on
    """

    step: int
    epoch: int
    loss: str
    why: str
    back_to: int
    rate_share: float

    def document(self) -> dict[str, Any]:
        """As log, checkpoint and result hold it."""
        return asdict(self)


class Observer:
    """Looks on while a network is trained: override what you need. An exception in here ends the training.

    Every step and every epoch is told once, in order. On a GPU the steps are told in bunches, since a look at a loss
    waits for the device; when the last of a bunch is told, its number is `training.state.step - 1`. Yours are told
    after the held-out images were judged ("top1" and "held_out_loss" among the figures of an epoch that was), and
    before the log and the checkpoint are written. After a resume, steps behind the checkpoint are made and told again,
    and after a fallback those behind the last good state.
    """

    def started(self, training: Training) -> None:
        """Before the first step, or the first one after a resume."""

    def stepped(self, training: Training, step: StepRecord) -> None:
        """A step was made, and its loss is known."""

    def epoch_ended(self, training: Training, epoch: EpochRecord) -> None:
        """All steps of an epoch were made and told."""

    def fell_back(self, training: Training, fallback: Fallback) -> None:
        """The training went wrong, and goes on from an earlier step: `training.state.step`."""

    def halted(self, training: Training) -> None:
        """The training was asked to stop between two steps, from which it can go on; `ended` comes next."""

    def ended(self, training: Training) -> None:
        """The training is over, or was stopped: `training.state.step` is below `training.total` then."""
