"""What somebody should know of a training that ended, beside its figures, and what to try: a sentence each."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from resnets.errors import ModelFileError
from resnets.evaluation.guessing import remarks
from resnets.training.divergence import KNOWING
from resnets.training.prepare import Prepared
from resnets.training.state import State
from resnets.weights.runlog import read_log


def advice(prepared: Prepared, state: State, figures: Mapping[str, Any]) -> list[str]:
    """What the held-out images say, why that may be, and what to try.

    figures     of `resnets.evaluation.Judgement`
    """
    said = remarks(figures)
    useless = figures["better_than_guessing"] is False or figures["only_answer"] is not None
    recipe, rate = prepared.recipe, prepared.recipe.learning_rate * state.rate_share
    if state.fallbacks:
        times = "once" if len(state.fallbacks) == 1 else f"{len(state.fallbacks)} times"
        mend = "" if useless else f": begin with `overrides=['learning_rate={rate:g}']`"
        said.append(
            f"The learning rate was too high and fell back {times}, from {recipe.learning_rate:g} to {rate:g}{mend}."
        )
    if figures.get("unsure") == 1:
        said.append("It calls every answer unsure.")
    losses = _losses(prepared.folder) if useless else []
    if not losses:
        return said
    images, batch = len(prepared.train.images), prepared.batches().batch_size
    guess = math.log(len(prepared.record.classes))
    loss = f"loss {losses[-1]:.3g}, where guessing gives {guess:.3g}"
    if losses[-1] < KNOWING * guess:
        tries = ["more images", "`weights` of a trained network to start from"]
        if not recipe.weight_decay or recipe.ema:
            tries.append("`overrides=['ema=0']`")
        if batch < 32:
            tries.append(f"more images at once than {batch}, over which its norms take their statistics")
        said.append(
            f"It knows its {images:,} training images ({loss}), and nothing that holds for others: try "
            f"{', or '.join(tries)}."
        )
    else:
        lower = f"`overrides=['learning_rate={rate / 4:.2g}']`"
        said.append(
            f"It did not learn its {images:,} training images either ({loss}): try more `epochs`, or {lower}, or "
            "`weights` of a trained network to start from; and ask `resnets doctor` whether the labels are right."
        )
    return said


def _losses(folder: Path) -> list[float]:
    """Of the epochs, as the log has them; none without a log, which costs curves and advice, and no model."""
    try:
        return [line["loss"] for line in read_log(folder) if line["kind"] == "epoch"]
    except ModelFileError:
        return []
