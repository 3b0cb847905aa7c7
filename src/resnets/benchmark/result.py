"""What a benchmark came to."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, kw_only=True)
class Speed:
    """How fast one side was with batches of one size.

    task                "infer", "backward", "train", "files", "input"
    name                the network: a name of the catalog, or a model file
    who                 "resnets ENGINE", "plain torch", or a peer
    precision           what it computed in
    batch               images at once
    images_per_second   the median of the rounds
    ratio               images_per_second by that of the baseline; None without one
    baseline            who that was, and its precision: a row of the same name, task and batch
    baseline_images_per_second  of that row, measured in turn with this one
    latency             seconds of one call, over all calls: "p50", "p90", "p99"; None for more than one image at once,
                        unless the calls were counted (`steps`)
    batch_seconds       "mean" and "sd" of the seconds of one call, and how many "calls" there were
    image_size          side of the images in pixels
    set_up_seconds      to the first answer: loading the network, export, conversion and quantisation included
    """

    task: str
    name: str
    who: str
    precision: str
    batch: int
    images_per_second: float
    ratio: float | None
    baseline: str | None
    baseline_images_per_second: float | None
    latency: Mapping[str, float] | None
    batch_seconds: Mapping[str, float]
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
    steps       calls of each side, where they were counted; None where a round lasted a time
    rows        a `Speed` for each side and batch
    skipped     "who", "name" and "why" of the sides that could not take part
    """

    task: str
    date: str
    machine: Mapping[str, Any]
    versions: Mapping[str, str]
    rounds: int
    steps: int | None
    rows: tuple[Speed, ...]
    skipped: tuple[Mapping[str, str], ...] = ()

    def document(self) -> dict[str, Any]:
        """What `resnets bench --json` prints."""
        own = {field.name: getattr(self, field.name) for field in dataclasses.fields(self)}
        rows = [dataclasses.asdict(speed) for speed in self.rows]
        return {**own, "rows": rows, "skipped": [dict(one) for one in self.skipped]}
