"""A unit as a figure: a card with the branch on the line and the shortcut above it."""

from __future__ import annotations

from resnets.architecture import Row, Unit
from resnets.architecture.rows import Shape
from resnets.inspection.layer_figure import SMALL, THIN, Frame, Look, layers, thin_slab
from resnets.inspection.svg import Canvas, text_width

BETWEEN = 16.0  # the dashed line that is seen on both sides of a box


class UnitFigure:
    """A unit on its card; `times` identical ones are one card with a number."""

    def __init__(self, unit: Unit, look: Look, first: int, times: int, wider: float) -> None:
        self.unit, self.look, self.times = unit, look, times
        self.caption = f"unit {first}" if times == 1 else f"units {first}–{first + times - 1}"
        self.number = str(first)
        self.layers = layers(unit.branch, look, wider)
        self.boxes = [_box(row) for row in unit.shortcut if row.kind not in THIN] if look.labels else []
        self.edge = look.edge
        self.pad = 7.0 if look.labels else 4.0
        self.gap = look.gap
        for layer in self.layers:
            if unit.fork in [row.role for row in layer.rows]:
                layer.fork, layer.pause = unit.fork or "", 10.0 if look.labels else 5.0
        needed = sum(text_width(text, SMALL) + 10 for text in self.boxes) + BETWEEN * (len(self.boxes) + 1)
        needed += (look.thin + 1) * sum(row.kind in THIN for row in unit.shortcut) if self.boxes else 0
        self.gap += max(0.0, needed - self._span) / (len(self.layers) + 1) if self.boxes else 0.0
        if look.labels:
            named = text_width(self.caption, SMALL) + (text_width(f"× {times}", 14) + 14 if times > 1 else 0)
            self.gap += max(0.0, named + 4 - self.width) / (len(self.layers) + 1)

    @property
    def tallest(self) -> float:
        """Height of its tallest slab."""
        return max(layer.tallest for layer in self.layers)

    @property
    def lines(self) -> int:
        """Lines of its labels."""
        return max(len(layer.lines) for layer in self.layers)

    @property
    def residual(self) -> bool:
        """Whether it has a shortcut."""
        return self.unit.addition is not None

    @property
    def changes_shape(self) -> bool:
        """Whether something else flows out than in."""
        return self.unit.rows[0].input != self.output

    @property
    def output(self) -> Shape:
        """Channels, height, width."""
        return self.unit.output

    @property
    def width(self) -> float:
        """Width of the card."""
        chain = sum(layer.width for layer in self.layers) + self.gap * (len(self.layers) + 1)
        ring = 2 * self.look.ring if self.residual else 0
        after = len(self.unit.after) * (self.look.thin + 1)
        return 2 * self.pad + chain + ring + after + (self.look.gap / 2 if after and ring else 0)

    @property
    def _span(self) -> float:
        """From where the shortcut branches off to the addition."""
        chain = sum(layer.width for layer in self.layers) + self.gap * (len(self.layers) + 0.5) + self.look.ring
        at = self.gap / 2
        for layer in self.layers:
            if layer.fork:
                thin = [row.role for row in layer.rows].index(layer.fork) + 1
                return chain - at - (layer.width - layer.slabs) / 2 - thin * (self.look.thin + 1) - layer.pause / 2
            at += layer.width + self.gap
        return chain

    def draw(self, canvas: Canvas, x: float, frame: Frame) -> float:
        """Draw it with its left edge at x; returns its right edge."""
        look, y = self.look, frame.mid
        end = x + self.width
        canvas.begin("rd-unit", self._title())
        for back in (6, 3, 0) if self.times > 1 else (0,):
            canvas.rect("card", x + back, frame.top - back, self.width, frame.bottom - frame.top, 5)
        if look.labels:
            canvas.text(x + 8, frame.top + 14, self.caption, SMALL, "dim", "start")
        else:
            canvas.text(x + self.width / 2, frame.bottom - 4, self.number, 9, "dim")
        if self.times > 1:
            canvas.text(end - 8, frame.top + 15, f"× {self.times}", 14, "bold times", "end")
        at = x + self.pad + self.gap
        canvas.line("flow", (x, y), (at, y))
        branch = x + self.pad + self.gap / 2
        for layer in self.layers:
            inside = layer.draw(canvas, at, frame)
            branch = inside if layer.fork else branch
            at += layer.width
            canvas.line("flow", (at, y), (at + self.gap, y))
            at += self.gap
        if self.residual:
            self._shortcut(canvas, branch, at + look.ring, frame)
            at += 2 * look.ring
        gap = look.gap / 2 if self.residual else 0
        for row in self.unit.after:
            canvas.line("flow", (at, y), (at + gap, y))
            thin_slab(canvas, row, at + gap, y, look)
            at, gap = at + gap + look.thin, 1
        canvas.line("flow", (at, y), (end, y))
        canvas.end()
        return end

    def _shortcut(self, canvas: Canvas, start: float, end: float, frame: Frame) -> None:
        y, top, ring = frame.mid, frame.shortcut, self.look.ring
        css = "dashed" if self.unit.shortcut else "solid"
        tip = 4.5 if self.look.labels else 3
        canvas.way(css, (start, y), (start, top), (end, top), (end, y - ring - tip + 1), radius=0.8 * ring)
        canvas.circle("tip", start, y, 2.4 if self.look.labels else 1.3)
        canvas.tip("tip", end, y - ring, down=True, size=tip)
        canvas.circle("sum", end, y, ring)
        reach = 0.55 * ring
        canvas.line("sum", (end - reach, y), (end + reach, y))
        canvas.line("sum", (end, y - reach), (end, y + reach))
        if not self.look.labels:
            if self.unit.shortcut:
                canvas.rect("box", (start + end) / 2 - 5, top - 3, 10, 6, 1)
            return
        norms = sum(row.kind == "norm" for row in self.unit.shortcut)
        widths = [text_width(text, SMALL) + 10 for text in self.boxes]
        at = (start + end - sum(widths) - BETWEEN * (len(widths) - 1) - norms * (self.look.thin + 1)) / 2
        for text, width in zip(self.boxes, widths, strict=True):
            canvas.rect("box", at, top - 10, width, 20, 3)
            canvas.text(at + width / 2, top + 4, text, SMALL)
            at += width + BETWEEN
        for _ in range(norms):
            canvas.rect("norm", at - BETWEEN + 1, top - 10, self.look.thin, 20)

    def _title(self) -> str:
        if not self.look.labels:
            return ""
        parameters = sum(row.parameters for row in self.unit.rows)
        macs = sum(row.macs for row in self.unit.rows)
        each = ", each" if self.times > 1 else ""
        return f"{self.caption}{each}: {parameters:,} parameters, {macs:,} multiply-adds"


def _box(row: Row) -> str:
    step = f" /{row.stride}" if row.stride > 1 else ""
    if row.kind == "pad":
        where = " both sides" if row.pad_side == "both" else ""
        return f"+{sum(row.zero_channels)} zeros{where}{step}"
    if row.kind == "subsample":
        return f"every {row.stride}nd pixel" if row.stride == 2 else f"every {row.stride}th pixel"
    if row.kind == "avg_pool":
        return f"average {row.kernel}×{row.kernel}{step}"
    return f"{row.kernel}×{row.kernel}, {row.out_channels}{step}"
