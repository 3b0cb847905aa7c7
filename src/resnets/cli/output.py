"""What the verbs write: results to standard output, remarks to standard error. Names are made printable here.

With ``--json`` a verb prints exactly one JSON document and nothing else on standard output. What the library says
names parameters in backquotes; here they become the flags of the verb that runs.
"""

from __future__ import annotations

import ast
import contextlib
import json
import logging
import math
import re
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from resnets.progress import LOG, Plain
from resnets.text import printable

if TYPE_CHECKING:
    from rich.console import Console


def emit(document: object) -> None:
    """Print one JSON document. Numbers that JSON does not know (NaN, infinity) become ``null``.

    It is plain ASCII, because a file name can hold bytes that no encoding of the output knows.
    """
    print(json.dumps(_json_able(document), indent=2, allow_nan=False), flush=True)


def line(text: str) -> None:
    """Print one line of a result, at once. Whatever names it holds, it stays one line and moves no cursor."""
    print(printable(text), flush=True)


def console() -> Console:
    """Return the console for tables and text that people read; a pipe gets the same words without colour.

    Strings are shown as they are: no markup, no emoji, no escape sequences; line feeds are the caller's.
    """
    from rich.console import Console
    from rich.text import Text

    class Printed(Console):
        def render_str(self, text: str, **how: Any) -> Text:
            return super().render_str("\n".join(map(printable, text.split("\n"))), **how)

    return Printed(highlight=False, markup=False, emoji=False)


def note(text: str, serious: bool = False) -> None:
    """Say ``text`` on standard error, where it disturbs no result: one line, whatever names it holds.

    serious     what must be heard, though the command is to be quiet: an error, or what could not be used
    """
    if not serious and not LOG.isEnabledFor(logging.INFO):
        return
    if sys.stderr is not None and not sys.stderr.closed:
        with contextlib.suppress(OSError):  # a stream that is gone, or full, is no error
            print(printable(text), file=sys.stderr, flush=True)


def rows_of(message: str) -> list[str]:
    """The lines of a message. Rows of a table in it begin with two spaces; any other line feed is a part of a name."""
    lines: list[str] = []
    for part in message.split("\n"):
        if not lines or part.startswith("  ") or lines[-1].startswith("  "):
            lines.append(part)
        else:
            lines[-1] += f"\n{part}"
    return lines


@contextmanager
def speaking(words: Callable[[str], str], quiet: bool = False) -> Iterator[None]:
    """Print what the library says, in other words, on standard error; when quiet, its warnings alone."""
    before, level = LOG.handlers, LOG.level
    LOG.handlers = [handler for handler in before if not isinstance(handler, Plain)] + [_Lines(words)]
    if quiet:
        LOG.setLevel(max(level, logging.WARNING))
    try:
        yield
    finally:
        LOG.handlers = before
        LOG.setLevel(level)


def spoken(text: str) -> str:
    """A sentence of the library in the words of the verb that runs, as `speaking` has them."""
    for handler in LOG.handlers:
        if isinstance(handler, _Lines):
            text = handler.words(text)
    return text


def told_next(found: Mapping[str, Any] | None) -> list[str]:
    """What to do next, as `resnets.evaluation.whatnext` found it: the paragraph, and a line with the command."""
    if found is None:
        return []
    return [spoken(found["says"]), *([f"next   {found['command']}"] if found["command"] else [])]


class _Lines(Plain):
    def __init__(self, words: Callable[[str], str]) -> None:
        super().__init__()
        self.words = words

    def line(self, record: logging.LogRecord) -> str:
        """The line in the command line's words."""
        return printable(self.words(super().line(record)))


_PARAMETER = re.compile(r"`([a-z_]+)(?:=([^`]*))?`")  # `out`, `data=DATA`, `overrides=['epochs=3']`


def with_flags(text: str, commands: Mapping[str, Any], verb: str) -> str:
    """A sentence of the library with a verb's flags for the parameters that it names: `out` becomes --out.

    commands    what click knows of each verb: its `params` have a `name` and their `opts`
    verb        the one that runs; a parameter that only another verb has is named with that verb
    """

    def flag(found: re.Match[str]) -> str:
        name, value = found.groups()
        for owner in (verb, *commands):
            for param in commands[owner].params if owner in commands else ():
                if param.name == name:
                    words = " ".join(_usage(param, one) for one in _values(value))
                    return words if owner == verb else f"`resnets {owner} {words}`"
        return found.group()

    return _PARAMETER.sub(flag, text)


def _usage(param: Any, value: str) -> str:
    if param.param_type_name == "argument":
        return str(param.metavar or param.name.upper()).strip("[]").removesuffix("...")
    flag: str = param.opts[0]
    return f"{flag} {value}".rstrip()


def _values(text: str | None) -> list[str]:
    """What stands behind the name, as Python writes it: a list is one value for each use of the flag."""
    if text and text.startswith("["):
        with contextlib.suppress(ValueError, SyntaxError, TypeError, RecursionError, MemoryError):
            return [str(one) for one in ast.literal_eval(text)]
    return [text or ""]


def _json_able(value: object) -> object:
    if isinstance(value, dict):
        return {key: _json_able(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_json_able(item) for item in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value
