"""An event file as TensorBoard reads it, written in the thread that calls.

`torch.utils.tensorboard` writes in a thread of its own, which prints a traceback when the disk is full.
"""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any


class Events:
    """Appends to a new event file in a folder, which it makes. What the system does not take is an OSError.

    Raises ImportError, TypeError or AttributeError where the package is missing, or not fit for its protobuf.
    """

    def __init__(self, folder: Path, step: int) -> None:
        """step: the first one; what earlier files say from there on is void."""
        from tensorboard.compat.proto.event_pb2 import Event, SessionLog
        from tensorboard.compat.proto.summary_pb2 import Summary
        from tensorboard.summary.writer.record_writer import RecordWriter

        self._event, self._summary = Event, Summary
        folder.mkdir(exist_ok=True)
        name = f"events.out.tfevents.{time.time():.6f}.{socket.gethostname()}.{os.getpid()}"
        self._file = open(folder / name, "xb", buffering=0)  # noqa: SIM115  (until `close`)
        self._records = RecordWriter(self._file)
        self._write(Event(file_version="brain.Event:2"))
        self._write(Event(step=step, session_log=SessionLog(status=SessionLog.START)))

    def add(self, step: int, values: Mapping[str, float]) -> None:
        """A point on each of these curves."""
        points = [self._summary.Value(tag=name, simple_value=value) for name, value in values.items()]
        self._write(self._event(step=step, summary=self._summary(value=points)))

    def close(self) -> None:
        """All is written already."""
        self._file.close()

    def _write(self, event: Any) -> None:
        event.wall_time = time.time()
        self._records.write(event.SerializeToString())
