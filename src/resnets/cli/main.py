"""The command ``resnets``: gathers the verbs and turns every ending into one clear line and an exit status.

Exit status: 0 good, 1 the thing asked for failed or fell short, 2 wrong usage or bad input, 130 stopped
with Ctrl-C. A user's mistake never shows a traceback; a traceback therefore always means a bug in here.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping, Sequence
from io import TextIOWrapper
from typing import Annotated, Any

import typer
import typer.main

from resnets.cli.bench import bench
from resnets.cli.convert import convert
from resnets.cli.doctor import doctor
from resnets.cli.evaluate import evaluate
from resnets.cli.explain import explain
from resnets.cli.export import export
from resnets.cli.list import list_networks
from resnets.cli.output import note, speaking, with_flags
from resnets.cli.predict import predict
from resnets.cli.show import show
from resnets.cli.train import train
from resnets.errors import ResnetsError

INTERRUPTED = 130  # what a shell reports for a command that was stopped with Ctrl-C

# Typer's base class of all mistakes in the arguments. It carries a copy of click since 0.26 and depended on
# click before, so that this is the one name for it that works with both.
_UsageError: Any = typer.BadParameter.__mro__[1]

# Plain help instead of rich's panels: half the time to the first line, and it reads the same in a pipe.
app = typer.Typer(
    name="resnets",
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    add_completion=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
app.command("list")(list_networks)
app.command("show")(show)
app.command("doctor")(doctor)
app.command("train")(train)
app.command("evaluate")(evaluate)
app.command("predict")(predict)
app.command("explain")(explain)
app.command("convert")(convert)
app.command("export")(export)
app.command("bench")(bench)


def _version(wanted: bool) -> None:
    if wanted:
        import resnets

        print(f"resnets {resnets.__version__}")
        raise typer.Exit


@app.callback(invoke_without_command=True)
def resnets(
    context: typer.Context,
    version: Annotated[
        bool, typer.Option("--version", help="Print the version.", callback=_version, is_eager=True)
    ] = False,
) -> None:
    """Every residual network in one grammar: train, evaluate and predict on your own images.

    \b
    Examples:
      resnets train                              handwritten digits, offline, under two minutes
      resnets train photos/ --out runs/photos    your own photos, a folder for each class
      resnets predict runs/photos new.jpg        what is on this one?
      resnets show resnet50                      the network, layer by layer
    """
    if context.invoked_subcommand is None:
        print(context.get_help())


def commands() -> Mapping[str, Any]:
    """The verbs as typer sees them, by name: each has `params` (with `opts` and `help`) and `callback`."""
    return dict(typer.main.get_command(app).commands)  # type: ignore[attr-defined]


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command line (default: this process's) and return its exit status."""
    if isinstance(sys.stdout, TextIOWrapper):
        sys.stdout.reconfigure(errors="replace")  # a "×" must not break an output that knows ASCII alone
    arguments = sys.argv[1:] if arguments is None else arguments
    verb = next((word for word in arguments if not word.startswith("-")), "")

    def words(text: str) -> str:
        return with_flags(text, commands(), verb) if "`" in text else text

    try:
        with speaking(words):
            result = app(arguments, prog_name="resnets", standalone_mode=False)
        status = result if isinstance(result, int) else 0
        if sys.stdout is not None:
            sys.stdout.flush()  # a reader that went away is noticed here, not while Python shuts down
    except ResnetsError as problem:
        note(f"error: {words(str(problem))}")
        return problem.exit_status
    except _UsageError as problem:
        command = problem.ctx.command_path if problem.ctx else "resnets"
        note(f"error: {problem.format_message()}\nTry `{command} --help`.")
        return 2
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except OSError as problem:  # the disk is full, a folder cannot be written: nothing that a traceback explains
        note(f"error: {problem.filename or 'a file'}: {problem.strerror or problem}")
        return 1
    except (KeyboardInterrupt, typer.Abort):
        status = INTERRUPTED
    if status == INTERRUPTED:
        note("stopped")
    return status
