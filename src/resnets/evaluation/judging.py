"""A trained network judged on a data set: every image exactly once, never silently on its training images."""

from __future__ import annotations

import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from resnets.data.cache import Cache, cached
from resnets.data.labels import class_names, printable
from resnets.data.sources import SPLITS, Sample, Source, open_source
from resnets.data.split import Splits
from resnets.data.split import split as divide
from resnets.errors import DataError, ModelFileError, nearest
from resnets.evaluation.metrics import measure
from resnets.inference import Classifier
from resnets.progress import track

BATCH = 64  # images that the network sees at once; throughput is flat from 8


def evaluate(classifier: Classifier, data: str | Path, split: str | None = None) -> dict[str, Any]:
    """Judge a classifier on images whose classes are known.

    data    whatever `resnets.data.sources.open_source` takes
    split   "train", "val" or "test". Default: the held-out one, "val" before "test". Class folders alone
            have no splits. If they are the very files that the model was trained on, the split that the
            training recorded is made again; else all images are judged, and standard error says so.

    Returns what `measure` returns (fractions, nats), and "split", "skipped_files" ("path" and "why" of every
    file that is no usable image) and "seconds". Classes are matched by name.

    Raises DataError for data that cannot be read, a split that is not there, and a class that the model does
    not know; ModelFileError when the network's answer to an image is not finite.
    """
    start = time.perf_counter()
    source = open_source(data)
    name, samples = _choose(source, classifier.provenance, split)
    _indices(samples, classifier.classes)  # before the long work
    cache = cached(source, samples, classifier.preprocessing)
    return {
        **judge(classifier, cache),
        "skipped_files": [{"path": key, "why": why} for key, why in cache.skipped],
        "split": name,
        "seconds": time.perf_counter() - start,
    }


def judge(classifier: Classifier, cache: Cache) -> dict[str, Any]:
    """What `measure` returns for images that are decoded already, each judged once.

    Raises DataError for a class that the model does not know, ModelFileError for an answer that is not finite.
    """
    index = _indices(cache.samples, classifier.classes)
    # NaN until the network has answered: an image that nobody asked about cannot pass as judged.
    logits = np.full((len(cache.samples), len(classifier.classes)), np.nan, np.float32)
    with track("evaluating", len(logits)) as advance:
        for first in range(0, len(logits), BATCH):
            rows = slice(first, first + BATCH)
            logits[rows] = classifier.logits(cache.images[rows])
            advance(len(logits[rows]))
    if not (finite := np.isfinite(logits).all(axis=1)).all():
        key = printable(cache.samples[int(finite.argmin())].key)
        raise ModelFileError(f"The network's answer to {key} is not finite: train it again at a lower rate.")
    labels = np.array([index[sample.label] for sample in cache.samples])
    return measure(logits, labels, classifier.classes, float(classifier.calibration["temperature"]))


def _choose(source: Source, provenance: Mapping[str, Any], wanted: str | None) -> tuple[str, tuple[Sample, ...]]:
    """(name of the split, its samples)."""
    own = sorted({sample.split for sample in source.samples} - {""})
    parts = {name: tuple(sample for sample in source.samples if sample.split == name) for name in own}
    held_out = "val" if "val" in parts else "test"
    if not parts and (seeded := _seeded(source, provenance)):
        parts, held_out = {"train": seeded.train, seeded.held_out_name: seeded.held_out}, seeded.held_out_name
    if not parts:
        if wanted is not None:
            raise DataError(
                f"{printable(source.name)} has class folders only, and the model was not trained on exactly "
                "these files, so there are no splits: leave --split out to judge all of them."
            )
        print(
            f"{printable(source.name)} has no splits and is not, or no longer, what the model was trained on: "
            f"all its {len(source.samples)} files are judged; any training image among them flatters the model.",
            file=sys.stderr,
        )
        return "all", source.samples
    name = held_out if wanted is None else SPLITS.get(wanted.lower(), wanted)
    if name not in parts:
        raise DataError(f'There is no split "{name}": {printable(source.name)} has {", ".join(parts)}.')
    return name, parts[name]


def _seeded(source: Source, provenance: Mapping[str, Any]) -> Splits | None:
    """The split that the training made of these very files, if it did."""
    dataset = provenance.get("dataset", {})
    record = dataset.get("split", {})
    if dataset.get("fingerprint") != source.fingerprint or record.get("origin") != "seeded":
        return None
    return divide(source, seed=record["seed"], fraction=record["fraction"])


def _indices(samples: Sequence[Sample], classes: Sequence[str]) -> dict[str, int]:
    """Class name to its place among the logits."""
    index = {name: place for place, name in enumerate(classes)}
    for name in class_names(samples):
        if name not in index:
            raise DataError(
                f'The model does not know the class "{printable(name)}" of the data.{nearest(name, classes)} '
                f"It knows {len(classes)} classes: rename or remove that folder."
            )
    return index
