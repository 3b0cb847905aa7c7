"""Many files -> what they show, in their order, in bounded memory (see `inference.pictures`)."""

from __future__ import annotations

import glob
import os
from collections.abc import Iterable, Iterator

from resnets.data.walk import walk
from resnets.errors import ImageError, NoReaderError, UnreadableError
from resnets.inference.classifier import Classifier
from resnets.inference.pictures import BATCH
from resnets.inference.prediction import Outcome
from resnets.inference.seen import Seen
from resnets.progress import say
from resnets.text import printable

STDIN = "-"  # in place of the path of a picture that came through standard input


def predict_files(
    classifier: Classifier,
    files: Iterable[str | bytes],
    top: int = 5,
    *,
    batch_size: int = BATCH,
    fast: bool = False,
    threads: int | None = None,
) -> Iterator[Outcome]:
    """One `Outcome` for each file, in their order, as they come in; never stop at a bad one.

    files     paths; bytes are a picture itself, whose path is `STDIN`
    others    as in `Classifier.predict_each`
    """
    read: dict[str, Seen] = {}  # of the files that are at work
    each = classifier.predict_each(files, top, batch_size, fast=fast, threads=threads, watch=read.__setitem__)
    for picture, result in each:
        path = STDIN if isinstance(picture, bytes) else picture
        seen = read.pop(path, None)
        if isinstance(result, ImageError):
            yield Outcome(path, (), str(result), seen=None if isinstance(result, LATER) else seen)
        else:
            yield Outcome(path, result.top, "", result.among, result.unlike, seen)


LATER = (UnreadableError, NoReaderError)  # reasons that another time may not be there


def files_of(names: Iterable[str], failed: list[Outcome]) -> Iterator[str]:
    """The files that names mean: files, folders with all below them, globs. Those that mean none go to `failed`."""
    for name in names:
        found = [name] if os.path.lexists(name) else sorted(glob.glob(name, recursive=True))
        if not found:
            failed.append(Outcome(name, (), "nothing matches" if glob.has_magic(name) else "there is no such file"))
        for entry in found:
            if not os.path.isdir(entry):
                yield entry
                continue
            before, any_file = len(failed), False
            for path in _below(entry, failed):
                any_file = True
                yield path
            if not any_file and len(failed) == before:
                failed.append(Outcome(entry, (), "the folder has no files in it"))


def _below(folder: str, failed: list[Outcome]) -> Iterator[str]:
    """All files in a folder as `data.walk` finds them; what cannot be opened or walked goes to `failed`."""
    for found in walk(folder):
        path = os.path.join(folder, found.key)
        if found.kind == "file":
            yield path
        elif found.kind == "ours" and found.key:
            say(f"{printable(path)} {found.why}: left out.")
        elif found.why:
            failed.append(Outcome(path, (), f"it {found.why}"))
