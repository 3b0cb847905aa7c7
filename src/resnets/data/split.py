"""Which images train and which are held out.

Splits that the data brings are taken as they are. Class folders alone are split here: per class, by a
seed, so that the same files, seed and fraction give the same split on any machine.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import Any

from resnets.data.labels import check_classes, check_count, class_names
from resnets.data.sample import Sample
from resnets.data.source import Source
from resnets.errors import DataError
from resnets.text import printable


@dataclass(frozen=True)
class Splits:
    """The training samples and the held-out ones, and where the division came from."""

    train: tuple[Sample, ...]
    held_out: tuple[Sample, ...]
    held_out_name: str  # "val" or "test"
    origin: str  # "folders": given by the data; "seeded": made here
    seed: int | None = None  # of a seeded split
    fraction: float | None = None  # held out of each class, of a seeded split

    def record(self) -> dict[str, Any]:
        """What a run writes down, fit for JSON; a seeded split lists the keys that it held out."""
        record: dict[str, Any] = {
            "origin": self.origin,
            "held_out_name": self.held_out_name,
            "seed": self.seed,
            "fraction": self.fraction,
            "counts": {"train": len(self.train), self.held_out_name: len(self.held_out)},
        }
        if self.origin == "seeded":
            record["held_out_keys"] = [sample.key for sample in self.held_out]
        return record


def split(source: Source, *, seed: int = 0, fraction: float = 0.2) -> Splits:
    """``train`` with ``val`` (or ``test`` where there is no ``val``); else a seeded, stratified split.

    source    any source
    seed      0 to 2**32 - 1; for class folders alone
    fraction  the share of each class to hold out, above 0 and below 1, rounded to whole images but never to none or all
              of them; for class folders alone

    Raises DataError: there is one class only, or one is missing in one split, or has a single image and cannot be
    divided; or there are splits and none to train on.
    """
    check_count(class_names(source.samples), source.name)
    by_name: dict[str, tuple[Sample, ...]] = {
        name: tuple(sample for sample in source.samples if sample.split == name)
        for name in ("train", "val", "test", "")
    }
    if by_name["train"]:
        given = {name: samples for name, samples in by_name.items() if samples}
        check_classes(given)
        held_out = "val" if "val" in given else "test"
        return Splits(given["train"], given[held_out], held_out, "folders")
    if alone := [name for name in ("val", "test") if by_name[name]]:
        raise DataError(
            f"{printable(source.name)} has {' and '.join(alone)} and nothing to train on: add train/ with a folder for "
            "each class."
        )
    return _seeded(source, seed, fraction)


def _seeded(source: Source, seed: int, fraction: float) -> Splits:
    import numpy as np
    from sklearn.model_selection import train_test_split

    if not 0 < fraction < 1:
        raise DataError(f"The held-out fraction must lie between 0 and 1, for example 0.2, not {fraction}.")
    if not 0 <= seed < 2**32:
        raise DataError(f"The seed must lie between 0 and {2**32 - 1}, not {seed}.")
    counts = Counter(sample.label for sample in source.samples)
    for label, count in sorted(counts.items()):
        if count < 2:
            raise DataError(
                f'Class "{printable(label)}" has a single image, so it cannot both train and be held out: '
                "add another image or remove the class."
            )
    # One class at a time: a stratified split of the whole may round a small class down to no image.
    random = np.random.RandomState(seed)
    held_out: set[str] = set()
    for label, count in sorted(counts.items()):
        keys = [sample.key for sample in source.samples if sample.label == label]
        size = min(max(round(count * fraction), 1), count - 1)
        held_out.update(train_test_split(keys, test_size=size, random_state=random)[1])
    return Splits(
        tuple(sample for sample in source.samples if sample.key not in held_out),
        tuple(sample for sample in source.samples if sample.key in held_out),
        "val",
        "seeded",
        seed,
        fraction,
    )
