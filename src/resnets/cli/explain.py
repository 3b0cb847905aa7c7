"""`resnets explain`: why does a network say what it says of a picture?"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from resnets.cli.output import emit, line, note


def explain(
    model: Annotated[str, typer.Argument(metavar="MODEL", help="A model file, a run, anybody's weights, or a tag.")],
    image: Annotated[Path, typer.Argument(metavar="IMAGE", help="The picture to explain.")],
    out: Annotated[Path, typer.Option(metavar="FILE", help="What to draw: .png, .svg or .pdf.", show_default=False)],
    name: Annotated[
        str | None,
        typer.Option("--class", metavar="NAME", help="The class to explain; without it, the most probable one."),
    ] = None,
    method: Annotated[str, typer.Option(metavar="M", help="grad-cam or integrated-gradients.")] = "grad-cam",
    stages: Annotated[bool, typer.Option("--stages", help="Draw what every stage makes of the picture.")] = False,
    neighbours: Annotated[
        str | None,
        typer.Option(metavar="DATA", help="Draw the training images most alike to it.", show_default=False),
    ] = None,
    json: Annotated[bool, typer.Option("--json", help="Print one JSON document.")] = False,
) -> None:
    """Draw why a network says what it says of a picture.

    The photo, with the square that the network sees of it; that square, bright where it speaks for the class;
    and the most probable classes, side by side.

    \b
    Examples:
      resnets explain runs/photos new.jpg --out why.png
      resnets explain runs/photos new.jpg --out why.svg --class cat        what speaks for a cat?
      resnets explain runs/photos new.jpg --out why.png --method integrated-gradients
      resnets explain runs/photos new.jpg --out why.png --stages --neighbours photos/
    """
    from resnets.data.titles import shown
    from resnets.errors import DataError
    from resnets.explanation import explain as explained
    from resnets.machine import keep_memory
    from resnets.pages import explanation as page
    from resnets.text import printable

    for taken in (image, Path(model)):
        if out.exists() and taken.exists() and out.samefile(taken):
            raise DataError(f"{printable(str(out))} is what is to be explained: name another file to draw.")
    page.check(out, neighbours)
    keep_memory()
    result = explained(model, image, name=name, method=method, stages=stages, data=neighbours)
    page.write(out, result)
    if json:
        emit({"image": str(image), "out": str(out), **result.document()})
        return
    for label, probability in result.prediction.top:
        line(f"{shown(label, result.titles)} {100 * probability:.1f} %")
    note(f"wrote {out}")
