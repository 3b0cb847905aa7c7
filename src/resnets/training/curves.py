"""The learning curves of a run, drawn from its log."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from resnets.pages.charts import curves
from resnets.weights.run import CURVES, RunRecord
from resnets.weights.runlog import read_log, until
from resnets.whole import whole


def draw_curves(folder: Path, title: str, record: RunRecord) -> None:
    """Draw log.jsonl as curves.png and curves.svg: losses on the left, top-1 on the right.

    record      with the result: of a model as it stands, later steps are left out
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure
    from matplotlib.ticker import MaxNLocator, PercentFormatter

    nothing: dict[str, Any] = {"steps": [], "training": [], "held_out": [], "learnt": [], "right": [], "beyond": []}
    found = curves(until(read_log(folder), record)) or nothing
    figure = Figure(figsize=(9, 3.4), layout="constrained")
    FigureCanvasAgg(figure)
    loss, accuracy = figure.subplots(1, 2)

    def draw(axis: Any, points: Sequence[tuple[float, float]], style: str, **look: Any) -> None:
        axis.plot([x for x, _ in points], [y for _, y in points], style, **look)

    draw(loss, found["steps"], "-", color="#9db8d2", linewidth=0.6)
    draw(loss, found["training"], "o-", color="#1f5a96", ms=3, label="training")
    draw(loss, found["held_out"], "o-", color="#c8553d", ms=3, label="held out")
    loss.set_ylabel("loss (nats)")
    if "loss" in found:
        loss.set_ylim(found["loss"].y_range)
    if found["beyond"]:
        loss.set_title(f"beyond the chart: {'; '.join(found['beyond'])}", fontsize=7, loc="left")
    loss.legend(frameon=False)
    draw(accuracy, found["learnt"], "o-", color="#1f5a96", ms=3)
    draw(accuracy, found["right"], "o-", color="#c8553d", ms=3)
    accuracy.set_ylabel("top-1")
    accuracy.yaxis.set_major_formatter(PercentFormatter(1, decimals=None))
    if found["right"]:
        shares = [share for _, share in found["right"]]
        low = shares[-1] < (min(shares) + max(shares)) / 2  # then the axis lies below it
        end, away = found["right"][-1], (-4, 6 if low else -14)
        accuracy.annotate(f"{end[1]:.1%}", end, away, textcoords="offset points", ha="right")
    accuracy.set_xlim(loss.get_xlim())  # one look alone would have a scale of its own, of parts of an epoch
    for axis in (loss, accuracy):
        axis.set_xlabel("epoch")
        axis.xaxis.set_major_locator(MaxNLocator(integer=True))
        axis.spines[["top", "right"]].set_visible(False)
        axis.grid(alpha=0.25)
    figure.suptitle(title, fontsize=11, parse_math=False)  # a folder may be called a$^b
    for name in CURVES:
        with whole(folder / name) as file:
            figure.savefig(file, format=name.rpartition(".")[2], dpi=150)
