"""A band of a diagram: the stem, one stage or the head, its figures in lines that wrap like words."""

from __future__ import annotations

from collections.abc import Sequence

from resnets.architecture import Row
from resnets.architecture.rows import Shape
from resnets.inspection.layer_figure import LABEL, MINIATURE, PORTRAIT, SMALL, Frame, Look, layers
from resnets.inspection.svg import Canvas, Point, text_width
from resnets.inspection.unit_figure import UnitFigure

LEFT = 26.0  # of a band: the way from the line before comes down here
RIGHT = 20.0
HEADER = 24.0
IMAGE = 34.0


class Chain:
    """Layers in a row without a card, the shape on every edge where it changes: the stem, or the head."""

    look = PORTRAIT
    edge = 0.0
    residual = changes_shape = False

    def __init__(self, rows: Sequence[Row], image: bool = False, classes: int = 0) -> None:
        self.layers = layers(rows, PORTRAIT)
        self.image = image
        self.classes = f"{classes:,} classes" if classes else ""
        inputs = [layer.rows[0].input for layer in self.layers]
        befores = [None if image else inputs[0], *inputs]
        self.shapes = [
            "" if here == before else shape_text(here) for here, before in zip(inputs, befores, strict=False)
        ]
        self.output = self.layers[-1].main.output
        self.tallest = max(IMAGE if image else 0, *(layer.tallest for layer in self.layers))
        self.lines = max(len(layer.lines) for layer in self.layers)

    @property
    def width(self) -> float:
        """From the image, if it has one, to the classes."""
        gaps = sum(_gap(shape) for shape in self.shapes)
        end = text_width(self.classes, LABEL) + 28 if self.classes else 0
        return (IMAGE if self.image else 0) + gaps + sum(layer.width for layer in self.layers) + end

    def draw(self, canvas: Canvas, x: float, frame: Frame) -> float:
        """Draw it from x on; returns where the flow goes out."""
        y = frame.mid
        if self.image:
            _picture(canvas, x, y)
            canvas.text(x + IMAGE / 2, y + frame.half + 15, "image", LABEL)
            x += IMAGE
        for layer, shape in zip(self.layers, self.shapes, strict=True):
            gap = _gap(shape)
            canvas.line("flow", (x, y), (x + gap, y))
            if shape:
                canvas.text(x + gap / 2, y - 6, shape, SMALL, "bold")
            layer.draw(canvas, x + gap, frame)
            x += gap + layer.width
        if self.classes:
            canvas.line("flow", (x, y), (x + 20, y))
            canvas.tip("head", x + 22, y)
            canvas.text(x + 28, y + 4, self.classes, LABEL, "bold", "start")
        return x


class Band:
    """A coloured band with a header and its figures."""

    def __init__(
        self, title: str, info: str, css: str, figures: Sequence[UnitFigure] | Sequence[Chain], widest: float
    ) -> None:
        self.title, self.info, self.css = title, info, css
        self.output = figures[-1].output
        self.lines: list[list[UnitFigure | Chain]] = [[]]
        x = LEFT
        for figure in figures:
            if self.lines[-1] and x + figure.width > widest - RIGHT:
                self.lines.append([])
                x = LEFT
            self.lines[-1].append(figure)
            x += figure.width + _edge(figure)
        self.needs = max(LEFT + _length(line) + RIGHT for line in self.lines)

    @property
    def height(self) -> float:
        """What its content needs."""
        return HEADER + sum(_extent(line)[1] for line in self.lines) + sum(self._gaps) + 8

    @property
    def _gaps(self) -> list[float]:
        """Below every line but the last: room for the way to the next, and for the shape on it."""
        return [28.0 if line[-1].changes_shape else 16.0 for line in self.lines[:-1]]

    def draw(self, canvas: Canvas, x: float, y: float, width: float, height: float) -> tuple[Point, Point]:
        """Draw it; returns where the flow comes in and where it goes out."""
        canvas.begin(self.css)
        canvas.rect("band", x, y, width, height, 8)
        canvas.text(x + LEFT, y + 17, self.title, 13, "bold", "start")
        canvas.text(x + LEFT + text_width(self.title, 13) + 16, y + 17, self.info, SMALL, "dim", "start")
        top = y + HEADER
        entries: list[Point] = []
        leave = (0.0, 0.0)
        for number, line in enumerate(self.lines):
            above, extent = _extent(line)
            entry = (x + LEFT, top + above)
            if number:
                last = self.lines[number - 1][-1]
                shape = shape_text(last.output) if last.changes_shape else ""
                new_line(canvas, leave, entry, top - self._gaps[number - 1] / 2, shape, "band")
            entries.append(entry)
            leave = _draw_line(canvas, line, entry)
            top += extent + (self._gaps[number] if number < len(self._gaps) else 0)
        canvas.end()
        return entries[0], leave


def new_line(canvas: Canvas, leave: Point, entry: Point, middle: float, shape: str, behind: str) -> None:
    """The way from the end of one line to the start of the next, between them at the height `middle`.

    `shape` is written on it, over a patch of the class `behind`; empty for none.
    """
    right, left = leave[0] + 10, entry[0] - LEFT + 12
    canvas.way("flow", leave, (right, leave[1]), (right, middle), (left, middle), (left, entry[1]), entry)
    canvas.tip("head", *entry)
    if shape:
        width, centre = text_width(shape, SMALL) + 12, (left + right) / 2
        canvas.rect(behind, centre - width / 2, middle - 8, width, 16, 3)
        canvas.text(centre, middle + 4, shape, SMALL, "bold")


def shape_text(shape: Shape) -> str:
    """'64×56×56': channels, height, width."""
    return "×".join(map(str, shape))


def _draw_line(canvas: Canvas, line: Sequence[UnitFigure | Chain], entry: Point) -> Point:
    x, y = entry
    frames = {look: _frame(line, look, y) for look in (PORTRAIT, MINIATURE)}
    for i, figure in enumerate(line):
        end = figure.draw(canvas, x, frames[figure.look])
        x = end
        if i + 1 < len(line):
            x = end + _edge(figure)
            canvas.line("flow", (end, y), (x, y))
            canvas.tip("head", x, y, size=5 if figure.look is PORTRAIT else 4)
            if figure.changes_shape:
                canvas.text((end + x) / 2 - 2, y - 6, shape_text(figure.output), SMALL, "bold")
    return x, y


def _frame(line: Sequence[UnitFigure | Chain], look: Look, mid: float) -> Frame:
    same = [figure for figure in line if figure.look is look]
    return Frame(
        mid,
        max((figure.tallest for figure in same), default=0) / 2,
        max((figure.lines for figure in same), default=0),
        any(figure.residual for figure in same),
        look,
    )


def _extent(line: Sequence[UnitFigure | Chain]) -> tuple[float, float]:
    """(from a line's upper edge to its flow, its whole height)."""
    frames = [_frame(line, look, 0) for look in {figure.look for figure in line}]
    if isinstance(line[0], Chain):
        frame = frames[0]
        return frame.half + 4, frame.half + 4 + frame.bottom
    above = -min(frame.top for frame in frames) + 6  # the cards behind a folded one stick out
    return above, above + max(frame.bottom for frame in frames)


def _edge(figure: UnitFigure | Chain) -> float:
    """The room behind a figure, when another follows in the same line."""
    return text_width(shape_text(figure.output), SMALL) + 16 if figure.changes_shape else figure.edge


def _gap(shape: str) -> float:
    return text_width(shape, SMALL) + 16 if shape else PORTRAIT.gap


def _length(line: Sequence[UnitFigure | Chain]) -> float:
    return sum(figure.width for figure in line) + sum(_edge(figure) for figure in line[:-1])


def _picture(canvas: Canvas, x: float, y: float) -> None:
    """A photo of hills and a sun."""
    left, top, size = x, y - IMAGE / 2, IMAGE
    canvas.rect("card", left, top, size, size, 3)
    canvas.circle("relu", left + 24, top + 10, 4)
    hills = ((3, 30), (13, 14), (20, 24), (24, 19), (31, 30))
    canvas.line("pool", *((left + dx, top + dy) for dx, dy in hills))
