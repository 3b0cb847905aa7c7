"""A good neighbour: as many threads as there are cores that nobody else is using.

Threads that work together wait for the slowest. Where another process takes a core, one of two threads is always the
one that was stopped, and the other spins for it: both get less done than one thread alone would (measured by
`benchmarks/neighbour.py`). So the load of others is looked at once a second, and while there is one, torch works with
fewer threads. Linux alone says enough for that; elsewhere, and with one thread, nothing happens.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from pathlib import Path

from resnets import machine

EVERY = 1.0  # seconds between two looks
NOTICED = 0.3  # of a core that others take before one is left to them; a busy process shows as 0.6 or more
LONG = 10.0  # seconds without a look after which it begins anew
PATIENCE = 5  # quiet looks in a row until a core is taken back
OFF = "RESNETS_THREADS"  # "fixed" in the environment: always as many threads as there are cores

Busy = Callable[[], float]


class Sharing:
    """How many threads are worth having now.

    most    as many as there would be without others
    cores   that this process may use
    others  seconds of processor time that other processes have used so far on our cores; raises OSError or ValueError
    """

    def __init__(
        self, most: int, others: Busy | None = None, clock: Busy = time.monotonic, cores: int | None = None
    ) -> None:
        self.most, self._others, self._clock = most, others or _others, clock
        self._cores = cores or machine.cores()
        self.threads, self._quiet = most, 0
        self._on = most > 1 and os.environ.get(OFF) != "fixed"
        self._last = (clock(), self._used())

    def look(self) -> int:
        """The number of threads; what others do is looked at no more often than once in `EVERY` seconds."""
        if not self._on or (now := self._clock()) - self._last[0] < EVERY:
            return self.threads
        used, (since, before) = self._used(), self._last
        self._last = (now, used)
        if now - since > LONG:  # nobody has worked here meanwhile: what others did then says nothing of now
            self.threads, self._quiet = self.most, 0
            return self.threads
        taken = (used - before) / (now - since)
        wanted = min(self.most, max(1, self._cores - round(taken + 0.5 - NOTICED)))
        self._quiet = self._quiet + 1 if wanted > self.threads else 0
        if wanted < self.threads or self._quiet >= PATIENCE:
            self.threads, self._quiet = wanted, 0
        return self.threads

    def _used(self) -> float:
        try:
            return self._others() if self._on else 0.0
        except (OSError, ValueError, LookupError):  # not Linux, or nothing that can be read
            self._on = False
            return 0.0


def _others() -> float:
    """Seconds that others have used on the cores that this process may use, since the machine was started."""
    own = {f"cpu{number}" for number in os.sched_getaffinity(0)}
    ticks = 0
    for line in Path("/proc/stat").read_text().splitlines():
        name, *numbers = line.split()
        if name in own:
            user, nice, system = map(int, numbers[:3])
            ticks += user + nice + system
    return ticks / os.sysconf("SC_CLK_TCK") - time.process_time()
