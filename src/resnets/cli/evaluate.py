"""`resnets evaluate`: how good is a model on images whose classes are known?"""

from __future__ import annotations

from typing import Annotated, Any

import typer

from resnets.cli.output import console, emit, note


def evaluate(
    model: Annotated[str, typer.Argument(metavar="MODEL", help="A model file, a run, anybody's weights, or a tag.")],
    data: Annotated[
        str,
        typer.Argument(metavar="DATA", help="A folder, a .zip or .tar of one, or a name like cifar10."),
    ] = "digits",
    split: Annotated[
        str | None,
        typer.Option(metavar="NAME", help="train, val or test; without it, the held-out one.", show_default=False),
    ] = None,
    json: Annotated[bool, typer.Option("--json", help="Print one JSON document.")] = False,
) -> None:
    """Judge a model on images whose classes are known, each exactly once.

    Classes are matched by name. Data with class folders only, which the model was trained on, is judged by
    the part that the training held out. Files that are no usable image are named and left out.

    \b
    Examples:
      resnets evaluate runs/photos photos/                 the images that training held out
      resnets evaluate runs/photos photos/ --split train   how well it knows what it has seen
      resnets evaluate model.safetensors new.zip --json    for a program
    """
    from resnets.evaluation import evaluate as judge
    from resnets.inference import load
    from resnets.machine import keep_memory

    keep_memory()
    result = judge(load(model), data, split)
    if json:
        emit(result)
    else:
        _show(result)


def _show(result: dict[str, Any]) -> None:
    from rich.markup import escape
    from rich.table import Table

    from resnets.data.labels import printable
    from resnets.progress import duration

    figures = Table.grid(padding=(0, 2))
    for name, value in (
        ("images", f"{result['images']:,} ({result['split']}), in {duration(result['seconds'])}"),
        ("top-1", _percent(result["top1"])),
        ("top-5", _percent(result["top5"])),
        ("macro-F1", _percent(result["macro_f1"])),
        ("loss", f"{result['loss']:.4f}"),
        ("calibration error", _percent(result["ece"])),
    ):
        figures.add_row(name, value)
    classes = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="bold")
    classes.add_column("class")
    for header in ("images", "precision", "recall"):
        classes.add_column(header, justify="right", no_wrap=True)
    for row in result["per_class"]:
        shares = (_percent(row["precision"]), _percent(row["recall"]))
        classes.add_row(escape(printable(row["name"])), f"{row['images']:,}", *shares)
    console().print(figures, "", classes)
    for skipped in result["skipped_files"]:
        note(f"left out: {printable(skipped['path'])}: {skipped['why']}")


def _percent(share: float | None) -> str:
    return "-" if share is None else f"{100 * share:.2f} %"
