"""`resnets predict`: what is on these pictures?"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from resnets.cli import boxed
from resnets.cli.output import emit, line, note
from resnets.errors import DataError

if TYPE_CHECKING:
    from resnets.inference import Classifier
    from resnets.inference.prediction import Outcome

MANY = 32  # pictures from which on progress is shown
NAMED = 10  # bad files that are named; the others are counted
DEFAULT = ("torch", "float32")  # what a classifier does by itself


# What each argument and option is.
Model = Annotated[
    str,
    typer.Argument(
        metavar="[MODEL]",
        help="A model file, a run, anybody's weights, or a tag. Without one, box: the model that comes along.",
        show_default=False,
    ),
]
Paths = Annotated[
    list[str] | None,
    typer.Argument(metavar="PATH", help="Files, folders (with all below them), globs, or -.", show_default=False),
]
Engine = Annotated[
    str | None,
    typer.Option(
        metavar="NAME",
        help="torch, compiled, onnxruntime, openvino, auto (the fastest), or ray. Default: torch; for int8 openvino, "
        "where it is installed.",
        show_default=False,
    ),
]
Data = Annotated[
    str | None,
    typer.Option(metavar="DATA", help="Labelled images that judge int8.", show_default=False),
]
FastDecode = Annotated[
    bool, typer.Option("--fast-decode", help="Read JPEG files faster, and not quite to the same pixels.")
]
Out = Annotated[
    Path | None,
    typer.Option(metavar="FILE", help="A table: .parquet, .csv or .jsonl.", show_default=False),
]


def predict(
    model: Model,
    paths: Paths = None,
    top: Annotated[int, typer.Option(metavar="K", min=1, help="How many classes to name.")] = 5,
    engine: Engine = None,
    precision: Annotated[str, typer.Option(metavar="P", help="float32, bfloat16, or int8.")] = DEFAULT[1],
    data: Data = None,
    fast_decode: FastDecode = False,
    out: Out = None,
    json: Annotated[bool, typer.Option("--json", help="Print one JSON document.")] = False,
) -> None:
    """Say what pictures show.

    Every file is tried, whatever its name; in folders, hidden ones are left out. A bad file stops nothing:
    it is named at the end (in a table it has a row that says why), and the exit status is 1. With - standard
    input is read: text is taken as paths, one a line, and anything else as one picture.

    A model that was calibrated, as `resnets train` does with 100 held-out images or more, says so when it is
    unsure which of some classes it is, and when a picture is unlike all that it knows.

    Where the first word is a picture, the model that comes with this package answers: it knows the ten things of
    CIFAR-10, and says how well.

    A table has one row for each file. Killed and started again with the same arguments, the command goes on
    where it was; pictures that are others now, or could not be read, are done again.

    \b
    Examples:
      resnets predict new.jpg                                 by the model in the box
      resnets predict runs/photos new.jpg                     one picture
      resnets predict runs/photos inbox/ --out table.parquet  a whole folder, into a table
      resnets predict runs/photos inbox/ --out table.csv --engine auto --precision int8 --data photos/
      resnets predict model.safetensors '*.png' --top 1       a glob
      find . -name '*.jpg' | resnets predict model.safetensors - --json
    """
    # Threads of the network that wait for one another must not keep the decoders from a core: measured, up to three
    # times as slow. It counts before torch is imported.
    os.environ.setdefault("OMP_WAIT_POLICY", "passive")
    from resnets.inference import engines, load

    model, paths = boxed.meant(model, paths or [])
    engine = engine or engines.usual(precision)
    _check(engine, precision, out)
    classifier = load(model)
    if words := boxed.told(model, classifier):
        note(words)
    pictures, failed = _wanted(paths, out)
    outcomes, taken = _prepared(classifier, model, engine, precision, data, top, fast_decode)
    # A live bar and lines of results would write over each other on one terminal.
    if len(pictures) >= MANY and (json or out or not sys.stdout.isatty()):
        outcomes = _tracked(outcomes, len(pictures))
    if out:
        what = {"precision": precision, "top": top, "fast-decode": fast_decode, "list of files": paths}
        _fill(out, classifier, {"engine": taken, **what}, pictures, failed, outcomes, json)
    else:
        _print(outcomes(pictures), failed, classifier.titles, json)


Outcomes = Callable[[list[str | bytes]], "Iterator[Outcome]"]  # pictures -> what became of each, as it comes in


def _check(engine: str, precision: str, out: Path | None) -> None:
    """Refuse what cannot be, before any work."""
    from resnets.inference import engines, tables
    from resnets.machine import keep_memory

    engines.check("torch" if engine in ("auto", "ray") else engine, precision)
    if out:
        tables.check(out)
    keep_memory()


def _wanted(paths: list[str], out: Path | None) -> tuple[list[str | bytes], list[Outcome]]:
    """What is to be predicted, but for the table itself, and what the arguments name and is not there."""
    from resnets.inference import tables

    failed: list[Outcome] = []
    pictures = [picture for picture in _pictures(paths, failed) if not out or not tables.belongs(picture, out)]
    if not pictures:
        raise DataError(f"There is nothing to predict: {_list(failed)}.")
    return pictures, failed


def _fill(
    out: Path,
    classifier: Classifier,
    what: dict[str, Any],
    pictures: list[str | bytes],
    failed: list[Outcome],
    outcomes: Outcomes,
    json: bool,
) -> None:
    """Write a table, or go on with one of the same identity."""
    import resnets
    from resnets.inference import seen, tables

    identity = {
        "model": classifier.digest,
        "version": resnets.__version__,
        **what,
        "folder": os.getcwd(),
        "standard input": [seen.digest(picture) for picture in pictures if isinstance(picture, bytes)],
    }
    with tables.Journal(out, min(what["top"], len(classifier.classes)), identity) as journal:
        todo, dropped = journal.review(pictures)
        if told := str(dropped):
            note(told)
        for outcome in failed:
            journal.add(outcome)
        for outcome in outcomes(todo):
            journal.add(outcome)
        listed = list(journal.rows()) if json else []  # one document needs all of them
        said = journal.finish()
    note(" ".join([f"wrote {out}", *([f"({' '.join(said)})"] if said else [])]))
    _finish(listed, journal.failed, journal.failures, classifier.titles, json)


def _print(outcomes: Iterator[Outcome], failed: list[Outcome], titles: Mapping[str, str], json: bool) -> None:
    listed = []
    for outcome in outcomes:
        if outcome.why:
            failed.append(outcome)
        elif json:
            listed.append(outcome)
        else:
            _show(outcome, titles)
    _finish([*listed, *failed], failed, len(failed), titles, json)


def _finish(listed: list[Outcome], failed: list[Outcome], failures: int, titles: Mapping[str, str], json: bool) -> None:
    """The document, and on standard error what could not be used, of which `failed` are the first."""
    from resnets.inference.prediction import document

    if json:
        emit(document(listed, titles))
    if failures:
        more = f"; and {failures - NAMED} more" if failures > NAMED else ""
        note(f"{failures} could not be used: {_list(failed[:NAMED])}{more}", serious=True)
        raise typer.Exit(1)


def _prepared(
    classifier: Classifier, model: str, engine: str, precision: str, data: str | None, top: int, fast: bool
) -> tuple[Outcomes, list[str]]:
    """What says what pictures show, with the engine and precision asked for; and what exactly was taken for it."""
    from resnets.inference import bulk, pictures, ray_engine, seen

    quantisation, taken = None, [engine]
    if (engine, precision) != DEFAULT and (engine != "ray" or precision == "int8"):
        from resnets.acceptance.gate import session_for

        session = session_for(classifier, "torch" if engine == "ray" else engine, precision, data, pictures.BATCH)
        classifier.use(session)
        quantisation, taken = session.quantisation, [engine if engine == "ray" else session.name]
    if quantisation:
        taken.append(seen.digest(repr(quantisation.to_dict()).encode()))
    if engine == "ray":
        more = {"top": top, "fast": fast, "precision": precision, "quantisation": quantisation}
        return lambda pictures: ray_engine.predict_files(model, pictures, **more), taken  # type: ignore[arg-type]
    note(f"engine {taken[0]}, {precision}")
    return lambda pictures: bulk.predict_files(classifier, pictures, top, fast=fast), taken


def _tracked(outcomes: Outcomes, total: int) -> Outcomes:
    """The same with a bar, in which the pictures that are not asked for any more count as done."""
    from resnets.progress import track

    def tracked(todo: list[str | bytes]) -> Iterator[Outcome]:
        with track("predicting", total, done=total - len(todo)) as advance:
            for outcome in outcomes(todo):
                yield outcome
                advance(1)

    return tracked


def _pictures(paths: Sequence[str], failed: list[Outcome]) -> Iterator[str | bytes]:
    """The files (paths) and the picture on standard input (bytes) that the arguments mean."""
    from resnets.data.decode import is_picture
    from resnets.data.source import LARGEST
    from resnets.inference.bulk import STDIN, files_of
    from resnets.inference.prediction import Outcome
    from resnets.regular import bounded

    for path in paths:
        if path != STDIN:
            yield from files_of([path], failed)
            continue
        data = bounded(sys.stdin.buffer, LARGEST)
        if len(data) > LARGEST:
            failed.append(Outcome(STDIN, (), f"standard input has more than {LARGEST // 2**20} MiB"))
        elif not data:
            failed.append(Outcome(STDIN, (), "standard input is empty"))
        elif b"\0" in data or (is_picture(data) and not _named(data)):
            yield data
        else:
            lines = (os.fsdecode(line.removesuffix(b"\r")) for line in data.split(b"\n"))
            yield from files_of(filter(None, lines), failed)


def _named(data: bytes) -> bool:
    """Whether text that begins like a picture is a list all the same: "BMW/1.jpg", or what is there under that name.

    A BMP file has a zero among its first bytes.
    """
    first = next(filter(None, data[: 2**16].splitlines()), b"")
    return data.startswith(b"BM") or os.path.lexists(first)


def _show(outcome: Outcome, titles: Mapping[str, str]) -> None:
    from resnets.data.titles import shown as titled

    shown = ", ".join(f"{titled(name, titles)} {100 * p:.1f} %" for name, p in outcome.top)
    among = tuple(titled(name, titles) for name in outcome.among or ())
    doubts = [f"unsure: {_either(among)}"] if outcome.unsure else []
    doubts += ["unlike all that the model knows"] if outcome.unlike else []
    line(f"{outcome.path}: {'; '.join([shown, *doubts])}")


def _either(names: tuple[str, ...]) -> str:
    """'cat or dog', of many the first ones."""
    more = f" or one of {len(names) - 3} more" if len(names) > 3 else ""
    return " or ".join(names[:3]) + more or "no class is likely"


def _list(failed: Iterable[Outcome]) -> str:
    return "; ".join(f"{one.path}: {one.why}" for one in failed)
