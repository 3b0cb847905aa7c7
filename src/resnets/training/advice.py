"""What somebody should know of a training that ended, beside its figures and what to do next: a sentence each."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from resnets.evaluation.guessing import remarks
from resnets.training.prepared import Prepared
from resnets.training.state import State


def advice(prepared: Prepared, state: State, figures: Mapping[str, Any]) -> list[str]:
    """Facts and warnings. What limits the network, and what to do about it, `resnets.evaluation.whatnext` says.

    figures     of `resnets.evaluation.Judgement`
    """
    said = remarks(figures)
    recipe, rate = prepared.recipe, prepared.recipe.learning_rate * state.rate_share
    said += flatters(prepared)
    ended = state.gave_up
    if falls := len(state.fallbacks) - ended:
        times = "once" if falls == 1 else f"{falls} times"
        said.append(f"The learning rate was too high and fell back {times}, from {recipe.learning_rate:g} to {rate:g}.")
    if ended:
        said.append(f"It diverged at a rate of {rate:g}, and ended with its last good state, after {state.step} steps.")
    if figures.get("unsure") == 1:
        said.append("It calls every answer unsure.")
    return said


def flatters(prepared: Prepared) -> list[str]:
    """Why the figures of the held-out images are no measure of new ones; []: they are."""
    if not prepared.flattering:
        return []
    return [
        f"The weights to start from had been trained on {prepared.flattering:,} of the "
        f"{len(prepared.held_out.samples):,} held-out images: figures, calibration and what was chosen by them flatter."
    ]
