"""Where a model comes from, for its report: the run's own files, the recipe, the versions, and commands to type."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from resnets.data.named import here
from resnets.errors import ModelFileError
from resnets.evaluation.held_out import table
from resnets.progress import duration
from resnets.text import typed
from resnets.weights.again import train_again
from resnets.weights.run import RECIPE, RunRecord
from resnets.weights.runlog import read_log

TOLD = {"network", "dataset", "recipe", "epochs", "seed", "weights", "versions", "metrics"}


def read_run(run: Path) -> tuple[RunRecord | None, list[dict[str, Any]]]:
    """(run.json, the lines of log.jsonl) of a run's folder; None and empty where there is no such file that is whole.

    The last line of a log may be cut short by a kill; it is left out.
    """
    try:
        lines = read_log(run)
    except ModelFileError:
        lines = []
    try:
        return RunRecord.read(run), lines
    except ModelFileError:
        return None, lines


def facts(provenance: Mapping[str, Any], record: RunRecord | None) -> dict[str, list[tuple[str, str]]]:
    """What is known of a model's making: heading -> (what, value), without headings that have nothing.

    provenance      the model's own
    record          of the run, if it is known
    """
    dataset = table(provenance.get("dataset"))
    split = table(dataset.get("split"))
    result = record and (record.result or record.so_far)
    training = {
        "network": provenance.get("network"),
        "started from": provenance.get("weights"),
        "epochs": provenance.get("epochs"),
        "seed": provenance.get("seed"),
        "precision": record and record.precision,
        "time": duration(result.seconds) if result else None,
    }
    counts = ", ".join(f"{number} {name}" for name, number in table(split.get("counts")).items())
    data = {
        "name": dataset.get("name"),
        "images": counts,
        "split": _split(split),
        "fingerprint": str(dataset.get("fingerprint") or "")[:16],
    }
    other = {name: value for name, value in provenance.items() if name not in TOLD}
    headings = {
        "Training": training,
        "Data": data,
        "Origin": other,
        "Machine and versions": table(provenance.get("versions")),
        "Recipe": table(provenance.get("recipe")),
    }
    shown = {
        heading: [(name.replace("_", " "), _words(value)) for name, value in entries.items() if value not in (None, "")]
        for heading, entries in headings.items()
    }
    return {heading: rows for heading, rows in shown.items() if rows}


def commands(model: str, data: str, split: str, record: RunRecord | None, run: Path | None) -> list[tuple[str, str]]:
    """(what it does, a line for the shell or for Python), quoted so that any file name stays one word.

    model, data     as on a command line
    split           that was judged: "train", "val", "test", or "all" for data without splits

    What a run keeps absolute, so that it can go on anywhere, is named from the current folder (see `here`).
    """
    found = []
    if run is not None and record is not None:
        asked, recipe = record.asked, run / RECIPE
        if (again := train_again(record, run)) is None:
            options = f"recipe={str(recipe)!r}, weights={asked.weights and here(asked.weights)!r}, seed={asked.seed}"
            spec = f"ResNetSpec.from_dict({asked.network!r})"
            line = (
                "import resnets; from resnets.architecture import ResNetSpec; "
                f"resnets.train({here(asked.data)!r}, model={spec}, {options})"
            )
            found.append(("Train it again (Python)", line))
        else:
            found.append(("Train it again", again))
    chosen = [] if split == "all" else ["--split", split]
    return [
        *found,
        ("Judge it again", typed("resnets", "evaluate", model, data, *chosen, "--report", "report.html")),
        ("Use it", typed("resnets", "predict", model, "new.jpg")),
        ("Ask why", typed("resnets", "explain", model, "new.jpg", "--out", "why.png")),
        ("Use it from Python", f'import resnets; resnets.load({model!r}).predict(["new.jpg"])'),
    ]


def _split(split: Mapping[str, Any]) -> str:
    if split.get("origin") == "seeded":
        return f"drawn from class folders, seed {split.get('seed')}, a share of {split.get('fraction')} held out"
    return "the data's own" if split else ""


def _words(value: Any) -> str:
    if isinstance(value, dict | list | tuple):
        return (
            ", ".join(f"{k} {_words(v)}" for k, v in value.items())
            if isinstance(value, dict)
            else ", ".join(map(_words, value))
        )
    return "yes" if value is True else "no" if value is False else str(value)
