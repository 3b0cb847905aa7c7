"""The log of a run: a JSON line per step and per epoch, and TensorBoard beside it where that is installed.

`log.jsonl` is the one record. A resumed run cuts it back to the checkpoint, so that no step stands there twice.
"""

from __future__ import annotations

import dataclasses
import json
import os
import stat
from contextlib import suppress
from io import FileIO
from pathlib import Path
from typing import Any, Self

from resnets.errors import TrainingError
from resnets.progress import warn
from resnets.text import printable
from resnets.training.events import Events
from resnets.training.observer import EpochRecord, Fallback, Observer, StepRecord, Training
from resnets.weights.run import LOG
from resnets.weights.runlog import losses_of
from resnets.whole import unwritable

AT_ONCE = 2**16  # bytes of lines that wait for the next checkpoint, at most


class Log(Observer):
    """Appends to a run's log.jsonl: {"kind": "step", "epoch" or "fallback", "step": .., ...}."""

    def __init__(self, folder: Path, keep: int = 0) -> None:
        """keep: bytes of an existing log that still hold (a checkpoint's position); 0: none.

        Raises TrainingError for a log that is shorter than that, WriteError for one that cannot be written.
        """
        self.path = folder / LOG
        self._file, self._written, self._pending = self._opened(keep), keep, bytearray()

    def _opened(self, keep: int) -> FileIO:
        flags = os.O_RDWR | os.O_CREAT
        for name in ("O_NOFOLLOW", "O_NONBLOCK", "O_BINARY"):  # as far as the system knows them
            flags |= getattr(os, name, 0)
        try:
            file = os.fdopen(os.open(self.path, flags, 0o644), "r+b", buffering=0)
            if not stat.S_ISREG(os.fstat(file.fileno()).st_mode) or os.fstat(file.fileno()).st_size < keep:
                file.close()
                raise TrainingError(
                    f"{printable(str(self.path))} is missing or cut short, so the run cannot go on: start it anew."
                )
            file.truncate(keep)
        except OSError as problem:
            raise unwritable(self.path, problem) from problem
        return file

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
        """One line. What the disk does not take waits in memory until it does: a log ends no training."""
        self._pending += f"{json.dumps({'kind': kind, **values})}\n".encode()
        if len(self._pending) >= AT_ONCE:
            with suppress(OSError):
                self._flush()

    def position(self) -> int:
        """Bytes written so far, all of them on the disk: neither a kill nor a power cut loses them any more.

        Raises OSError when the disk does not take them.
        """
        self._flush()
        os.fsync(self._file.fileno())
        return self._written

    def _flush(self) -> None:
        while self._pending:
            self._file.seek(self._written)  # a write that failed may have left a part of itself
            written = self._file.write(self._pending) or 0
            self._written += written
            del self._pending[:written]

    def losses(self, epoch: int) -> list[float]:
        """Of the steps of an epoch, 1 the first, that the log has."""
        return losses_of(self.path.parent, epoch)

    def close(self) -> None:
        """Write out what is left."""
        try:
            self._flush()
        except OSError as problem:
            lines = self._pending.count(b"\n")
            warn(f"{printable(str(self.path))} lacks its last {lines} lines ({problem.strerror}).")
        self._file.close()


class TensorBoard(Observer):
    """The same for TensorBoard; only where the package is installed: pip install 'resnets[tensorboard]'."""

    def __init__(self, writer: Events) -> None:
        self._writer, self._works = writer, True

    @classmethod
    def beside(cls, folder: Path, step: int) -> list[Self]:
        """The observer of a run whose next step this is, or none where the package is missing or does not work."""
        try:
            return [cls(Events(folder / "tensorboard", step))]
        except (ImportError, TypeError, AttributeError):  # not installed, or not fit for its protobuf
            return []
        except OSError as problem:
            _left_out(problem)
            return []

    def stepped(self, training: Training, step: StepRecord) -> None:
        """A point on every curve."""
        self._write("step", step.step, dataclasses.asdict(step))

    def epoch_ended(self, training: Training, epoch: EpochRecord) -> None:
        """A point on every curve."""
        self._write("epoch", epoch.step, _values(epoch))

    def ended(self, training: Training) -> None:
        """Close the file."""
        self._writer.close()

    def _write(self, kind: str, step: int, values: dict[str, Any]) -> None:
        if self._works:
            try:
                self._writer.add(
                    step, {f"{kind}/{name}": value for name, value in values.items() if isinstance(value, float)}
                )
            except OSError as problem:  # what is written beside ends no training
                self._works = False
                _left_out(problem)


def _left_out(problem: OSError) -> None:
    why = problem.strerror or printable(str(problem))
    warn(f"nothing more is written for TensorBoard ({why}); {LOG} has it all.")


def _values(epoch: EpochRecord) -> dict[str, Any]:
    values = dataclasses.asdict(epoch)
    figures = values.pop("figures")
    try:
        figures = {str(name): float(value) for name, value in figures.items()}
    except (TypeError, ValueError) as problem:
        raise TrainingError(f"An observer's figure is no number: {figures}.") from problem
    return {**values, **figures, **values}  # a figure does not take the place of what the loop says
