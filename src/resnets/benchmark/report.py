"""A benchmark's document as a table and as a picture."""

from __future__ import annotations

import textwrap
import warnings
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from resnets.text import printable
from resnets.whole import whole, write_json, write_text

COLUMNS = ("network", "task", "precision", "batch", "who", "images/s", "ratio", "p50 ms", "p90 ms", "p99 ms")
SPREAD = "s / batch"  # one more column, where the calls of each side were counted
LEFT = ("network", "task", "precision", "who")  # columns of words
# Ours in blues, others in warm colours, the baseline in grey.
COLOURS = {
    "resnets": "#1f5a96",
    "resnets torch": "#1f5a96",
    "resnets compiled": "#7a5fa8",
    "resnets onnxruntime": "#3f8fc4",
    "resnets openvino": "#8cc1e3",
    "torchvision": "#8a8a8a",
    "plain torch": "#8a8a8a",
    "timm": "#bdbdbd",
    "onnxruntime": "#c8553d",
    "openvino": "#e9a178",
}


def cells(row: dict[str, Any], shown: Mapping[str, str]) -> tuple[str, ...]:
    """A row's texts, one for each of `COLUMNS`; shown: as from `short`."""
    latency = row["latency"] or {}
    times = (f"{1000 * latency[p]:.2f}" if p in latency else "" for p in ("p50", "p90", "p99"))
    ratio = "" if row["ratio"] is None else f"{row['ratio']:.2f}"
    rate = f"{row['images_per_second']:,.1f}"
    return (shown[row["name"]], row["task"], row["precision"], str(row["batch"]), row["who"], rate, ratio, *times)


def spread(row: dict[str, Any]) -> str:
    """Mean and deviation of a row's calls."""
    return "{mean:.4f} +/- {sd:.4f}".format(**row["batch_seconds"])


def caption(document: dict[str, Any]) -> str:
    """One line: what the ratio is to, on which machine, when, with which versions."""
    machine = document["machine"]
    baselines = sorted({row["baseline"] for row in document["rows"] if row["baseline"]})
    ratio = f"Ratio to {' or '.join(baselines)} at the same batch. " if baselines else ""
    versions = ", ".join(f"{name} {version}" for name, version in document["versions"].items())
    turns = f"{document['steps']} calls of each in turn" if document["steps"] else None
    turns = turns or f"Medians of {document['rounds']} alternating rounds"
    return f"{ratio}{turns} on {machine['cores']} cores of {machine['processor']}, {document['date'][:10]}: {versions}."


def markdown(document: dict[str, Any]) -> str:
    """The table for a document, with its caption."""
    more = (SPREAD,) if document["steps"] else ()
    rule = ("---" if column in LEFT else "---:" for column in (*COLUMNS, *more))
    shown = short(row["name"] for row in document["rows"])
    rows = (
        [*(cell.replace("|", "\\|") for cell in cells(row, shown)), *(spread(row) for _ in more)]
        for row in document["rows"]
    )
    lines = [(*COLUMNS, *more), rule, *rows]
    table = "\n".join(f"| {' | '.join(line)} |" for line in lines)
    return f"{caption(document)}\n\n{table}\n"


def write(document: dict[str, Any], folder: Path) -> None:
    """bench.json, bench.md, and for rows that can be drawn bench.png and bench.svg, into a folder."""
    folder.mkdir(parents=True, exist_ok=True)
    write_json(folder / "bench.json", document)
    write_text(folder / "bench.md", markdown(document))
    if document["rows"]:
        draw(document, [folder / "bench.png", folder / "bench.svg"])


def draw(document: dict[str, Any], targets: Iterable[Path]) -> None:
    """Images per second as bars: a panel for each network and batch, a group for each precision."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure
    from matplotlib.patches import Patch

    rows = document["rows"]
    lines, shown = _unique((row["name"], row["task"]) for row in rows), short(row["name"] for row in rows)
    batches = _unique(row["batch"] for row in rows)
    whos = [who for who in COLOURS if any(row["who"] == who for row in rows)]
    figure = Figure(figsize=(2.2 + 3.6 * len(batches), 1.5 + 2.4 * len(lines)), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots(len(lines), len(batches), squeeze=False)
    for i, (name, task) in enumerate(lines):
        for j, batch in enumerate(batches):
            here = [row for row in rows if (row["name"], row["task"], row["batch"]) == (name, task, batch)]
            if not here:
                axes[i][j].set_visible(False)
                continue
            _panel(axes[i][j], here)
            what = shown[name] if task in ("infer", "input") else f"{shown[name]}, {task}"
            title = f"{what}, batches of {batch}" if batch > 1 else f"{what}, one image"
            axes[i][j].set_title(title, loc="left", fontsize=10, parse_math=False)  # a file may be called a$^b
            axes[i][j].set_ylabel("images/s" if j == 0 or not axes[i][0].get_visible() else "")
    figure.legend(
        handles=[Patch(color=COLOURS[who], label=who) for who in whos],
        loc="outside upper center",
        ncols=min(len(whos), 2 + 2 * len(batches)),
        frameon=False,
        fontsize=9,
    )
    text = caption(document).replace("Ratio to", "Above the bars: the ratio to", 1)
    text = "\n".join(textwrap.wrap(text, 36 * (1 + len(batches))))
    figure.supxlabel(text, fontsize=7, color="#666666", x=0.01, ha="left")
    for target in targets:
        with whole(target) as file, warnings.catch_warnings():
            # A name in a script that the font does not have is drawn as boxes.
            warnings.filterwarnings("ignore", message="Glyph .* missing from font")
            figure.savefig(file, format=target.suffix[1:], dpi=150)


def _panel(axis: Any, rows: list[dict[str, Any]]) -> None:
    """One bar for each row, those of a precision side by side; above each bar its ratio."""
    precisions = _unique(row["precision"] for row in rows)
    at, ticks = 0.0, []
    for precision in precisions:
        group = sorted(
            (row for row in rows if row["precision"] == precision), key=lambda r: list(COLOURS).index(r["who"])
        )
        for k, row in enumerate(group):
            axis.bar(at + k, row["images_per_second"], width=0.9, color=COLOURS[row["who"]])
            if row["ratio"] is not None:
                text = f"{row['ratio']:.1f}"
                axis.annotate(text, (at + k, row["images_per_second"]), (0, 2), **_SMALL)
        ticks.append(at + (len(group) - 1) / 2)
        at += len(group) + 1
    axis.set_xticks(ticks, precisions)
    axis.tick_params(axis="x", length=0)
    axis.margins(x=0.02, y=0.12)
    axis.spines[["top", "right"]].set_visible(False)


_SMALL: dict[str, Any] = {"textcoords": "offset points", "ha": "center", "fontsize": 7, "color": "#444444"}


def short(names: Iterable[str]) -> dict[str, str]:
    """Each network's or model file's name in one line: as many of its last parts as tell it from the others."""
    whole = _unique(names)
    for parts in range(1, 1 + max((len(Path(name).parts) for name in whole), default=0)):
        found = {name: printable(str(Path(*Path(name).parts[-parts:]))) for name in whole}
        if len(set(found.values())) == len(whole):
            return found
    return {name: printable(name) for name in whole}


def _unique(items: Iterable[Any]) -> list[Any]:
    return list(dict.fromkeys(items))
