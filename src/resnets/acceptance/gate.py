"""May an engine, or a file, take the network's place? Labelled images decide.

Calibration sees training images, judgement held-out ones: what is fitted on an image is never judged on it.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import numpy as np
from torch import Tensor

from resnets.data.cache import Cache, cached
from resnets.data.open import open_as_trained
from resnets.data.sample import Sample
from resnets.data.source import Source
from resnets.errors import DataError, ExportError, ModelFileError, ResnetsError
from resnets.evaluation.answers import BATCH, Run, answers, top1
from resnets.evaluation.held_out import choose, class_indices
from resnets.inference import Classifier, as_classifier, choice, engines
from resnets.inference.lower import lower
from resnets.inference.quantize import Quantisation, fallbacks, measure_ranges
from resnets.inference.session import Session, open_session
from resnets.machine import home, open_kept
from resnets.progress import say, track
from resnets.weights import Model
from resnets.weights.model import at_once

MAX_DROP = 0.5  # points of top-1 that a lower precision may cost
CALIBRATION = 256  # images
SENSITIVITY = 32  # of them, which say how sensitive each convolution is
FEWEST = 20  # images that can judge at all

T = TypeVar("T")


@dataclass(frozen=True, eq=False)
class Examples:
    """Labelled images of one data set, as a classifier's network sees them.

    calibration     (M, S, S, 3) uint8; none of them is judged
    judged          the held-out images; at most `at_once` of them are asked about together
    classes         of the network
    labels          (N,) the true class of each of them
    source          what they come from
    """

    calibration: np.ndarray
    judged: Cache
    classes: int
    labels: np.ndarray
    source: Source
    at_once: int = BATCH

    def top1(self, run: Run, what: str = "judging") -> float:
        """The share of the held-out images whose class `run` names."""
        return top1(answers(run, self.judged.images, self.classes, what, self.at_once), self.labels)

    def top1_source(self, classifier: Classifier) -> float:
        """The same of the network in float32, whatever engine the classifier has now."""
        return self.top1(Classifier(classifier.model).logits, "judging float32")


@dataclass(frozen=True)
class Verdict:
    """Top-1 on the same `images`, as fractions: of the float32 network and of what shall take its place."""

    images: int
    top1_source: float
    top1_result: float

    @property
    def drop(self) -> float:
        """Points of top-1 that are lost."""
        return 100 * (self.top1_source - self.top1_result)

    def check(self, max_drop: float = MAX_DROP) -> None:
        """Raise `AccuracyError` if more than `max_drop` points are lost."""
        if not self.drop <= max_drop + 1e-9:  # 100 * (0.95 - 0.945) is a little more than 0.5
            raise AccuracyError(self)

    def __str__(self) -> str:
        return f"top-1 {100 * self.top1_result:.2f} % ({100 * self.top1_source:.2f} % in float32, {self.images} images)"


def examples(classifier: Classifier, data: str | Path) -> Examples:
    """Images for calibration and judgement: DATA's training and held-out images, told apart as `choose` does.

    Where the data has no others than those that judge, a quarter of it (at most `CALIBRATION` images) calibrates and
    the rest judges. Raises DataError for data that cannot be read, where no class is known or all images were trained
    on, and for fewer than `FEWEST` images to judge with.
    """
    source = open_as_trained(data, classifier.provenance.recipe)
    held_out = choose(source, classifier.provenance, classes=classifier.classes).announce().samples
    train = _others(source, held_out)
    if train:
        chosen = train[:CALIBRATION]
    else:
        most = min(CALIBRATION, len(held_out) // 4)
        order = np.random.default_rng(0).permutation(len(held_out))
        chosen, held_out = [held_out[i] for i in order[:most]], tuple(held_out[i] for i in sorted(order[most:]))
        chosen = _apart(source, chosen, held_out)
    judged = cached(source, held_out, classifier.preprocessing)
    if len(judged.samples) < FEWEST or not chosen:
        raise DataError(f"{source.name} has {len(judged.samples)} images to judge with, too few: {FEWEST} are needed.")
    index = class_indices(judged.samples, classifier.classes)
    return Examples(
        calibration=cached(source, chosen, classifier.preprocessing).images,
        judged=judged,
        classes=len(classifier.classes),
        labels=np.array([index[sample.label] for sample in judged.samples]),
        source=source,
        at_once=at_once(classifier.network, classifier.preprocessing.image_size, BATCH),
    )


def _others(source: Source, judging: Sequence[Sample]) -> list[Sample]:
    """Images of a source that do not judge, shuffled, as many as calibrate and some more."""
    judges = {sample.key for sample in judging}
    others = [sample for sample in source.samples if sample.key not in judges and sample.split in ("train", "")]
    some = np.random.default_rng(0).permutation(len(others))[: 4 * CALIBRATION]
    return _apart(source, [others[i] for i in some], judging)


def _apart(source: Source, samples: Sequence[Sample], judging: Sequence[Sample]) -> list[Sample]:
    """Those of the samples that are no copies of any that judges."""
    contents = source.contents_of([*samples, *judging])
    judges = {contents[sample.key] for sample in judging}
    return [sample for sample in samples if contents[sample.key] not in judges]


class AccuracyError(ExportError):
    """More accuracy is lost than may be."""

    def __init__(self, verdict: Verdict) -> None:
        self.verdict = verdict
        super().__init__(f"It loses {verdict.drop:.2f} points: {verdict}.")

    def __reduce__(self) -> tuple[type[AccuracyError], tuple[Verdict]]:
        """Between processes it keeps the verdict."""
        return AccuracyError, (self.verdict,)


def attempts(classifier: Classifier, photos: Examples) -> Iterator[Quantisation]:
    """Calibrated on the images set aside for it: all in int8 first, then with more and more left in float."""
    graph = lower(classifier.network, classifier.preprocessing.image_size)
    quantisation = measure_ranges(graph, _batches(classifier, photos.calibration))
    yield from fallbacks(graph, quantisation, classifier.input(photos.calibration[:SENSITIVITY]))


def first_good(tries: Iterable[Quantisation], use: Callable[[Quantisation], T]) -> tuple[Quantisation, T]:
    """The first quantisation that can be used, and what came of it.

    use     raises `AccuracyError` where too much accuracy is lost

    Raises ExportError when none of them is good enough.
    """
    losses: list[Verdict] = []
    for quantisation in tries:
        kept = f" with {len(quantisation.floats)} steps in float" if quantisation.floats else ""
        try:
            return quantisation, use(quantisation)
        except AccuracyError as loss:
            losses.append(loss.verdict)
            say(f"int8{kept} loses {loss.verdict.drop:.2f} points of top-1: more stays float.")
        except ExportError as problem:
            last = problem
            say(f"int8{kept}: {problem} More stays float.")
    if not losses:
        raise last
    best = max(losses, key=lambda judgement: judgement.top1_result)
    raise ExportError(
        f"int8 is refused: with half of the work in float it still loses too much, at best {best}. Take bfloat16, or "
        "give more images, like those that the network will see."
    )


def session_for(
    model: str | Path | Model | Classifier,
    name: str,
    precision: str,
    data: str | Path | None = None,
    batch: int = 8,
    threads: int | None = None,
) -> Session:
    """The engine that was asked for, behind the gate of its precision; "auto" is the fastest that passes.

    model: a classifier, a model, or whatever `resnets.load` takes; hand what is returned to `Classifier.use`

    int8 needs `data` the first time: the calibration that passed is kept, for this model and engine, in the folder of
    caches. The others, and `batch` and `threads`, are as in `inference.session`. Raises ResnetsError for an engine or
    precision that is not there, ExportError when int8 loses too much.
    """
    engines.check("torch" if name == "auto" else name, precision)
    classifier = as_classifier(model)
    judged: dict[str, Quantisation] = {}
    if precision == "int8":
        kept = {wanted: _Kept(classifier, wanted) for wanted in _with_int8(name)}
        if data is None:
            judged = {wanted: found for wanted, place in kept.items() if (found := place.read())}
        else:
            judged = _judged(classifier, examples(classifier, data), kept, batch, threads)
        if not judged:
            raise DataError("int8 needs images to calibrate and to judge it with: give them with `data=DATA`.")
    return open_session(classifier.model, name, precision, batch=batch, threads=threads, quantisations=judged)


def _with_int8(name: str) -> list[str]:
    """The engines that a name means."""
    return [one for one in engines.installed() if engines.supported(one, "int8")] if name == "auto" else [name]


def _judged(
    classifier: Classifier,
    photos: Examples,
    kept: Mapping[str, _Kept],
    batch: int,
    threads: int | None,
) -> dict[str, Quantisation]:
    """The quantisation with which each engine passes; an engine that does not is left out, unless it is the last."""
    source = photos.top1_source(classifier)
    passed: dict[str, Quantisation] = {}
    for name, place in kept.items():

        def judge(quantisation: Quantisation, name: str = name) -> Verdict:
            more = {"batch": batch, "threads": threads, "quantisations": {name: quantisation}}
            session = open_session(classifier.model, name, "int8", **more)  # type: ignore[arg-type]
            share = photos.top1(lambda pixels: session(classifier.input(pixels)), f"judging int8 by {name}")
            judgement = Verdict(len(photos.labels), source, share)
            judgement.check()
            return judgement

        try:
            passed[name], judgement = first_good(attempts(classifier, photos), judge)
        except ResnetsError as problem:
            place.forget()
            if not passed and name == list(kept)[-1]:
                raise
            say(f"engine {name} is left out: {problem}")
        else:
            say(f"int8 by {name}: {judgement}.")
            place.write(passed[name], judgement)
    return passed


class _Kept:
    """The calibration with which an engine passed, in the folder of caches, for this model, machine and versions."""

    def __init__(self, classifier: Classifier, engine: str) -> None:
        key = json.dumps([classifier.digest, engine, choice.here()], sort_keys=True)
        self.path = home() / "int8" / f"{hashlib.sha256(key.encode()).hexdigest()[:32]}.json"
        self.classifier, self.engine = classifier, engine

    def write(self, quantisation: Quantisation, judgement: Verdict) -> None:
        choice.keep(self.path, {"quantisation": quantisation.to_dict(), "judgement": vars(judgement)})

    def forget(self) -> None:
        with suppress(OSError):
            self.path.unlink()

    def read(self) -> Quantisation | None:
        try:
            with open_kept(self.path) as file:
                document = json.loads(file.read(choice.MOST_BYTES))
            graph = lower(self.classifier.network, self.classifier.preprocessing.image_size)
            found = Quantisation.from_dict(document["quantisation"], graph)
            judgement = Verdict(**document["judgement"])
            judgement.check()
        except (OSError, ValueError, KeyError, TypeError, RecursionError, ModelFileError, AccuracyError):
            return None
        say(f"int8 by {self.engine}: {judgement}, judged earlier.")
        return found


def _batches(classifier: Classifier, pixels: np.ndarray) -> Iterator[Tensor]:
    with track("calibrating", len(pixels)) as advance:
        few = at_once(classifier.network, classifier.preprocessing.image_size, BATCH)
        for first in range(0, len(pixels), few):
            yield classifier.input(pixels[first : first + few])
            advance(len(pixels[first : first + few]))
