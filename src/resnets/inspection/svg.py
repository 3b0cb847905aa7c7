"""SVG by hand: the few elements that a diagram needs, its style sheet, and how much room a text takes.

Everything is prefixed (`resnets-diagram`, `rd-`), so that a drawing can stand inside somebody's page: no style of
it reaches the page. Text stays text. Colours follow the reader's light or dark scheme.
"""

from __future__ import annotations

import re
import zlib
from collections.abc import Iterable
from html import escape

Point = tuple[float, float]

FONTS = "'Helvetica Neue', Arial, 'Liberation Sans', 'Segoe UI', Roboto, system-ui, sans-serif"
_NARROW = frozenset(" .,;:·'|/()ilIjfrt-")
_NO_XML = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")  # what XML 1.0 cannot hold

# class -> (declarations, what of them is another in the dark)
_STYLES = {
    "": (f"max-width:100%;height:auto;font-family:{FONTS}", ""),
    " text": ("fill:#1b2430", "fill:#e8edf4"),
    " .rd-dim": ("fill:#55606e", "fill:#a9b4c2"),
    " .rd-bold": ("font-weight:bold", ""),
    " .rd-page": ("fill:#ffffff", "fill:#141a22"),
    " .rd-card": ("fill:#ffffff;stroke:#c3ccd6", "fill:#1a222c;stroke:#465262"),
    " .rd-band": ("fill:#f1f3f5", "fill:#222b36"),
    " .rd-flow": ("fill:none;stroke:#3a4553;stroke-width:1.4", "stroke:#b4c0ce"),
    " .rd-head": ("fill:#3a4553", "fill:#b4c0ce"),
    " .rd-solid": ("fill:none;stroke:#1b2430;stroke-width:1.8", "stroke:#e8edf4"),
    " .rd-dashed": ("fill:none;stroke:#1b2430;stroke-width:1.8;stroke-dasharray:5 3.5", "stroke:#e8edf4"),
    " .rd-tip": ("fill:#1b2430", "fill:#e8edf4"),
    " .rd-sum": ("fill:#ffffff;stroke:#1b2430;stroke-width:1.4", "fill:#141a22;stroke:#e8edf4"),
    " .rd-norm": ("fill:#aab7c6", "fill:#8594a6"),
    " .rd-relu": ("fill:#ee8a34", "fill:#f09a4c"),
    " .rd-hinge": ("fill:none;stroke:#ffffff;stroke-width:1.3", "stroke:#141a22"),
    " .rd-pool": ("fill:#5e6b7b", "fill:#95a3b4"),
    " .rd-conv": ("fill:#5e6b7b", "fill:#95a3b4"),
    " .rd-box": ("fill:#ffffff;stroke:#1b2430;stroke-width:1.1", "fill:#141a22;stroke:#e8edf4"),
    " .rd-hatch": ("fill:none;stroke:#9aa6b4;stroke-width:0.8", "stroke:#5c6a7a"),
    " .rd-usual": ("fill:none;stroke:#ffffff;stroke-width:1.2;stroke-dasharray:2 2", "stroke:#141a22"),
}
# A stage's colours: convolutions and the band behind them, in the light and in the dark.
_STAGES = (
    ("#3b73c4", "#eaf1fb", "#6ea0e8", "#1c2a40"),
    ("#22907f", "#e4f5f2", "#4fc0ae", "#16302d"),
    ("#8450b4", "#f3ecfa", "#b48be0", "#2b2140"),
    ("#c2426f", "#fcebf1", "#e77fa3", "#3c1e2b"),
    ("#6f8420", "#f3f6e2", "#a8bf55", "#272c14"),
    ("#8a5a3c", "#f7eee8", "#c3937b", "#33241b"),
)


class Canvas:
    """Collects elements. Coordinates are user units; y grows downwards."""

    def __init__(self) -> None:
        self.parts: list[str] = []

    def rect(self, css: str, x: float, y: float, width: float, height: float, radius: float = 2) -> None:
        """A rectangle from its upper left corner, its corners rounded."""
        size = f'width="{_n(width)}" height="{_n(height)}"'
        self.parts.append(f'<rect class="rd-{css}" x="{_n(x)}" y="{_n(y)}" {size} rx="{_n(radius)}"/>')

    def circle(self, css: str, x: float, y: float, radius: float) -> None:
        """A circle around (x, y)."""
        self.parts.append(f'<circle class="rd-{css}" cx="{_n(x)}" cy="{_n(y)}" r="{_n(radius)}"/>')

    def path(self, css: str, path: str) -> None:
        """Anything that SVG's path language says."""
        self.parts.append(f'<path class="rd-{css}" d="{path}"/>')

    def line(self, css: str, *points: Point) -> None:
        """Straight from point to point."""
        self.path(css, "M" + "L".join(f"{_n(x)} {_n(y)}" for x, y in points))

    def way(self, css: str, *points: Point, radius: float = 7) -> None:
        """A line along horizontal and vertical pieces, its corners rounded."""
        path = f"M{_n(points[0][0])} {_n(points[0][1])}"
        for before, corner, after in zip(points, points[1:], points[2:], strict=False):
            start, end = _towards(corner, before, radius), _towards(corner, after, radius)
            path += f"L{_n(start[0])} {_n(start[1])}Q{_n(corner[0])} {_n(corner[1])} {_n(end[0])} {_n(end[1])}"
        self.path(css, f"{path}L{_n(points[-1][0])} {_n(points[-1][1])}")

    def tip(self, css: str, x: float, y: float, *, down: bool = False, size: float = 5) -> None:
        """The head of an arrow that ends at (x, y) and points to the right, or down."""
        half = size * 0.6
        a, b = ((x - half, y - size), (x + half, y - size)) if down else ((x - size, y - half), (x - size, y + half))
        self.path(css, f"M{_n(a[0])} {_n(a[1])}L{_n(x)} {_n(y)}L{_n(b[0])} {_n(b[1])}z")

    def text(self, x: float, y: float, text: str, size: float, css: str = "", anchor: str = "middle") -> None:
        """A line of text with its baseline at y; nothing where the text is empty."""
        if not text:
            return
        look = f' class="{" ".join(f"rd-{name}" for name in css.split())}"' if css else ""
        place = f'x="{_n(x)}" y="{_n(y)}" font-size="{_n(size)}" text-anchor="{anchor}"'
        self.parts.append(f"<text{look} {place}>{clean(text)}</text>")

    def begin(self, css: str, title: str = "") -> None:
        """Open a group; `title` is what a pointer over it shows."""
        self.parts.append(f'<g class="{css}">' + (f"<title>{clean(title)}</title>" if title else ""))

    def end(self) -> None:
        """Close the group that was opened last."""
        self.parts.append("</g>")


def document(canvas: Canvas, width: float, height: float, title: str, description: str) -> str:
    """The whole SVG, on a background of its own; shown a little larger than its units, never wider than its place."""
    key = f"rd-{zlib.crc32(''.join((title, *canvas.parts)).encode('utf-8', 'replace')):08x}"
    size = f'width="{_n(1.2 * width)}" height="{_n(1.2 * height)}" viewBox="0 0 {_n(width)} {_n(height)}"'
    return "\n".join(
        (
            f'<svg xmlns="http://www.w3.org/2000/svg" class="resnets-diagram" {size}'
            f' role="img" aria-labelledby="{key}-title {key}-text">',
            f'<title id="{key}-title">{clean(title)}</title>',
            f'<desc id="{key}-text">{clean(description)}</desc>',
            f"<style>\n{_style()}\n</style>",
            f'<rect class="rd-page" width="{_n(width)}" height="{_n(height)}" rx="10"/>',
            *canvas.parts,
            "</svg>\n",
        )
    )


def clean(text: str) -> str:
    """Text that no reader of XML or HTML takes for anything else."""
    return escape(_NO_XML.sub("\ufffd", text))


def text_width(text: str, size: float) -> float:
    """About how wide a text is, rather too much than too little."""
    return size * sum(0.34 if letter in _NARROW else 0.58 for letter in text)


def wrap(words: Iterable[str], size: float, width: float, between: str = " ") -> list[str]:
    """Words in lines, none wider than `width`; a word that alone is gets cut."""
    lines: list[str] = []
    for word in words:
        if lines and text_width(f"{lines[-1]}{between}{word}", size) <= width:
            lines[-1] += f"{between}{word}"
        else:
            lines.append(fit(word, size, width))
    return lines


def fit(text: str, size: float, width: float) -> str:
    """The text, or its beginning and '…' where the whole is too wide."""
    if text_width(text, size) <= width:
        return text
    while text and text_width(f"{text}…", size) > width:
        text = text[:-1]
    return f"{text}…"


def stage_colour(number: int) -> str:
    """The class of a stage's group: its colour. `number` counts from 0."""
    return f"rd-stage rd-c{number % len(_STAGES)}"


def _style() -> str:
    day, night = [], []
    for name, (light, dark) in _STYLES.items():
        day.append(f".resnets-diagram{name}{{{light}}}")
        night.extend([f".resnets-diagram{name}{{{dark}}}"] if dark else [])
    for number, (conv, band, dark_conv, dark_band) in enumerate(_STAGES):
        for rules, fill, back in ((day, conv, band), (night, dark_conv, dark_band)):
            rules.append(f".resnets-diagram .rd-c{number} .rd-conv{{fill:{fill}}}")
            rules.append(f".resnets-diagram .rd-c{number} .rd-band{{fill:{back}}}")
    return "\n".join((*day, "@media screen and (prefers-color-scheme:dark){", *night, "}"))


def _towards(corner: Point, other: Point, radius: float) -> Point:
    """The point on the way from a corner to another point, `radius` (or half the way) from the corner."""
    dx, dy = other[0] - corner[0], other[1] - corner[1]
    length = abs(dx) + abs(dy)
    share = min(radius, length / 2) / length if length else 0
    return corner[0] + dx * share, corner[1] + dy * share


def _n(value: float) -> str:
    """A coordinate with one decimal at most: short, and the same bytes on every machine."""
    return f"{value:.1f}".removesuffix(".0")
