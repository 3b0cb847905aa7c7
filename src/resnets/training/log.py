"""The log of a run: a JSON line per step and per epoch, and TensorBoard beside it where that is installed.

`log.jsonl` is the one record. A resumed run cuts it back to the checkpoint, so that no step stands there twice.
"""

from __future__ import annotations

import dataclasses
import json
import os
from pathlib import Path
from typing import Any, Self

from resnets.errors import TrainingError
from resnets.training.observer import EpochRecord, Fallback, Observer, StepRecord, Training
from resnets.weights.run import LOG, read_log


class Log(Observer):
    """Appends to a run's log.jsonl: {"kind": "step", "epoch" or "fallback", "step": .., ...}."""

    def __init__(self, folder: Path, keep: int = 0) -> None:
        """keep: bytes of an existing log that still hold (a checkpoint's position); 0: none.

        Raises TrainingError for a log that is shorter than that.
        """
        self.path = folder / LOG
        if keep:
            if not self.path.exists() or self.path.stat().st_size < keep:
                raise TrainingError(f"{self.path} is missing or cut short, so the run cannot go on: start it anew.")
            with self.path.open("rb+") as file:
                file.truncate(keep)
        else:
            self.path.write_bytes(b"")
        self._file = self.path.open("a", encoding="utf-8")

    def stepped(self, training: Training, step: StepRecord) -> None:
        """A line."""
        self.write("step", **dataclasses.asdict(step))

    def epoch_ended(self, training: Training, epoch: EpochRecord) -> None:
        """A line, with everything that was measured."""
        values = _values(epoch)
        values.pop("kind", None)  # is the line's own
        self.write("epoch", **values)

    def fell_back(self, training: Training, fallback: Fallback) -> None:
        """A line; those of the steps that were given up stay before it, and `read_log` leaves them out."""
        self.write("fallback", **fallback.document())

    def ended(self, training: Training) -> None:
        """Write out what is left."""
        self.close()

    def write(self, kind: str, /, **values: Any) -> None:
        """One line."""
        self._file.write(json.dumps({"kind": kind, **values}) + "\n")

    def position(self) -> int:
        """Bytes written so far, all of them on the disk: neither a kill nor a power cut loses them any more."""
        self._file.flush()
        os.fsync(self._file.fileno())
        return self._file.tell()

    def losses(self, epoch: int) -> list[float]:
        """Of the steps of an epoch, 1 the first, that the log has."""
        lines = read_log(self.path.parent)
        return [line["loss"] for line in lines if line["kind"] == "step" and line["epoch"] == epoch]

    def close(self) -> None:
        """Write out what is left."""
        self._file.close()


class TensorBoard(Observer):
    """The same for TensorBoard; only where the package is installed: pip install 'resnets[tensorboard]'."""

    def __init__(self, writer: Any) -> None:
        self._writer = writer

    @classmethod
    def beside(cls, folder: Path, step: int) -> list[Self]:
        """The observer of a run whose next step this is, or none where the package is missing or does not work."""
        try:
            from torch.utils.tensorboard import SummaryWriter
        except (ImportError, TypeError, AttributeError):  # not installed, or not fit for its protobuf
            return []
        return [cls(SummaryWriter(str(folder / "tensorboard"), purge_step=step))]

    def stepped(self, training: Training, step: StepRecord) -> None:
        """A point on every curve."""
        self._write("step", step.step, dataclasses.asdict(step))

    def epoch_ended(self, training: Training, epoch: EpochRecord) -> None:
        """A point on every curve."""
        self._write("epoch", epoch.step, _values(epoch))

    def ended(self, training: Training) -> None:
        """Write out what is left."""
        self._writer.close()

    def _write(self, kind: str, step: int, values: dict[str, Any]) -> None:
        for name, value in values.items():
            if isinstance(value, float):
                self._writer.add_scalar(f"{kind}/{name}", value, step)


def _values(epoch: EpochRecord) -> dict[str, Any]:
    values = dataclasses.asdict(epoch)
    figures = values.pop("figures")
    try:
        figures = {str(name): float(value) for name, value in figures.items()}
    except (TypeError, ValueError) as problem:
        raise TrainingError(f"An observer's figure is no number: {figures}.") from problem
    return {**values, **figures, **values}  # a figure does not take the place of what the loop says
