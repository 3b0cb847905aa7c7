"""Writes the command reference from the command line itself, so that it can never be out of date.

    python -m resnets.cli.reference > docs/reference/cli.md
    python -m resnets.cli.reference python > docs/reference/python.md     (see `python_reference`)
    python -m resnets.cli.reference file > docs/reference/model-file.md     (see `file_reference`)
    python -m resnets.cli.reference recipes      prints the table of keys in docs/guides/recipes.md

It reads the declared options instead of copying help texts: those look different with every version of typer.
"""

from __future__ import annotations

import dataclasses
import inspect
import sys
from typing import Any

from resnets.cli import file_reference, python_reference
from resnets.cli.main import commands

HEAD = """\
# The command line

This page is generated: `python -m resnets.cli.reference > docs/reference/cli.md`.

Exit status: 0 good, 1 the thing asked for failed or fell short, 2 wrong usage or bad input, 130 stopped with
Ctrl-C. Results go to standard output; progress, remarks and errors go to standard error. `--json` prints
exactly one JSON document on standard output. Where standard error is the same file or pipe (`2>&1`), nothing but the
document is written there, and an error only where there is no document. A standard error that is closed, full or gone
changes nothing; a result that standard output does not take is an error, told when the work is done. Names of files,
classes and tensors are shown with escapes (`\\x1b`) for everything that is no printable character.
"""


def reference() -> str:
    """Return the whole page as Markdown."""
    return "\n".join([HEAD, *(_section(name, command) for name, command in commands().items())])


def recipe_keys() -> str:
    """The keys of a recipe with their defaults and meanings, as Markdown."""
    from resnets.training.keys import KEYS
    from resnets.training.recipe import Recipe, written

    rows = [f"| `{each.name}` | {written(each.default)} | {KEYS[each.name]} |" for each in dataclasses.fields(Recipe)]
    return "\n".join(["| key | default | meaning |", "| --- | --- | --- |", *rows, ""])


def _section(name: str, command: Any) -> str:
    arguments = [param for param in command.params if param.param_type_name == "argument"]
    options = [param for param in command.params if param.param_type_name == "option" and not param.hidden]
    usage = " ".join(["resnets", name, *map(_argument, arguments), *(["[OPTIONS]"] if options else [])])
    rows = [f"| `{_argument(param)}` | {_meaning(param)} |" for param in arguments]
    rows += [f"| `{_option(param)}` | {_meaning(param)} |" for param in options]
    table = ["| argument or option | meaning |", "| --- | --- |", *rows, ""]
    return "\n".join([f"## `{usage}`", "", _prose(command.callback), "", *table])


def _prose(function: Any) -> str:
    """A verb's docstring; a paragraph that click must not wrap becomes a block of code."""
    paragraphs = inspect.cleandoc(function.__doc__ or "").split("\n\n")
    return "\n\n".join(_code(text) if text.startswith("\b\n") else text for text in paragraphs)


def _code(text: str) -> str:
    title, *lines = text.removeprefix("\b\n").splitlines()
    return "\n".join([title, "", "```console", *(line.strip() for line in lines), "```"])


def _argument(param: Any) -> str:
    label: str = param.metavar or param.name.upper()
    if label.startswith("["):  # it says itself what may be left out
        return label
    label += "..." if param.nargs != 1 and not label.endswith("...") else ""
    return label if param.required else f"[{label}]"


def _option(param: Any) -> str:
    label = ", ".join([*param.opts, *param.secondary_opts])
    return label if param.is_flag else f"{label} {param.metavar or param.name.upper().rstrip('_')}"


def _meaning(param: Any) -> str:
    meaning = (param.help or "").replace("|", "\\|")
    silent = param.required or not param.show_default or param.default is None or param.default is False
    return meaning if silent else f"{meaning} Default: {param.default}."


if __name__ == "__main__":
    pages = {"python": python_reference.reference, "recipes": recipe_keys, "file": file_reference.reference}
    print(pages.get(" ".join(sys.argv[1:]), reference)(), end="")
