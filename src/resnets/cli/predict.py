"""`resnets predict`: what is on these pictures?"""

from __future__ import annotations

import glob
import os
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from resnets.cli.output import emit, note
from resnets.errors import DataError, ImageError

if TYPE_CHECKING:
    from resnets.inference import Classifier, Prediction

MANY = 32  # pictures from which on progress is shown
STDIN = "-"

Problem = tuple[str, str]  # path, why


def predict(
    model: Annotated[str, typer.Argument(metavar="MODEL", help="A model file, a run, anybody's weights, or a tag.")],
    paths: Annotated[
        list[str],
        typer.Argument(metavar="PATH", help="Files, folders (with all below them), globs, or -."),
    ],
    top: Annotated[int, typer.Option(metavar="K", min=1, help="How many classes to name.")] = 5,
    out: Annotated[
        Path | None,
        typer.Option(metavar="FILE.csv", help="Write a table instead of printing.", show_default=False),
    ] = None,
    json: Annotated[bool, typer.Option("--json", help="Print one JSON document.")] = False,
) -> None:
    """Say what pictures show.

    Every file is tried, whatever its name; in folders, hidden ones are left out. A bad file stops nothing:
    it is named at the end, and the exit status is 1. With - standard input is read: text is taken as
    paths, one a line, and anything else as one picture.

    \b
    Examples:
      resnets predict runs/photos new.jpg                 one picture
      resnets predict runs/photos inbox/ --out table.csv  a whole folder, into a table
      resnets predict model.safetensors '*.png' --top 1   a glob
      find . -name '*.jpg' | resnets predict model.safetensors - --json
    """
    from resnets.data.labels import printable
    from resnets.inference import load

    if out and out.suffix.lower() != ".csv":
        raise DataError(f"{out} is no table that can be written yet: name a file that ends in .csv.")
    if out and not out.parent.is_dir():
        raise DataError(f"There is no folder {out.parent} to write {out.name} into: make it first.")
    classifier = load(model)
    failed: list[Problem] = []
    pictures = list(_expand(paths, failed))
    if not pictures:
        raise DataError(f"There is nothing to predict: {_list(failed)}.")
    # A live bar and lines of results would write over each other on one terminal.
    quiet = len(pictures) < MANY or (sys.stdout.isatty() and not json and not out)
    results: Iterable[tuple[str, Prediction]] = _results(classifier, pictures, top, quiet, failed)
    if json:
        results = list(results)  # one document needs all of them
    if out:
        _write_table(out, results, min(top, len(classifier.classes)))
        note(f"wrote {out}")
    if json:
        emit(
            {
                "predictions": [
                    {"path": path, "top": [{"name": name, "probability": p} for name, p in result.top]}
                    for path, result in results
                ],
                "failed": [{"path": path, "why": why} for path, why in failed],
            }
        )
    elif not out:
        for path, result in results:
            shown = ", ".join(f"{printable(name)} {100 * p:.1f} %" for name, p in result.top)
            print(f"{printable(path)}: {shown}", flush=True)
    if failed:
        note(f"{len(failed)} could not be used: {_list(failed)}")
        raise typer.Exit(1)


def _results(
    classifier: Classifier, pictures: list[str | bytes], top: int, quiet: bool, failed: list[Problem]
) -> Iterator[tuple[str, Prediction]]:
    """What the pictures show, as it comes in; those that cannot be used go to `failed`."""
    from contextlib import nullcontext

    from resnets.progress import track

    with nullcontext(int) if quiet else track("predicting", len(pictures)) as advance:
        for picture, result in classifier.predict_each(pictures, top):
            path = STDIN if isinstance(picture, bytes) else picture
            if isinstance(result, ImageError):
                failed.append((path, str(result)))
            else:
                yield path, result
            advance(1)


def _expand(paths: Iterable[str], failed: list[Problem]) -> Iterator[str | bytes]:
    """The files (paths) and the picture on standard input (bytes) that the arguments mean."""
    from resnets.data.decode import is_picture

    for path in paths:
        if path != STDIN:
            yield from _files(path, failed)
            continue
        data = sys.stdin.buffer.read()
        if not data:
            failed.append((STDIN, "standard input is empty"))
        elif is_picture(data) or b"\0" in data:
            yield data
        else:
            for line in filter(None, data.split(b"\n")):
                yield from _files(os.fsdecode(line.removesuffix(b"\r")), failed)


def _files(path: str, failed: list[Problem]) -> Iterator[str]:
    found = [path] if os.path.lexists(path) else sorted(glob.glob(path, recursive=True))
    if not found:
        failed.append((path, "nothing matches" if glob.has_magic(path) else "there is no such file"))
    for entry in found:
        if not os.path.isdir(entry):
            yield entry
            continue
        below = list(_below(entry, failed))
        if not below:
            failed.append((entry, "the folder has no files in it"))
        yield from below


def _below(folder: str, failed: list[Problem]) -> Iterator[str]:
    """All files under `folder`, sorted, but hidden ones, and pipes and devices, which would hang."""
    from resnets.data.sources import hidden

    def unreadable(error: OSError) -> None:
        failed.append((error.filename, f"it cannot be read: {error.strerror}"))

    for place, folders, files in os.walk(folder, onerror=unreadable):
        folders[:] = sorted(name for name in folders if not hidden(name))
        for name in sorted(files):
            path = os.path.join(place, name)
            # A link to nowhere is kept: it is named as a failure.
            if not hidden(name) and (os.path.isfile(path) or not os.path.exists(path)):
                yield path


def _write_table(out: Path, results: Iterable[tuple[str, Prediction]], columns: int) -> None:
    import csv

    ranks = [f"{what}_{rank + 1}" for rank in range(columns) for what in ("name", "probability")]
    try:
        # Paths are bytes to the system; those that are not UTF-8 are written back as they were.
        with open(out, "w", newline="", encoding="utf-8", errors="surrogateescape") as file:
            writer = csv.writer(file)
            writer.writerow(["path", *ranks])
            for path, result in results:
                writer.writerow([path, *(value for pair in result.top for value in pair)])
    except OSError as problem:
        raise DataError(
            f"{out} cannot be written ({problem.strerror}): choose another place or make room."
        ) from problem


def _list(problems: list[Problem]) -> str:
    from resnets.data.labels import printable

    return "; ".join(f"{printable(path)}: {why}" for path, why in problems)
