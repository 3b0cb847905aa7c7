"""The learning curves of a run, drawn from its log."""

from __future__ import annotations

from pathlib import Path

from resnets.weights.run import CURVES, RunRecord, read_log, until
from resnets.whole import whole


def draw_curves(folder: Path, title: str, record: RunRecord) -> None:
    """Draw log.jsonl as curves.png and curves.svg: losses on the left, held-out top-1 on the right.

    record      with the result: of a model as it stands, later steps are left out
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure
    from matplotlib.ticker import MaxNLocator, PercentFormatter

    lines = until(read_log(folder), record)
    steps = [line for line in lines if line["kind"] == "step"]
    epochs = [line for line in lines if line["kind"] == "epoch"]
    judged = [line for line in epochs if line.get("top1") is not None]
    per_epoch = max(1, epochs[0]["step"]) if epochs else 1

    figure = Figure(figsize=(9, 3.4), layout="constrained")
    FigureCanvasAgg(figure)
    loss, accuracy = figure.subplots(1, 2)
    x = [(line["step"] + 1) / per_epoch for line in steps]
    loss.plot(x, [line["loss"] for line in steps], color="#9db8d2", linewidth=0.6)
    loss.plot([e["epoch"] for e in epochs], [e["loss"] for e in epochs], "o-", color="#1f5a96", ms=3, label="training")
    loss.plot(
        [e["epoch"] for e in judged],
        [e["held_out_loss"] for e in judged],
        "o-",
        color="#c8553d",
        ms=3,
        label="held out",
    )
    loss.set_ylabel("loss (nats)")
    if epochs:
        loss.set_ylim(0, 1.1 * max(e["loss"] for e in epochs))
    loss.legend(frameon=False)
    accuracy.plot([e["epoch"] for e in judged], [e["top1"] for e in judged], "o-", color="#c8553d", ms=3)
    accuracy.set_ylabel("top-1, held out")
    accuracy.yaxis.set_major_formatter(PercentFormatter(1, decimals=None))
    if judged:
        last = judged[-1]
        accuracy.annotate(
            f"{last['top1']:.1%}", (last["epoch"], last["top1"]), (-4, -14), textcoords="offset points", ha="right"
        )
    for axis in (loss, accuracy):
        axis.set_xlabel("epoch")
        axis.xaxis.set_major_locator(MaxNLocator(integer=True))
        axis.spines[["top", "right"]].set_visible(False)
        axis.grid(alpha=0.25)
    figure.suptitle(title, fontsize=11, parse_math=False)  # a folder may be called a$^b
    for name in CURVES:
        with whole(folder / name) as file:
            figure.savefig(file, format=name.rpartition(".")[2], dpi=150)
