"""`resnets bench`: our speed beside that of others, in one run."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Annotated, Any

import typer

from resnets.cli.complete import networks
from resnets.cli.output import console, emit, note

# What each argument and option is.
Models = Annotated[
    list[str] | None,
    typer.Argument(
        metavar="MODEL", help="Networks of `resnets list`, or model files.", show_default=False, autocompletion=networks
    ),
]
Against = Annotated[
    str, typer.Option(metavar="PEER,...", help="Who to compare with; empty for nobody but the baseline.")
]
Engines = Annotated[
    str | None,
    typer.Option(metavar="NAME,...", help="Our engines [default: those installed, without compiled]."),
]
Precisions = Annotated[str, typer.Option("--precision", metavar="P,...", help="Precisions to measure.")]
Batches = Annotated[
    str | None,
    typer.Option("--batch", metavar="N,...", help="Images at once [default: 1,8,32; for train and with --steps 32]."),
]
Steps = Annotated[
    int | None,
    typer.Option(
        metavar="N",
        min=1,
        help="So many calls of each side, instead of rounds: mean and deviation of a batch, forward and backward.",
    ),
]
Images = Annotated[
    Path | None,
    typer.Option(metavar="FOLDER", help="JPEG files: the whole job from files to labels, too.", show_default=False),
]
Out = Annotated[
    Path | None,
    typer.Option(metavar="DIR", help="Write bench.json, bench.md and a picture there.", show_default=False),
]


def bench(
    models: Models = None,
    task: Annotated[
        str, typer.Option(metavar="TASK", help="infer, train, backward (a step without the optimiser) or input.")
    ] = "infer",
    against: Against = "torchvision,timm,onnxruntime,openvino",
    engines: Engines = None,
    precisions: Precisions = "float32,bfloat16,int8",
    batches: Batches = None,
    rounds: Annotated[int, typer.Option(metavar="N", min=1, help="How often each side has its turn.")] = 7,
    steps: Steps = None,
    images: Images = None,
    out: Out = None,
    json: Annotated[bool, typer.Option("--json", help="Print one JSON document.")] = False,
) -> None:
    """Measure our engines beside torchvision, timm and the raw runtimes.

    Every side works in a process of its own, and they take turns call by call. A ratio is to the row of torchvision as
    it is, in float32, with as many images at once (where there is no torchvision: of our network run plainly). A peer
    that is not installed is left out. Networks given by name have random weights.

    \b
    Examples:
      resnets bench                                       resnet18 and resnet50, all precisions
      resnets bench resnet50 --precision bfloat16 --batch 1,32
      resnets bench runs/photos/model.safetensors --images photos/ --out bench/
      resnets bench resnet18 --task train --against torchvision
      resnets bench resnet50 --steps 100 --batch 32       forward, and forward and backward: s / batch +/- deviation
      resnets bench --task input --json
    """
    from resnets.benchmark import bench as measure
    from resnets.benchmark.report import write
    from resnets.errors import DataError

    if out and out.exists() and not out.is_dir():
        raise DataError(f"{out} is a file: name a folder to write into.")
    if out:  # before the minutes of measuring, not behind them
        out.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=out):
            pass
    result = measure(
        models or ["resnet18", "resnet50"],
        task=task,
        against=_words(against),
        engines=_words(engines) if engines else None,
        precisions=_words(precisions),
        batches=[_count(word) for word in _words(batches)] if batches else None,
        rounds=rounds,
        images=images,
        steps=steps,
    )
    document = result.document()
    if not json:
        _show(document)
    if out:
        write(document, out)
        note(f"wrote {out}")
    if json:
        emit(document)


def _show(document: dict[str, Any]) -> None:
    from rich.markup import escape
    from rich.table import Table

    from resnets.benchmark.report import COLUMNS, SPREAD, caption, cells, short, spread

    figures = (*COLUMNS[COLUMNS.index("who") :], *((SPREAD,) if document["steps"] else ()))
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="dim")
    for column in figures:
        table.add_column(column, justify="left" if column == "who" else "right", no_wrap=True)
    last, shown = "", short(row["name"] for row in document["rows"])
    for row in document["rows"]:
        name, task, precision, batch, *texts = map(escape, cells(row, shown))
        what = {"files": ", files", "backward": ", forward and backward"}.get(task, "")
        title = f"{name}{what} {precision}, {batch} at once"
        if title != last:
            table.add_row()
            table.add_row(title, style="bold")
            last = title
        table.add_row(*texts, *((spread(row),) if document["steps"] else ()))
    out = console()
    out.print(table)
    out.print(f"\n{caption(document)}", style="dim")


def _words(text: str) -> list[str]:
    return [word.strip() for word in text.split(",") if word.strip()]


def _count(word: str) -> int:
    if not word.isdecimal() or not 0 < int(word) <= 4096:
        raise typer.BadParameter(f"--batch takes whole numbers from 1 to 4096, not {word!r}.")
    return int(word)
