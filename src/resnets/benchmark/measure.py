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
from resnets.architecture.catalog import name_of
from resnets.benchmark import peers, plain
from resnets.benchmark.job import Job, UnableError, make_photos
from resnets.benchmark.plain import open_model
from resnets.benchmark.result import BenchResult, Speed
from resnets.benchmark.side import Side
from resnets.errors import DataError, ParameterError, nearest
from resnets.inference.engines import KINDS, PRECISIONS, installed, supported
from resnets.machine import describe
from resnets.progress import Tracker, say, track
from resnets.whole import workspace

TASKS = ("infer", "train", "input")
PEERS = tuple(peers.PRECISIONS)
ROUNDS = 7
SECONDS = 0.5  # of a round, for each side
MOST_IMAGES = 4096  # at once
BATCHES = (1, 8, 32)
MOST_FILES = 256  # photos of the whole job
BASELINE = "torchvision"  # as it is, in float32: what ratios are to
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
) -> BenchResult:
    """Measure our engines beside those of others, each side in a process of its own, call by call in turn.

    models      names of the catalog (random weights), model files, runs, tags
    task        "infer" (batches to logits), "train" (one step), "input" (from JPEG files to pixels, per core)
    against     the peers; one that is not installed, or cannot do it, is named on standard error and left out
    engines     our engines. Default: those installed, without "compiled", which takes long to compile
    precisions  what to compute in
    batches     images at once. Default: 1, 8 and 32; for "train" 32
    rounds      how often the sides are gone through, in alternating order
    seconds     how long a round is at least, for each side; in it they make single calls in turn
    images      a folder of JPEG files: "infer" then has the whole job, from files to labels, too

    Raises ParameterError for a wrong choice and DataError for a folder without JPEG files.
    """
    _choices("task", [task], TASKS)
    _choices("peer", against, PEERS)
    _choices("precision", precisions, PRECISIONS)
    _choices("engine", engines or [], list(KINDS))
    _counts(batches, rounds, seconds)
    files = _photos(Path(images)) if images else ()
    with workspace() as temporary:
        if task == "input":
            jobs = [_input_jobs(against, files or make_photos(temporary))]
            batches = (32,)
        else:
            jobs = []
            for model in models:
                jobs += _jobs(model, task, against, engines, precisions, files)
            batches = batches or ((32,) if task == "train" else BATCHES)
        if not jobs:
            raise ParameterError("There is nothing to measure: training is in float32 and bfloat16.")
        run = _Run(batches, rounds, seconds)
        with track("measuring", sum(map(run.steps, jobs)), "steps") as tracker:
            rows = tuple(speed for group in jobs for speed in run.group(group, tracker))
    return BenchResult(
        task=task,
        date=datetime.now(UTC).isoformat(timespec="seconds"),
        machine=describe(),
        versions={"resnets": __version__, **{name: found for name in PACKAGES if (found := _version(name))}},
        rounds=rounds,
        rows=rows,
        skipped=tuple(run.skipped),
    )


def _jobs(
    model: str,
    task: str,
    against: Sequence[str],
    own: Sequence[str] | None,
    precisions: Sequence[str],
    files: tuple[str, ...],
) -> list[list[Job]]:
    """Groups of jobs that are compared with each other; the first of a group is the baseline."""
    opened = open_model(model)
    plan, size = opened.network.plan, opened.preprocessing.image_size
    about: dict[str, Any] = {
        "model": model,
        "catalog": name_of(plan.spec),
        "classes": plan.num_classes,
        "image_size": size,
    }
    ours = own or [name for name in installed() if name != "compiled"]
    sides: list[tuple[str, str]] = []
    for precision in precisions:
        if task == "train" and precision == "int8":
            continue
        here = [f"resnets {name}" for name in ours if supported(name, precision)]
        here += [name for name in against if precision in peers.PRECISIONS[name]]
        if task == "train":
            here = ["resnets", *(name for name in here if name in ("torchvision", "timm"))]
        sides += [(who, precision) for who in here]
    groups = []
    for kind in (task, *(("files",) if files and task == "infer" else ())):
        baseline = Job(who=BASELINE, task=kind, precision="float32", files=files, **about)
        others = [replace(baseline, who=who, precision=precision) for who, precision in sides]
        groups.append([baseline, *(job for job in others if job != baseline)])
    return groups if sides else []


def _input_jobs(against: Sequence[str], files: tuple[str, ...]) -> list[Job]:
    baseline = Job(
        who=BASELINE,
        task="input",
        model="photos",
        catalog=None,
        classes=0,
        image_size=224,
        precision="uint8",
        files=files,
    )
    return [baseline, replace(baseline, who="resnets")]


class _Run:
    def __init__(self, batches: Sequence[int], rounds: int, seconds: float) -> None:
        self.batches, self.rounds, self.seconds = tuple(batches), rounds, seconds
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
                if time.perf_counter() >= end:
                    break
            for side, times in calls.items():
                side.times.append(times)
                job = side.job
                tracker(1, f"{job.model} {job.precision}, batches of {batch}: {job.who}")
        against = baseline if baseline in working else None
        return [speed(side, batch, against) for side in working]

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


def speed(side: Side, batch: int, baseline: Side | None) -> Speed:
    """What a side's turns came to."""
    job = side.job
    count = len(job.files) if job.task == "files" else batch
    rate, theirs = (
        None if one is None else statistics.median(count / statistics.median(times) for times in one.times)
        for one in (side, baseline)
    )
    assert rate is not None
    latency = None
    if batch == 1:
        seconds = np.percentile([time for times in side.times for time in times], (50, 90, 99))
        latency = dict(zip(("p50", "p90", "p99"), seconds.tolist(), strict=True))
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
        image_size=job.image_size,
        set_up_seconds=side.set_up,
    )


def _photos(folder: Path) -> tuple[str, ...]:
    found = sorted(str(path) for path in folder.rglob("*") if path.suffix.lower() in (".jpg", ".jpeg"))
    if not found:
        raise DataError(f"{folder} holds no JPEG files: name a folder that does.")
    return tuple(found[:MOST_FILES])


def _counts(batches: Sequence[int] | None, rounds: int, seconds: float) -> None:
    for batch in batches or ():
        if not isinstance(batch, int) or not 0 < batch <= MOST_IMAGES:
            raise ParameterError(f"`batches` are whole numbers from 1 to {MOST_IMAGES}, not {batch!r}.")
    if not isinstance(rounds, int) or rounds < 1:
        raise ParameterError(f"`rounds` is a whole number of 1 or more, not {rounds!r}.")
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
