"""The examination: every room of the doctor in turn, and the short one that training makes by itself."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from resnets.data.depth import full_scale
from resnets.data.labels import LayoutError, check_count, class_names
from resnets.data.open import open_source
from resnets.data.reading import Reading
from resnets.data.sample import Sample
from resnets.data.source import Source
from resnets.data.split import Splits
from resnets.diagnosis import balance, doubts, light, shape
from resnets.diagnosis.copies import Copies, joined
from resnets.diagnosis.diagnosis import Diagnosis, Finding, count
from resnets.diagnosis.duplicates import exact, near
from resnets.diagnosis.files import look_through
from resnets.diagnosis.labels import check
from resnets.diagnosis.listing import misplaced, remarked
from resnets.text import printable


def doctor(data: str | Path, *, thorough: bool = True, overrides: Iterable[str] = ()) -> Diagnosis:
    """Look at every file of a data set and say what is odd about it. Nothing is written.

    data        whatever `resnets.data.open.open_source` takes: a folder, an archive, a table, or a name
    thorough    look for near duplicates and wrong labels too, which takes most of the time
    overrides   "depth=2", "ignore=*.gif", "columns=label=species": how the data is read, as a recipe has it

    What keeps a set from being trained on (one class only, classes that differ between the splits) is a finding.
    Raises DataError for data that is not there or cannot be read at all.
    """
    start, reading = time.perf_counter(), Reading.asked(overrides)
    try:
        source = open_source(data, quiet=True, reading=reading)
        check_count(class_names(source.samples), source.name)
    except LayoutError as problem:
        return Diagnosis(data=str(data), images=0, findings=(_refused(problem),), reading=reading)
    white = full_scale(source, [sample for sample in source.samples if sample.split in ("train", "")])
    looks = look_through(source, source.samples, white)
    broken = unreadable([(sample.key, why) for sample, why in looks.broken])
    counts = balance.per_split(looks.samples, source.samples)
    found: list[Finding] = []
    checked = None
    if looks.samples:
        twice = exact([look.digest for look in looks.looks])
        pairs = near(looks.thumbs, twice) if thorough else []
        found += Copies(looks.samples, twice, joined(len(looks.samples), twice, pairs)).findings()
        seen = light.kinds(looks.thumbs)
        plain = looks.only(np.flatnonzero(seen == light.PLAIN))
        checked = check(plain.thumbs, [sample.label for sample in plain.samples]) if thorough else None
        found += doubts.findings(checked, plain.samples)
        found += balance.findings(counts)
        found += shape.findings(looks.samples, looks.looks, white)
        found += light.findings(looks.samples, seen.tolist(), [one.mode for one in looks.looks])
    found += [*broken, *misplaced(source), *remarked(source)]
    _, held_out = balance.held_out(counts)
    facts = {
        "classes": len({sample.label for sample in looks.samples}),
        "splits": {name: classes.total() for name, classes in counts.items()},
        "smallest_difference": balance.smallest_difference(held_out) if held_out else None,
        "full_scale": white,
        "thorough": thorough,
        "labels": doubts.facts(checked),
        "seconds": time.perf_counter() - start,
    }
    return Diagnosis(data=str(data), images=len(looks.samples), findings=tuple(found), facts=facts, reading=reading)


def quick(
    splits: Splits,
    skipped: Sequence[tuple[str, str]],
    source: Source,
    decoded: Iterable[tuple[Sequence[Sample], np.ndarray]] = (),
) -> Diagnosis:
    """What training can say without a longer look at the files; `Diagnosis.line` puts it in one line.

    splits      what will train and what will be held out
    skipped     (key, reason) of the files that decoding left out
    source      what the samples come from; it knows their contents already
    decoded     samples, and their (N, S, S, 3) uint8 pixels as the network will get them

    Finds equal files on both sides, unreadable files, imbalance, small classes, a small held-out set, and pictures on
    which there is nothing to see.
    """
    left_out = {key for key, _ in skipped}
    both = {"train": splits.train, splits.held_out_name: splits.held_out}
    placed = [(sample, name) for name, own in both.items() for sample in own if sample.key not in left_out]
    samples, sides = [sample for sample, _ in placed], [name for _, name in placed]
    equal = exact([source.contents[sample.key] for sample in samples])
    twice = [group for group in equal if len({sides[i] for i in group}) > 1]
    copies = Copies(samples, twice, drawn=None if splits.origin == "folders" else sides)
    found = [
        *copies.leaks(twice, near=False),
        *copies.contradictions(),
        *unreadable(skipped),
        *light.of_decoded(decoded),
        *balance.findings(balance.per_split([replace(sample, split=name) for sample, name in placed])),
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
            fixed=True,
            paths=tuple(key for key, _ in broken),
            details={
                "reasons": [why for _, why in broken],
                "frequent": Counter(why for _, why in broken).most_common(5),
            },
        )
    ]


def _refused(problem: LayoutError) -> Finding:
    return Finding(
        kind="layout",
        severity="error",
        text=str(problem),
        mend="Training refuses the set as it lies there. Put it right and look again: the pictures were not looked at.",
    )
