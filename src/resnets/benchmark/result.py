"""What a benchmark came to."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, kw_only=True)
class Speed:
    """How fast one side was with batches of one size.

    task                "infer", "files", "train", "input"
    name                the network: a name of the catalog, or a model file
    who                 "resnets ENGINE", "plain torch", or a peer
    precision           what it computed in
    batch               images at once
    images_per_second   the median of the rounds
    ratio               to the baseline: the median of the rounds' ratios; None without one
    baseline            who that was, and its precision
    latency             seconds of one call, over all calls: "p50", "p90", "p99"; None for more than one image at once
    image_size          side of the images in pixels
    set_up_seconds      from the network to the first answer
    """

    task: str
    name: str
    who: str
    precision: str
    batch: int
    images_per_second: float
    ratio: float | None
    baseline: str | None
    latency: Mapping[str, float] | None
    image_size: int
    set_up_seconds: float


@dataclass(frozen=True, kw_only=True)
class BenchResult:
    """All sides of one run, which alone can be compared with each other.

    task        what was measured
    date        when, in UTC, as ISO 8601 has it
    machine     processor, cores, system: see `resnets.machine.describe`
    versions    package to version
    rounds      how often each side had its turn
    rows        a `Speed` for each side and batch
    skipped     "who", "name" and "why" of the sides that could not take part
    """

    task: str
    date: str
    machine: Mapping[str, Any]
    versions: Mapping[str, str]
    rounds: int
    rows: tuple[Speed, ...]
    skipped: tuple[Mapping[str, str], ...] = ()

    def document(self) -> dict[str, Any]:
        """What `resnets bench --json` prints."""
        own = {field.name: getattr(self, field.name) for field in dataclasses.fields(self)}
        rows = [dataclasses.asdict(speed) for speed in self.rows]
        return {**own, "rows": rows, "skipped": [dict(one) for one in self.skipped]}
