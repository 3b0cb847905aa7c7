"""One side of a benchmark as the run sees it: a process that is given a job and answers orders."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from typing import Any, Self

from resnets.benchmark.job import Job, UnableError


class Side:
    """The other end of a worker.

    job      what it was told to do
    set_up   seconds that setting up for the present batch took
    times    of the present batch: for each round, seconds of each call
    """

    def __init__(self, job: Job) -> None:
        self.job = job
        self.set_up = 0.0
        self.times: list[list[float]] = []
        # Only what it says last is of interest, when it dies.
        self._log = tempfile.TemporaryFile()  # noqa: SIM115  (closed with the process that writes)
        command = [sys.executable, "-P", "-m", "resnets.benchmark.worker"]
        environment = dict(os.environ)
        if job.task == "files" and job.who.startswith("resnets"):
            environment["OMP_WAIT_POLICY"] = "passive"  # as `resnets predict` has it
        self._process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=self._log, text=True, env=environment
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._process.communicate()
        self._log.close()

    def ask(self, order: dict[str, Any]) -> dict[str, Any]:
        """Its answer. Raises UnableError with the reason."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        try:
            print(json.dumps(order), file=self._process.stdin, flush=True)
            line = self._process.stdout.readline()
        except BrokenPipeError:
            line = ""
        if not line:
            self._log.seek(0)
            last = self._log.read().decode(errors="replace").strip().rpartition("\n")[2]
            raise UnableError(f"its process ended: {last or 'it was killed'}")
        answer: dict[str, Any] = json.loads(line)
        if "why" in answer:
            raise UnableError(answer["why"])
        return answer
