"""A run trained again, with what should be otherwise, as a line to type: quoted, so that any name stays one word."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path

from resnets.data.named import here
from resnets.data.reading import Reading
from resnets.text import typed
from resnets.weights.run import RECIPE, RunRecord


def train_again(record: RunRecord, run: Path | None, **changes: object) -> str | None:
    """`resnets train DATA ...` as the run was, but with other values of the verb's options.

    run         its folder, whose recipe is taken; None: the default recipe, and the data read as it was
    changes     by the options' names: epochs=24, set="ema=0"

    None for a network that has no name: Python alone can say it. What a run keeps absolute, so that it can go on
    anywhere, is named from the current folder (see `here`).
    """
    asked = record.asked
    if isinstance(asked.network, Mapping):
        return None
    given: dict[str, object] = {
        "recipe": run and run / RECIPE,
        "seed": asked.seed,
        "model": asked.network,
        "weights": asked.weights and here(asked.weights),
        "strict": asked.strict or None,
        "minutes": None if asked.minutes is None or "epochs" in changes else f"{asked.minutes:g}",
        **changes,
    }
    reading = Reading.of(record.recipe).overrides if run is None else []
    return command(["resnets", "train", here(asked.data)], [*given.items(), *(("set", one) for one in reading)])


def command(words: Iterable[str], options: Iterable[tuple[str, object]]) -> str:
    """A line to type, with options by their names: None is none, True stands alone."""
    line = list(words)
    for name, value in options:
        line += [] if value is None else [f"--{name}"] if value is True else [f"--{name}", str(value)]
    return typed(*line)
