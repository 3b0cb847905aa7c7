"""A study as one offline page: the question, what is true of the runs, the figures, the table, how to make it again."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from resnets import __version__, machine
from resnets.evaluation.significance import shown
from resnets.pages import page
from resnets.pages.plot import Plot
from resnets.studies.experiment import Study
from resnets.studies.found import Found
from resnets.studies.result import StudyResult


def write(
    path: Path, result: StudyResult, study: Study, plots: Sequence[Plot], *, quick: bool, asked: Mapping[str, str]
) -> None:
    """Write the page. Raises WriteError when it cannot be written.

    quick, asked    which form it is, and what was asked for beside its own setting, fit for a shell
    """
    found = result.found
    text = page.render(
        "study.html",
        study=study,
        setting=found.setting,
        result=result,
        rows=rows(found),
        plots=plots,
        machine=machine.describe(),
        data=Path(found.setting.data).name,
        quick=quick,
        asked=asked,
        version=__version__,
    )
    page.write(path, text)


def rows(found: Found) -> list[dict[str, Any]]:
    """The table: a row for each member that has a run."""
    table = []
    for member in found.members:
        if not (runs := found.of(member.name)):
            continue
        made = found.plans[member.name]
        table.append(
            {
                "name": member.name,
                "series": member.series,
                "parameters": made.parameters,
                "macs": made.macs,
                "epochs": runs[0].epochs,
                "seeds": len(runs),
                "learnt": shown(found.mean(member.name, "train_top1"), found.spread(member.name, "train_top1")),
                "right": shown(found.mean(member.name, "top1"), found.spread(member.name, "top1")),
                "seconds": found.mean(member.name, "seconds"),
                "fallbacks": sum(run.fallbacks for run in runs),
            }
        )
    return table
