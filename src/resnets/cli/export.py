"""`resnets export`: one file for other runtimes, behind a gate."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from resnets.cli.output import console, emit, note


def export(
    model: Annotated[str, typer.Argument(metavar="MODEL", help="A model file, a run, anybody's weights, or a tag.")],
    out: Annotated[
        Path,
        typer.Argument(metavar="OUT", help="F.onnx, F.xml (OpenVINO), F.pt2 (torch.export) or F.safetensors (ours)."),
    ],
    precision: Annotated[
        str, typer.Option(metavar="P", help="float32, bfloat16, or int8; for F.safetensors float16.")
    ] = "float32",
    data: Annotated[
        str | None,
        typer.Option(metavar="DATA", help="Labelled images: they calibrate int8, and judge.", show_default=False),
    ] = None,
    max_drop: Annotated[
        float, typer.Option(metavar="PP", min=0, max=100, help="Points of top-1 that the file may lose on DATA.")
    ] = 0.5,
    raw: Annotated[
        bool, typer.Option("--raw", help="The network alone, normalised tensors to logits; the metadata stays.")
    ] = False,
    json: Annotated[bool, typer.Option("--json", help="Print one JSON document.")] = False,
) -> None:
    """Write a network as one file that ONNX Runtime, OpenVINO or torch runs, preprocessing included.

    The file takes uint8 pictures (N, H, W, 3) of any size. It is read back in every installed runtime and
    compared with the network; with DATA its top-1 is measured there too. A file that disagrees or loses too
    much is not written, and the exit status is 1. For int8, convolutions fall back to float one after the
    other before the file is refused. F.safetensors is our own model file; float16 makes it half as large.

    \b
    Examples:
      resnets export runs/photos photos.onnx
      resnets export runs/photos photos.onnx --precision int8 --data photos/
      resnets export runs/photos photos.xml --precision bfloat16 --data photos/ --max-drop 0.2
      resnets export runs/photos small.safetensors --precision float16 --data photos/
    """
    from resnets.acceptance import Exported
    from resnets.acceptance import export as write
    from resnets.errors import ExportError
    from resnets.machine import keep_memory

    keep_memory()
    try:
        document = write(model, out, precision=precision, data=data, max_drop=max_drop, raw=raw).document()
    except ExportError as refusal:
        if json:
            emit(Exported.refused(out, precision, refusal).document())
        raise
    if json:
        emit(document)
    else:
        _print(document)
    note(f"wrote {out}")


def _print(document: dict[str, Any]) -> None:
    from rich.table import Table

    judged = document["top1_source"] is not None
    lines = [f"{document['out']}, {document['precision']}"]
    if judged:
        lines.append(f"top-1 of the network in float32: {_percent(document['top1_source'])} % of {document['images']}")
    if document["floats"]:
        lines.append(f"{len(document['floats'])} convolutions stay float: {', '.join(document['floats'])}")
    console().print("\n".join(lines))
    table = Table(box=None)
    table.add_column("runtime", justify="left")
    figures = ["differs by", "same class", *(["top-1 % (95 %)"] if judged else []), "MB", "ms", "images/s"]
    for name in figures:
        table.add_column(name, justify="right")
    for row in document["table"]:
        accuracy = []
        if judged:
            low, high = row["top1_interval"]
            accuracy = [f"{_percent(row['top1'])} ({100 * low:.1f} to {100 * high:.1f})"]
        table.add_row(
            row["runtime"],
            f"{row['relative']:.1e}",
            f"{100 * row['argmax_agreement']:.0f} %",
            *accuracy,
            f"{row['bytes'] / 1e6:.1f}",
            f"{row['latency_ms']:.1f}",
            f"{row['images_per_second']:,.0f}",
        )
    console().print(table)
    console().print("differs by: logits, over their spread; ms: one image; images/s: 32 at once")


def _percent(share: float) -> str:
    return f"{100 * share:.2f}"
