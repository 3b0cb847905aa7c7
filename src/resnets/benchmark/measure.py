"""The run: every side in a process of its own, one at work at a time, call by call in turn.

How fast a machine is drifts within seconds, so the sides take turns with single calls: what slows one slows all.
All precisions of a network are measured together: a ratio is to the very row of the baseline that is shown.
"""

from __future__ import annotations

import math
import statistics
import time
from collections.abc import Iterable, Sequence
from contextlib import ExitStack
from dataclasses import asdict, replace
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import numpy as np

from resnets import __version__
from resnets.benchmark import peers, plain
from resnets.benchmark.groups import groups, input_jobs
from resnets.benchmark.job import Job, UnableError, make_photos
from resnets.benchmark.result import BenchResult, Speed
from resnets.benchmark.side import Side
from resnets.errors import DataError, ParameterError, nearest
from resnets.inference.engines import KINDS, PRECISIONS
from resnets.machine import describe
from resnets.progress import Tracker, say, track
from resnets.whole import workspace

TASKS = ("infer", "train", "backward", "input")
PEERS = tuple(peers.PRECISIONS)
ROUNDS = 7
SECONDS = 0.5  # of a round, for each side
MOST_IMAGES = 4096  # at once
BATCHES = (1, 8, 32)
MOST_FILES = 256  # photos of the whole job
PACKAGES = ("torch", "torchvision", "timm", "onnx", "onnxruntime", "openvino", "nncf")


def bench(
    models: Sequence[str] = ("resnet18", "resnet50"),
    *,
    task: str = "infer",
    against: Sequence[str] = PEERS,
    engines: Sequence[str] | None = None,
    precisions: Sequence[str] = PRECISIONS,
    batches: Sequence[int] | None = None,
    rounds: int = ROUNDS,
    seconds: float = SECONDS,
    images: str | Path | None = None,
    steps: int | None = None,
) -> BenchResult:
    """Measure our engines beside those of others, each side in a process of its own, call by call in turn.

    models      names of the catalog (random weights), model files, runs, tags
    task        "infer" (batches to logits), "train" (one step), "backward" (one without the optimiser), "input" (from
                JPEG files to pixels, per core)
    against     the peers; one that is not installed, or cannot do it, is named on standard error and left out
    engines     our engines. Default: those installed, without "compiled", which takes long to compile
    precisions  what to compute in
    batches     images at once. Default: 1, 8 and 32; for "train" and "backward", and with `steps`, 32
    rounds      how often the sides are gone through, in alternating order
    seconds     how long a round is at least, for each side; in it they make single calls in turn
    images      a folder of JPEG files: "infer" then has the whole job, from files to labels, too
    steps       so many calls of each side in turn, instead of rounds of a time: mean, deviation and percentiles of a
                batch; "infer" is then followed by "backward"

    Raises ParameterError for a wrong choice and DataError for a folder without JPEG files.
    """
    _choices("task", [task], TASKS)
    _choices("peer", against, PEERS)
    _choices("precision", precisions, PRECISIONS)
    _choices("engine", engines or [], list(KINDS))
    _counts(batches, rounds, seconds, steps)
    tasks = (task, "backward") if steps and task == "infer" else (task,)
    files = _photos(Path(images)) if images else ()
    with workspace() as temporary:
        if task == "input":
            jobs = [input_jobs(against, files or make_photos(temporary))]
        else:
            pairs = [(model, one) for model in models for one in tasks]
            jobs = [group for pair in pairs for group in groups(*pair, against, engines, precisions, files)]
        if not jobs:
            raise ParameterError("There is nothing to measure: training is in float32 and bfloat16.")
        sizes = (32,) if task == "input" else batches or (BATCHES if tasks == ("infer",) else (32,))
        run = _Run(sizes, 1 if steps else rounds, seconds, steps)
        with track("measuring", sum(map(run.steps, jobs)), "steps") as tracker:
            rows = tuple(speed for group in jobs for speed in run.group(group, tracker))
    return BenchResult(
        task=task,
        date=datetime.now(UTC).isoformat(timespec="seconds"),
        machine=describe(),
        versions={"resnets": __version__, **{name: found for name in PACKAGES if (found := _version(name))}},
        rounds=run.rounds,
        steps=steps,
        rows=rows,
        skipped=tuple(run.skipped),
    )


class _Run:
    def __init__(self, batches: Sequence[int], rounds: int, seconds: float, steps: int | None = None) -> None:
        self.batches, self.rounds, self.seconds, self.calls = tuple(batches), rounds, seconds, steps
        self.skipped: list[dict[str, str]] = []

    def steps(self, jobs: Sequence[Job]) -> int:
        """How many a group has if all its sides can take part: starting, and for each batch setting up and turns."""
        return len(jobs) * (1 + len(self.batches_of(jobs[0])) * (1 + self.rounds))

    def batches_of(self, job: Job) -> tuple[int, ...]:
        """Whole jobs are measured with the largest batch alone."""
        return (max(self.batches),) if job.task == "files" else self.batches

    def group(self, jobs: Sequence[Job], tracker: Tracker) -> Iterable[Speed]:
        """The rows of a group whose first job is the baseline."""
        batches = self.batches_of(jobs[0])
        with ExitStack() as stack:

            def start(job: Job) -> Side | None:
                side = stack.enter_context(Side(job))
                return side if self._tell(side, asdict(job)) is not None else None

            def counted(side: Side | None) -> Side | None:
                tracker(1 if side else 1 + len(batches) * (1 + self.rounds))
                return side

            baseline = counted(start(jobs[0]) or start(replace(jobs[0], who=plain.WHO)))
            found = [baseline, *(counted(start(job)) for job in jobs[1:])]
            sides = [side for side in found if side]
            for batch in batches:
                yield from self._batch(batch, sides, baseline, tracker)

    def _batch(self, batch: int, sides: list[Side], baseline: Side | None, tracker: Tracker) -> Iterable[Speed]:
        there = []
        for side in sides:
            side.times = []
            answer = self._tell(side, {"set_up": batch})
            tracker(1 if answer else 1 + self.rounds)
            if answer:
                side.set_up = answer["seconds"]
                there.append(side)
        working = list(there)
        for number in range(self.rounds):
            calls: dict[Side, list[float]] = {side: [] for side in there}
            end = time.perf_counter() + self.seconds * len(working)
            while working:
                for side in working[:: -1 if number % 2 else 1]:
                    answer = self._tell(side, {"run": batch, "seconds": self.seconds})
                    if answer is None:
                        working.remove(side)
                    calls[side] += answer["times"] if answer else []
                if self._enough(calls, end):
                    break
            for side, times in calls.items():
                side.times.append(times)
                job = side.job
                tracker(1, f"{job.model} {job.precision}, batches of {batch}: {job.who}")
        against = baseline if baseline in working else None
        return [speed(side, batch, against, counted=self.calls is not None) for side in working]

    def _enough(self, calls: dict[Side, list[float]], end: float) -> bool:
        """Whether a round is over: so many calls were made, or so much time has passed."""
        if self.calls is None:
            return time.perf_counter() >= end
        return max(map(len, calls.values())) >= self.calls

    def _tell(self, side: Side, order: dict[str, Any]) -> dict[str, Any] | None:
        try:
            return side.ask(order)
        except UnableError as problem:
            job = side.job
            one = {"who": job.who, "name": job.model, "why": str(problem)}
            if one not in self.skipped:
                self.skipped.append(one)
                say(f"left out: {job.who}, {job.model} in {job.precision}: {problem}")
            return None


def speed(side: Side, batch: int, baseline: Side | None, counted: bool = False) -> Speed:
    """What a side's turns came to; counted: whether percentiles are wanted of any batch."""
    job = side.job
    count = len(job.files) if job.task == "files" else batch
    rate, theirs = (
        None if one is None else statistics.median(count / statistics.median(times) for times in one.times)
        for one in (side, baseline)
    )
    assert rate is not None
    # Of a whole job a call is all files: what a batch takes of it is its share.
    calls = np.array([time * batch / count for times in side.times for time in times])
    latency = None
    if batch == 1 or counted:
        latency = dict(zip(("p50", "p90", "p99"), np.percentile(calls, (50, 90, 99)).tolist(), strict=True))
    return Speed(
        task=job.task,
        name=job.model,
        who=job.who,
        precision=job.precision,
        batch=batch,
        images_per_second=rate,
        ratio=None if theirs is None else rate / theirs,
        baseline=None if baseline is None else f"{baseline.job.who} {baseline.job.precision}",
        baseline_images_per_second=theirs,
        latency=latency,
        batch_seconds={
            "mean": float(calls.mean()),
            "sd": float(calls.std(ddof=1)) if len(calls) > 1 else 0.0,
            "calls": len(calls),
        },
        image_size=job.image_size,
        set_up_seconds=side.set_up,
    )


def _photos(folder: Path) -> tuple[str, ...]:
    found = sorted(str(path) for path in folder.rglob("*") if path.suffix.lower() in (".jpg", ".jpeg"))
    if not found:
        raise DataError(f"{folder} holds no JPEG files: name a folder that does.")
    return tuple(found[:MOST_FILES])


def _counts(batches: Sequence[int] | None, rounds: int, seconds: float, steps: int | None) -> None:
    for batch in batches or ():
        if not isinstance(batch, int) or not 0 < batch <= MOST_IMAGES:
            raise ParameterError(f"`batches` are whole numbers from 1 to {MOST_IMAGES}, not {batch!r}.")
    for name, count in (("rounds", rounds), ("steps", steps)):
        if count is not None and (not isinstance(count, int) or count < 1):
            raise ParameterError(f"`{name}` is a whole number of 1 or more, not {count!r}.")
    if not 0 <= seconds < math.inf:
        raise ParameterError(f"A round lasts 0 seconds or more, not {seconds!r}.")


def _choices(what: str, chosen: Iterable[str], known: Sequence[str]) -> None:
    for name in chosen:
        if name not in known:
            hint = nearest(name, known) or f" There are {', '.join(known)}."
            raise ParameterError(f"There is no {what} {name!r}.{hint}")


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None
