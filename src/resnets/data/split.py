"""Which images train and which are held out.

Splits that the data brings are taken as they are. Class folders alone are split here, per class, by a seed and by what
is in the files: neither names nor places nor the order of a listing move an image to the other side, and copies of one
image stay together.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from resnets.data.labels import check_classes, check_count, class_names
from resnets.data.sample import Sample
from resnets.data.source import Source
from resnets.errors import DataError
from resnets.progress import warn
from resnets.text import printable

CONTENT, KEY = "content", "key"  # what a split and the order of its images follow; the latter in earlier versions


@dataclass(frozen=True)
class Splits:
    """The training samples and the held-out ones, and where the division came from."""

    train: tuple[Sample, ...]
    held_out: tuple[Sample, ...]
    held_out_name: str  # "val" or "test"
    origin: str  # "folders": given by the data; "seeded": made here
    seed: int | None = None  # of a seeded split
    fraction: float | None = None  # held out of each class, of a seeded split
    order: str = CONTENT  # what the order of the samples follows, and a seeded split: CONTENT or KEY

    def record(self) -> dict[str, Any]:
        """What a run writes down, fit for JSON; a seeded split lists the keys that it held out. No order: KEY."""
        record: dict[str, Any] = {
            "origin": self.origin,
            "held_out_name": self.held_out_name,
            "seed": self.seed,
            "fraction": self.fraction,
            "counts": {"train": len(self.train), self.held_out_name: len(self.held_out)},
        }
        if self.order != KEY:
            record["order"] = self.order
        if self.origin == "seeded":
            record["held_out_keys"] = [sample.key for sample in self.held_out]
        return record


def split(source: Source, *, seed: int = 0, fraction: float = 0.2, order: str = CONTENT) -> Splits:
    """``train`` with ``val`` (or ``test`` where there is no ``val``); else a seeded, stratified split.

    source    any source
    seed      0 to 2**32 - 1; for class folders alone
    fraction  the share of each class to hold out, above 0 and below 1, rounded to whole images but never to none or all
              of them; for class folders alone
    order     CONTENT; KEY for a run that an earlier version began

    Raises DataError: there is one class only, or one is missing in one split, or has a single image (or copies of one)
    and cannot be divided; or there are splits and none to train on.
    """
    check_count(class_names(source.samples), source.name)
    by_name: dict[str, tuple[Sample, ...]] = {
        name: tuple(sample for sample in source.samples if sample.split == name)
        for name in ("train", "val", "test", "")
    }
    if by_name["train"]:
        given = {name: samples for name, samples in by_name.items() if samples}
        if unplaced := given.pop("", ()):
            warn(
                f"{len(unplaced):,} images of {printable(source.name)} have no split and others have: they are left "
                f"out, the first {printable(unplaced[0].key)}. Give every image a split, or none."
            )
        check_classes(given)
        held_out = "val" if "val" in given else "test"
        train, held = (_ordered(source, given[name], order) for name in ("train", held_out))
        return Splits(train, held, held_out, "folders", order=order)
    if alone := [name for name in ("val", "test") if by_name[name]]:
        raise DataError(
            f"{printable(source.name)} has {' and '.join(alone)} and nothing to train on: add train/ with a folder for "
            "each class."
        )
    _check(source, seed, fraction)
    keys = (_held_out if order == CONTENT else _held_out_by_key)(source, seed, fraction)
    train = _ordered(source, (sample for sample in source.samples if sample.key not in keys), order)
    held = _ordered(source, (sample for sample in source.samples if sample.key in keys), order)
    return Splits(train, held, "val", "seeded", seed, fraction, order)


def _ordered(source: Source, samples: Iterable[Sample], order: str) -> tuple[Sample, ...]:
    if order == KEY:
        return tuple(samples)
    return tuple(sorted(samples, key=lambda sample: (source.contents[sample.key], sample.label, sample.key)))


def _check(source: Source, seed: int, fraction: float) -> None:
    if not 0 < fraction < 1:
        raise DataError(f"The held-out fraction must lie between 0 and 1, for example 0.2, not {fraction}.")
    if not 0 <= seed < 2**32:
        raise DataError(f"The seed must lie between 0 and {2**32 - 1}, not {seed}.")
    for label, count in sorted(Counter(sample.label for sample in source.samples).items()):
        if count < 2:
            raise DataError(
                f'Class "{printable(label)}" has a single image, so it cannot both train and be held out: '
                "add another image or remove the class."
            )


def _held_out(source: Source, seed: int, fraction: float) -> set[str]:
    """The keys to hold out: of each class the first by a hash of seed and content.

    So an image more or less moves next to no other. What is there twice, in two classes perhaps, goes as one; its share
    of a class is held out both of the files and of what differs among them.
    """
    inside: dict[bytes, Counter[str]] = {}  # content -> class -> files
    for sample in source.samples:
        inside.setdefault(source.contents[sample.key], Counter())[sample.label] += 1
    counts = Counter(sample.label for sample in source.samples)
    for label, count in sorted(counts.items()):
        if sum(label in labels for labels in inside.values()) == 1:
            raise DataError(
                f'The {count} files of class "{printable(label)}" are copies of a single image, so it cannot both '
                "train and be held out: add another image or remove the class."
            )
    pictures = Counter(label for labels in inside.values() for label in labels)  # files, without copies
    room, most = (
        {label: min(max(round(count * fraction), 1), count - 1) for label, count in of.items()}
        for of in (counts, pictures)  # else a hundred copies of one picture train, and all others are held out
    )
    salt = seed.to_bytes(4, "little")
    ranked = sorted(inside, key=lambda content: hashlib.blake2b(content, digest_size=16, salt=salt).digest())
    held: Counter[str] = Counter()
    shown: Counter[str] = Counter()  # of those, without copies
    chosen: set[bytes] = set()
    for content in ranked:
        own = inside[content].items()
        if all(held[label] + files <= room[label] and shown[label] < most[label] for label, files in own):
            chosen.add(content)
            held += inside[content]
            shown.update(inside[content].keys())
    for label in sorted(counts):
        if held[label]:
            continue  # else its copies are more than its share: the first that leaves every class something to learn
        for content in (content for content in ranked if label in inside[content]):
            if all(held[other] + files < counts[other] for other, files in inside[content].items()):
                chosen.add(content)
                held += inside[content]
                break
        else:
            raise DataError(
                f'The images of class "{printable(label)}" lie in other classes too, so that they cannot both train '
                "and be held out: remove the copies (`resnets doctor` names them), or add images."
            )
    return {sample.key for sample in source.samples if source.contents[sample.key] in chosen}


def _held_out_by_key(source: Source, seed: int, fraction: float) -> set[str]:
    """As earlier versions drew it."""
    import numpy as np
    from sklearn.model_selection import train_test_split

    # One class at a time: a stratified split of the whole may round a small class down to no image.
    random = np.random.RandomState(seed)
    held_out: set[str] = set()
    for label, count in sorted(Counter(sample.label for sample in source.samples).items()):
        keys = [sample.key for sample in source.samples if sample.label == label]
        size = min(max(round(count * fraction), 1), count - 1)
        held_out.update(train_test_split(keys, test_size=size, random_state=random)[1])
    return held_out
