"""Many files -> what they show, in their order, in bounded memory (see `inference.pictures`)."""

from __future__ import annotations

import glob
import os
from collections.abc import Iterable, Iterator

from resnets.data.source import hidden
from resnets.errors import ImageError, UnreadableError
from resnets.inference.classifier import Classifier
from resnets.inference.pictures import BATCH
from resnets.inference.prediction import Outcome
from resnets.inference.seen import Seen

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
            yield Outcome(path, (), str(result), seen=None if isinstance(result, UnreadableError) else seen)
        else:
            yield Outcome(path, result.top, "", result.among, result.unlike, seen)


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
            empty = True
            for path in _below(entry, failed):
                empty = False
                yield path
            if empty:
                failed.append(Outcome(entry, (), "the folder has no files in it"))


def _below(folder: str, failed: list[Outcome]) -> Iterator[str]:
    """All files under `folder`, sorted, but hidden ones, and pipes and devices, which would hang."""

    def unreadable(error: OSError) -> None:
        failed.append(Outcome(error.filename, (), f"it cannot be read: {error.strerror}"))

    for place, folders, files in os.walk(folder, onerror=unreadable):
        folders[:] = sorted(name for name in folders if not hidden(name))
        for name in sorted(files):
            path = os.path.join(place, name)
            # A link to nowhere is kept: it is named as a failure.
            if not hidden(name) and (os.path.isfile(path) or not os.path.exists(path)):
                yield path
