"""`resnets show`: a network or a file layer by layer, or two networks side by side, as tables and as a drawing."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from resnets.cli.complete import networks
from resnets.cli.output import console, emit, note
from resnets.cli.sources import check_places, write_sources

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table

    from resnets.architecture import Plan
    from resnets.inspection import Comparison, Line, Part
    from resnets.weights.described import Described


# What each argument and option is.
Name = Annotated[
    str,
    typer.Argument(
        metavar="NAME",
        help="A network that `resnets list` shows; a run, a file or a tag.",
        show_default=False,
        autocompletion=networks,
    ),
]
ImageSize = Annotated[
    int | None,
    typer.Option(metavar="N", help="Side of the square image in pixels [default: the network's own]."),
]
Classes = Annotated[int | None, typer.Option(metavar="N", help="Outputs of the head [default: the network's own].")]
Against = Annotated[
    str | None,
    typer.Option(
        metavar="NAME2", help="Compare with this network, in words and part by part.", autocompletion=networks
    ),
]
Diagram = Annotated[
    Path | None,
    typer.Option(metavar="F.svg", help="Draw the network (with --against: both, side by side) into this file."),
]
Torch = Annotated[
    Path | None,
    typer.Option("--torch", metavar="F.py", help="Write it as one readable file that needs PyTorch alone."),
]
Prototxt = Annotated[Path | None, typer.Option("--prototxt", metavar="F", help="Write it as Caffe's layers.")]
KerasFile = Annotated[
    Path | None,
    typer.Option("--keras", metavar="F.py", help="Write it as one readable file of Keras (keras_* networks)."),
]
Unfold = Annotated[
    bool, typer.Option("--unfold", help="Draw every unit, instead of one and a number where they repeat.")
]


def show(
    name: Name,
    image_size: ImageSize = None,
    classes: Classes = None,
    against: Against = None,
    diagram: Diagram = None,
    unfold: Unfold = False,
    torch: Torch = None,
    prototxt: Prototxt = None,
    keras: KerasFile = None,
    every: Annotated[bool, typer.Option("--all", help="Every row: norms, ReLUs and additions, and sums.")] = False,
    json: Annotated[bool, typer.Option("--json", help="Print one JSON document.")] = False,
) -> None:
    """Show a network layer by layer; of a file also its classes, how pictures are prepared, and where it comes from.

    Each line is a layer with its output shape, parameters and multiply-adds (MACs) for one image.
    Norms are summed up in one line, and three or more identical units are shown once, with their number: --all lists
    each row as hooks on all modules would print it.

    \b
    Examples:
      resnets show resnet18 --classes 10
      resnets show resnet50 --image-size 288
      resnets show resnet50 --against resnet50_v1
      resnets show resnet50 --diagram resnet50.svg
      resnets show resnet110 --diagram resnet110.svg --unfold
      resnets show resnet50 --torch resnet50.py         the network as a file of PyTorch, to read and to ship
      resnets show resnet20 --all
      resnets show resnet20 --json
      resnets show runs/photos                          a run, anybody's checkpoint, a tag
    """
    from resnets.inspection import compare

    if every and against is not None:
        raise typer.BadParameter("--all lists one network, and --against compares two part by part: leave one out.")
    if unfold and diagram is None:
        raise typer.BadParameter("--unfold says how to draw: name the file with --diagram F.svg.")
    check_places(
        (diagram, ".svg", "a diagram"),
        (torch, ".py", "source"),
        (prototxt, ".prototxt", "a prototxt"),
        (keras, ".py", "source"),
    )
    file = _file(name)
    one = _plan_of(name, file, classes, image_size)
    beside = _file(against) if against is not None else None
    other = _plan_of(against, beside, classes, image_size) if against is not None else None
    comparison = compare(one, other, (name, against)) if other and against else None
    if torch or prototxt or keras:
        write_sources(one, _called(name, file), torch, prototxt, keras)
    if diagram is not None:
        _draw(diagram, (name, against), (one, other), unfold)
    if json:
        emit(_document(name, one, file, against, other, comparison))
    elif other and against and comparison:
        _print_comparison(comparison, (name, against), (one, other))
    else:
        _print_layers(name, one, every)
        if file is not None:
            _print_facts(file)


def _document(
    name: str, one: Plan, file: Described | None, against: str | None, other: Plan | None, comparison: Comparison | None
) -> dict[str, Any]:
    document = {**_summary(name, one), "rows": [_row(row) for row in one.rows]}
    document |= {} if file is None else {"file": file.document()}
    if other and against and comparison:
        document["against"] = _summary(against, other)
        document["differences"] = comparison.choices
        document["sentence"] = comparison.sentence
    return document


def _draw(path: Path, names: tuple[str, str | None], plans: tuple[Plan, Plan | None], unfold: bool) -> None:
    from resnets.inspection import diagram, diagrams
    from resnets.whole import write_text

    (name, against), (one, other) = names, plans
    if other is not None and against is not None:
        write_text(path, diagrams(one, other, (name, against), unfold=unfold))
    else:
        write_text(path, diagram(one, name, unfold=unfold))
    note(f"{' and '.join(filter(None, names))} drawn in {path}")


def _file(name: str) -> Described | None:
    """What is known of a file, a run or a tag; None for the name of a network."""
    from resnets.architecture import names

    if name in names() or not (os.path.exists(name) or _looks_like_a_file(name)):
        return None
    from resnets.weights.described import described

    return described(name)


def _looks_like_a_file(name: str) -> bool:
    """Or like a tag; no network's name has such signs in it."""
    from resnets.weights.locate import BOX

    return name == BOX or any(sign in name for sign in (":", ".", "/", os.sep))


def _plan_of(name: str, file: Described | None, classes: int | None, image_size: int | None) -> Plan:
    from resnets.architecture import plan

    if file is None:
        return plan(name, num_classes=classes, image_size=image_size)
    if classes is not None:
        raise typer.BadParameter("--classes is for a network by its name: a file has its own head.")
    return file.model.network.plan.at(file.model.preprocessing.image_size if image_size is None else image_size)


def _print_facts(file: Described) -> None:
    out = console()
    table = _table(out, ("", ""), ())
    table.columns[1].no_wrap, table.columns[1].overflow = False, "fold"  # nothing of a long path is lost
    for what, words in file.facts():
        table.add_row(what, words)
    out.print(table)


def _called(name: str, file: Described | None) -> str:
    from resnets.architecture.catalog import name_of

    return name if file is None else name_of(file.model.network.plan.spec) or "a residual network"


def _summary(name: str, plan: Plan) -> dict[str, Any]:
    return {
        "name": name,
        "parameters": plan.parameters,
        "macs": plan.macs,
        "image_size": plan.image_size,
        "num_classes": plan.num_classes,
        "in_channels": plan.in_channels,
        "output_stride": plan.output_stride,
        "spec": plan.spec.to_dict(),
    }


def _row(row: Any) -> dict[str, Any]:
    import dataclasses

    return {**dataclasses.asdict(row), "parameters": row.parameters, "macs": row.macs}


def _print_layers(name: str, plan: Plan, every: bool) -> None:
    from resnets.inspection import every_row, layer_table, total

    lines = every_row(plan) if every else layer_table(plan)
    grouped = ("groups",) if any(line.groups for line in lines) else ()
    columns = ("kernel", "stride", *grouped, "output", "parameters", "macs")
    out = console()
    table = _table(out, ("layer",), (*columns[:-1], "MACs"))

    def add(line: Line, style: str = "") -> None:
        table.add_row(line.label, *(getattr(line, column) for column in columns), style=style)

    for line in lines:
        if line.starts:
            table.add_row()
        add(line, "dim" if line.sums else "")
    table.add_row()
    norms, sums = total(plan)
    add(norms)
    add(sums, "bold")
    size = "×".join(str(side) for side in (plan.in_channels, plan.image_size, plan.image_size))
    out.print(name, style="bold", end="  ")
    out.print(f"{size} → {plan.num_classes} classes\n", style="dim")
    out.print(table)


def _print_comparison(comparison: Comparison, names: tuple[str, str], plans: tuple[Plan, Plan]) -> None:
    from resnets.inspection import count, macs

    out = console()
    choices = _table(out, ("", *names), ())
    for field, values in comparison.choices.items():
        choices.add_row(field, *(_value(value) for value in values))
    choices.add_row("parameters", *(count(plan.parameters) for plan in plans), style="bold")
    choices.add_row("MACs", *(macs(plan.macs) for plan in plans), style="bold")

    headers = tuple(header for name in names for header in (f"{name}\noutput", "\nparameters", "\nMACs"))
    parts = _table(out, ("",), headers)
    for pair in comparison.parts:
        label = next(part.name for part in pair if part)
        parts.add_row(label, *(cell for part in pair for cell in _cells(part)))

    for block in (*comparison.words, "", choices, "", parts):
        out.print(block)


def _cells(part: Part | None) -> tuple[str, str, str]:
    from resnets.inspection import count, macs

    if part is None:
        return ("", "", "")
    return ("×".join(str(side) for side in part.output), count(part.parameters), macs(part.macs))


def _value(value: object) -> str:
    return ", ".join(str(item) for item in value) if isinstance(value, list) else str(value)


def _table(out: Console, left: tuple[str, ...], right: tuple[str, ...]) -> Table:
    """A table without lines: text to the left, numbers to the right, tight enough for 80 columns."""
    from rich.table import Table

    gap = 2 if out.width >= 90 else 1
    table = Table(box=None, pad_edge=False, padding=(0, gap, 0, 0), header_style="dim")
    for header in left:
        table.add_column(header, no_wrap=True)
    for header in right:
        table.add_column(header, justify="right", no_wrap=True)
    return table
