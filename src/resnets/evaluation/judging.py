"""A trained network judged on a data set: every image exactly once, never silently on its training images."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import numpy as np

from resnets.data.cache import Cache, cached
from resnets.data.labels import printable
from resnets.data.sources import open_source
from resnets.errors import ModelFileError
from resnets.evaluation.held_out import choose, class_indices
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
    name, samples = choose(source, classifier.provenance, split)
    class_indices(samples, classifier.classes)  # before the long work
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
    index = class_indices(cache.samples, classifier.classes)
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
