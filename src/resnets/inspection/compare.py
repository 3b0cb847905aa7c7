"""Two plans side by side: which choices differ, and what that costs, in words and part by part."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import zip_longest

from resnets.architecture import Plan, Row
from resnets.architecture.catalog import same_network
from resnets.inspection.table import count, macs
from resnets.inspection.words import said
from resnets.notebook import table, text_of


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
    words       one sentence for every choice, and a last one for what it costs; about the second network first
    sentence    all of them in one line
    """

    choices: dict[str, tuple[object, object]]
    parts: list[tuple[Part | None, Part | None]]
    words: tuple[str, ...]
    sentence: str

    def _repr_html_(self) -> str:
        """In a notebook: the words, the choices, and the parts side by side."""
        said = "".join(f"<p>{text_of(word)}</p>" for word in self.words)
        choices = [(key, *map(str, values)) for key, values in self.choices.items()]
        parts = []
        for pair in self.parts:
            cells = [(count(part.parameters), macs(part.macs)) if part else ("", "") for part in pair]
            parts.append((next(part.name for part in pair if part), *cells[0], *cells[1]))
        columns = ("", "parameters", "MACs", "parameters of the other", "MACs of the other")
        return f"{said}{table(('choice', 'one', 'the other'), choices, words=3)}{table(columns, parts)}"


def compare(one: Plan, other: Plan, names: tuple[str, str]) -> Comparison:
    """Compare two plans; `names` are what the words call them, in the same order."""
    fields = [{**plan.spec.to_dict(), **_setting(plan)} for plan in (one, other)]
    choices = {key: (fields[0][key], fields[1][key]) for key in fields[0] if fields[0][key] != fields[1][key]}
    words = _words(one, other, names, list(choices))
    return Comparison(
        choices=choices,
        parts=[
            (_part("stem", one.stem), _part("stem", other.stem)),
            *zip_longest(_stages(one), _stages(other)),
            (_part("head", one.head), _part("head", other.head)),
        ],
        words=words,
        sentence=" ".join(words),
    )


def _setting(plan: Plan) -> dict[str, int]:
    """What was asked of the network beyond its spec."""
    return {key: getattr(plan, key) for key in ("image_size", "num_classes", "in_channels", "output_stride")}


def _words(one: Plan, other: Plan, names: tuple[str, str], choices: list[str]) -> tuple[str, ...]:
    first, second = names
    if not choices:
        return (f"{first} and {second} are the same network.",)
    words = [_choice(field, one, other, names) for field in choices]
    if same_network(one.spec, other.spec) and one.spec != other.spec and _setting(one) == _setting(other):
        words.append("What they compute is the same: they differ in training alone.")
    parameters = _ratio(other.parameters, one.parameters, "parameters", count)
    cost = _ratio(other.macs, one.macs, "MACs", macs)
    return (*words, f"{second} has {parameters} and {cost}.")


def _choice(field: str, one: Plan, other: Plan, names: tuple[str, str]) -> str:
    """What the other network does about a field, and then what the first one does."""
    sides = ((names[1], said(field, other)), (names[0], said(field, one)))
    heres = [(name, here) for name, here in sides if here]
    clauses: list[str] = []
    for name, (verb, rest, tail) in heres:
        repeats = clauses and (verb, tail) == (heres[0][1][0], heres[0][1][2])
        clauses.append(f"{name} {rest}" if repeats else f"{name} {verb} {rest} {tail}".rstrip())
    return "; ".join(clauses) + "."


def _ratio(new: int, old: int, what: str, write: Callable[[int], str]) -> str:
    if new == old:
        return f"the same {what}" if what == "MACs" else f"as many {what}"
    if 0.8 < new / old < 1.25:
        return f"{write(abs(new - old))} {'more' if new > old else 'fewer'} {what}"
    return f"{new / old:.3g} times the {what}" if new > 0.1 * old else f"1/{old / new:.0f} of the {what}"


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
