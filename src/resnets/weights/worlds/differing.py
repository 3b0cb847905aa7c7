"""The refusal of a file whose tensors are a network's and whose graph is not: a table of where the two differ."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from resnets.architecture import Plan
from resnets.architecture.catalog import name_of
from resnets.errors import ModelFileError

MAX_LISTED = 20  # rows of a table
WIDEST = 80  # characters of a cell


def another_network(path: Path, plan: Plan, rows: Iterable[tuple[str, str, str]]) -> ModelFileError:
    """The error. rows: (place, what the file says, what the network says), at least one."""
    table = [("", "the file says", "the network says")]
    table += [(place[:WIDEST], there[:WIDEST], here[:WIDEST]) for place, there, here in rows]
    widths = [max(len(row[i]) for row in table) for i in range(3)]
    lines = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)) for row in table]
    more = [f"... and {len(lines) - MAX_LISTED} more"] if len(lines) > MAX_LISTED else []
    listed = "\n".join(f"  {line.rstrip()}" for line in lines[:MAX_LISTED] + more)
    return ModelFileError(
        f"{path} has the tensors of {name_of(plan.spec) or 'a residual network'}, but its graph is not "
        f"that network's:\n{listed}\nIf it is another network, say so with `network`."
    )
