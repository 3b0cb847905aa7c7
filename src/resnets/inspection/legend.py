"""The legend of a diagram: what its signs mean, those alone that the drawing has."""

from __future__ import annotations

from collections.abc import Callable

from resnets.architecture import Plan
from resnets.inspection.layer_figure import SMALL
from resnets.inspection.svg import Canvas, stage_colour, text_width
from resnets.inspection.words import widening

LINE = 20.0
SIGN = 30.0  # room for a sign

Sign = Callable[[Canvas, float, float], None]


class Legend:
    """Signs and their meaning, in lines of at most `width`."""

    def __init__(self, plan: Plan, *, folded: bool, width: float) -> None:
        self.lines: list[list[tuple[Sign, str]]] = [[]]
        room = width
        for sign, text in _entries(plan, folded):
            needed = SIGN + text_width(text, SMALL) + 18
            if needed > room and self.lines[-1]:
                self.lines.append([])
                room = width
            self.lines[-1].append((sign, text))
            room -= needed

    def draw(self, canvas: Canvas, x: float, y: float) -> float:
        """Draw it from y on; returns where it ends."""
        canvas.begin("rd-legend " + stage_colour(0))
        for line in self.lines:
            at = x
            for sign, text in line:
                sign(canvas, at, y + LINE / 2)
                canvas.text(at + SIGN, y + LINE / 2 + 4, text, SMALL, "dim", "start")
                at += SIGN + text_width(text, SMALL) + 18
            y += LINE
        canvas.end()
        return y


def _entries(plan: Plan, folded: bool) -> list[tuple[Sign, str]]:
    units = [unit for stage in plan.stages for unit in stage]
    kinds = {row.kind for unit in units for row in unit.shortcut}
    grouped = any(row.groups > 1 for row in plan.rows)
    other = {
        "avg_pool": "average pool and 1×1 convolution (ResNet-D)",
        "pad": "zero channels (option A)",
        "conv": "1×1 convolution (projection)",
    }
    how = [next((text for kind, text in other.items() if kind in kinds), "")]
    how += ["every second pixel"] if "subsample" in kinds else []
    entries: list[tuple[bool, Sign, str]] = [
        (True, _conv, "convolution, taller: more channels (a step for each doubling)"),
        (True, _thin("norm"), "norm"),
        (True, _thin("relu"), "ReLU"),
        (grouped, _grouped, "grouped convolution: separate paths"),
        (widening(plan.spec) > 1, _wide, "dotted: the usual width"),
        (True, _text("/2"), "stride: half the height and width"),
        (any(unit.addition and not unit.shortcut for unit in units), _way("solid"), "shortcut: identity"),
        (bool(kinds), _way("dashed"), "shortcut: " + " or ".join(filter(None, how))),
        (any(unit.addition for unit in units), _sum, "addition"),
        (folded, _text("× n"), "that many of the same kind in a row"),
    ]
    return [(sign, text) for shown, sign, text in entries if shown]


def _conv(canvas: Canvas, x: float, y: float) -> None:
    canvas.rect("conv", x + 4, y - 5, 8, 10)
    canvas.rect("conv", x + 14, y - 9, 8, 18)


def _thin(kind: str) -> Sign:
    def draw(canvas: Canvas, x: float, y: float) -> None:
        canvas.rect(kind, x + 14, y - 8, 8, 16, 1)
        if kind == "relu":
            canvas.line("hinge", (x + 15, y + 2.5), (x + 18, y + 2.5), (x + 21, y - 3))

    return draw


def _grouped(canvas: Canvas, x: float, y: float) -> None:
    for shift in (-6, 0, 6):
        canvas.line("flow", (x + 2, y), (x + 8, y + shift))
        canvas.line("flow", (x + 16, y + shift), (x + 22, y))
        canvas.rect("conv", x + 8, y + shift - 2, 8, 4, 1)


def _wide(canvas: Canvas, x: float, y: float) -> None:
    canvas.rect("conv", x + 8, y - 9, 14, 18)
    canvas.rect("usual", x + 11, y - 5, 8, 10, 0)


def _text(text: str) -> Sign:
    return lambda canvas, x, y: canvas.text(x + 24, y + 4, text, SMALL, "bold", "end")


def _way(kind: str) -> Sign:
    return lambda canvas, x, y: canvas.line(kind, (x, y), (x + 24, y))


def _sum(canvas: Canvas, x: float, y: float) -> None:
    canvas.circle("sum", x + 16, y, 7)
    canvas.line("sum", (x + 12, y), (x + 20, y))
    canvas.line("sum", (x + 16, y - 4), (x + 16, y + 4))
