"""`resnets study`: a paper's experiment by one command."""

from __future__ import annotations

from typing import Annotated

import typer

from resnets.cli.output import emit, line


def study(
    name: Annotated[str | None, typer.Argument(metavar="NAME", help="Which; without one they are listed.")] = None,
    data: Annotated[
        str | None, typer.Option(metavar="DATA", help="As train takes it. Default: cifar10; with --quick digits.")
    ] = None,
    seeds: Annotated[int | None, typer.Option(metavar="N", help="Runs of each network.", show_default=False)] = None,
    minutes: Annotated[
        float | None,
        typer.Option(metavar="M", help="The time of this call; what does not fit is left to the next one."),
    ] = None,
    epochs: Annotated[int | None, typer.Option(metavar="N", help="Instead of the study's own.")] = None,
    quick: Annotated[bool, typer.Option("--quick", help="The small form, in minutes.")] = False,
    out: Annotated[
        str | None, typer.Option(metavar="DIR", help="Its runs, page and figures. Default: runs/study-NAME.")
    ] = None,
    device: Annotated[str, typer.Option(metavar="NAME", help="auto, cpu, cuda or mps.")] = "auto",
    json: Annotated[bool, typer.Option("--json", help="Print one JSON document.")] = False,
) -> None:
    """Make an experiment of the papers: train its networks, draw its figure, say what is true of the runs.

    A run that is there is not made again, and a killed one goes on: the full form takes as many nights as it takes, a
    call each. The exit status is 1 where the runs do not show what the paper says.

    \b
    Examples:
      resnets study                                             which are there?
      resnets study degradation --quick                         deeper plain networks get worse: see it in minutes
      resnets study degradation --seeds 1                       the paper's own data, CIFAR-10
      resnets study shortcuts --minutes 480                     tonight; the same command goes on tomorrow
      resnets study gradients --quick --json                    for a program
    """
    from resnets.studies import STUDIES
    from resnets.studies import study as make

    if name is None:
        if json:
            emit([{"study": one.name, "title": one.title, "source": one.source} for one in STUDIES.values()])
            return
        for one in STUDIES.values():
            line(f"{one.name:18} {one.title}")
        return
    result = make(name, data, seeds=seeds, minutes=minutes, epochs=epochs, quick=quick, out=out, device=device)
    if json:
        emit(result.document())
    else:
        line(result.says)
        line(f"page {result.page}")
    if result.holds is False:
        raise typer.Exit(1)
