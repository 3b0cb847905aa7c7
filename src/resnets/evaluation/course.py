"""How a training went, as far as it tells what limits its network: from run.json and the log."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

from resnets.errors import ModelFileError
from resnets.weights import body
from resnets.weights.result import TrainResult
from resnets.weights.run import RunRecord
from resnets.weights.runlog import read_log, until


@dataclass(frozen=True, kw_only=True)
class Course:
    """One training.

    record      its run.json
    run         its folder, as it is typed
    result      what came of it
    losses      of the epochs, in nats, as the recipe counts them
    held_out    (epoch, loss on the held-out images) of those that were looked at
    gain        {"top1", "interval"} of twice the photos; None: it cannot be told
    """

    record: RunRecord
    run: Path
    result: TrainResult
    losses: tuple[float, ...]
    held_out: tuple[tuple[int, float], ...]
    gain: Mapping[str, Any] | None = None

    @classmethod
    def of(cls, record: RunRecord, run: Path, gain: Mapping[str, Any] | None = None) -> Self | None:
        """By a run's folder; None for one without a result. Without a log there are no losses."""
        if (result := record.result or record.so_far) is None:
            return None
        try:
            lines = until(read_log(run), record)
        except ModelFileError:
            lines = []
        epochs = [line for line in lines if line["kind"] == "epoch"]
        looks = [(line["epoch"], line.get("held_out_loss")) for line in epochs]
        return cls(
            record=record,
            run=run,
            result=result,
            losses=tuple(float(line["loss"]) for line in epochs),
            held_out=tuple((epoch, float(loss)) for epoch, loss in looks if isinstance(loss, int | float)),
            gain=gain or (result.next or {}).get("gain"),
        )

    @property
    def asked_rate(self) -> float:
        """The highest learning rate, as the recipe has it."""
        return float(self.record.recipe.get("learning_rate") or 0.0)

    @property
    def rate(self) -> float:
        """The same after the last fallback."""
        shares = [one.get("rate_share") for one in self.result.fallbacks]
        return self.asked_rate * (float(shares[-1]) if shares and isinstance(shares[-1], int | float) else 1.0)

    @property
    def smoothing(self) -> float:
        """Of the labels, as the recipe has it."""
        return float(self.record.recipe.get("label_smoothing") or 0.0)

    @property
    def drawn(self) -> bool:
        """Whether training drew the split itself, so that classes have the same shares on both sides."""
        split = self.record.dataset.get("split")
        return isinstance(split, Mapping) and split.get("origin") == "seeded"

    @property
    def evens_out(self) -> bool:
        """Whether every class counted the same in what was minimised."""
        return "balanced" in (self.record.recipe.get("class_weights"), self.record.recipe.get("sampler"))

    @property
    def least(self) -> float:
        """The loss of who knows all training images: what the smoothing costs, in nats.

        Not a number without epochs, for a single class, or where the logits carried the classes' shares in training.
        """
        classes, smoothing = len(self.record.classes), self.smoothing
        if self.record.recipe.get("logit_adjustment") or not self.losses or classes < 2:
            return math.nan
        own, other = 1 - smoothing + smoothing / classes, smoothing / classes
        return -own * math.log(own) - ((classes - 1) * other * math.log(other) if other else 0.0)

    @property
    def could_start_elsewhere(self) -> bool:
        """Whether there are weights for its network, and it has begun from scratch on pictures that they suit."""
        size, name = self.record.preprocessing.get("image_size"), self.record.network
        if self.record.asked.weights is not None or not isinstance(size, int) or size <= body.SMALL:
            return False
        return body.usual(name) is not None
