"""Two plans side by side: which choices differ, and what that costs, in words and part by part."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import zip_longest

from resnets.architecture import Plan, Row


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """The stem, one stage, or the head of one network. `output` is (channels, height, width)."""

    name: str
    output: tuple[int, int, int]
    parameters: int
    macs: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    """What makes two networks different.

    choices     spec field (or image_size, num_classes, in_channels, output_stride) -> its two values,
                for the fields that differ
    parts       stem, stages and head of both; None where one network has fewer stages
    sentence    the same in words
    """

    choices: dict[str, tuple[object, object]]
    parts: list[tuple[Part | None, Part | None]]
    sentence: str


def compare(one: Plan, other: Plan, names: tuple[str, str]) -> Comparison:
    """Compare two plans; `names` are what the sentence calls them, in the same order."""
    fields = [{**plan.spec.to_dict(), **_setting(plan)} for plan in (one, other)]
    choices = {key: (fields[0][key], fields[1][key]) for key in fields[0] if fields[0][key] != fields[1][key]}
    return Comparison(
        choices=choices,
        parts=[
            (_part("stem", one.stem), _part("stem", other.stem)),
            *zip_longest(_stages(one), _stages(other)),
            (_part("head", one.head), _part("head", other.head)),
        ],
        sentence=_sentence(one, other, names, list(choices)),
    )


def _setting(plan: Plan) -> dict[str, int]:
    """What was asked of the network beyond its spec."""
    return {key: getattr(plan, key) for key in ("image_size", "num_classes", "in_channels", "output_stride")}


def _sentence(one: Plan, other: Plan, names: tuple[str, str], choices: list[str]) -> str:
    first, second = names
    if not choices:
        return f"{first} and {second} are the same network."
    listed = " and ".join(", ".join(choices).rsplit(", ", 1))
    parameters = _ratio(other.parameters, one.parameters, "parameters")
    cost = _ratio(other.macs, one.macs, "MACs")
    return f"{second} differs from {first} in {listed}. It has {parameters} and {cost}."


def _ratio(new: int, old: int, what: str) -> str:
    if f"{new / old:.3g}" == "1":
        return f"equally many {what}" if new == old else f"{abs(new - old):,} {what} {'more' if new > old else 'fewer'}"
    return f"{new / old:.3g} times the {what}"


def _stages(plan: Plan) -> Iterator[Part]:
    for number, units in enumerate(plan.stages, start=1):
        yield _part(f"stage{number}", tuple(row for unit in units for row in unit.rows))


def _part(name: str, rows: tuple[Row, ...]) -> Part:
    return Part(
        name=name,
        output=rows[-1].output,
        parameters=sum(row.parameters for row in rows),
        macs=sum(row.macs for row in rows),
    )
