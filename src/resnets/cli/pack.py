"""`resnets pack`: a data set as shards, for many machines and for disks that dislike small files."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from resnets.cli.output import emit, line, note


def pack(
    data: Annotated[
        str, typer.Argument(metavar="DATA", help="As train takes it: a folder, an archive, a table, a name.")
    ],
    out: Annotated[Path, typer.Argument(metavar="OUT", help="The folder for the shards; it is made.")],
    shard_size: Annotated[str, typer.Option(metavar="SIZE", help="How large a shard is, about.")] = "256MB",
    json: Annotated[bool, typer.Option("--json", help="Print one JSON document.")] = False,
) -> None:
    """Write a data set as shards: .tar files as WebDataset has them, with an index.

    Each picture is stored as it is, byte for byte, beside its class. The index says where each lies, with checksums, so
    that shards are read at random, in place, from a disk or from a web server: `resnets train OUT`, or
    `resnets train https://host/folder/`. By the same recipe, a training on them gives the same model to the bit.

    \b
    Examples:
      resnets pack photos/ shards/
      resnets pack imagenette shards/ --shard-size 64MB
      resnets train shards/
    """
    from resnets.data.open import open_source
    from resnets.data.pack import pack as write
    from resnets.store import size as shown

    result = write(open_source(data), out, _bytes(shard_size))
    if json:
        emit(result.document())
    else:
        shards = f"{result.shards:,} shard{'' if result.shards == 1 else 's'}"
        line(f"{result.images:,} pictures in {shards}, {shown(result.bytes)}: {result.folder}")
    for key, why in result.skipped[:10]:
        note(f"left out: {key} ({why})", serious=True)
    if len(result.skipped) > 10:
        note(f"left out: {len(result.skipped) - 10} more", serious=True)


def _bytes(text: str) -> int:
    from resnets.store import bytes_of

    if (count := bytes_of(text)) is None:
        raise typer.BadParameter(f"--shard-size is a size like 256MB, not {text!r}.")
    return count
