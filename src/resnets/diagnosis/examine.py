"""The examination: every room of the doctor in turn, and the short one that training makes by itself."""

from __future__ import annotations

import hashlib
import time
from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from resnets.data.open import open_source
from resnets.data.sample import Sample
from resnets.data.source import Source
from resnets.data.split import Splits
from resnets.diagnosis import balance, doubts, shape
from resnets.diagnosis.copies import Copies, joined
from resnets.diagnosis.diagnosis import Diagnosis, Finding, count
from resnets.diagnosis.duplicates import exact, near
from resnets.diagnosis.files import look_through
from resnets.diagnosis.labels import check
from resnets.diagnosis.listing import everything, misplaced
from resnets.errors import DataError, ImageError
from resnets.text import printable

READS = 4096  # files that the short examination opens at most: half a second


def doctor(data: str | Path, *, thorough: bool = True) -> Diagnosis:
    """Look at every file of a data set and say what is odd about it. Nothing is written.

    data        whatever `resnets.data.open.open_source` takes: a folder, a .zip or .tar, or a name
    thorough    look for near duplicates and wrong labels too, which takes most of the time

    What keeps a set from being trained on (one class only, classes that differ between the splits) is a finding.
    Raises DataError for data that is not there or cannot be read at all.
    """
    start = time.perf_counter()
    try:
        source = open_source(data)
    except DataError as problem:
        if not everything(data):
            raise
        return Diagnosis(data=str(data), images=0, findings=(_refused(problem),))
    looks = look_through(source, source.samples)
    broken = unreadable([(sample.key, why) for sample, why in looks.broken])
    counts = balance.per_split(looks.samples)
    found: list[Finding] = []
    checked = None
    if looks.samples:
        twice = exact([look.digest for look in looks.looks])
        pairs = near(looks.thumbs, twice) if thorough else []
        found += Copies(looks.samples, twice, joined(len(looks.samples), twice, pairs)).findings()
        checked = check(looks.thumbs, [sample.label for sample in looks.samples]) if thorough else None
        found += doubts.findings(checked, looks.samples)
        found += balance.findings(counts)
        found += shape.findings(looks.samples, looks.looks)
    found += [*broken, *misplaced(data, source)]
    _, held_out = balance.held_out(counts)
    facts = {
        "classes": len({sample.label for sample in looks.samples}),
        "splits": {name: classes.total() for name, classes in counts.items()},
        "smallest_difference": balance.smallest_difference(held_out) if held_out else None,
        "thorough": thorough,
        "labels": doubts.facts(checked),
        "seconds": time.perf_counter() - start,
    }
    return Diagnosis(data=str(data), images=len(looks.samples), findings=tuple(found), facts=facts)


def quick(splits: Splits, skipped: Sequence[tuple[str, str]], source: Source) -> Diagnosis:
    """What training can say without looking at a single picture; `Diagnosis.line` puts it in one line.

    splits      what will train and what will be held out
    skipped     (key, reason) of the files that decoding left out
    source      where the samples are read; at most `READS` files are, those of one size on both sides first

    Finds equal files on both sides, unreadable files, imbalance, small classes and a small held-out set.
    """
    left_out = {key for key, _ in skipped}
    sides = {"train": splits.train, splits.held_out_name: splits.held_out}
    samples = [
        replace(sample, split=name) for name, own in sides.items() for sample in own if sample.key not in left_out
    ]
    found = [
        *Copies(samples, _equal_files(source, samples)).findings(),
        *unreadable(skipped),
        *balance.findings(balance.per_split(samples)),
    ]
    return Diagnosis(data=source.name, images=len(samples), findings=tuple(found))


def unreadable(broken: Sequence[tuple[str, str]]) -> list[Finding]:
    """The files that are no pictures, with their reasons."""
    if not broken:
        return []
    key, why = broken[0]
    others = "" if len(broken) == 1 else ", the first"
    return [
        Finding(
            kind="unreadable",
            severity="error",
            text=f"{count(len(broken), 'file')} cannot be read{others}: {printable(key)} ({why}).",
            mend="Get them again from where they came, or remove them; training leaves them out, a cleaned copy too.",
            paths=tuple(key for key, _ in broken),
            details={
                "reasons": [why for _, why in broken],
                "frequent": Counter(why for _, why in broken).most_common(5),
            },
        )
    ]


def _refused(problem: DataError) -> Finding:
    return Finding(
        kind="layout",
        severity="error",
        text=str(problem),
        mend="Training refuses the set as it lies there. Put it right and look again: the pictures were not looked at.",
    )


def _equal_files(source: Source, samples: Sequence[Sample]) -> list[list[int]]:
    """Groups of equal files that lie in more than one split, as indices."""
    sizes: dict[int, list[int]] = defaultdict(list)
    for index, sample in enumerate(samples):
        sizes[sample.size].append(index)
    shared = [group for group in sizes.values() if len({samples[i].split for i in group}) > 1]
    found: dict[bytes, list[int]] = defaultdict(list)
    reads = 0
    for group in sorted(shared, key=len):  # of a rare size, equal files are likelier
        reads += len(group)
        if reads > READS:
            break
        for index in group:
            try:
                found[hashlib.sha256(source.read(samples[index].key)).digest()].append(index)
            except ImageError:
                continue  # it has been decoded before, from a cache: it may have vanished since
    return [group for group in found.values() if len({samples[i].split for i in group}) > 1]
