"""The vocabulary of a plan: a row is one layer that says what it reads, a unit is one residual block made of rows.

The wiring of a network stands here and nowhere else: who wants to know what follows what reads `Row.reads`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Literal

Shape = tuple[int, int, int]  # channels, height, width
Kind = Literal[
    "conv", "norm", "relu", "max_pool", "avg_pool", "subsample", "pad", "add", "global_pool", "linear"
]  # fmt: skip
PadSide = Literal["end", "both"]
Padding = int | Literal["same", "ceil", "zero"]

INPUT = "input"
"""The role of what the network reads: the images."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One layer. `role` names it for good: 'stage3.unit2.conv1', 'stem.norm', 'head.linear'.

    kind        conv, norm, relu, max_pool, avg_pool, subsample (every stride-th pixel), pad (subsample, then zero
                channels), add, global_pool, linear
    reads       the roles whose outputs it takes, `INPUT` for the images: two for an addition (the branch's end, then
                the shortcut's), one for all others
    padding     around the image: symmetric pixels, or the name of a rule: 'same' and 'ceil' depend on the size of the
                input, 'zero' pads a pool with one pixel of zeros
    pad_side    where a pad puts its new channels: all at the end, or half on both sides; None for the other kinds
    """

    role: str
    kind: Kind
    reads: tuple[str, ...]
    input: Shape
    output: Shape
    kernel: int = 1
    stride: int = 1
    dilation: int = 1
    padding: Padding = 0
    pad_side: PadSide | None = None
    groups: int = 1
    bias: bool = False

    @property
    def in_channels(self) -> int:
        """Channels that come in."""
        return self.input[0]

    @property
    def out_channels(self) -> int:
        """Channels that go out."""
        return self.output[0]

    @property
    def zero_channels(self) -> tuple[int, int]:
        """The channels of zeros that a pad puts (before, behind) those that it is given."""
        new = self.out_channels - self.in_channels if self.kind == "pad" else 0
        before = new // 2 if self.pad_side == "both" else 0
        return before, new - before

    @property
    def parameters(self) -> int:
        """Learned numbers; a norm's running mean and variance are not among them."""
        if self.kind == "norm":
            return 2 * self.out_channels
        if self.kind in ("conv", "linear"):
            weights = self.in_channels // self.groups * self.out_channels * self.kernel**2
            return weights + self.out_channels * self.bias
        return 0

    @property
    def macs(self) -> int:
        """Multiply-adds for one image: those of convolutions and of the linear layer, biases not counted."""
        if self.kind not in ("conv", "linear"):
            return 0
        _, height, width = self.output
        return self.in_channels // self.groups * self.kernel**2 * self.out_channels * height * width


def way(rows: Mapping[str, Row], role: str) -> tuple[Row, ...]:
    """The rows on the way to a role, in the order in which they run; through additions along their first operand.

    rows    role -> row; the way begins behind the first role that is not among them
    """
    found = []
    while role in rows:
        found.append(rows[role])
        role = rows[role].reads[0]
    return tuple(reversed(found))


def readers(rows: Iterable[Row]) -> dict[str, list[Row]]:
    """Role -> the rows that read it, in the order in which they run."""
    found: dict[str, list[Row]] = {}
    for row in rows:
        for role in row.reads:
            found.setdefault(role, []).append(row)
    return found


def normed_alone(rows: Iterable[Row]) -> set[str]:
    """The convolutions that nothing but a norm reads: on the length of their weights nothing depends."""
    listed = list(rows)
    read = readers(listed)
    return {
        row.role for row in listed if row.kind == "conv" and [one.kind for one in read.get(row.role, ())] == ["norm"]
    }


@dataclass(frozen=True, slots=True, kw_only=True)
class Unit:
    """One residual unit: its rows in the order in which they run. What they are to each other follows from `reads`."""

    role: str
    rows: tuple[Row, ...]

    @property
    def addition(self) -> Row | None:
        """The row that adds the shortcut to the branch; None in a plain network."""
        return next((row for row in self.rows if row.kind == "add"), None)

    @property
    def branch(self) -> tuple[Row, ...]:
        """From the unit's input to the addition; in a plain unit to the last row with weights."""
        by_role = {row.role: row for row in self.rows}
        if self.addition:
            return way(by_role, self.addition.reads[0])
        return way(by_role, next(row.role for row in reversed(self.rows) if row.parameters))

    @property
    def shortcut(self) -> tuple[Row, ...]:
        """From where it leaves the branch (or the unit's input) to the addition; empty: identity, or none."""
        branch = self.branch
        others = {row.role: row for row in self.rows if row not in branch}
        return way(others, self.addition.reads[1]) if self.addition else ()

    @property
    def after(self) -> tuple[Row, ...]:
        """What follows the branch and the addition."""
        others = {*self.branch, *self.shortcut, self.addition}
        return tuple(row for row in self.rows if row not in others)

    @property
    def fork(self) -> str | None:
        """The role that the shortcut reads: the unit's input, or a row of the branch; None in a plain network."""
        if self.addition is None:
            return None
        return self.shortcut[0].reads[0] if self.shortcut else self.addition.reads[1]

    @property
    def output(self) -> Shape:
        """Channels, height and width of what it gives out."""
        return self.rows[-1].output
