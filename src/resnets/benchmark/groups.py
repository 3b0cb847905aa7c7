"""Who is compared with whom: the jobs of a benchmark, in groups of which the first is what ratios are to."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from resnets.architecture.catalog import name_of
from resnets.benchmark import peers, plain
from resnets.benchmark.job import Job
from resnets.benchmark.plain import open_model
from resnets.inference.engines import installed, supported

BASELINE = "torchvision"  # as it is, in float32: what ratios are to


def groups(
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
        if task in plain.TRAINING and precision == "int8":
            continue
        here = [f"resnets {name}" for name in ours if supported(name, precision)]
        here += [name for name in against if precision in peers.PRECISIONS[name]]
        if task in plain.TRAINING:
            here = ["resnets", *(name for name in here if name in ("torchvision", "timm"))]
        sides += [(who, precision) for who in here]
    groups = []
    for kind in (task, *(("files",) if files and task == "infer" else ())):
        baseline = Job(who=BASELINE, task=kind, precision="float32", files=files, **about)
        others = [replace(baseline, who=who, precision=precision) for who, precision in sides]
        groups.append([baseline, *(job for job in others if job != baseline)])
    return groups if sides else []


def input_jobs(against: Sequence[str], files: tuple[str, ...]) -> list[Job]:
    """The jobs of reading files."""
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
