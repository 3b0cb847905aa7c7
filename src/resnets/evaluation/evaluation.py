"""A trained network judged on a data set: every image exactly once, never silently on its training images."""

from __future__ import annotations

import time
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from resnets.data.cache import cached
from resnets.data.open import open_source
from resnets.evaluation.guessing import remarks
from resnets.evaluation.held_out import choose, class_indices
from resnets.evaluation.judging import Judgement, judge
from resnets.inference import Classifier, as_classifier
from resnets.weights import Model


@dataclass(frozen=True)
class ClassFigures:
    """One class: how many images it has, the share of those called so that are right (None: it was never named), and
    the share of its images that are recognised (None: it has none)."""

    name: str
    images: int
    precision: float | None
    recall: float | None


@dataclass(frozen=True, eq=False)
class Evaluation:
    """What a model is worth on a data set. Fractions of 0..1; the loss in nats, the time in seconds.

    images                  that were judged
    top1, top5, macro_f1, loss, ece, per_class
                            see `resnets.evaluation.metrics.measure`
    baseline, better_than_guessing, unrecognised, only_answer
                            see `resnets.evaluation.guessing.against_guessing`
    coverage, stated_coverage, set_size, unsure, unlike
                            of a calibrated model how far its doubts can be trusted, see `Judgement.figures`; else None
    skipped_files           (path, why) of every file that is no usable image
    split                   that was judged: "train", "val", "test", or "all" for data without splits
    judgement               every single answer
    """

    images: int
    top1: float
    top5: float
    macro_f1: float
    loss: float
    ece: float
    per_class: tuple[ClassFigures, ...] = field(repr=False)
    baseline: float
    better_than_guessing: bool | None
    unrecognised: tuple[str, ...]
    only_answer: str | None
    coverage: float | None
    stated_coverage: float | None
    set_size: float | None
    unsure: float | None
    unlike: float | None
    skipped_files: tuple[tuple[str, str], ...]
    split: str
    seconds: float
    judgement: Judgement = field(repr=False)

    @classmethod
    def of(cls, judgement: Judgement, split: str, skipped: Iterable[tuple[str, str]], seconds: float) -> Evaluation:
        """What a judgement comes to."""
        figures = judgement.figures
        figures["per_class"] = tuple(ClassFigures(**row) for row in figures["per_class"])
        figures["unrecognised"] = tuple(figures["unrecognised"])
        return cls(**figures, skipped_files=tuple(skipped), split=split, seconds=seconds, judgement=judgement)

    def document(self) -> dict[str, Any]:
        """What a program reads, ready for JSON."""
        figures = {name: value for name, value in vars(self).items() if name != "judgement"}
        figures |= {"per_class": [vars(row).copy() for row in self.per_class], "unrecognised": list(self.unrecognised)}
        return {
            **figures,
            "remarks": remarks(figures),
            "skipped_files": [{"path": path, "why": why} for path, why in self.skipped_files],
        }


def evaluate(model: str | Path | Model | Classifier, data: str | Path, split: str | None = None) -> Evaluation:
    """Judge a model on images whose classes are known. Classes are matched by name.

    model   a classifier, a model, or whatever `resnets.load` takes
    data    whatever `resnets.data.open.open_source` takes
    split   "train", "val" or "test". Default: the held-out one, "val" before "test". Class folders alone
            have no splits. If they are the very files that the model was trained on, the split that the
            training recorded is made again; else all images are judged, and a line says so.

    Raises DataError for data that cannot be read, a split that is not there, and a class that the model does
    not know; ModelFileError when the network's answer to an image is not finite.
    """
    classifier = as_classifier(model)
    start = time.perf_counter()
    source = open_source(data)
    name, samples = choose(source, classifier.provenance, split)
    class_indices(samples, classifier.classes)  # before the long work
    cache = cached(source, samples, classifier.preprocessing)
    judgement = judge(classifier, cache)
    return Evaluation.of(judgement, name, cache.skipped, time.perf_counter() - start)
