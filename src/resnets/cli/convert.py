"""`resnets convert`: anybody's weights into our model file, and our model into anybody's file."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from resnets.cli.output import console, emit, note

if TYPE_CHECKING:
    from resnets.acceptance.conversion import Conversion

LISTED = 10  # candidates of a probe that are shown


# What each argument and option is.
Source = Annotated[str, typer.Argument(metavar="SRC", help="Anybody's checkpoint or folder, our model file, or a tag.")]
Target = Annotated[
    str | None,
    typer.Argument(metavar="DST", help="The file or folder to write; optional with --probe.", show_default=False),
]
SourceDialect = Annotated[str | None, typer.Option("--from", metavar="DIALECT", help="What SRC is. Default: detected.")]
TargetDialect = Annotated[
    str | None,
    typer.Option("--to", metavar="DIALECT", help="What DST shall be. Default: resnets, our own model file."),
]
Network = Annotated[
    str | None,
    typer.Option("--model", metavar="NAME", help="Which network SRC holds, strides and all. Default: detected."),
]
NumClasses = Annotated[
    int | None, typer.Option("--classes", metavar="N", help="Replace the head by a fresh one for N classes.")
]
Prefix = Annotated[
    str | None,
    typer.Option(metavar="P", help="What the tensors' names begin with that are meant, of several networks in SRC."),
]
ClassNames = Annotated[
    str | None,
    typer.Option(
        metavar="F",
        help="The classes' names in order: a file, labelled images, or imagenet, cifar10, cifar100.",
    ),
]
Mean = Annotated[
    str | None,
    typer.Option(metavar="A,B,C", help="What is subtracted from a picture, in the network's order: 0..1, or levels."),
]
Std = Annotated[str | None, typer.Option(metavar="A,B,C", help="What it is divided by. Default for levels: 1.")]
Resize = Annotated[
    str | None, typer.Option(metavar="N", help="Pixels of a picture's shorter side; 256x256: of both sides.")
]
Crop = Annotated[int | None, typer.Option(metavar="N", help="Pixels of the square that the network sees.", min=1)]
Order = Annotated[
    str | None, typer.Option(metavar="RGB", help="The order of the channels that the network sees: RGB or BGR.")
]
Fold = Annotated[
    bool,
    typer.Option("--fold-temperature", help="Divide the head by the temperature, which DST may have no place for."),
]
Certificate = Annotated[
    str | None, typer.Option(metavar="F.json", help="Prove that both compute the same, and write the proof.")
]
Probe = Annotated[
    str | None,
    typer.Option(metavar="DATA", help="Labelled images that tell which preprocessing and strides SRC wants."),
]
Images = Annotated[int | None, typer.Option(metavar="N", help="How many images --probe takes. Default: 200.", min=1)]


def convert(
    source: Source,
    target: Target = None,
    source_dialect: SourceDialect = None,
    target_dialect: TargetDialect = None,
    network: Network = None,
    num_classes: NumClasses = None,
    prefix: Prefix = None,
    class_names: ClassNames = None,
    mean: Mean = None,
    std: Std = None,
    resize: Resize = None,
    crop: Crop = None,
    order: Order = None,
    fold_temperature: Fold = False,
    certificate: Certificate = None,
    probe: Probe = None,
    images: Images = None,
    json: Annotated[bool, typer.Option("--json", help="Print one JSON document.")] = False,
) -> None:
    """Turn weights of one world into those of another, and prove that they are equal.

    Dialects: torchvision, timm, huggingface, caffe, tf_slim, keras, tutorial and resnets; akamaster and onnx (read
    only). Dialect, network and number of classes are detected from tensors and graphs; no pickle is ever executed.

    The certificate runs source and target on the same inputs and compares them unit by unit. The exit status is
    1 when they differ. What no tensor shows (strides, pool, epsilon, ...) is said to be assumed, unless SRC says it
    itself or --model does. With --probe, DST gets the preprocessing and the strides that do best, if they do better
    than those of the dialect beyond chance.

    \b
    Examples:
      resnets convert resnet50.pth model.safetensors                      torchvision, timm, ...: detected
      resnets convert ResNet-50.caffemodel model.safetensors --certificate proof.json
      resnets convert runs/photos photos.caffemodel --to caffe            our model for others
      resnets convert unknown.th --probe photos/                          which preprocessing does it want?
      resnets convert net.caffemodel net.safetensors --mean 104,117,123 --resize 256x256 --class-names names.txt
    """
    from resnets.acceptance.conversion import convert as converted

    result = converted(
        source,
        target,
        source_dialect=source_dialect,
        target_dialect=target_dialect,
        network=network,
        num_classes=num_classes,
        prefix=prefix,
        class_names=class_names,
        preprocessing={**_numbers(mean=mean, std=std), "resize": resize, "crop": crop, "order": order},
        fold_temperature=fold_temperature,
        certificate=certificate,
        probe=probe,
        images=images,
    )
    emit(result.document()) if json else _show(result)
    if result.holds is False:
        raise typer.Exit(1)


def _numbers(**texts: str | None) -> dict[str, list[float] | None]:
    """What stands behind --mean and --std."""
    try:
        return {key: None if text is None else [float(part) for part in text.split(",")] for key, text in texts.items()}
    except ValueError:
        raise typer.BadParameter("--mean and --std are one number or three, as in 104,117,123.") from None


def _show(result: Conversion) -> None:
    from rich.table import Table

    out = console()
    if result.ranking:
        table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="bold")
        for header in ("accuracy", "loss", "images"):
            table.add_column(header, justify="right", no_wrap=True)
        table.add_column("preprocessing and graph")
        for row in result.ranking[:LISTED]:
            table.add_row(f"{100 * row.accuracy:.1f} %", f"{row.loss:.3f}", f"{row.images}", row.what)
        out.print(table)
        out.print(result.verdict)
    out.print(f"{result.source}: {result.dialect}, {result.network}, {len(result.model.classes)} classes")
    if result.target is not None:
        out.print(f"{result.target} written ({result.target_dialect})")
    if result.proof is not None:
        out.print(result.proof["verdict"])
        for remark in result.proof["remarks"]:
            note(remark)
        if assumed := result.proof["assumed"]:
            note(f"Assumed, as nothing says it: {'; '.join(f'{fact}: {words}' for fact, words in assumed.items())}.")
