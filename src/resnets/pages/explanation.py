"""An explanation drawn: photo, heat and answer side by side, below them the stages and the nearest training images."""

from __future__ import annotations

import io
import textwrap
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from resnets.data.titles import shown as titled
from resnets.errors import DataError
from resnets.explanation.heat import overlay
from resnets.pages.page import check_outside
from resnets.text import printable
from resnets.whole import whole

if TYPE_CHECKING:
    from matplotlib.figure import SubFigure

    from resnets.explanation.picture import Explanation

ENDINGS = (".png", ".svg", ".pdf")
WIDTH = 10.0  # inches
CHANNELS = 8  # of a stage that are drawn
SHARP = 64  # pixels: a smaller picture is drawn with its pixels to be seen
STRONG, PALE, INK, GREY = "#c8553d", "#9db8d2", "#222222", "#666666"
METHOD_NAMES = {"grad-cam": "Grad-CAM", "integrated-gradients": "Integrated gradients"}


def check(path: Path, data: str | None = None) -> None:
    """Raise DataError unless a picture can be written there: not among `data`, and over nothing but an older one."""
    shown = printable(str(path))
    if path.suffix.lower() not in ENDINGS:
        raise DataError(f"{shown} is no picture that can be written: name a file that ends in {', '.join(ENDINGS)}.")
    if not path.parent.is_dir():
        raise DataError(f"There is no folder {printable(str(path.parent))} to write {printable(path.name)} into.")
    if path.is_dir():
        raise DataError(f"{shown} is a folder: name a file to write, as in explained.png.")
    if path.exists() and not _is_drawing(path):
        raise DataError(f"{shown} is there and is no drawing of ours: name another file.")
    check_outside(path, data)


def _is_drawing(path: Path) -> bool:
    """Whether matplotlib wrote it, as it says in the head of a picture or at the end of a PDF."""
    if not path.is_file():
        return False
    with path.open("rb") as file:
        head = file.read(4096)
        file.seek(max(0, path.stat().st_size - 2**16))  # before the end of a PDF stands a table of all that is in it
        return b"atplotlib" in head + file.read(2**16)


def write(path: Path, explanation: Explanation) -> None:
    """Draw an explanation into a file, whole or not at all: .png, .svg or .pdf, as its name ends."""
    content = draw(explanation, path.suffix.lower().removeprefix("."))
    with whole(path) as file:
        file.write(content)


def draw(explanation: Explanation, kind: str = "png") -> bytes:
    """The content of a file of that kind: "png", "svg" or "pdf"."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    parts: list[tuple[float, Any]] = [(4.05, _answer)]
    if explanation.maps:
        parts.append((0.55 + 1.12 * len(explanation.maps), _stages))
    if explanation.alike:
        parts.append((2.25, _neighbours))
    heights = [height for height, _ in parts]
    figure = Figure(figsize=(WIDTH, sum(heights)), layout="constrained", facecolor="white")
    FigureCanvasAgg(figure)
    rows = figure.subfigures(len(parts), 1, height_ratios=heights, squeeze=False)[:, 0]
    for (_, fill), row in zip(parts, rows, strict=True):
        fill(row, explanation)
    file = io.BytesIO()
    with warnings.catch_warnings():
        # A name in a script that the font does not have is drawn as boxes; that is nothing to shout about.
        warnings.filterwarnings("ignore", message="Glyph .* missing from font")
        figure.savefig(file, format=kind, dpi=150)
    return file.getvalue()


def _answer(row: SubFigure, e: Explanation) -> None:
    row.suptitle(_short(Path(e.path).name, 90), **_TITLE)
    photo, warm, bars = row.subplots(1, 3, width_ratios=(1, 1, 1))
    width = e.photo.shape[1]
    left, top, right, bottom = (
        min(max(edge, 0), side) * width / e.size[0] for edge, side in zip(e.frame, (*e.size, *e.size), strict=True)
    )  # of a padded picture the frame lies outside
    pale = np.rint(255 - 0.45 * (255.0 - e.photo)).astype(np.uint8)
    inside = np.s_[round(top) : max(round(bottom), round(top) + 1), round(left) : max(round(right), round(left) + 1)]
    pale[inside] = e.photo[inside]
    _picture(photo, pale)
    photo.add_patch(_frame(left, top, right, bottom))
    _below(photo, f"{e.size[0]:,} × {e.size[1]:,} pixels\nThe network sees what is in the frame.")
    _picture(warm, overlay(e.pixels, e.heat))
    side = len(e.pixels)
    what = f"{METHOD_NAMES[e.method]}: bright where the picture speaks for"
    none = "" if e.heat.any() else "\n(nothing does)"
    _below(warm, f"{what}\n“{_short(titled(e.name, e.titles), 32)}”, at {side} × {side} pixels{none}")
    _bars(bars, e)


def _bars(axis: Any, e: Explanation) -> None:
    top = list(e.prediction.top)
    if e.name not in dict(top):
        top.append((e.name, e.probability))
    for at, (name, probability) in enumerate(top):
        axis.barh(at + 0.2, 1, height=0.2, color="#eeeeee")
        axis.barh(at + 0.2, probability, height=0.2, color=STRONG if name == e.name else PALE)
        axis.text(
            0, at, _short(titled(name, e.titles), 30), ha="left", va="bottom", fontsize=9, color=INK, parse_math=False
        )
        axis.text(1, at, f"{100 * probability:.1f} %", ha="right", va="bottom", fontsize=9, color=INK)
    axis.set(xlim=(0, 1), ylim=(max(len(top), 5) - 0.4, -0.55))
    axis.set_axis_off()
    if doubts := _doubts(e):
        axis.set_title(doubts, loc="left", fontsize=8, color=STRONG, parse_math=False)


def _doubts(e: Explanation) -> str:
    lines = []
    if e.prediction.unsure:
        among = [_short(titled(name, e.titles), 24) for name in e.prediction.among or ()]
        more = f" and {len(among) - 3} more" if len(among) > 3 else ""
        lines.append(f"Unsure: one of {', '.join(among[:3])}{more}." if among else "Unsure: none of the classes.")
    if e.prediction.unlike:
        lines.append("Unlike all that the model was trained on.")
    return "\n".join(textwrap.fill(line, 46) for line in lines)


def _stages(row: SubFigure, e: Explanation) -> None:
    row.suptitle(f"Stage by stage: the mean over all channels, and the {CHANNELS} channels that answer most", **_TITLE)
    axes = row.subplots(len(e.maps), CHANNELS + 2, squeeze=False)
    for line, (name, maps) in zip(axes, e.maps.items(), strict=True):
        line[0].set_axis_off()
        shape = " × ".join(f"{side:,}" for side in maps.shape)
        line[0].text(0, 0.62, name, fontsize=10, color=INK, va="center")
        line[0].text(0, 0.36, shape, fontsize=8, color=GREY, va="center")
        strength = np.abs(maps).mean(axis=(1, 2))
        strongest = np.argsort(-strength, kind="stable")[:CHANNELS]
        for axis, image, label in zip(
            line[1:], [maps.mean(axis=0), *maps[strongest]], ["mean", *(f"{c}" for c in strongest)], strict=False
        ):
            axis.imshow(image, cmap="viridis", interpolation="nearest")
            _below(axis, label)
        for axis in line[1:]:
            axis.set(xticks=[], yticks=[])
            axis.spines[:].set_visible(False)
        for axis in line[2 + len(strongest) :]:
            axis.set_axis_off()


def _neighbours(row: SubFigure, e: Explanation) -> None:
    others = any(one.label != e.name for one in e.alike)
    row.suptitle(
        "The training images that are most alike to the network, by the cosine of their features"
        + ("; in red: of another class" if others else ""),
        **_TITLE,
    )
    axes = row.subplots(1, max(len(e.alike), CHANNELS), squeeze=False)[0]
    for axis, one in zip(axes, e.alike, strict=False):
        _picture(axis, one.pixels)
        itself = "\nthis very picture" if one.same else ""
        _below(axis, f"{_short(one.label, 18)}\n{one.similarity:.3f}{itself}")
        axis.xaxis.label.set_color(INK if one.label == e.name else STRONG)
    for axis in axes[len(e.alike) :]:
        axis.set_axis_off()


def _picture(axis: Any, pixels: np.ndarray) -> None:
    axis.imshow(pixels, interpolation="nearest" if min(pixels.shape[:2]) < SHARP else "bicubic")
    axis.set(xticks=[], yticks=[])
    axis.spines[:].set_visible(False)


def _below(axis: Any, text: str) -> None:
    axis.set_xlabel(text, fontsize=8, color=GREY, parse_math=False)


def _frame(left: float, top: float, right: float, bottom: float) -> Any:
    from matplotlib.patches import Rectangle

    # Pixel 0 is drawn from -0.5 to 0.5.
    return Rectangle((left - 0.5, top - 0.5), right - left, bottom - top, fill=False, edgecolor=STRONG, linewidth=1.5)


def _short(name: str, most: int) -> str:
    """One printable line of at most `most` characters."""
    shown = printable(name)
    return shown if len(shown) <= most else f"{shown[: most - 1]}…"


_TITLE: dict[str, Any] = {"x": 0.01, "ha": "left", "fontsize": 10, "color": INK, "parse_math": False}
