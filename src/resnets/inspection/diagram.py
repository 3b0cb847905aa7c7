"""plan -> a drawing of the network as a textbook has it, as SVG text.

The stem, every stage and the head are bands, one below the other; in a band the units stand side by side and flow
from left to right, wrapped like words, so that a hundred layers are a page and no endless strip. Identical units
in a row are one card with their number, or all of them where that is asked for, small where they are many.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import groupby

from resnets.architecture import Plan, Unit
from resnets.inspection.bands import Band, Chain, new_line, shape_text
from resnets.inspection.compare import compare
from resnets.inspection.layer_figure import LABEL, MINIATURE, PORTRAIT
from resnets.inspection.legend import Legend
from resnets.inspection.svg import Canvas, Point, document, fit, stage_colour, wrap
from resnets.inspection.table import count, macs, signature
from resnets.inspection.unit_figure import UnitFigure
from resnets.inspection.words import in_short, widening

NARROWEST, WIDEST = 456.0, 600.0  # of a band: a phone shows the narrow one at 0.8, and the wide one at 0.6
MARGIN = 12.0
GAP = 30.0  # between two bands: room for the way from one to the next, and for the shape on it
MANY = 12  # units; above that, unfolded, those that repeat their predecessor are drawn small


def diagram(plan: Plan, name: str, *, unfold: bool = False) -> str:
    """Draw a network: an SVG element that stands alone in a file as well as inside a page.

    name        what the title calls it; any text
    unfold      draw every unit, instead of one card and a number for identical units in a row

    It scales (viewBox), has a background of its own, follows the reader's light or dark scheme, and is the same
    bytes for the same arguments.
    """
    column = _Column(plan, name, unfold)
    canvas = Canvas()
    end = column.draw(canvas, 0, MARGIN, column.heights)
    return document(canvas, column.width, end + MARGIN, f"The network {name}", _description(plan))


def diagrams(one: Plan, other: Plan, names: tuple[str, str], *, unfold: bool = False) -> str:
    """Draw two networks side by side, stage beside stage, under the words that say how they differ; as `diagram`."""
    columns = [_Column(plan, name, unfold) for plan, name in zip((one, other), names, strict=True)]
    width = sum(column.width for column in columns)
    shared = [max(pair) for pair in zip(*(column.heights for column in columns), strict=False)]
    if len(one.stages) != len(other.stages):
        shared = shared[: min(len(one.stages), len(other.stages)) + 2]  # heading, stem, the stages that both have
    canvas = Canvas()
    y = MARGIN + 4
    for words in compare(one, other, names).words:
        for line in wrap(words.split(), LABEL + 1, width - 4 * MARGIN):
            canvas.text(MARGIN + 4, y + 14, line, LABEL + 1, "", "start")
            y += 18
    x, end, y = 0.0, 0.0, y + 16
    for column in columns:
        end = max(end, column.draw(canvas, x, y, shared + column.heights[len(shared) :]))
        x += column.width
    title = f"The networks {names[0]} and {names[1]}"
    return document(canvas, width, end + MARGIN, title, f"{_description(one)} {_description(other)}")


class _Column:
    """One network from its heading down to the legend, as wide as its bands need."""

    def __init__(self, plan: Plan, name: str, unfold: bool) -> None:
        units = sum(map(len, plan.stages))
        figures = [list(_figures(stage, unfold, units > MANY, widening(plan.spec))) for stage in plan.stages]
        self.bands = [
            Band("stem", "", "rd-stem", [Chain(plan.stem, image=True)], WIDEST),
            *(
                Band(f"stage {i + 1}", _cost(stage), stage_colour(i), figures[i], WIDEST)
                for i, stage in enumerate(plan.stages)
            ),
            Band("head", "", "rd-stem", [Chain(plan.head, classes=plan.num_classes)], WIDEST),
        ]
        self.inside = max(NARROWEST, *(band.needs for band in self.bands))
        self.width = self.inside + 2 * MARGIN
        self.title = fit(name, 20, self.inside - 8)
        facts = (
            f"{shape_text(plan.stem[0].input)} → {count(plan.num_classes)} classes",
            f"{count(plan.parameters)} parameters",
            f"{macs(plan.macs)} MACs",
        )
        self.facts = [line for words in (facts, in_short(plan.spec)) for line in self._lines(words)]
        folded = any(figure.times > 1 for stage in figures for figure in stage)
        self.legend = Legend(plan, folded=folded, width=self.inside - 8)

    def _lines(self, words: Sequence[str]) -> list[str]:
        return wrap(words, LABEL, self.inside - 8, between=" · ")

    @property
    def heights(self) -> list[float]:
        """Of the heading and of every band."""
        return [34 + 17 * len(self.facts), *(band.height for band in self.bands)]

    def draw(self, canvas: Canvas, x: float, y: float, heights: Sequence[float]) -> float:
        """Draw it from y on, every part in a place of the given height; returns where it ends."""
        left = x + MARGIN
        canvas.text(left + 4, y + 20, self.title, 20, "bold", "start")
        for i, line in enumerate(self.facts):
            canvas.text(left + 4, y + 40 + 17 * i, line, LABEL, "dim", "start")
        y += heights[0]
        leave: Point | None = None
        shape = ""
        for band, height in zip(self.bands, heights[1:], strict=True):
            entry, end = band.draw(canvas, left, y, self.inside, height)
            if leave:
                new_line(canvas, leave, entry, y - GAP / 2, shape, "page")
            leave, shape = end, shape_text(band.output)
            y += height + GAP
        return self.legend.draw(canvas, left + 4, y - GAP + 14)


def _figures(units: Sequence[Unit], unfold: bool, many: bool, wider: float) -> Iterator[UnitFigure]:
    first = 1
    for _, run in groupby(units, key=signature):
        same = list(run)
        if unfold:
            for i, unit in enumerate(same):
                yield UnitFigure(unit, MINIATURE if many and i else PORTRAIT, first + i, 1, wider)
        else:
            yield UnitFigure(same[0], PORTRAIT, first, len(same), wider)
        first += len(same)


def _cost(units: Sequence[Unit]) -> str:
    rows = [row for unit in units for row in unit.rows]
    many = f"{len(units)} units" if len(units) > 1 else "1 unit"
    parameters, cost = sum(row.parameters for row in rows), sum(row.macs for row in rows)
    return f"{many} · {count(parameters)} parameters · {macs(cost)} MACs"


def _description(plan: Plan) -> str:
    """The drawing in words, for who cannot see it."""
    stages = [
        f"stage {i + 1}: {len(units)} units, output {shape_text(units[-1].output)}"
        for i, units in enumerate(plan.stages)
    ]
    return f"{'. '.join(in_short(plan.spec))}. {'; '.join(stages)}; {plan.num_classes} classes."
