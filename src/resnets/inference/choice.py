"""`--engine auto`: which engine is the fastest here, for this network, precision and batch?

The installed engines are measured once, in turns, after each has shown that it computes what the network computes.
What came out is kept in the folder of caches, and is found again on the same machine with the same versions.
"""

from __future__ import annotations

import hashlib
import json
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from functools import partial
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from resnets import __version__
from resnets.errors import ResnetsError
from resnets.inference import engines
from resnets.inference.engine import Engine
from resnets.machine import cores, describe, home, open_kept
from resnets.network import ResNet
from resnets.progress import say
from resnets.weights.modelfile import self_test_input
from resnets.whole import write_json

if TYPE_CHECKING:
    from resnets.inference.quantize import Quantisation

FORMAT = 1  # of a kept report; another one is measured again
MOST_BYTES = 2**24  # of a kept report
ROUNDS = 5
SECONDS = 0.2  # of one engine's turn in a round
# How far an engine's logits may lie from the network's in float32, as a share of their spread (zero included). What
# int8 costs in accuracy is judged on photos (`acceptance.gate`); here it must be recognisably the same network.
TOLERANCES = {"float32": 1e-4, "bfloat16": 0.05, "int8": 0.3}
# Convolutions of the largest network for which "compiled" is tried: a larger one compiles for more than half a minute.
MOST_CONVOLUTIONS = 64

Timer = Callable[[Engine, Tensor], float]


class NoEngineError(ResnetsError):
    """No engine computes what the network computes."""

    exit_status = 1


def fastest(
    network: ResNet,
    precision: str = "float32",
    *,
    image_size: int | None = None,
    batch: int = 8,
    quantisation: Quantisation | None = None,
    model_digest: str | None = None,
    candidates: Sequence[str] | None = None,
    make: Callable[..., Engine] = engines.make,
    timer: Timer | None = None,
) -> tuple[str, dict[str, Any]]:
    """(name, report): the engine that runs batches of this size fastest, of those that compute the right thing.

    image_size, quantisation   as in `engines.make`
    model_digest    a hash of the model's file: under it the report is kept and found again. None keeps nothing
    candidates      engines to choose from. Default: those that are installed and have the precision
    make, timer     how an engine is made, and how many seconds it takes for one call with a batch

    The report: {"engine", "precision", "batch", "images_per_second": {name: rate}, "refused": {name: why}, "kept":
    whether it comes from an earlier call}. Says on standard error which engine was taken, and by how much.

    Raises NoEngineError: not one of them computes what the network computes.
    """
    size = image_size or network.plan.image_size
    if candidates is None:
        small = sum(row.kind == "conv" for row in network.plan.rows) <= MOST_CONVOLUTIONS
        there = (name for name in engines.installed() if engines.supported(name, precision))
        candidates = [name for name in there if name != "compiled" or small]
    key = {
        "format": FORMAT,
        "gpu": torch.cuda.get_device_name() if next(network.parameters()).is_cuda else None,
        **here(),
        "candidates": list(candidates),
        "model": model_digest,
        "floats": sorted(quantisation.floats) if quantisation else None,
        "precision": precision,
        "image_size": size,
        "batch": batch,
    }
    path = _place(key) if model_digest else None
    report = _read(path, candidates) if path else None
    if report is None:
        options = {"image_size": size, "batch": batch, "quantisation": quantisation}
        made = {name: partial(make, name, network, precision, **options) for name in candidates}
        report = _measure(network, precision, size, batch, made, timer or _seconds)
        if path:
            keep(path, report)
    say(_sentence(report))
    return report["engine"], report


def wrong(logits: Tensor, reference: Tensor, precision: str) -> str | None:
    """Why an engine's logits are not those of the network (`reference`, in float32); None if they are.

    Both (N, classes). In bfloat16 the first class has to be the same too, wherever the reference is clear about it.
    """
    if logits.shape != reference.shape:
        return f"its logits are {tuple(logits.shape)}, not {tuple(reference.shape)}"
    spread = float(reference.max().clamp(min=0) - reference.min().clamp(max=0)) or 1.0
    off = float((logits - reference).abs().max()) / spread
    allowed = TOLERANCES[precision]
    if not off <= allowed:
        return f"its logits are off by {off:.2g} of their spread, where {allowed:g} is allowed"
    best = reference.topk(min(2, reference.shape[1]), dim=1).values
    clear = best[:, 0] - best[:, -1] > allowed * spread
    if precision == "bfloat16" and (logits.argmax(1) != reference.argmax(1))[clear].any():
        return "it names another class than the network in float32"
    return None


def _measure(
    network: ResNet, precision: str, size: int, batch: int, made: Mapping[str, Callable[[], Engine]], timer: Timer
) -> dict[str, Any]:
    x = _images(network.plan.in_channels, size, batch)
    with torch.inference_mode():
        reference = network.eval()(x.to(next(network.parameters()).device)).float().cpu()
    right: dict[str, Engine] = {}
    refused: dict[str, str] = {}
    for name, maker in made.items():
        try:
            engine = maker()
            why = wrong(engine(x), reference, precision)
        except Exception as problem:  # whatever a runtime raises that cannot do it here
            why = f"it failed: {str(problem).splitlines()[0] if str(problem) else type(problem).__name__}"
        if why:
            refused[name] = why
            say(f"engine {name} is left out: {why}")
        else:
            right[name] = engine
    if not right:
        reasons = "; ".join(f"{name}: {why}" for name, why in refused.items())
        raise NoEngineError(f"No engine computes what the network computes in {precision}: {reasons}.")
    seconds: dict[str, list[float]] = {name: [] for name in right}
    for _ in range(ROUNDS if len(right) > 1 else 1):
        for name, engine in right.items():
            seconds[name].append(timer(engine, x))
    rates = {name: batch / statistics.median(times) for name, times in seconds.items()}
    best = max(rates, key=rates.__getitem__)
    return {
        "engine": best,
        "precision": precision,
        "batch": batch,
        "images_per_second": rates,
        "refused": refused,
        "kept": False,
    }


def _seconds(engine: Engine, x: Tensor) -> float:
    """Of one call: the median of as many as fit into the turn, after one that does not count."""
    engine(x)
    times: list[float] = []
    end = time.perf_counter() + SECONDS
    while not times or time.perf_counter() < end:
        began = time.perf_counter()
        engine(x)
        times.append(time.perf_counter() - began)
    return statistics.median(times)


def _images(channels: int, size: int, batch: int) -> Tensor:
    """(batch, channels, size, size): the self-test's input at several contrasts, so that images differ."""
    turns = torch.arange(batch)
    images = self_test_input(channels, size)[turns % 2] * (1 + turns % 7).reshape(-1, 1, 1, 1) / 4
    return images.contiguous(memory_format=torch.channels_last)


def _sentence(report: dict[str, Any]) -> str:
    name, rates = report["engine"], report["images_per_second"]
    figures = [f"{rates[name] / rate:.2f} times {other}" for other, rate in rates.items() if other != name]
    figures.append(f"{rates[name]:,.0f} images/s in {report['precision']}, batches of {report['batch']}")
    return f"engine {name}: {', '.join(figures)}{', measured before' if report['kept'] else ''}"


def _place(key: dict[str, Any]) -> Path:
    digest = hashlib.sha256(json.dumps(key, sort_keys=True).encode()).hexdigest()
    return home() / "engines" / f"{digest[:32]}.json"


def _read(path: Path, candidates: Sequence[str]) -> dict[str, Any] | None:
    """The report that is kept there; None if there is none that makes sense."""
    try:
        with open_kept(path) as file:
            report = json.loads(file.read(MOST_BYTES))
        rates = {str(name): float(rate) for name, rate in report["images_per_second"].items()}
        sensible = report["engine"] in rates and set(rates) <= set(candidates) and min(rates.values()) > 0
        return {**report, "images_per_second": rates, "kept": True} if sensible else None
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return None


def here() -> dict[str, Any]:
    """What a measurement or a judgement holds for: this machine, and these versions."""
    versions = [__version__, *(_version(package) for package in ("torch", "onnxruntime", "openvino"))]
    return {"processor": describe()["processor"], "cores": cores(), "versions": versions}


def keep(path: Path, report: dict[str, Any]) -> None:
    """Write a document in one step; where nothing can be written, what it says is found out again the next time."""
    with suppress(OSError):
        path.parent.mkdir(parents=True, exist_ok=True)
        write_json(path, report)


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None
