"""Draws what peers.py measured: python benchmarks/peers_figure.py runs/peers/results.jsonl OUT.png --minutes 10"""

import argparse
import json
import statistics
from pathlib import Path

from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import PercentFormatter

NAMES = {
    "resnets": "resnets train --minutes {minutes:g}",
    "timm": "timm, train.py",
    "torchvision": "torchvision, references",
    "plain": "plain PyTorch script",
}
OURS, OTHERS = "#1f5a96", "#c8553d"


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("results", type=Path)
    parser.add_argument("target", type=Path)
    parser.add_argument("--minutes", type=float, default=10)
    arguments = parser.parse_args()
    lines = [json.loads(line) for line in arguments.results.read_text().splitlines()]
    found = {
        side: [one for one in lines if (one["side"], one["minutes"]) == (side, arguments.minutes)] for side in NAMES
    }
    found = {side: runs for side, runs in found.items() if runs}
    figure = Figure(figsize=(8, 0.9 + 0.6 * len(found)), layout="constrained")
    FigureCanvasAgg(figure)
    axis = figure.subplots()
    for row, (side, runs) in enumerate(found.items()):
        top1, colour = [run["top1"] for run in runs], OURS if side == "resnets" else OTHERS
        mean = statistics.mean(top1)
        axis.barh(row, mean, height=0.5, color=colour, alpha=0.2)
        axis.plot(top1, [row] * len(top1), "o", color=colour, markersize=6)
        epochs = " or ".join(sorted({str(run["epochs"]) for run in runs}, key=int))
        minutes = statistics.mean(run["seconds"] for run in runs) / 60
        text = f"{mean:.1%} in {minutes:.1f} min, {epochs} epoch{'s' * (epochs != '1')}"
        axis.annotate(text, (max(top1), row), (10, 0), textcoords="offset points", va="center", color=colour)
    axis.set_yticks(range(len(found)), [NAMES[side].format(minutes=arguments.minutes) for side in found])
    axis.invert_yaxis()
    axis.set_xlim(0, 1.4)
    axis.set_xticks([0, 0.2, 0.4, 0.6, 0.8, 1])
    axis.xaxis.set_major_formatter(PercentFormatter(1, decimals=0))
    axis.set_xlabel(
        "top-1 on Imagenette's 3,925 validation photos, one dot a run\nResNet-18, 128 pixels, two cores, no GPU"
    )
    axis.spines[["top", "right"]].set_visible(False)
    axis.grid(axis="x", alpha=0.25)
    figure.savefig(arguments.target, dpi=144)


if __name__ == "__main__":
    main()
