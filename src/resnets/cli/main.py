"""The command ``resnets``: gathers the verbs and turns every ending into one clear line and an exit status.

Exit status: 0 good, 1 the thing asked for failed or fell short, 2 wrong usage or bad input, 130 stopped
with Ctrl-C. A user's mistake never shows a traceback; a traceback therefore always means a bug in here.
"""

from __future__ import annotations

import errno
import sys
from collections.abc import Mapping, Sequence
from io import TextIOWrapper
from typing import Annotated, Any

import typer
import typer.main

from resnets.cli.bench import bench
from resnets.cli.cache import cache
from resnets.cli.convert import convert
from resnets.cli.doctor import doctor
from resnets.cli.evaluate import evaluate
from resnets.cli.explain import explain
from resnets.cli.export import export
from resnets.cli.list import list_networks
from resnets.cli.output import line, note, rows_of, speaking, with_flags
from resnets.cli.pack import pack
from resnets.cli.predict import predict
from resnets.cli.show import show
from resnets.cli.streams import Output, Unwritten, drain, standard
from resnets.cli.study import study
from resnets.cli.train import train
from resnets.errors import ResnetsError
from resnets.machine import ran_out

BARRED = (errno.EACCES, errno.EPERM, errno.EROFS)
INTERRUPTED = 130  # what a shell reports for a command that was stopped with Ctrl-C

# Typer's base class of all mistakes in the arguments. It carries a copy of click since 0.26 and depended on
# click before, so that this is the one name for it that works with both.
_UsageError: Any = typer.BadParameter.__mro__[1]

# Plain help instead of rich's panels: half the time to the first line, and it reads the same in a pipe.
app = typer.Typer(
    name="resnets",
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    add_completion=True,  # --install-completion, --show-completion
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
app.command("study")(study)
app.command("pack")(pack)
app.command("cache")(cache)


def _verbs(incomplete: str) -> list[str]:
    """For the shell: the verbs that begin so."""
    return [name for name in commands() if name.startswith(incomplete)]


Verb = Annotated[
    str | None,
    typer.Argument(metavar="[VERB]", help="The verb to explain. Default: all of them.", autocompletion=_verbs),
]


@app.command("help")
def help_(context: typer.Context, verb: Verb = None) -> None:
    """Say what a verb does, with examples: the same as VERB --help.

    \b
    Examples:
      resnets help
      resnets help train
    """
    group: Any = context.find_root()
    if verb is None:
        print(group.get_help())
        return
    name, command, _ = group.command.resolve_command(group, [verb])  # or the error of a verb that is not there
    with command.make_context(name, [], parent=group, resilient_parsing=True) as inner:
        print(command.get_help(inner))


def _version(wanted: bool) -> None:
    if wanted:
        import resnets

        line(f"resnets {resnets.__version__}")
        raise typer.Exit


@app.callback(invoke_without_command=True)
def resnets(
    context: typer.Context,
    version: Annotated[
        bool, typer.Option("--version", help="Print the version.", callback=_version, is_eager=True)
    ] = False,
    quiet: Annotated[
        bool, typer.Option("--quiet", "-q", help="No progress and no remarks; stands before or behind the verb.")
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
    arguments = sys.argv[1:] if arguments is None else arguments
    if isinstance(sys.stdout, TextIOWrapper):
        sys.stdout.reconfigure(errors="replace")  # a "×" must not break an output that knows ASCII alone
    try:
        with standard(document="--json" in arguments) as out:
            status, said = _run(arguments, out)
        if not (out.alone and out.used):  # a document is there, and says it too
            for sentence in said:
                for row in rows_of(sentence):
                    note(row, serious=True)
    finally:
        drain()
    return status


QUIET = ("--quiet", "-q")


def _quiet(arguments: Sequence[str]) -> tuple[list[str], bool]:
    """(the arguments without --quiet, whether it was there): it may stand behind the verb, but not behind --."""
    own = list(arguments[: list(arguments).index("--")]) if "--" in arguments else list(arguments)
    kept = [word for word in own if word not in QUIET]
    return [*kept, *arguments[len(own) :]], len(kept) < len(own)


def _run(arguments: Sequence[str], out: Output) -> tuple[int, list[str]]:
    """(the exit status, what is to be said of an ending that is not good)."""
    arguments, quiet = _quiet(arguments)
    verb = next((word for word in arguments if not word.startswith("-")), "")

    def words(text: str) -> str:
        return with_flags(text, commands(), verb) if "`" in text else text

    try:
        with speaking(words, quiet):
            result = app(arguments, prog_name="resnets", standalone_mode=False)
        out.flush()  # a reader that went away is noticed here, not while Python shuts down
    except Unwritten as problem:
        return 1, [] if problem.gone else [f"error: {problem}"]
    except ResnetsError as problem:
        return problem.exit_status, [f"error: {words(str(problem))}"]
    except _UsageError as problem:
        command = problem.ctx.command_path if problem.ctx else "resnets"
        return 2, [f"error: {problem.format_message()}", f"Try `{command} --help`."]
    except OSError as problem:  # the disk is full, a folder cannot be written: nothing that a traceback explains
        where = f"{problem.filename} cannot be used" if problem.filename else "A file could not be written or read"
        mend = "check its permissions" if problem.errno in BARRED else "see whether the disk has room"
        return 1, [f"error: {where} ({problem.strerror or problem}): {mend}."]
    except (KeyboardInterrupt, typer.Abort):
        result = INTERRUPTED
    except (RuntimeError, MemoryError) as problem:
        if not ran_out(problem):
            raise
        return 1, ["error: The memory ran out: end other programs, or ask for less at once."]
    status = result if isinstance(result, int) else 0
    return status, ["stopped"] if status == INTERRUPTED else []
