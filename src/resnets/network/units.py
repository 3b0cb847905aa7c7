"""Rows as one module, wired as they say what they read.

There is one class for the stem, the head, a shortcut and every unit of the family. Basic, bottleneck, ResNeXt, wide,
plain, and every order of norm and relu differ in their rows, not in their class.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby
from typing import Any, NamedTuple

from torch import Tensor, nn

from resnets.architecture import ResNetSpec, Row
from resnets.architecture.rows import readers
from resnets.network.layers import layer

OWN = ("conv", "norm", "add")
"""Kinds of rows whose output is memory of its own that their backward pass does not need (a relu's needs its own)."""


class _Step(NamedTuple):
    """One call: values lie in a list, the first from outside, then one for each step.

    name        of the submodule; an addition has none
    addend      where the second operand of an addition lies; -1: it is none
    inplace     an addition may write over its first operand
    done        the values that nobody reads later
    """

    name: str
    source: int
    addend: int
    inplace: bool
    done: tuple[int, ...]


class Wired(nn.Module):
    """Rows that read each other, and one value from outside: (N, C, H, W) -> what the last row gives.

    A row is a submodule with the last word of its role as its name; rows under a further word ("shortcut.conv") are a
    module of that name, wired in the same way; an addition is no module. Only what these rows made themselves, and
    nobody else reads, is written over, and what they made is dropped behind its last reader.
    """

    def __init__(self, rows: Sequence[Row], spec: ResNetSpec) -> None:
        super().__init__()
        prefix = rows[0].role.rpartition(".")[0] + "."
        kinds, reading = {row.role: row.kind for row in rows}, readers(rows)
        parts = [
            (name, tuple(part))
            for name, part in groupby(rows, key=lambda row: row.role.removeprefix(prefix).partition(".")[0])
        ]
        last_reader = {role: i for i, (_, part) in enumerate(parts) for role in part[0].reads}
        places = {rows[0].reads[0]: 0}
        self._steps: list[_Step] = []
        for i, (name, part) in enumerate(parts):
            row = part[0]
            source, addend = row.reads[0], places[row.reads[1]] if row.kind == "add" else -1
            inplace = kinds.get(source) in OWN and len(reading[source]) == 1
            if row.role != prefix + name:
                self.add_module(name, Wired(part, spec))
            elif row.kind != "add":
                self.add_module(name, layer(row, spec, inplace=inplace))
            done = tuple(places[role] for role in dict.fromkeys(row.reads) if last_reader[role] == i)
            self._steps.append(_Step(name, places[source], addend, inplace, done))
            places[part[-1].role] = i + 1

    def forward(self, x: Tensor) -> Tensor:
        """One value in, one value out."""
        values: list[Any] = [x]
        for name, source, addend, inplace, done in self._steps:
            if addend < 0:
                y = getattr(self, name)(values[source])
            elif inplace:
                y = values[source]
                y += values[addend]
            else:
                y = values[source] + values[addend]
            values.append(y)
            for place in done:
                values[place] = None
        return values[-1]  # type: ignore[no-any-return]
