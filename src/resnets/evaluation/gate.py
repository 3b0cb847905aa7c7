"""May an engine, or a file, take the network's place? Labelled images decide.

Calibration sees training images, judgement held-out ones: what is fitted on an image is never judged on it.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import torch
from torch import Tensor

from resnets.data.cache import Cache, cached, home
from resnets.data.sources import Source, open_source
from resnets.errors import DataError, ExportError, ModelFileError
from resnets.evaluation.held_out import choose, class_indices
from resnets.evaluation.metrics import top_k
from resnets.inference import Classifier, choice, engines
from resnets.inference.engines import Engine
from resnets.inference.lower import lower
from resnets.inference.quantize import Quantisation, calibrate, fallbacks
from resnets.progress import say, track

MAX_DROP = 0.5  # points of top-1 that a lower precision may cost
CALIBRATION = 256  # images
SENSITIVITY = 32  # of them, which say how sensitive each convolution is
BATCH = 64  # images that the network sees at once
FEWEST = 20  # images that can judge at all

T = TypeVar("T")
Run = Callable[[np.ndarray], Tensor]  # (N, S, S, 3) uint8 -> logits (N, classes)


@dataclass(frozen=True, eq=False)
class Examples:
    """Labelled images of one data set, as a classifier's network sees them.

    calibration     (M, S, S, 3) uint8; none of them is judged
    judged          the held-out images
    labels          (N,) the true class of each of them
    source          what they come from
    """

    calibration: np.ndarray
    judged: Cache
    labels: np.ndarray
    source: Source

    def top1(self, run: Run, what: str = "judging") -> float:
        """The share of the held-out images whose class `run` names."""
        logits = []
        with track(what, len(self.labels)) as advance:
            for first in range(0, len(self.labels), BATCH):
                logits.append(run(self.judged.images[first : first + BATCH]).numpy())
                advance(len(logits[-1]))
        return top_k(np.concatenate(logits), self.labels, 1)


@dataclass(frozen=True)
class Judgement:
    """Top-1 on the same `images`, as fractions: of the float32 network and of what shall take its place."""

    images: int
    top1_source: float
    top1_result: float

    @property
    def drop(self) -> float:
        """Points of top-1 that are lost."""
        return 100 * (self.top1_source - self.top1_result)

    def check(self, max_drop: float = MAX_DROP) -> None:
        """Raise `Loss` if more than `max_drop` points are lost."""
        if not self.drop <= max_drop:
            raise Loss(self)

    def __str__(self) -> str:
        return f"top-1 {100 * self.top1_result:.2f} % ({100 * self.top1_source:.2f} % in float32, {self.images} images)"


def examples(classifier: Classifier, data: str | Path) -> Examples:
    """Images for calibration and judgement: DATA's training and held-out images.

    Where the data has no splits, a quarter of it (at most `CALIBRATION` images) calibrates and the rest judges.
    Raises DataError for data that cannot be read, unknown classes, and fewer than `FEWEST` images to judge with.
    """
    source = open_source(data)
    _, held_out = choose(source, classifier.provenance, None)
    rest = {sample.key for sample in source.samples} - {sample.key for sample in held_out}
    train = [sample for sample in source.samples if sample.key in rest and sample.split in ("train", "")]
    order = np.random.default_rng(0).permutation(len(train) or len(held_out))
    if train:
        chosen = [train[i] for i in order[:CALIBRATION]]
    else:
        most = min(CALIBRATION, len(held_out) // 4)
        chosen, held_out = [held_out[i] for i in order[:most]], tuple(held_out[i] for i in sorted(order[most:]))
    if len(held_out) < FEWEST or not chosen:
        raise DataError(f"{source.name} has {len(held_out)} images to judge with, too few: {FEWEST} are needed.")
    class_indices(held_out, classifier.classes)
    judged = cached(source, held_out, classifier.preprocessing)
    index = class_indices(judged.samples, classifier.classes)
    return Examples(
        calibration=cached(source, chosen, classifier.preprocessing).images,
        judged=judged,
        labels=np.array([index[sample.label] for sample in judged.samples]),
        source=source,
    )


class Loss(ExportError):
    """More accuracy is lost than may be."""

    def __init__(self, judgement: Judgement) -> None:
        self.judgement = judgement
        super().__init__(f"It loses {judgement.drop:.2f} points: {judgement}.")


def attempts(classifier: Classifier, photos: Examples) -> Iterator[Quantisation]:
    """Calibrated on the images set aside for it: all in int8 first, then with more and more left in float."""
    graph = lower(classifier.network, classifier.preprocessing.image_size)
    quantisation = calibrate(graph, _batches(classifier, photos.calibration))
    yield from fallbacks(graph, quantisation, _input(classifier, photos.calibration[:SENSITIVITY]))


def first_good(tries: Iterable[Quantisation], use: Callable[[Quantisation], T]) -> tuple[Quantisation, T]:
    """The first quantisation that can be used, and what came of it.

    use     raises `Loss` where too much accuracy is lost

    Raises ExportError when none of them is good enough.
    """
    losses = []
    for quantisation in tries:
        try:
            return quantisation, use(quantisation)
        except Loss as loss:
            losses.append(loss.judgement)
        kept = f" with {len(quantisation.floats)} convolutions in float" if quantisation.floats else ""
        say(f"int8{kept} loses {losses[-1].drop:.2f} points of top-1: more convolutions stay float.")
    best = max(losses, key=lambda judgement: judgement.top1_result)
    raise ExportError(
        f"int8 is refused: with half of the work in float it still loses too much, at best {best}. Take bfloat16, or "
        "give more images, like those that the network will see."
    )


def engine_for(
    classifier: Classifier, name: str, precision: str, data: str | Path | None = None, batch: int = 8
) -> Engine:
    """The engine that was asked for, behind the gate of its precision; "auto" is the fastest that passes.

    int8 needs `data` the first time: the calibration that passed is kept, for this model and engine, in the folder of
    caches. Raises ResnetsError for an engine or precision that is not there, ExportError when int8 loses too much.
    """
    network, size = classifier.network, classifier.preprocessing.image_size

    def make(wanted: str, quantisation: Quantisation | None = None) -> Engine:
        return engines.make(wanted, network, precision, image_size=size, batch=batch, quantisation=quantisation)

    def fastest(quantisation: Quantisation | None = None) -> str:
        digest = classifier.digest
        return choice.fastest(
            network, precision, image_size=size, batch=batch, quantisation=quantisation, model_digest=digest
        )[0]

    def gated(wanted: str) -> Quantisation | None:
        """The quantisation with which an engine has passed, now or earlier."""
        if data is None:
            return _kept(classifier, wanted)
        found, judgement = first_good(
            attempts(classifier, photos), lambda quantisation: judged(make(wanted, quantisation))
        )
        say(f"int8 by {wanted}: {judgement}.")
        _keep(classifier, wanted, found, judgement)
        return found

    def judged(engine: Engine) -> Judgement:
        top1 = photos.top1(lambda pixels: engine(_input(classifier, pixels)), "judging int8")
        judgement = Judgement(len(photos.labels), source, top1)
        judgement.check()
        return judgement

    if name != "auto":
        engines.check(name, precision)
    if precision != "int8":
        return make(fastest() if name == "auto" else name)
    if data is not None:
        photos = examples(classifier, data)
        source = photos.top1(classifier.logits, "judging float32")
    first = "torch" if name == "auto" else name
    quantisation = gated(first)
    if quantisation is None:
        raise DataError("int8 needs images to calibrate and to judge it with: give them with --data DATA.")
    if name == "auto":
        best = fastest(quantisation)
        if best != first and (other := gated(best)):
            return make(best, other)
    return make(first, quantisation)


def _place(classifier: Classifier, engine: str) -> Path:
    return home() / "int8" / f"{classifier.digest[:32]}-{engine}.json"


def _keep(classifier: Classifier, engine: str, quantisation: Quantisation, judgement: Judgement) -> None:
    path = _place(classifier, engine)
    document: dict[str, Any] = {"quantisation": quantisation.to_dict(), "judgement": vars(judgement)}
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(document), encoding="utf-8")
    except OSError as problem:
        say(f"The calibration cannot be kept ({problem}): the next time it needs --data again.")


def _kept(classifier: Classifier, engine: str) -> Quantisation | None:
    try:
        document = json.loads(_place(classifier, engine).read_text(encoding="utf-8"))
        graph = lower(classifier.network, classifier.preprocessing.image_size)
        found = Quantisation.from_dict(document["quantisation"], graph)
        say(f"int8 by {engine}: {Judgement(**document['judgement'])}, judged earlier.")
    except (OSError, ValueError, KeyError, TypeError, ModelFileError):
        return None
    return found


def _batches(classifier: Classifier, pixels: np.ndarray) -> Iterator[Tensor]:
    with track("calibrating", len(pixels)) as advance:
        for first in range(0, len(pixels), BATCH):
            yield _input(classifier, pixels[first : first + BATCH])
            advance(len(pixels[first : first + BATCH]))


def _input(classifier: Classifier, pixels: np.ndarray) -> Tensor:
    return classifier.preprocessing.normalise(torch.from_numpy(np.require(pixels, requirements=["C", "W"])))
