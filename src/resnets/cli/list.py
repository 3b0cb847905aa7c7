"""`resnets list`: the networks of the catalog and what each costs."""

from __future__ import annotations

from typing import Annotated

import typer

from resnets.cli.output import console, emit


def list_networks(
    pattern: Annotated[
        str,
        typer.Argument(metavar="PATTERN", help="A shell pattern, or a part of a name.", show_default=False),
    ] = "*",
    json: Annotated[bool, typer.Option("--json", help="Print one JSON document.")] = False,
) -> None:
    """List the networks and what each costs.

    Parameters are learned numbers; MACs are the multiply-adds for one image of the given size.

    \b
    Examples:
      resnets list                 all of them
      resnets list 'resnet*'       names that begin with resnet
      resnets list 50              names that contain 50
      resnets list --json          for a program
    """
    from resnets.architecture import plan

    plans = {name: plan(name) for name in _matching(pattern)}
    if json:
        emit(
            [
                {"name": name, "parameters": p.parameters, "macs": p.macs, "image_size": p.image_size}
                for name, p in plans.items()
            ]
        )
        return

    from rich.table import Table

    from resnets.inspection import count, macs

    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="bold")
    for header in ("network", "units", "block"):
        table.add_column(header, no_wrap=True)
    for header in ("image", "parameters", "MACs"):
        table.add_column(header, justify="right", no_wrap=True)
    for name, p in plans.items():
        units = "+".join(str(depth) for depth in p.spec.depths)
        table.add_row(name, units, p.spec.block, str(p.image_size), count(p.parameters), macs(p.macs))
    console().print(table)


def _matching(pattern: str) -> list[str]:
    from resnets.architecture import CATALOG, names
    from resnets.errors import SpecError, nearest

    is_glob = any(mark in pattern for mark in "*?[")
    found = names(pattern if is_glob else f"*{pattern}*")
    if not found:
        hint = nearest(pattern.strip("*?"), CATALOG) or " `resnets list` shows all names."
        raise SpecError(f'No network matches "{pattern}".{hint}')
    return found
