"""A run's data found again: the same content goes on, wherever it lies by now and whatever its files are called."""

from __future__ import annotations

import dataclasses
import os
import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from resnets.data.identity import SIZE
from resnets.data.known import TRAINED_ON, Known
from resnets.data.named import NAMES
from resnets.data.open import open_source
from resnets.data.reading import Reading
from resnets.data.sample import Sample
from resnets.data.source import Source
from resnets.data.split import CONTENT, KEY, Splits, split
from resnets.errors import DataError, TrainingError
from resnets.progress import say
from resnets.text import printable
from resnets.weights import Provenance
from resnets.weights.run import RunRecord


def dataset(source: Source, splits: Splits) -> dict[str, Any]:
    """What a run's record says of its data."""
    contents = Known.of(source, splits).to_dict()
    return {"name": source.name, "fingerprint": source.fingerprint, "split": splits.record(), "contents": contents}


def seen_before(source: Source, splits: Splits, weights: Provenance) -> dict[str, Any]:
    """What it says of the images that the weights to start from had been trained on, if they tell; a line says how
    many of them are held out now."""
    known = Known.from_dict((weights.dataset or {}).get("contents"))
    if known is None:
        return {}
    held_out = [sample for sample in splits.held_out if known.of_content(source.contents[sample.key]) == TRAINED_ON]
    if held_out:
        say(
            f"The weights to start from were trained on {len(held_out):,} of the {len(splits.held_out):,} held-out "
            "images: what is measured on those flatters."
        )
    return {"seen_before": known.to_dict()}


def familiar(source: Source, samples: Sequence[Sample], seen: Mapping[str, Any]) -> np.ndarray:
    """(N,) bool: which samples the weights to start from had been trained on. seen: as `seen_before` says it."""
    known = Known.from_dict(seen.get("seen_before"))
    if known is None:
        return np.zeros(len(samples), bool)
    return np.array([known.of_content(source.contents[sample.key]) == TRAINED_ON for sample in samples], bool)


def known_of(record: RunRecord) -> Known | None:
    """What a model of a run knows of its training images, fit for its file; None where there are too many."""
    known = Known.from_dict(record.dataset.get("contents"))
    before = Known.from_dict(record.dataset.get("seen_before"))
    if known is not None and before is not None:
        known = known.after(before)
    return known and known.shortened()


def order_of(record: RunRecord) -> str:
    """What the split and the order of a run's images follow; a run that says nothing is one of earlier versions."""
    order = record.dataset["split"].get("order", KEY)
    if order not in (CONTENT, KEY):
        raise TrainingError(
            f"dataset.split.order in run.json is {str(order)[:60]!r}, which this version does not know."
        )
    return str(order)


def find(record: RunRecord, folder: Path, data: str | Path | None, verb: str) -> Source:
    """The data of a run, opened again, where it lay or where `data` says that it lies now.

    verb        "resume" or "finish", for the command that an error proposes

    Raises DataError where it is not there, TrainingError, with the number of images that are missing and new, where its
    content is another than when the run began.
    """
    try:
        source = open_source(record.asked.data if data is None else data, reading=Reading.of(record.recipe))
    except DataError as problem:
        if data is not None:
            raise
        again = f"resnets train DATA --{verb} {shlex.quote(printable(str(folder)))}"
        raise DataError(f"{problem} Where the run's data has moved, name its new place: `{again}`.") from problem
    before = order_of(record) == KEY
    if record.dataset["fingerprint"] == (source.fingerprint_before if before else source.fingerprint):
        return source
    what = _difference(record.dataset, source)
    if data is None:
        raise TrainingError(
            f"The data has changed since the run began{what and f' ({what})'}, so it cannot go on exactly: put it "
            "back, or start a new run."
        )
    raise TrainingError(
        f"{printable(source.name)} is not the data that the run began with{what and f' ({what})'}: name a copy of "
        "that, or start a new run."
    )


def at(record: RunRecord, source: Source, data: str | Path | None) -> RunRecord:
    """The record of the same run, whose data, of equal content, is `source` by now."""
    asked = record.asked if data is None else dataclasses.replace(record.asked, data=absolute(data))
    if order_of(record) == KEY:
        return dataclasses.replace(record, asked=asked, dataset={**record.dataset, "name": source.name})
    splits = split(source, seed=asked.seed)
    return dataclasses.replace(record, asked=asked, dataset={**record.dataset, **dataset(source, splits)})


def same_files(before: RunRecord, now: RunRecord) -> bool:
    """Whether the same files could not be used, whatever they are called."""
    return sorted(file["why"] for file in before.skipped_files) == sorted(file["why"] for file in now.skipped_files)


def absolute(data: str | Path) -> str:
    """A path made absolute, so that a run goes on from another folder; the name of a set as it is."""
    place = os.path.expanduser(data)
    return str(data) if data in NAMES or not os.path.exists(place) else str(Path(place).resolve())


def _difference(before: Mapping[str, Any], source: Source) -> str:
    """In words what is not any more as it was; "" where a record does not tell."""
    known = Known.from_dict(before.get("contents"))
    if known is None or known.size != SIZE:
        return ""
    missing, new = known.difference(Known(SIZE, tuple(sorted(source.contents.values())), ()))
    parts = [f"{count:,} {word}" for count, word in ((missing, "missing"), (new, "new")) if count]
    if not parts:
        return "the same images, some of them in another class or split"
    return f"of {len(known.trained_on) + len(known.held_out):,} images {', '.join(parts)}"
