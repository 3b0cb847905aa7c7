"""The run: every side in a process of its own, one at work at a time, in rounds that alternate.

How fast a machine is drifts within minutes, so that only figures of one round can be compared: a ratio is the median
of the rounds' ratios.
"""

from __future__ import annotations

import statistics
import tempfile
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
from resnets.benchmark import peers
from resnets.benchmark.job import Job, UnableError, make_photos
from resnets.benchmark.ours import open_model
from resnets.benchmark.side import Side
from resnets.errors import DataError, ResnetsError, nearest
from resnets.inference import engines
from resnets.machine import describe
from resnets.progress import Tracker, say, track

TASKS = ("infer", "train", "input")
PEERS = tuple(peers.PRECISIONS)
ROUNDS = 7
SECONDS = 0.5  # of one side's turn in a round
BATCHES = (1, 8, 32)
MOST_FILES = 256  # photos of the whole job
BASELINE = "torchvision"  # as it is, in float32: what ratios are to
PLAIN = "plain torch"  # the baseline where there is no torchvision, or where it does not know the network
PACKAGES = ("torch", "torchvision", "timm", "onnx", "onnxruntime", "openvino", "nncf")


def bench(
    models: Sequence[str] = ("resnet18", "resnet50"),
    *,
    task: str = "infer",
    against: Sequence[str] = PEERS,
    own: Sequence[str] | None = None,
    precisions: Sequence[str] = engines.PRECISIONS,
    batches: Sequence[int] | None = None,
    rounds: int = ROUNDS,
    seconds: float = SECONDS,
    images: Path | None = None,
) -> dict[str, Any]:
    """Measure, and return the document that `resnets bench --json` prints.

    models      names of the catalog (random weights), or model files
    task        "infer" (batches to logits), "train" (one step), "input" (from JPEG files to pixels, per core)
    against     the peers; one that is not installed, or cannot do it, is named on standard error and left out
    own         our engines. Default: those installed, without "compiled", which takes long to compile
    batches     images at once. Default: 1, 8 and 32; for "train" 32
    rounds, seconds   how often each side has its turn, and how long a turn is at least
    images      a folder of JPEG files: "infer" then has the whole job, from files to labels, too

    Raises ResnetsError for a wrong choice and DataError for a folder without JPEG files.
    """
    _choices("task", [task], TASKS)
    _choices("peer", against, PEERS)
    _choices("precision", precisions, engines.PRECISIONS)
    _choices("engine", own or [], list(engines.KINDS))
    files = _photos(images) if images else ()
    with tempfile.TemporaryDirectory() as temporary:
        if task == "input":
            jobs = [_input_jobs(against, files or make_photos(Path(temporary)))]
            batches = (32,)
        else:
            jobs = []
            for model in models:
                jobs += _jobs(model, task, against, own, precisions, files)
            batches = batches or ((32,) if task == "train" else BATCHES)
        if not jobs:
            raise ResnetsError("There is nothing to measure: training is in float32 and bfloat16.")
        run = _Run(batches, rounds, seconds)
        with track("measuring", sum(map(run.steps, jobs)), "steps") as tracker:
            rows = [row for group in jobs for row in run.group(group, tracker)]
    return {
        "task": task,
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "machine": describe(),
        "versions": {"resnets": __version__, **{name: found for name in PACKAGES if (found := _version(name))}},
        "rounds": rounds,
        "rows": rows,
        "skipped": run.skipped,
    }


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
    ours = own or [name for name in engines.installed() if name != "compiled"]
    groups = []
    for precision in precisions:
        sides = [f"resnets {name}" for name in ours if engines.supported(name, precision)]
        sides += [name for name in against if precision in peers.PRECISIONS[name]]
        if task == "train":
            sides = ["resnets", *(name for name in sides if name in ("torchvision", "timm"))]
        if task == "train" and precision == "int8":
            continue
        for kind in (task, *(("files",) if files and task == "infer" else ())):
            baseline = Job(who=BASELINE, task=kind, precision="float32", files=files, **about)
            others = [replace(baseline, who=who, precision=precision) for who in sides]
            groups.append([baseline, *(job for job in others if job != baseline)])
    return groups


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

    def group(self, jobs: Sequence[Job], tracker: Tracker) -> Iterable[dict[str, Any]]:
        """The rows of a group whose first job is the baseline."""
        batches = self.batches_of(jobs[0])
        with ExitStack() as stack:

            def start(job: Job) -> Side | None:
                side = stack.enter_context(Side(job))
                return side if self._tell(side, asdict(job)) is not None else None

            def counted(side: Side | None) -> Side | None:
                tracker(1 if side else 1 + len(batches) * (1 + self.rounds))
                return side

            baseline = counted(start(jobs[0]) or start(replace(jobs[0], who=PLAIN)))
            found = [baseline, *(counted(start(job)) for job in jobs[1:])]
            sides = [side for side in found if side]
            # The baseline of another precision's group has a row of its own there.
            shown = [side for side in sides if side is not baseline or side.job.precision == jobs[-1].precision]
            for batch in batches:
                yield from self._batch(batch, sides, shown, baseline, tracker)

    def _batch(
        self, batch: int, sides: list[Side], shown: list[Side], baseline: Side | None, tracker: Tracker
    ) -> Iterable[dict[str, Any]]:
        there = []
        for side in sides:
            side.times = []
            answer = self._tell(side, {"set_up": batch})
            tracker(1 if answer else 1 + self.rounds)
            if answer:
                side.set_up = answer["seconds"]
                there.append(side)
        for number in range(self.rounds):
            for side in there[:: -1 if number % 2 else 1]:
                answer = self._tell(side, {"run": batch, "seconds": self.seconds})
                side.times.append(answer["times"] if answer else [])
                job = side.job
                tracker(1, f"{job.model} {job.precision}, batches of {batch}: {job.who}")
        against = baseline if baseline in there and baseline and all(baseline.times) else None
        return [row(side, batch, against) for side in shown if side in there and all(side.times)]

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


def row(side: Side, batch: int, baseline: Side | None) -> dict[str, Any]:
    """What a side's turns came to."""
    job = side.job
    count = len(job.files) if job.task == "files" else batch
    rates = [count / statistics.median(times) for times in side.times]
    found = {
        "task": job.task,
        "name": job.model,
        "who": job.who,
        "precision": job.precision,
        "batch": batch,
        "images_per_second": statistics.median(rates),
        "ratio": None,
        "baseline": None,
        "latency": None,
        "image_size": job.image_size,
        "set_up_seconds": side.set_up,
    }
    if baseline is not None:
        theirs = [count / statistics.median(times) for times in baseline.times]
        found["ratio"] = statistics.median(mine / other for mine, other in zip(rates, theirs, strict=True))
        found["baseline"] = f"{baseline.job.who} {baseline.job.precision}"
    if batch == 1:
        seconds = np.percentile([time for times in side.times for time in times], (50, 90, 99))
        found["latency"] = dict(zip(("p50", "p90", "p99"), seconds.tolist(), strict=True))
    return found


def _photos(folder: Path) -> tuple[str, ...]:
    found = sorted(str(path) for path in folder.rglob("*") if path.suffix.lower() in (".jpg", ".jpeg"))
    if not found:
        raise DataError(f"{folder} holds no JPEG files: name a folder that does.")
    return tuple(found[:MOST_FILES])


def _choices(what: str, chosen: Iterable[str], known: Sequence[str]) -> None:
    for name in chosen:
        if name not in known:
            hint = nearest(name, known) or f" There are {', '.join(known)}."
            raise ResnetsError(f"There is no {what} {name!r}.{hint}")


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None
