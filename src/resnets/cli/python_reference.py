"""Writes the reference of the Python functions and classes from their signatures and docstrings.

    python -m resnets.cli.reference python > docs/reference/python.md

A docstring explains a parameter, a field or an attribute in a line that begins with its name (or some names and
commas) and two spaces or a colon.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from importlib import import_module
from typing import Any

from resnets import errors

HEAD = """\
# The Python functions and classes

This page is generated: `python -m resnets.cli.reference python > docs/reference/python.md`.

`import resnets` offers what stands here and nothing else, and imports no torch before a name is used. The functions
are the verbs of [the command line](cli.md); each returns a typed result whose `.document()` is what the verb prints
with `--json`.

## What it says meanwhile

The library speaks through the logger `resnets` of Python's `logging`. A program that configures nothing gets plain
lines on standard error, with the progress of long work as a live bar on a terminal.

```python
import logging

log = logging.getLogger("resnets")
log.setLevel(logging.WARNING)  # no remarks and no progress; logging.CRITICAL: nothing at all
log.propagate = True  # records, progress included, go to the program's own handlers instead
log.handlers = [logging.FileHandler("resnets.log")]  # or to these alone
```
"""

PROPERTIES = (property, cached_property)


@dataclass(frozen=True)
class Words:
    """A docstring taken apart.

    prose   paragraphs before and after the explanations of names
    names   what is explained, with its words, in order
    """

    prose: tuple[str, ...]
    names: dict[str, str]


def reference() -> str:
    """Return the whole page as Markdown."""
    shown = public()
    failures = [kind for kind in shown.values() if inspect.isclass(kind) and issubclass(kind, errors.ResnetsError)]
    classes = {name: value for name, value in shown.items() if inspect.isclass(value) and value not in failures}
    functions = {name: value for name, value in shown.items() if not inspect.isclass(value)}
    parts = [_function(f"resnets.{name}", value) for name, value in sorted(functions.items())]
    parts += [_class(f"resnets.{name}", value) for name, value in sorted(classes.items())]
    return "\n".join([HEAD, *parts, _errors(failures)])


def public() -> dict[str, Any]:
    """The public functions and classes by name."""
    surface = import_module("resnets")
    return {name: getattr(surface, name) for name in surface.__all__ if name != "__version__"}


def explained(thing: Any) -> Words:
    """What the docstring of a function or a class says of which name."""
    known = {parameter.name for parameter in parameters(thing)}
    prose: list[str] = []
    names: dict[str, str] = {}
    for paragraph in inspect.cleandoc(thing.__doc__ or "").split("\n\n"):
        rows = list(_rows(paragraph.splitlines(), known, attributes=inspect.isclass(thing)))
        names |= {name: words for row, words in rows for name in row}
        prose += [] if rows else [paragraph]
    return Words(tuple(prose), names)


def parameters(thing: Any) -> list[inspect.Parameter]:
    """What a function, or the making of a class, takes."""
    try:
        found = inspect.signature(thing).parameters.values()
    except ValueError:  # an exception without an __init__ of its own
        return []
    return [parameter for parameter in found if parameter.name != "self"]


def members(kind: type) -> Iterator[tuple[str, Any]]:
    """The public methods and properties that a class defines itself, in their order."""
    for name, value in vars(kind).items():
        own = inspect.isroutine(value) or isinstance(value, (classmethod, staticmethod, *PROPERTIES))
        if own and not name.startswith("_"):
            yield name, value


def _rows(lines: Sequence[str], known: set[str], attributes: bool) -> Iterator[tuple[list[str], str]]:
    """(names, words) of a paragraph that explains names; nothing for one that does not begin with a name."""
    row: list[str] = []
    words: list[str] = []
    for line in lines:
        found = re.match(r"(\w+(?:, \w+)*)(?:\s{2,}|: )(\S.*)", line)
        named = found[1].split(", ") if found else []
        if found and (set(named) <= known or (attributes and "  " in line[len(found[1]) : found.start(2)])):
            if row:
                yield row, " ".join(words)
            row, words = named, [found[2]]
        elif not row:
            return
        else:
            words.append(line.strip())
    if row:
        yield row, " ".join(words)


def _function(title: str, function: Any, level: str = "##") -> str:
    words = explained(function)
    name = title.rpartition(".")[2]
    return "\n".join(
        [
            f"{level} `{title}`",
            "",
            *_code(_signature(name, function)),
            *_prose(words.prose[:1]),
            *_table("parameter", words.names.items()),
            *_prose(words.prose[1:]),
        ]
    )


def _class(title: str, kind: type) -> str:
    words = explained(kind)
    named = dict(words.names)
    methods = []
    for name, value in members(kind):
        if isinstance(value, PROPERTIES):
            named.setdefault(name, " ".join((value.__doc__ or "").split()))
        else:
            methods.append(_function(f"{title.rpartition('.')[2]}.{name}", getattr(kind, name), "###"))
    return "\n".join(
        [
            f"## `{title}`",
            "",
            *_code(_signature(title.rpartition(".")[2], kind)),
            *_prose(words.prose[:1]),
            *_table("field or property", named.items()),
            *_prose(words.prose[1:]),
            *methods,
        ]
    )


def _errors(kinds: Iterable[type[errors.ResnetsError]]) -> str:
    head = ["## Errors", "", "All are raised on purpose, with one sentence that says what to do next.", ""]
    rows = ["| error | also a | exit status | meaning |", "| --- | --- | --- | --- |"]
    for kind in sorted(kinds, key=lambda kind: (len(kind.__mro__), kind.__name__)):
        bases = ", ".join(f"`{base.__name__}`" for base in kind.__bases__)
        meaning = " ".join(inspect.cleandoc(kind.__doc__ or "").split("\n\n")[0].split())
        rows.append(f"| `{kind.__name__}` | {bases} | {kind.exit_status} | {meaning} |")
    return "\n".join([*head, *rows, ""])


def _signature(name: str, thing: Any) -> str:
    """The call as one would write it, a parameter a line if it is long."""
    parts: list[str] = []
    for parameter in parameters(thing):
        if parameter.kind is parameter.KEYWORD_ONLY and "*" not in parts:
            parts.append("*")
        parts.append(_parameter(parameter))
    returned = "" if inspect.isclass(thing) else inspect.signature(thing).return_annotation
    arrow = f" -> {_annotation(returned)}" if returned not in ("", inspect.Signature.empty) else ""
    short = f"{name}({', '.join(parts)}){arrow}"
    lines = "".join(f"    {part},\n" for part in parts)
    return short if len(short) <= 88 else f"{name}(\n{lines}){arrow}"


def _parameter(parameter: inspect.Parameter) -> str:
    stars = (
        "*" if parameter.kind is parameter.VAR_POSITIONAL else "**" if parameter.kind is parameter.VAR_KEYWORD else ""
    )
    text = f"{stars}{parameter.name}"
    if parameter.annotation is not parameter.empty:
        text += f": {_annotation(parameter.annotation)}"
    if parameter.default is parameter.empty:
        return text
    shown = repr(parameter.default).replace("'", '"')
    return f"{text} = {'...' if shown.startswith('<') or len(shown) > 60 else shown}"


def _annotation(annotation: Any) -> str:
    return annotation if isinstance(annotation, str) else getattr(annotation, "__name__", str(annotation))


def _code(text: str) -> list[str]:
    return ["```python", text, "```", ""]


def _prose(paragraphs: Iterable[str]) -> list[str]:
    lines: list[str] = []
    for paragraph in paragraphs:
        if paragraph.startswith(">>>"):
            lines += _code(paragraph)
        elif paragraph:
            lines += [paragraph.replace("``", "`"), ""]
    return lines


def _table(head: str, rows: Iterable[tuple[str, str]]) -> list[str]:
    shared: dict[str, list[str]] = {}
    for name, words in rows:
        shared.setdefault(words.replace("``", "`").replace("|", "\\|"), []).append(f"`{name}`")
    lines = [f"| {', '.join(names)} | {words} |" for words, names in shared.items()]
    return [f"| {head} | meaning |", "| --- | --- |", *lines, ""] if lines else []
