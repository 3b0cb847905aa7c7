"""What the looks at the held-out images decide while a network is trained: when to stop, which weights to keep aside.

Only one half of them decides, so that the other can tell whether what it has chosen is better, and judge it: see
`resnets.evaluation.choosing`.
"""

from __future__ import annotations

import copy
import math
from dataclasses import replace

import torch

from resnets.network import ResNet
from resnets.progress import say, warn
from resnets.training.best import Best
from resnets.training.observer import EpochRecord, Observer, Training
from resnets.training.prepared import Prepared
from resnets.training.state import State
from resnets.weights.provenance import BEST


class Keeper(Observer):
    """Keeps the best look's weights, and ends the training where `patience` looks have found nothing better.

    It has to come after the glance, and before the checkpoint.
    """

    def __init__(self, prepared: Prepared) -> None:
        self.prepared = prepared

    @classmethod
    def of(cls, prepared: Prepared) -> list[Observer]:
        """The keeper of a run whose recipe wants one, or none."""
        recipe = prepared.recipe
        return [cls(prepared)] if recipe.patience or recipe.keep == "best" else []

    def epoch_ended(self, training: Training, epoch: EpochRecord) -> None:
        """Look at the look, if there was one."""
        loss, state, best = epoch.figures.get("first_half_loss", math.nan), training.state, training.state.best
        if math.isfinite(loss) and (best is None or loss < best.loss):
            state.best = Best(epoch.step, loss, 0, _weights(state) if training.recipe.keep == "best" else {})
        elif best is not None and "first_half_loss" in epoch.figures:
            state.best = best = replace(best, since=best.since + 1)
            if 0 < training.recipe.patience <= best.since and epoch.step < training.total:
                self._stop(training, best)

    def _stop(self, training: Training, best: Best) -> None:
        """Make this step the last one, in the run's record before it is."""
        schedule, step = training.schedule, training.state.step
        looks = "1 look" if best.since == 1 else f"{best.since} looks"
        why = f"{looks} at the held-out images found none better than that at step {best.step:,}"
        try:
            self.prepared.refit(step, step, why)
        except OSError as problem:
            warn(f"the training goes on, though {why}, since that cannot be recorded: {problem}")
        else:
            say(f"the training ends after {step:,} of {schedule.refitted[-1]['from']:,} steps: {why}")


def kept(state: State) -> dict[str, ResNet]:
    """By its name, the network that was kept aside, in evaluation mode; none where it is the one that there is now."""
    best = state.best
    if best is None or not best.weights or best.step == state.step:
        return {}
    network = copy.deepcopy(state.network)
    network.load_state_dict(best.weights)
    return {BEST: network.eval()}


def _weights(state: State) -> dict[str, torch.Tensor]:
    found = state.network.state_dict() if state.average is None else state.average.state
    row_major = torch.contiguous_format
    return {name: one.detach().to("cpu", copy=True, memory_format=row_major) for name, one in found.items()}
