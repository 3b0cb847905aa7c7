"""A cleaned copy of a data set, and the list of what was left out of it. The source is only ever read."""

from __future__ import annotations

import csv
import os
import secrets
import shutil
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from resnets.data.open import open_source
from resnets.data.rows import is_table
from resnets.data.sample import Sample
from resnets.data.source import Source
from resnets.data.titles import is_list
from resnets.data.walk import hidden
from resnets.diagnosis.copies import surplus
from resnets.diagnosis.diagnosis import Diagnosis
from resnets.diagnosis.listing import CHANGES
from resnets.errors import DataError, ImageError
from resnets.progress import track
from resnets.regular import LONGEST_NAME
from resnets.text import cell, printable, written

PART = ".doctor-part"  # ends the name of a copy that is not whole yet
STALE = 24 * 3600  # seconds after its last file that such a copy has no writer any more


@dataclass(frozen=True)
class Change:
    """One line of the list: what was done with a file ("left out" or "kept"), why, and the file that stays for it."""

    path: str
    done: str
    why: str
    instead: str = ""


def check_target(data: str | Path, fix_into: Path) -> None:
    """Raise DataError unless `fix_into` is new or empty, can be put in its place as a whole, and is not in the data."""
    shown = printable(str(fix_into))
    if fix_into.exists() and (not fix_into.is_dir() or any(fix_into.iterdir())):
        raise DataError(f"{shown} is there already and not an empty folder: give `fix_into` a new one.")
    if fix_into.exists() and (os.path.ismount(fix_into) or fix_into.resolve() == Path.cwd()):
        raise DataError(f"{shown} cannot be replaced by a whole copy: give `fix_into` a new folder inside it.")
    source = Path(os.path.expanduser(data))
    source = source.parent if is_table(source.name) else source
    if source.is_dir() and fix_into.resolve().is_relative_to(source.resolve()):
        raise DataError(f"{shown} lies inside the data, which is never touched: give `fix_into` another place.")


def fix(data: str | Path, diagnosis: Diagnosis, fix_into: Path) -> list[Change]:
    """Copy all good files of `data` to `fix_into`, in the layout that they have, and write `CHANGES` beside them.

    What a table gives classes to comes into a folder for each class.

    Left out are unreadable files, files in no class folder, all but one of equal files in one split and under one
    label, and copies (near duplicates too) on the training side of a leak. In a set without splits one of each picture
    stays. Doubtful labels and contradictions are listed and left as they are.

    Returns the list. Raises DataError when the set was refused, or `fix_into` is no place to write to.
    """
    check_target(data, fix_into)
    if "layout" in diagnosis:
        raise DataError(f"Nothing can be copied before this is put right: {diagnosis['layout'].text}")
    source = open_source(data, quiet=True, reading=diagnosis.reading)
    samples = source.samples
    broken = diagnosis["unreadable"].paths if "unreadable" in diagnosis else ()
    try:
        changes = list(_changes(diagnosis, {sample.key: sample for sample in samples}))
    except KeyError as problem:
        gone = printable(str(problem.args[0]))
        raise DataError(f"{gone} is gone since the data was looked at: begin again.") from None
    if len(samples) != diagnosis.images + len(broken):
        raise DataError("The data has changed since it was looked at: begin again.")
    left_out = {change.path for change in changes if change.done == "left out"}
    _check_whole(samples, left_out, {change.path for change in changes if change.instead})
    places = _places(source, [sample for sample in samples if sample.key not in left_out])
    lists = {} if source.tabled else {key: key for key in source.beside if is_list(key)}  # of titles
    if not places:
        raise DataError("Nothing would be left in the copy: no file of the data can be used.")
    try:
        with _whole_folder(fix_into.resolve()) as folder:
            _copy(source, places | lists, folder)
            with open(folder / CHANGES, "x", newline="", encoding="utf-8") as file:
                writer = csv.writer(file)
                writer.writerow(["path", "done", "why", "instead"])
                for change in changes:
                    values = (change.path, change.done, change.why, change.instead)
                    writer.writerow([cell(written(value)) for value in values])
    except OSError as problem:
        raise DataError(
            f"{printable(str(fix_into))} cannot be written ({problem.strerror}), and nothing was: make room, or give "
            "`fix_into` another place."
        ) from problem
    return changes


def _check_whole(samples: Sequence[Sample], left_out: set[str], copies: set[str]) -> None:
    """Raise DataError where a class of a split would be gone from the copy because its pictures are there twice."""
    stays = {(sample.split, sample.label) for sample in samples if sample.key not in left_out}
    for sample in samples:
        if sample.key in copies and (sample.split, sample.label) not in stays:
            place = printable(f"{sample.split}/{sample.label}/")
            raise DataError(
                f"Nothing would be left of {place} in the copy: all that is in it is among the held-out images too. "
                "Take it out of those first, or hold other images out."
            )


@contextmanager
def _whole_folder(place: Path) -> Iterator[Path]:
    """A hidden folder beside `place`, which takes that name when all of it is there; a kill leaves it hidden.

    What killed writers have left beside it is removed after a day.
    """
    part = place.with_name(f".{place.name}.{secrets.token_hex(4)}{PART}")
    part.mkdir(parents=True)
    for left in place.parent.glob(f".*{PART}"):
        with suppress(OSError):
            info = left.lstat()
            if time.time() - info.st_mtime > STALE and info.st_uid == part.stat().st_uid:
                shutil.rmtree(left)
    try:
        yield part
        os.sync()
        if place.exists():
            place.rmdir()  # it was empty, and must be so still
        os.rename(part, place)
    finally:
        shutil.rmtree(part, ignore_errors=True)


def _changes(diagnosis: Diagnosis, samples: dict[str, Sample]) -> Iterator[Change]:
    left_out = set()
    for finding in diagnosis.findings:
        if finding.kind == "unreadable":
            for path, why in zip(finding.paths, finding.details["reasons"], strict=True):
                yield Change(path, "left out", why)
        elif finding.kind == "misplaced":
            for path in finding.paths:
                yield Change(path, "left out", "lies in no class folder")
    for kinds, what in ((("leak", "duplicates"), "equal file"), (("near-leak", "near-duplicates"), "same picture")):
        for kind in kinds:
            for group in diagnosis[kind].details["groups"] if kind in diagnosis else ():
                present = [samples[key] for key in group if key not in left_out]
                for one, other in surplus(present, near=kinds[0] != "leak"):
                    left_out.add(one.key)
                    label = "" if one.label == other.label else f", labelled {other.label}"
                    yield Change(one.key, "left out", f"{what} in {other.split or 'the set'}{label}", other.key)
    for finding in diagnosis.findings:
        for group in finding.details["groups"] if finding.kind == "contradiction" else ():
            stay = [key for key in group if key not in left_out]
            for key in stay:
                if rival := next((one for one in stay if samples[one].label != samples[key].label), None):
                    yield Change(key, "kept", "the same picture has another label too", rival)
    if "suspected-labels" in diagnosis:
        for suspect in diagnosis["suspected-labels"].details["suspects"]:
            if suspect["path"] not in left_out:
                yield Change(suspect["path"], "kept", f"looks like {suspect['suggested']}")


def _places(source: Source, samples: Sequence[Sample]) -> dict[str, str]:
    """Where each file goes, by its key: where it lies, or, where a table says its class, into a folder of that name."""
    if not source.tabled:
        return {sample.key: sample.key for sample in samples}
    taken: set[str] = set()
    found = {}
    for number, sample in enumerate(samples, start=1):
        folder, name = sample.label, sample.key.rpartition("/")[2]
        if "/" in folder or hidden(folder) or len(os.fsencode(folder)) > LONGEST_NAME:
            raise DataError(f'The class "{printable(folder)}" cannot be the name of a folder: rename it in the table.')
        place = "/".join(part for part in (sample.split, folder, name) if part)
        if place.casefold() in taken or hidden(name):  # in another folder there is one of this name
            place = "/".join(part for part in (sample.split, folder, f"{number:07}-{name}") if part)
        taken.add(place.casefold())
        found[sample.key] = place
    return found


def _copy(source: Source, places: Mapping[str, str], folder: Path) -> None:
    with track("copying", len(places), "files") as advance:
        for key, place in places.items():
            target = folder / place
            target.parent.mkdir(parents=True, exist_ok=True)
            try:
                content = source.read(key)
            except ImageError as problem:
                raise DataError(
                    f"{printable(key)} was readable before and is not any more ({problem}): begin again."
                ) from problem
            with open(target, "xb") as file:
                file.write(content)
            os.utime(folder)  # somebody is at work here
            advance(1)
