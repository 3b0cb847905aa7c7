"""A trained network judged on a data set: every image exactly once, never silently on its training images."""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from resnets.data.cache import cached
from resnets.data.known import HELD_OUT, NEW, TRAINED_ON
from resnets.data.open import open_as_trained
from resnets.data.reading import USUAL, Reading
from resnets.data.source import Source
from resnets.errors import ModelFileError
from resnets.evaluation.case import Next
from resnets.evaluation.course import Course
from resnets.evaluation.guessing import remarks
from resnets.evaluation.held_out import Chosen, choose
from resnets.evaluation.judging import Judgement, judge
from resnets.evaluation.whatnext import what_next
from resnets.inference import Classifier, as_classifier
from resnets.notebook import table
from resnets.weights import Model
from resnets.weights.run import RECORD, RunRecord


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
    top1, top1_interval, top5, balanced_accuracy, macro_f1, loss, ece, per_class
                            see `resnets.evaluation.metrics.measure`
    baseline, better_than_guessing, tells_apart, unrecognised, only_answer
                            see `resnets.evaluation.guessing.against_guessing`
    coverage, stated_coverage, set_size, unsure, unlike
                            of a calibrated model how far its doubts can be trusted, see `Judgement.figures`; else None
    skipped_files           (path, why) of every file that is no usable image
    split                   that was judged: "train", "val", "test"; "new" for images that the model has not seen,
                            "unseen" for these and held-out ones; or "all" for data without splits
    judgement               every single answer
    next                    what limits the model, and what to do about it (`followed`); None: nobody has asked
    judged                  how many of the images were "held_out", "new", and "trained_on"; None: the model does not
                            know its training images again
    judged_paths            those that were "new", and "trained_on"
    left_out                what could have been judged and was not: "held_out", "new", "trained_on", and of
                            "unknown_classes"
    flatters                why these figures are no measure of new images, a sentence each
    reading                 how the model's data is read
    """

    images: int
    top1: float
    top1_interval: tuple[float, float]
    top5: float
    balanced_accuracy: float
    macro_f1: float
    loss: float
    ece: float
    per_class: tuple[ClassFigures, ...] = field(repr=False)
    baseline: float
    better_than_guessing: bool | None
    tells_apart: bool
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
    judged: Mapping[str, int] | None = None
    judged_paths: Mapping[str, tuple[str, ...]] = field(default_factory=dict, repr=False)
    left_out: Mapping[str, tuple[str, ...]] = field(default_factory=dict, repr=False)
    next: Next | None = None
    flatters: tuple[str, ...] = ()
    reading: Reading = USUAL

    @classmethod
    def of(
        cls,
        judgement: Judgement,
        chosen: str | Chosen,
        skipped: Iterable[tuple[str, str]],
        seconds: float,
        next: Next | None = None,
    ) -> Evaluation:
        """What a judgement comes to; `chosen` tells which images it is of, or the name of their split alone."""
        figures = judgement.figures
        figures["per_class"] = tuple(ClassFigures(**row) for row in figures["per_class"])
        figures["top1_interval"] = tuple(figures["top1_interval"])
        figures["unrecognised"] = tuple(figures["unrecognised"])
        chosen = chosen if isinstance(chosen, Chosen) else Chosen(chosen, judgement.samples)
        paths = {role: chosen.keys(role, judgement.samples) for role in (HELD_OUT, NEW, TRAINED_ON)}
        return cls(
            **figures,
            skipped_files=tuple(skipped),
            split=chosen.split,
            seconds=seconds,
            judgement=judgement,
            judged=None if chosen.roles is None else {role: len(keys) for role, keys in paths.items()},
            judged_paths={role: paths[role] for role in (NEW, TRAINED_ON)},
            left_out=chosen.left_out,
            next=next,
            flatters=chosen.flatters,
        )

    def followed(self, model: str, data: str) -> Evaluation:
        """The same with what to do next; of a run's folder it is known how the training went.

        model, data     as they are typed

        Images that it was trained on do not tell what to do.
        """
        if self.split == "train" or (self.judged or {}).get(TRAINED_ON):
            return self
        course, run = None, Path(model)
        if (run / RECORD).is_file():
            with suppress(ModelFileError):  # somebody else's run.json
                course = Course.of(RunRecord.read(run), run)
        own = self.judged is not None and self.judged == {**dict.fromkeys(self.judged, 0), HELD_OUT: self.images}
        return replace(self, next=what_next(self.judgement, course, data, model, self.reading, own))

    def _repr_html_(self) -> str:
        """In a notebook: what it is worth in one line, and a row for each class."""
        low, high = self.top1_interval
        title = (
            f"top-1 {self.top1:.1%} ({low:.1%} to {high:.1%}) of {self.images:,} images, guessing {self.baseline:.1%}; "
            f"top-5 {self.top5:.1%}, macro-F1 {self.macro_f1:.3f}, calibration error {self.ece:.3f}"
        )
        rows = [(row.name, f"{row.images:,}", _share(row.precision), _share(row.recall)) for row in self.per_class]
        return table(("class", "images", "precision", "recall"), rows, title=title)

    def document(self) -> dict[str, Any]:
        """What a program reads, ready for JSON."""
        figures = {
            name: value for name, value in vars(self).items() if name not in ("judgement", "flatters", "reading")
        }
        figures |= {"per_class": [vars(row).copy() for row in self.per_class], "unrecognised": list(self.unrecognised)}
        return {
            **figures,
            "top1_interval": list(self.top1_interval),
            "remarks": [*self.flatters, *remarks(figures)],
            "next": self.next and self.next.document(),
            "skipped_files": [{"path": path, "why": why} for path, why in self.skipped_files],
            "judged_paths": {role: list(keys) for role, keys in self.judged_paths.items()},
            "left_out": {role: list(keys) for role, keys in self.left_out.items()},
        }


def _share(value: float | None) -> str:
    return "" if value is None else f"{value:.3f}"


def evaluate(model: str | Path | Model | Classifier, data: str | Path, split: str | None = None) -> Evaluation:
    """Judge a model on images whose classes are known. Classes are matched by name.

    model   a classifier, a model, or whatever `resnets.load` takes
    data    whatever `resnets.data.open.open_source` takes
    split   "train", "val" or "test". Default: the held-out one, "val" before "test". Class folders alone have no
            splits: the images that the training held out are known again by their content, wherever they lie, and
            judge. New images are left out then, and counted: "new" judges by them, "unseen" by both. Where less than
            half of the held-out images is there, new ones judge too. "train" judges by the training images, and says
            so. A model that does not know its training images is judged by all images, and a line says so.

    Images of classes that the model does not know are left out, and named. Raises DataError for data that cannot be
    read, a split that is not there, and where there is nothing left to judge by: no class that the model knows, or its
    training images alone; ModelFileError when the network's answer to an image is not finite.
    """
    classifier = as_classifier(model)
    found = judge_source(classifier, open_as_trained(data, classifier.provenance.recipe), split)
    return found if isinstance(model, Model | Classifier) else found.followed(str(model), str(data))


def judge_source(classifier: Classifier, source: Source, split: str | None, *, unseen: bool = False) -> Evaluation:
    """The same of data that is open; unseen: as in `choose`."""
    start = time.perf_counter()
    chosen = choose(source, classifier.provenance, split, classes=classifier.classes, unseen=unseen)
    chosen.announce()
    cache = cached(source, chosen.samples, classifier.preprocessing)
    found = Evaluation.of(judge(classifier, cache), chosen, cache.skipped, time.perf_counter() - start)
    return replace(found, reading=Reading.of(classifier.provenance.recipe))
