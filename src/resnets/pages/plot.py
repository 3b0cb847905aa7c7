"""One plot of lines, drawn twice from the same numbers: in a page by `templates/plot.html`, and as PNG and SVG files.

As the papers draw them: training dashed, test solid.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from resnets.pages.charts import Frame
from resnets.whole import whole

# The page's own colours of lines in light; `templates/plot.css` has those for dark.
COLOURS = ("#1f5a96", "#a8412a", "#1d6f43", "#7a4fa3", "#855800", "#00767a", "#a02c6d", "#59616c")

Form = Literal["percent", "number", "power"]
Points = Sequence[tuple[float, float]]


@dataclass(frozen=True, kw_only=True)
class Line:
    """points (x, y); colour: a number; spread: (lowest, highest) of each point, or None."""

    name: str
    points: Points
    colour: int = 0
    dashed: bool = False
    spread: Sequence[tuple[float, float] | None] = ()

    @property
    def bars(self) -> list[tuple[float, float, float]]:
        """(x, lowest, highest) of the points that have a spread."""
        return [(x, *ends) for (x, _), ends in zip(self.points, self.spread, strict=False) if ends]


@dataclass(frozen=True, kw_only=True)
class Plot:
    """Lines in one frame.

    form        of the values: shares as percent, numbers, or powers of ten (y is the exponent)
    ticks       names of places across, instead of numbers: nothing lies between them, so that no line joins the points
    says        what it shows, for those who do not see it
    top         where the frame ends, at most; None: where the lines do
    """

    title: str
    x_label: str
    y_label: str
    lines: Sequence[Line]
    form: Form = "number"
    ticks: Sequence[tuple[float, str]] = ()
    says: str = ""
    top: float | None = None

    @property
    def frame(self) -> Frame:
        """That holds all lines; shares begin at 0."""
        xs = [x for line in self.lines for x, _ in line.points] + [x for x, _ in self.ticks]
        ys = [y for line in self.lines for _, y in line.points if math.isfinite(y)]
        ys += [end for line in self.lines for bar in line.bars for end in bar[1:]]
        low, high = min(ys, default=0.0), max(ys, default=1.0)
        high = min(high, self.top) if self.top is not None else high
        room = 0.06 * (high - low or abs(high) or 1.0)
        left, right = min(xs, default=0.0), max(xs, default=1.0)
        side = 0.05 * (right - left or 1.0)
        y_range = (0.0 if self.form == "percent" else low - room, high + room)
        if self.form == "power":  # whole decades
            y_range = (float(math.floor(low)), float(max(math.ceil(high), math.floor(low) + 1)))
        return Frame((left - side, right + side), y_range, left=46)

    def x_ticks(self) -> list[tuple[float, str]]:
        """Places across and what stands there."""
        if self.ticks:
            return list(self.ticks)
        known = sorted({x for line in self.lines for x, _ in line.points})
        values = known if len(known) <= 8 else self.frame.x_ticks()
        return [(value, f"{value:g}") for value in values]

    def y_ticks(self) -> list[float]:
        """Round values along the left edge; whole decades of powers."""
        found = self.frame.y_ticks()
        return [value for value in found if value == round(value)] if self.form == "power" else found

    def shown(self, value: float) -> str:
        """A value along the left edge."""
        if self.form == "percent":
            return f"{100 * value:g} %"
        return f"1e{value:g}" if self.form == "power" else f"{value:g}"


def errors(points: Points) -> list[tuple[float, float]]:
    """Shares that are right -> shares that are wrong."""
    return [(x, 1 - y) for x, y in points]


def draw(plots: Sequence[Plot], title: str, *paths: Path) -> None:
    """Write the plots side by side as PNG or SVG, by the suffix. Raises WriteError."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    across = min(len(plots), 3)
    down = -(-len(plots) // across)
    figure = Figure(figsize=(4.6 * across, 3.6 * down + 0.4), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots(down, across, squeeze=False).ravel()
    for axis, plot in zip(axes, plots, strict=False):
        _draw(axis, plot)
    for axis in axes[len(plots) :]:
        axis.set_visible(False)
    figure.suptitle(title, fontsize=11, parse_math=False)
    for path in paths:
        with whole(path) as file:
            figure.savefig(file, format=path.suffix[1:], dpi=150)


def _draw(axis: Any, plot: Plot) -> None:
    for line in plot.lines:
        xs, ys = [x for x, _ in line.points], [y for _, y in line.points]
        colour = COLOURS[line.colour % len(COLOURS)]
        style = {"linestyle": "--", "linewidth": 1.1} if line.dashed else {"linestyle": "-", "linewidth": 1.7}
        style |= {"linestyle": "none"} if plot.ticks else {}
        axis.plot(xs, ys, color=colour, marker="o", ms=2.5 if line.dashed else 4, label=line.name, **style)
        for x, low, high in line.bars:
            axis.plot([x, x], [low, high], color=colour, linewidth=2, alpha=0.5)
    frame = plot.frame
    axis.set_xlim(frame.x_range)
    axis.set_ylim(frame.y_range)
    axis.set_xticks([x for x, _ in plot.x_ticks()], [text for _, text in plot.x_ticks()])
    axis.set_yticks(plot.y_ticks(), [plot.shown(value) for value in plot.y_ticks()])
    axis.set_title(plot.title, fontsize=9.5, loc="left", parse_math=False)
    axis.set_xlabel(plot.x_label)
    axis.set_ylabel(plot.y_label)
    axis.spines[["top", "right"]].set_visible(False)
    axis.grid(alpha=0.25)
    axis.legend(frameon=False, fontsize=7.5)
