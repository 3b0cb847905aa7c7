"""Layers as figures: slabs that know their width before they are drawn.

A slab is the taller the more channels it gives out, a step for every doubling. The norm and the ReLU that go with a
convolution are thin slabs that touch it, so that their order is seen at a glance.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import takewhile

from resnets.architecture import Row
from resnets.inspection.svg import Canvas, text_width

THIN = ("norm", "relu")
LABEL, SMALL = 12.0, 11.0  # sizes of text


@dataclass(frozen=True, slots=True, kw_only=True)
class Look:
    """How large things are: widths of slabs and gaps, height for a doubling of channels, with text or without."""

    conv: float
    thin: float
    gap: float
    tall: float
    fan: float
    paths: int
    ring: float
    edge: float
    labels: bool


PORTRAIT = Look(conv=20, thin=8, gap=10, tall=10, fan=13, paths=5, ring=8, edge=20, labels=True)
MINIATURE = Look(conv=7, thin=3, gap=4, tall=6, fan=4, paths=3, ring=4, edge=9, labels=False)


@dataclass(frozen=True, slots=True)
class Frame:
    """Where a line of figures lies.

    mid         the height of its flow
    half        of the tallest slab
    lines       of labels below the slabs
    residual    whether there are shortcuts
    """

    mid: float
    half: float
    lines: int
    residual: bool
    look: Look

    @property
    def shortcut(self) -> float:
        """Where the shortcuts run."""
        return self.mid - self.half - (18 if self.look.labels else 7)

    @property
    def top(self) -> float:
        """The cards' upper edge."""
        if not self.look.labels:
            return (self.shortcut if self.residual else self.mid - self.half) - 6
        return (self.shortcut - 11 if self.residual else self.mid - self.half - 5) - 17

    @property
    def bottom(self) -> float:
        """The cards' lower edge."""
        return self.mid + self.half + (8 + 15 * self.lines if self.look.labels else 15)


def slab_height(channels: int, look: Look = PORTRAIT) -> float:
    """How tall the slab of so many channels is: a step more for every doubling."""
    return look.tall * max(1.2, math.log2(channels) - 2)


class LayerFigure:
    """One layer and the norm and ReLU that belong to it, its label below."""

    def __init__(self, rows: Sequence[Row], look: Look, wider: float = 1.0) -> None:
        self.rows = tuple(rows)
        self.look = look
        self.wider = wider
        self.main = next(row for row in rows if row.kind not in THIN)
        self.lines = _label(self.main) if look.labels else ()
        self.fork, self.pause = "", 0.0  # the row behind which a shortcut branches off, and room for that
        self.tallest = max(slab_height(row.out_channels, look) for row in rows)
        if self.main.groups > 1:
            self.tallest *= 1.2

    @property
    def slabs(self) -> float:
        """Width of the slabs alone."""
        thin = (self.look.thin + 1) * (len(self.rows) - 1)
        return self.look.conv + thin + self.pause + (2 * self.look.fan if self.main.groups > 1 else 0)

    @property
    def width(self) -> float:
        """Width with the label."""
        return max(self.slabs, *(text_width(line, LABEL) for line in self.lines), 0)

    def draw(self, canvas: Canvas, x: float, frame: Frame) -> float:
        """Draw it from x on; returns the middle of the room where a shortcut branches off, else where it begins."""
        y, end = frame.mid, x + self.width
        at = x + (self.width - self.slabs) / 2
        branch = at
        for before, row in zip((None, *self.rows), self.rows, strict=False):
            if before and before.role == self.fork:
                branch, at = at + self.pause / 2, at + self.pause
            canvas.line("flow", (x, y), (at, y))
            if row.kind in THIN:
                thin_slab(canvas, row, at, y, self.look)
                x = at + self.look.thin
            else:
                x = self._paths(canvas, at, y) if row.groups > 1 else self._slab(canvas, at, y)
            at = x + 1
        canvas.line("flow", (x, y), (end, y))
        for i, line in enumerate(self.lines):
            css = "bold" if line.isdigit() else ""
            canvas.text(end - self.width / 2, y + frame.half + 15 * (i + 1), line, LABEL, css)
        return branch

    def _slab(self, canvas: Canvas, x: float, y: float) -> float:
        css = {"conv": "conv", "linear": "conv"}.get(self.main.kind, "pool")
        height = slab_height(self.main.out_channels, self.look)
        canvas.rect(css, x, y - height / 2, self.look.conv, height)
        if self.wider > 1 and self.main.role.endswith(("conv1", "conv2")):  # conv3 gives out the usual width
            usual = slab_height(max(1, round(self.main.out_channels / self.wider)), self.look)
            inset = self.look.conv / 5
            canvas.rect("usual", x + inset, y - usual / 2, self.look.conv - 2 * inset, usual, 0)
        return x + self.look.conv

    def _paths(self, canvas: Canvas, x: float, y: float) -> float:
        """A grouped convolution: paths that part and meet again."""
        paths = min(self.main.groups, self.look.paths)
        height = 1.2 * slab_height(self.main.out_channels, self.look)
        gap = height / (4 * paths)
        each = (height - gap * (paths - 1)) / paths
        start, end = x + self.look.fan, x + self.look.fan + self.look.conv
        for i in range(paths):
            top = y - height / 2 + i * (each + gap)
            middle = top + each / 2
            canvas.line("flow", (x, y), (start, middle))
            canvas.line("flow", (end, middle), (end + self.look.fan, y))
            canvas.rect("conv", start, top, self.look.conv, each)
        return end + self.look.fan


def layers(rows: Sequence[Row], look: Look, wider: float = 1.0) -> list[LayerFigure]:
    """A run of rows as layers: norm and ReLU go with the convolution before them, but with the one behind them where
    those of their kind stand before the first one.

    wider       how many times as wide as usual the convolutions inside a unit are
    """
    leading = {row.kind for row in takewhile(lambda row: row.kind in THIN, rows)}
    groups: list[list[Row]] = [[]]
    for row in rows:
        full = any(other.kind not in THIN for other in groups[-1])
        if full and (row.kind in leading or row.kind not in THIN):
            groups.append([])
        groups[-1].append(row)
    return [LayerFigure(group, look, wider) for group in groups]


def thin_slab(canvas: Canvas, row: Row, x: float, y: float, look: Look) -> None:
    """A norm or a ReLU with its left edge at x, in the middle of y."""
    height = slab_height(row.out_channels, look)
    canvas.rect(row.kind, x, y - height / 2, look.thin, height, 1)
    if row.kind == "relu" and look.labels:
        canvas.line("hinge", (x + 1, y + 2.5), (x + 4, y + 2.5), (x + 7, y - 3))


def _label(row: Row) -> tuple[str, ...]:
    steps = (f" /{row.stride}" if row.stride > 1 else "") + (f" d{row.dilation}" if row.dilation > 1 else "")
    if row.kind == "conv":
        groups = (f"{row.groups} groups",) if row.groups > 1 else ()
        return (f"{row.kernel}×{row.kernel}{steps}", str(row.out_channels), *groups)
    return {
        "max_pool": ("max pool", f"{row.kernel}×{row.kernel}{steps}"),
        "global_pool": ("average", "pool"),
        "linear": ("linear", str(row.out_channels)),
    }[row.kind]
