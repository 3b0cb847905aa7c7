"""plan -> the layer table that people read.

A line is a layer that has weights or changes the shape: convolutions, pools, zero padding, the head. Norms
are summed up in one line, so that the column of parameters still adds up to the total. A run of identical
units is folded into one, or a table of ResNet-1202 would be 2,400 lines long.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby

from resnets.architecture import Plan, Row, Unit
from resnets.architecture.rows import INPUT

HIDDEN = ("norm", "relu", "add")  # they change no shape
WINDOWED = ("conv", "max_pool", "avg_pool")  # the kinds for which a kernel means something
FOLD_FROM = 3  # identical units in a row; two of them read more easily side by side than folded


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """One line of the table, every cell as text (empty where it means nothing).

    label       the layer's role ('stage1.unit1.conv1'), or for a fold 'stage1.unit2..unit200 × 199' with the
                lines of one such unit below it, indented
    output      channels×height×width; the head's classes alone
    starts      True on the first line of the stem, of a stage (of a unit, where all rows are listed) and of the head
    sums        True on a line that adds up those of a unit or a stage
    """

    label: str
    kernel: str = ""
    stride: str = ""
    groups: str = ""
    output: str = ""
    parameters: str = ""
    macs: str = ""
    starts: bool = False
    sums: bool = False


def layer_table(plan: Plan) -> list[Line]:
    """The lines of the stem, every stage and the head, in the order in which they run."""
    parts = [_lines(plan.stem), *(_stage_lines(stage) for stage in plan.stages), _lines(plan.head)]
    return [dataclasses.replace(line, starts=i == 0) for part in parts for i, line in enumerate(part)]


def every_row(plan: Plan) -> list[Line]:
    """A line for every row, norms, ReLUs and additions too, as hooks on all modules print them.

    Behind a unit of several rows and behind a stage stands its sum.
    """
    found = [*_starting(_line(row) for row in plan.stem)]
    for number, stage in enumerate(plan.stages, 1):
        for unit in stage:
            found += [*_starting(_line(row) for row in unit.rows), _sum(f"{unit.role}: sum", unit.rows)]
        found.append(_sum(f"stage{number}: sum", [row for unit in stage for row in unit.rows]))
    return [*found, *_starting(_line(row) for row in plan.head)]


def _starting(lines: Iterable[Line]) -> Iterator[Line]:
    for number, line in enumerate(lines):
        yield dataclasses.replace(line, starts=number == 0)


def _sum(label: str, rows: Sequence[Row]) -> Line:
    weights, work = sum(row.parameters for row in rows), sum(row.macs for row in rows)
    return Line(label=label, output=shape(rows[-1]), parameters=count(weights), macs=macs(work), sums=True)


def total(plan: Plan) -> list[Line]:
    """The lines under the table: what the norms add, and the sums of the whole network."""
    norms = [row.parameters for row in plan.rows if row.kind == "norm"]
    return [
        Line(label=f"norms × {len(norms)}", parameters=count(sum(norms))),
        Line(label="total", parameters=count(plan.parameters), macs=macs(plan.macs)),
    ]


def count(number: int) -> str:
    """'11,689,512'."""
    return f"{number:,}"


def macs(number: int) -> str:
    """Multiply-adds in a unit of their own: '1.814 G', '118.0 M', '5.1 k'."""
    for size, unit, digits in ((10**9, "G", 3), (10**6, "M", 1)):
        if number >= size:
            return f"{number / size:,.{digits}f} {unit}"
    return f"{number / 1000:.1f} k"


def shape(row: Row) -> str:
    """A row's output as '64×112×112' (channels, height, width), or the classes of the head: '10'."""
    if row.kind == "linear":
        return str(row.out_channels)
    return "×".join(str(side) for side in row.output)


def _stage_lines(units: Iterable[Unit]) -> Iterator[Line]:
    for _, run in groupby(units, key=signature):
        same = list(run)
        if len(same) < FOLD_FROM:
            for unit in same:
                yield from _lines(unit.rows)
            continue
        first, last = same[0].role, same[-1].role.rpartition(".")[2]
        yield Line(label=f"{first}..{last} × {len(same)}")
        for line in _lines(same[0].rows):
            yield dataclasses.replace(line, label=line.label.replace(f"{first}.", "  "))


def _lines(rows: Iterable[Row]) -> Iterator[Line]:
    return (_line(row) for row in rows if row.kind not in HIDDEN)


def _line(row: Row) -> Line:
    return Line(
        label=row.role,
        kernel=_kernel(row) if row.kind in WINDOWED else "",
        stride=str(row.stride) if row.kind in WINDOWED or row.stride > 1 else "",
        groups=str(row.groups) if row.groups > 1 else "",
        output=shape(row),
        parameters=count(row.parameters) if row.parameters else "",
        macs=macs(row.macs) if row.macs else "",
    )


def signature(unit: Unit) -> list[Row]:
    """What a unit is, apart from its place: its rows with their roles inside the unit alone."""
    inside = {row.role: row.role.removeprefix(unit.role) for row in unit.rows}
    return [
        dataclasses.replace(row, role=inside[row.role], reads=tuple(inside.get(role, INPUT) for role in row.reads))
        for row in unit.rows
    ]


def _kernel(row: Row) -> str:
    return f"{row.kernel}×{row.kernel}" + (f" d{row.dilation}" if row.dilation > 1 else "")
