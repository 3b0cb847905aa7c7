"""`resnets cache`: what lies in the cache, and away with it."""

from __future__ import annotations

import os
import time
from typing import TYPE_CHECKING, Annotated

import typer

from resnets.cli.output import console, emit, line, note

if TYPE_CHECKING:
    from resnets.store import Kept


def cache(
    remove: Annotated[
        list[str] | None,
        typer.Option(metavar="WHAT", help="Delete: all, a kind, or a part of a name that is listed; may be repeated."),
    ] = None,
    older: Annotated[
        float | None,
        typer.Option("--older-than", metavar="DAYS", min=0, help="Only what was of no use for so many days."),
    ] = None,
    every: Annotated[bool, typer.Option("--all", help="List every file, and not the kinds alone.")] = False,
    json: Annotated[bool, typer.Option("--json", help="Print one JSON document.")] = False,
) -> None:
    """Show what lies in the cache, how large it is, and when it was last of use; delete it.

    Everything in it can be made or fetched again, but for weights that were put there by hand. Decoded pictures and
    features are kept within 50 GiB (RESNETS_CACHE_LIMIT=20GB sets another limit) and 90 days: what was of use the
    longest ago goes first, when something new comes. RESNETS_HOME says where the cache is.

    \b
    Examples:
      resnets cache                                   how much of what
      resnets cache --all                             file by file
      resnets cache --remove cache                    decoded pictures and features
      resnets cache --remove all --older-than 30      what nobody has used for a month
    """
    from resnets.machine import home
    from resnets.store import DAY, kept, limit
    from resnets.store import remove as delete

    most = limit()  # which may be no size
    found = [one for one in kept() if older is None or time.time() - one.used > older * DAY]
    if remove is not None:
        going = _meant(remove, found)
        freed = delete(going)
        left = [one for one in going if os.path.lexists(one.path)]
        if json:
            gone = [str(one.path) for one in going if one not in left]
            emit({"removed": gone, "bytes": freed, "left": [str(one.path) for one in left]})
        else:
            line(f"{_files(len(going) - len(left))} removed, {_size(freed)}")
        if left:
            note(f"{_files(len(left))} could not be removed, the first: {left[0].path}", serious=True)
            raise typer.Exit(1)
        return
    if json:
        entries = [
            {"kind": one.kind, "path": str(one.path), "bytes": one.bytes, "used": one.used, "what": one.what}
            for one in found
        ]
        emit({"folder": str(home()), "limit": most, "bytes": sum(one.bytes for one in found), "entries": entries})
        return
    _show(found, every)
    line(f"{_size(sum(one.bytes for one in found))} in {home()}; decoded pictures and features: at most {_size(most)}")


def _meant(words: list[str], found: list[Kept]) -> list[Kept]:
    """What the words of --remove mean. Raises BadParameter for a word that means nothing."""
    from resnets.machine import home
    from resnets.store import KINDS

    going: dict[str, Kept] = {}
    for word in words:
        if word == "all" or word in KINDS:
            chosen = [one for one in found if word in ("all", one.kind)]
        else:
            below = int(word.partition("/")[0] not in KINDS)  # a kind's folder counts in "kind/name" alone
            names = {str(one.path): "/".join(one.path.relative_to(home()).parts[below:]) for one in found}
            chosen = [one for one in found if word and (word in names[str(one.path)] or word in one.what)]
            if not chosen:
                raise typer.BadParameter(
                    f"Nothing in the cache is called {word!r}: all, {', '.join(KINDS)}, or a name."
                )
        going |= {str(one.path): one for one in chosen}
    return list(going.values())


def _show(found: list[Kept], every: bool) -> None:
    from rich.table import Table

    from resnets.store import KINDS

    out = console()
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="dim")
    for column in ("kind", "what", "files", "size", "last used"):
        table.add_column(column, justify="right" if column in ("files", "size") else "left")
    for kind, words in KINDS.items():
        own = [one for one in found if one.kind == kind]
        if own and every:
            for one in own:
                table.add_row(kind, one.what or one.path.name, "", _size(one.bytes), _ago(one.used))
        elif own:
            total, last = sum(one.bytes for one in own), max(one.used for one in own)
            table.add_row(kind, words, f"{len(own):,}", _size(total), _ago(last))
    if found:
        out.print(table)


def _ago(moment: float) -> str:
    from resnets.store import DAY

    days = int((time.time() - moment) // DAY)
    return {0: "today", 1: "yesterday"}.get(days, f"{days} days ago")


def _size(count: int) -> str:
    from resnets.store import size

    return size(count)


def _files(count: int) -> str:
    return f"{count:,} file{'' if count == 1 else 's'}"
