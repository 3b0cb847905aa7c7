"""The command line in processes of its own, to be killed, that have torch before they begin.

A server that has imported the library forks one for each call (`multiprocessing`'s): it saves two seconds of imports.
"""

from __future__ import annotations

import multiprocessing
import os
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

SERVER = multiprocessing.get_context("forkserver")
SERVER.set_forkserver_preload(
    ["resnets.cli.main", "resnets.training", "resnets.inference", "resnets.pages", "sklearn.linear_model", "matplotlib"]
)


class Started:
    """`resnets ARGUMENTS` at work, after `before()` if something is to be patched in it; like a `Popen` with pipes."""

    def __init__(self, *arguments: str, cwd: Path | None = None, before: Callable[[], object] | None = None) -> None:
        self._said = tempfile.TemporaryDirectory()
        self._streams = [Path(self._said.name, name) for name in ("out", "err")]
        place = str(cwd or Path.cwd())
        chosen = (arguments, place, dict(os.environ), [str(path) for path in self._streams], before)
        self._process = SERVER.Process(target=_main, args=chosen)
        self._process.start()

    @property
    def returncode(self) -> int | None:
        """As of a `Popen`: minus the signal that ended it; None while it runs."""
        return self._process.exitcode

    @property
    def pid(self) -> int:
        assert self._process.pid is not None
        return self._process.pid

    def poll(self) -> int | None:
        return self._process.exitcode

    def send_signal(self, sign: int) -> None:
        if self._process.pid is not None and self._process.exitcode is None:
            os.kill(self._process.pid, sign)

    @property
    def said(self) -> str:
        """What it has said on standard error so far."""
        return self._streams[1].read_text() if self._streams[1].exists() else ""

    def communicate(self, timeout: float) -> tuple[str, str]:
        """(what it said on standard output, and on standard error), once it has ended."""
        self._process.join(timeout)
        if self._process.exitcode is None:
            self._process.kill()
            self._process.join()
            raise TimeoutError(f"it has not ended after {timeout} s")
        out, err = (path.read_text() if path.exists() else "" for path in self._streams)
        self._said.cleanup()
        return out, err


def _main(
    arguments: tuple[str, ...],
    place: str,
    environment: dict[str, str],
    streams: list[str],
    before: Callable[[], object] | None,
) -> None:
    for number, path in enumerate(streams, start=1):
        os.dup2(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600), number)
    os.chdir(place)
    os.environ.clear()
    os.environ.update(environment)
    from resnets.cli.main import main

    if before is not None:
        before()
    sys.exit(main(list(arguments)))


PEAK = '''
def peak():
    """Bytes that this program has held at the most. Not `ru_maxrss`, which begins with those of who has started it."""
    with open("/proc/self/status") as file:
        return next(int(line.split()[1]) * 1024 for line in file if line.startswith("VmHWM"))
'''
"""For programs in a process of their own; on Linux."""
