"""The figures that several studies draw: errors over epochs, and over what is varied. Training dashed, test solid."""

from __future__ import annotations

from collections.abc import Sequence

from resnets.pages.plot import Line, Plot, errors
from resnets.studies.found import Found
from resnets.studies.taught import TAUGHT

LEARNT, HELD_OUT = "train_top1", "top1"


def over_epochs(found: Found, members: Sequence[str], title: str, top: float | None = None) -> Plot:
    """The errors of some members after each epoch, as He 2015, figure 6, draws them."""
    lines = []
    for colour, member in enumerate(members):
        lines.append(Line(name="", points=errors(found.course(member, TAUGHT)), colour=colour, dashed=True))
        lines.append(Line(name=member, points=errors(found.course(member, HELD_OUT)), colour=colour))
    ends = "; ".join(f"{member}: {1 - found.mean(member, 'top1'):.1%}" for member in members if found.of(member))
    says = f"Errors after each epoch. Held-out error at the end: {ends}."
    return Plot(title=title, x_label="epoch", y_label="error", lines=lines, form="percent", says=says, top=top)


def over_axis(found: Found, axis: str, title: str, keys: Sequence[str] = (LEARNT, HELD_OUT)) -> Plot:
    """The errors at the end over what is varied: a colour a series, bars the 95 % interval over seeds."""
    lines: list[Line] = []
    ticks: dict[float, str] = {}
    series = list(dict.fromkeys(member.series for member in found.members))
    for colour, name in enumerate(series):
        members = sorted(
            (member for member in found.members if member.series == name and found.of(member.name)),
            key=lambda member: member.at,
        )
        ticks |= {member.at: member.label for member in members if member.label}
        for key in keys:
            spread = [
                ends and (1 - ends[1], 1 - ends[0]) for ends in (found.spread(member.name, key) for member in members)
            ]
            lines.append(
                Line(
                    name=name if key == HELD_OUT else "",
                    points=[(member.at, 1 - found.mean(member.name, key)) for member in members],
                    colour=colour,
                    dashed=key == LEARNT,
                    spread=spread,
                )
            )
    return Plot(
        title=title,
        x_label=axis,
        y_label="error",
        lines=lines,
        form="percent",
        ticks=sorted(ticks.items()),
        says=f"{title}, over {axis}; the table has its numbers.",
    )
