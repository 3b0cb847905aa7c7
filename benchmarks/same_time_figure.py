"""Draws what same_time.py measured: python benchmarks/same_time_figure.py runs/same-time/same_time.json OUT.png"""

import json
import sys

from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import PercentFormatter

COLOURS = {"resnets": "#1f5a96", "plain": "#c8553d"}
NAMES = {"resnets": "resnets train", "plain": "plain PyTorch script"}


def main(source, target):
    with open(source) as file:
        table = json.load(file)
    figure = Figure(figsize=(8, 3.6), layout="constrained")
    FigureCanvasAgg(figure)
    axis = figure.subplots()
    for who, curve in (("resnets", table["our_curve"]), ("plain", table["plain_curve"])):
        minutes, top1 = [0, *(t / 60 for t, _ in curve)], [0.1, *(y for _, y in curve)]  # chance, of ten classes
        axis.plot(minutes, top1, "o-", color=COLOURS[who], linewidth=2, markersize=5)
        axis.annotate(
            f"{NAMES[who]}\n{top1[-1]:.1%}",
            (minutes[-1], top1[-1]),
            (10, 0),
            textcoords="offset points",
            va="center",
            color=COLOURS[who],
            fontweight="bold",
        )
    longest = max(table["plain"]["seconds"], table["resnets"]["seconds"]) / 60
    axis.set_xlim(0, longest * 1.32)
    axis.set_ylim(0, 1)
    axis.set_xlabel("wall time, minutes (two cores, no GPU)")
    axis.set_ylabel("top-1, held-out photos")
    axis.yaxis.set_major_formatter(PercentFormatter(1, decimals=0))
    axis.spines[["top", "right"]].set_visible(False)
    axis.grid(alpha=0.25)
    axis.set_title(
        f"Imagenette from scratch: {table['network']} at {table['image_size']} pixels", loc="left", fontsize=12
    )
    figure.savefig(target, dpi=150)


if __name__ == "__main__":
    main(*sys.argv[1:])
