"""The record of a run: a JSON line per step and per epoch, the curves drawn from it, TensorBoard beside it.

`log.jsonl` is the one record. A resumed run cuts it back to the checkpoint, so that no step stands there twice.
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

from resnets.errors import TrainingError

NAME = "log.jsonl"


class Log:
    """Appends to a run's log.jsonl, and to TensorBoard's files when the package is installed."""

    def __init__(self, folder: Path, keep: int | None = None, step: int = 0) -> None:
        """keep: bytes of an existing log that still hold (a checkpoint's position), None: none; step: the next one."""
        self.path = folder / NAME
        if keep is None:
            self.path.write_bytes(b"")
        else:
            if not self.path.exists() or self.path.stat().st_size < keep:
                raise TrainingError(f"{self.path} is missing or cut short, so the run cannot go on: start it anew.")
            with self.path.open("rb+") as file:
                file.truncate(keep)
        self._file = self.path.open("a", encoding="utf-8")
        self._board = _tensorboard(folder, step)

    def write(self, kind: str, **values: Any) -> None:
        """One line: {"kind": "step" or "epoch", "step": .., ...}."""
        self._file.write(json.dumps({"kind": kind, **values}) + "\n")
        if self._board is not None:
            for name, value in values.items():
                if isinstance(value, float):
                    self._board.add_scalar(f"{kind}/{name}", value, values["step"])

    def position(self) -> int:
        """Bytes written so far, all of them on the disk: neither a kill nor a power cut loses them any more."""
        self._file.flush()
        os.fsync(self._file.fileno())
        return self._file.tell()

    def close(self) -> None:
        """Write out what is left."""
        self._file.close()
        if self._board is not None:
            self._board.close()


def read_log(path: Path) -> list[dict[str, Any]]:
    """Every line of a log; a last line that a kill cut short is left out."""
    lines = []
    for line in path.read_text(encoding="utf-8").splitlines():
        try:
            lines.append(json.loads(line))
        except ValueError:
            break
    return lines


def _tensorboard(folder: Path, step: int) -> Any:
    try:
        from torch.utils.tensorboard import SummaryWriter
    except (
        ImportError,
        TypeError,
        AttributeError,
    ):  # not installed, or not fit for its protobuf; an extra: pip install 'resnets[tensorboard]'
        return None
    return SummaryWriter(str(folder / "tensorboard"), purge_step=step)


def draw_curves(folder: Path, title: str) -> None:
    """Draw log.jsonl as curves.png and curves.svg: losses on the left, held-out top-1 on the right."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure
    from matplotlib.ticker import MaxNLocator, PercentFormatter

    lines = read_log(folder / NAME)
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
    for ending in ("png", "svg"):
        figure.savefig(folder / f"curves.{ending}", dpi=150)
