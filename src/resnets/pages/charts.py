"""The charts of the report: numbers -> what `templates/charts.html` draws as SVG inside the page.

SVG written by a template rather than matplotlib's: its colours are the page's own CSS variables, so that one drawing is
right in light, in dark and on paper; its words are text, and a chart is some kilobytes.
"""

from __future__ import annotations

import base64
import io
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from PIL import Image

from resnets.evaluation.metrics import ECE_BINS, bin_of
from resnets.evaluation.significance import interval

POINTS = 300  # of a curve: more than a page can show
AS_TABLE = 12  # classes whose confusion matrix is a table of numbers; more make a picture
CELLS = 250  # squares along a side of that picture; with more classes a square stands for several
LABELS = 24  # names along it
LARGE = 10.0  # nats: a loss beyond it is no part of learning, however the run began
BEYOND = 3  # times the usual loss, from which on a value leaves the chart instead of flattening all others
RIGHT, WRONG = (62, 126, 196), (214, 80, 50)  # RGB; the alpha says how many, so that any paper shows through


@dataclass(frozen=True)
class Frame:
    """The rectangle of a plot, from values to units of the drawing.

    x, y            (lowest, highest) value
    left, right, top, bottom    the rectangle's edges
    counts          whether values across are whole numbers, as epochs are
    """

    x_range: tuple[float, float]
    y_range: tuple[float, float]
    left: float = 40
    right: float = 338
    top: float = 24
    bottom: float = 190
    counts: bool = False

    def x(self, value: float) -> float:
        """Where a value lies across; one outside lies on the edge."""
        return round(self.left + _part(value, self.x_range) * (self.right - self.left), 1)

    def y(self, value: float) -> float:
        """Where a value lies in height."""
        return round(self.bottom - _part(value, self.y_range) * (self.bottom - self.top), 1)

    def line(self, points: Iterable[tuple[float, float]]) -> str:
        """The points of a polyline."""
        return " ".join(f"{self.x(x)},{self.y(y)}" for x, y in points)

    def x_ticks(self) -> list[float]:
        """Round values inside the frame."""
        return _ticks(self.x_range, 6, self.counts)

    def y_ticks(self) -> list[float]:
        """Round values inside the frame."""
        return _ticks(self.y_range, 5)


def loss_range(training: Sequence[float], held_out: Sequence[float]) -> tuple[float, list[str]]:
    """Where the axis of the losses of all epochs ends, and in words what lies beyond it, if anything.

    A run that diverged for a while, to 480 or to infinity, would else be a flat line with a spike. Usual is what the
    run began with, or half of the values stay below, but no more than `LARGE`.
    """
    known = sorted(value for value in (*training, *held_out) if math.isfinite(value))
    began = [value for value in (*training[:1], *held_out[:1]) if math.isfinite(value)]
    usual = min(max([*began, *known[len(known) // 2 :][:1]], default=0.0), LARGE)
    inside = [value for value in known if value <= BEYOND * usual]
    beyond = []
    for name, values in (("training", training), ("held out", held_out)):
        cut = [value for value in values if not value <= BEYOND * usual]
        if cut:
            most = max(value if math.isfinite(value) else math.inf for value in cut)
            shown = f"up to {most:.3g}" if math.isfinite(most) else "up to no finite number"
            beyond.append(f"{name} {shown}, in {len(cut)} of {len(values)} epochs")
    return 1.1 * (max(inside, default=0.0) or 1.0), beyond


def curves(log: Sequence[Mapping[str, Any]]) -> dict[str, Any] | None:
    """The learning curves of a run's log; None before its first epoch.

    Returns "loss" and "top1" (frames; the latter None where nothing was held out), "beyond" (see `loss_range`), and
    points (epochs, value): "steps", "training", "held_out" of losses; "learnt", "right" of top-1 on training and
    held-out images.
    """
    epochs = [line for line in log if line.get("kind") == "epoch"]
    if not epochs:
        return None
    per_epoch = max(1, epochs[0]["step"])
    steps = [((line["step"] + 1) / per_epoch, _number(line["loss"])) for line in log if line.get("kind") == "step"]
    ends = {line["epoch"]: min(line["epoch"], line["step"] / per_epoch) for line in epochs}  # the last may be a part
    training = [(ends[line["epoch"]], _number(line["loss"])) for line in epochs]
    judged = [line for line in epochs if _is_share(line.get("top1"))]
    held_out = [(ends[line["epoch"]], _number(line.get("held_out_loss"))) for line in judged]
    right = [(ends[line["epoch"]], line["top1"]) for line in judged]
    learnt = [(ends[line["epoch"]], line["train_top1"]) for line in judged if _is_share(line.get("train_top1"))]
    last = max(1, epochs[-1]["epoch"])
    highest, beyond = loss_range([loss for _, loss in training], [loss for _, loss in held_out])
    shares = [share for _, share in (*right, *learnt)] or [0.0]
    low, high = math.floor(10 * min(shares)) / 10, min(math.floor(10 * max(shares)) / 10 + 0.1, 1.0)
    return {
        "loss": Frame((0, last), (0, highest), counts=True),
        "beyond": beyond,
        "top1": Frame((0, last), (min(low, high - 0.1), high), counts=True) if right else None,
        "steps": _thinned(steps),
        "training": training,
        "held_out": held_out,
        "learnt": learnt,
        "right": right,
    }


def _number(value: Any) -> float:
    """A loss of a log; one that is no number was no finite one."""
    return float(value) if isinstance(value, int | float) and not math.isnan(value) else math.inf


def together(logs: Sequence[Sequence[Mapping[str, Any]]]) -> dict[str, Any] | None:
    """The learning curves of several runs in one plot each; None where none has an epoch.

    Returns "loss" and "top1" (frames that hold all of them; the latter None where nothing was held out), "beyond", and
    "runs": of each run with an epoch its place among the logs ("run") and its points, as in `curves`.
    """
    drawn = [{"run": place, **found} for place, log in enumerate(logs) if (found := curves(log)) is not None]
    if not drawn:
        return None

    def around(frames: list[Frame]) -> Frame | None:
        if not frames:
            return None
        low, high = min(one.y_range[0] for one in frames), max(one.y_range[1] for one in frames)
        return Frame((0, max(one.x_range[1] for one in frames)), (low, high), counts=True)

    loss, top1 = (around([one[name] for one in drawn if one[name] is not None]) for name in ("loss", "top1"))
    return {"loss": loss, "top1": top1, "beyond": [what for one in drawn for what in one["beyond"]], "runs": drawn}


def _is_share(value: Any) -> bool:
    """Whether a log's value can be drawn as a share; what somebody has written there is left out."""
    return isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value <= 1


def reliability(confidence: np.ndarray, correct: np.ndarray) -> dict[str, Any]:
    """What a model says against how often it is right, in the bins of the calibration error.

    confidence (N,) the predicted class's probability, correct (N,) bool, N > 0

    Returns "frame", "counts" (the frame of the bars below it), and "bins", those that have images: "low", "high" (the
    bin's edges), "images", "said" (mean confidence), "right" (share) and "interval" of that share.
    """
    places = bin_of(confidence)
    bins = []
    for number in np.unique(places):
        own = places == number
        right = float(correct[own].mean())
        bins.append(
            {
                "low": number / ECE_BINS,
                "high": (number + 1) / ECE_BINS,
                "images": int(own.sum()),
                "said": float(confidence[own].mean()),
                "right": right,
                "interval": interval(right, int(own.sum())),
            }
        )
    return {
        "frame": Frame((0, 1), (0, 1), bottom=226),
        "counts": Frame((0, 1), (0, max(part["images"] for part in bins)), top=250, bottom=290),
        "bins": bins,
    }


def confusable_order(confusion: np.ndarray) -> np.ndarray:
    """An order of the classes in which those that are taken for each other stand together.

    confusion (C, C): images of the row's class that were given the column's. Returns (C,) places. The leaves of average
    linkage over how rarely two classes are confused; the given order where nothing is.
    """
    from scipy.cluster.hierarchy import leaves_list, linkage
    from scipy.spatial.distance import squareform

    share = confusion / np.maximum(confusion.sum(axis=1, keepdims=True), 1)
    alike = share + share.T
    np.fill_diagonal(alike, 0)
    if not alike.any():
        return np.arange(len(confusion))
    distance = 1 - alike / alike.max()
    np.fill_diagonal(distance, 0)
    # The best order of the leaves takes minutes for a thousand classes; any order of theirs keeps clusters together.
    tree = linkage(squareform(distance), "average", optimal_ordering=len(confusion) <= CELLS)
    return np.asarray(leaves_list(tree))


def matrix(confusion: np.ndarray, classes: Sequence[str]) -> dict[str, Any]:
    """The confusion matrix, in the order of `confusable_order`.

    Returns "order" and "per_cell" (classes along one square's side), and either "rows" for a table (of each class its
    "name", "number" and "cells": "count", and "strength" of its colour, 0..1) or, for many classes, "picture" (a data:
    URI) and "labels": (position 0..1, name).
    """
    order = confusable_order(confusion)
    ordered = confusion[np.ix_(order, order)]
    names = [classes[place] for place in order]
    share = ordered / np.maximum(ordered.sum(axis=1, keepdims=True), 1)
    wrong = share.copy()
    np.fill_diagonal(wrong, 0)
    result: dict[str, Any] = {"order": order, "per_cell": 1}
    if len(classes) <= AS_TABLE:
        strength = wrong / (wrong.max() or 1)
        np.fill_diagonal(strength, share.diagonal())
        cells = [[{"count": c, "strength": s} for c, s in zip(*row, strict=True)] for row in _rows(ordered, strength)]
        rows = [
            {"name": name, "number": i, "cells": row} for i, (name, row) in enumerate(zip(names, cells, strict=True), 1)
        ]
        return {**result, "rows": rows}
    per_cell = -(-len(classes) // CELLS)
    step = -(-len(classes) // LABELS)
    labels = [((place + 0.5) / len(classes), names[place]) for place in range(0, len(classes), step)]
    return {**result, "per_cell": per_cell, "picture": _heat_map(share, wrong, per_cell), "labels": labels}


def _rows(*arrays: np.ndarray) -> Iterable[tuple[list[Any], ...]]:
    return zip(*(array.tolist() for array in arrays), strict=True)


def _heat_map(share: np.ndarray, wrong: np.ndarray, per_cell: int) -> str:
    """A PNG with a square for every cell: blue where it is right, red where it is wrong, the stronger the more often.

    A square of several classes shows its worst confusion, which a mean would hide; one without any shows how often
    its classes are right.
    """
    side = -(-len(share) // per_cell)
    padded = np.zeros((side * per_cell, side * per_cell))
    padded[: len(wrong), : len(wrong)] = wrong
    worst = padded.reshape(side, per_cell, side, per_cell).max(axis=(1, 3))
    right = np.diag([part.mean() for part in np.array_split(share.diagonal(), range(per_cell, len(share), per_cell))])
    pixels = np.zeros((side, side, 4), np.uint8)
    pixels[..., :3] = np.where((worst > 0)[..., None] & ~np.eye(side, dtype=bool)[..., None], WRONG, RIGHT)
    if per_cell > 1:
        mixed = np.eye(side, dtype=bool) & (worst > 0)
        pixels[mixed, :3] = WRONG
        right[mixed] = 0
    # The root, so that one mistake in fifty can still be seen.
    pixels[..., 3] = np.round(255 * np.sqrt(np.clip(np.maximum(right, 2 * worst), 0, 1)))
    file = io.BytesIO()
    Image.fromarray(pixels, "RGBA").save(file, "PNG", optimize=True)
    return f"data:image/png;base64,{base64.b64encode(file.getvalue()).decode()}"


def _part(value: float, extent: tuple[float, float]) -> float:
    low, high = extent
    if value == math.inf:
        return 1.0
    return min(max((value - low) / (high - low), 0.0), 1.0)


def _ticks(extent: tuple[float, float], most: int, whole: bool = False) -> list[float]:
    from matplotlib.ticker import MaxNLocator

    found = MaxNLocator(most, steps=[1, 2, 5, 10], integer=whole, min_n_ticks=1).tick_values(*extent)
    return [float(value) for value in found if extent[0] <= value <= extent[1] + 1e-9]


def _thinned(points: list[tuple[float, float]]) -> list[tuple[float, float]]:
    """Their means over equal stretches, at most `POINTS` of them."""
    if len(points) <= POINTS:
        return points
    return [tuple(part.mean(axis=0).tolist()) for part in np.array_split(np.array(points), POINTS)]
