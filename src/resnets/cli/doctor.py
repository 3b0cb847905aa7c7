"""`resnets doctor`: what is wrong with a data set, before anything is trained on it?"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from resnets.cli.output import console, emit, note

if TYPE_CHECKING:
    from resnets.diagnosis import Diagnosis, Finding

SHOWN = 4  # files or groups of files under a finding
STYLES = {"error": "bold red", "warning": "bold yellow", "note": "bold"}


def doctor(
    data: Annotated[
        str,
        typer.Argument(metavar="DATA", help="A folder, an archive, a table with labels, or a name like cifar10."),
    ] = "digits",
    html: Annotated[
        Path | None,
        typer.Option(metavar="F.html", help="Write a page with the pictures in question.", show_default=False),
    ] = None,
    fix_into: Annotated[
        Path | None,
        typer.Option(metavar="DIR", help="Write a cleaned copy into this new folder.", show_default=False),
    ] = None,
    fail_on: Annotated[
        str | None,
        typer.Option(
            metavar="SEVERITY", help="error or warning: exit status 1 where there is one, or worse.", show_default=False
        ),
    ] = None,
    overrides: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="KEY=VALUE", help="depth, ignore or columns, as train takes them."),
    ] = None,
    json: Annotated[bool, typer.Option("--json", help="Print one JSON document.")] = False,
) -> None:
    """Find what is wrong with a data set: broken files, duplicates, leaks between splits, doubtful labels.

    Every finding comes with the files and the mend. The data is only read. A cleaned copy leaves out what cannot be
    read and what is there twice, above all in training and among the held-out images; doubtful labels stay as they
    are and are listed, with everything that was left out, in doctor-changes.csv. The exit status is 0 whatever is
    found, unless --fail-on says otherwise.

    \b
    Examples:
      resnets doctor photos/                                what is wrong?
      resnets doctor photos.zip --html doctor.html          with the pictures in question
      resnets doctor photos/ --fix-into photos-clean/       a copy without duplicates and broken files
      resnets doctor zoo/ --set depth=2                     zoo/animals/cat/1.jpg is of the class cat
      resnets doctor photos/ --fail-on error                exit status 1 where training would go wrong
      resnets doctor imagenette --json                      for a program
    """
    from resnets.diagnosis import doctor as examine
    from resnets.diagnosis.diagnosis import SEVERITIES
    from resnets.errors import ParameterError
    from resnets.machine import keep_memory
    from resnets.text import printable

    if fail_on is not None and fail_on not in SEVERITIES[:2]:
        raise ParameterError(f"`fail_on` is error or warning, not {printable(fail_on)!r}.")
    _check(data, html, fix_into)
    keep_memory()
    diagnosis = examine(data, overrides=overrides or ())
    _answer(data, diagnosis, html, fix_into, json)
    if fail_on is not None and diagnosis.reaches(fail_on):
        raise typer.Exit(1)


def _check(data: str, html: Path | None, fix_into: Path | None) -> None:
    """Refuse, before any work, what cannot be written."""
    from resnets.diagnosis.fix import check_target
    from resnets.errors import ParameterError
    from resnets.pages.diagnosis import check

    if fix_into is not None:
        check_target(data, fix_into)
    if html is not None:
        check(html, data)
    if html is not None and fix_into is not None and html.resolve().is_relative_to(fix_into.resolve()):
        raise ParameterError("`fix_into` is to hold the cleaned copy alone: write the page beside it.")


def _answer(data: str, diagnosis: Diagnosis, html: Path | None, fix_into: Path | None, json: bool) -> None:
    """Write and print what was asked for."""
    from resnets.diagnosis.diagnosis import count
    from resnets.diagnosis.fix import fix
    from resnets.diagnosis.listing import CHANGES
    from resnets.pages.diagnosis import write

    if not json:
        _show(diagnosis)  # before what may fail
    if html is not None:
        write(html, diagnosis)
        if not json:
            note(f"the pictures: {html}")
    document = diagnosis.document()
    if fix_into is not None:
        document["changes"] = [vars(change) for change in fix(data, diagnosis, fix_into)]
    if json:
        emit(document)
    elif fix_into is not None:
        left_out = sum(change["done"] == "left out" for change in document["changes"])
        note(f"a copy without {count(left_out, 'file')}: {fix_into}; what and why: {fix_into / CHANGES}")


def _show(diagnosis: Diagnosis) -> None:
    from resnets.diagnosis.diagnosis import count
    from resnets.progress import duration
    from resnets.text import printable

    out = console()
    for finding in diagnosis.findings:
        out.print(finding.severity, style=STYLES[finding.severity], end="")
        out.print(": ", end="")
        out.print(finding.text, markup=False)
        for line in _files(finding):
            out.print(f"    {printable(line)}", markup=False, style="dim", overflow="fold")
        out.print(f"  {finding.mend}\n", markup=False)
    facts = diagnosis.facts
    if facts.get("labels"):
        out.print(f"labels: {facts['labels']['words']}.", markup=False, style="dim")
    seen = f"{count(diagnosis.images, 'image')} of {count(facts.get('classes', 0), 'class', 'classes')}"
    seen += f", in {duration(facts.get('seconds', 0))}"
    out.print(f"{seen}: {'nothing odd' if not diagnosis.findings else _counted(diagnosis)}.", markup=False)


def _counted(diagnosis: Diagnosis) -> str:
    from collections import Counter

    severities = Counter(finding.severity for finding in diagnosis.findings)
    return ", ".join(f"{n} {severity}{'s' if n > 1 else ''}" for severity, n in severities.items())


def _equal(group: list[str]) -> str:
    """A group of copies: the first ones, and how many there are more."""
    more = f" and {len(group) - SHOWN:,} more" if len(group) > SHOWN else ""
    return " = ".join(group[:SHOWN]) + more


def _files(finding: Finding) -> list[str]:
    """The first files that a finding is about, one line each."""
    if "groups" in finding.details:
        lines = [_equal(group) for group in finding.details["groups"]]
    elif "suspects" in finding.details:
        lines = [f"{one['path']}: looks like {one['suggested']}" for one in finding.details["suspects"]]
    elif "reasons" in finding.details:
        lines = [f"{path}: {why}" for path, why in zip(finding.paths, finding.details["reasons"], strict=True)]
    else:
        lines = list(finding.paths)
    more = [f"and {len(lines) - SHOWN:,} more"] if len(lines) > SHOWN else []
    return lines[:SHOWN] + more
