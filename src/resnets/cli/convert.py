"""`resnets convert`: anybody's weights into our model file, and our model into anybody's file."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from resnets.cli.output import console, emit, note

if TYPE_CHECKING:
    from resnets.acceptance.probe import Candidate
    from resnets.weights.transfer import Transfer

LISTED = 10  # candidates of a probe that are shown


def convert(
    source: Annotated[
        str, typer.Argument(metavar="SRC", help="Anybody's checkpoint or folder, our model file, or a tag.")
    ],
    target: Annotated[
        str | None,
        typer.Argument(metavar="DST", help="The file or folder to write; optional with --probe.", show_default=False),
    ] = None,
    from_: Annotated[
        str | None, typer.Option("--from", metavar="DIALECT", help="What SRC is. Default: detected.")
    ] = None,
    to: Annotated[
        str | None,
        typer.Option("--to", metavar="DIALECT", help="What DST shall be. Default: resnets, our own model file."),
    ] = None,
    model: Annotated[
        str | None, typer.Option(metavar="NAME", help="Which network SRC holds. Default: detected.")
    ] = None,
    classes: Annotated[
        int | None, typer.Option(metavar="N", help="Replace the head by a fresh one for N classes.")
    ] = None,
    certificate: Annotated[
        str | None, typer.Option(metavar="F.json", help="Prove that both compute the same, and write the proof.")
    ] = None,
    probe: Annotated[
        str | None,
        typer.Option(metavar="DATA", help="Labelled images that tell which preprocessing and strides SRC wants."),
    ] = None,
    images: Annotated[
        int | None, typer.Option(metavar="N", help="How many images --probe takes. Default: 200.", min=1)
    ] = None,
    json: Annotated[bool, typer.Option("--json", help="Print one JSON document.")] = False,
) -> None:
    """Turn weights of one world into those of another, and prove that they are equal.

    Dialects: torchvision, timm, huggingface, caffe, tf_slim, keras, akamaster (read only), tutorial, and resnets.
    Dialect, network and number of classes are detected from the tensors; no pickle is ever executed.

    The certificate runs source and target on the same inputs and compares them unit by unit. The exit status is
    1 when they differ. With --probe, DST gets the preprocessing and the strides that do best, if they do better
    than those of the dialect beyond chance.

    \b
    Examples:
      resnets convert resnet50.pth model.safetensors                      torchvision, timm, ...: detected
      resnets convert ResNet-50.caffemodel model.safetensors --certificate proof.json
      resnets convert runs/photos photos.caffemodel --to caffe            our model for others
      resnets convert unknown.th --probe photos/                          which preprocessing does it want?
    """
    from resnets.errors import ModelFileError
    from resnets.weights import transfer

    if target is None and probe is None:
        raise typer.BadParameter("name the file to write (DST), or labelled images (--probe)")
    if certificate is not None and target is None:
        raise typer.BadParameter("--certificate compares SRC with DST: name the file to write")
    if images is not None and probe is None:
        raise typer.BadParameter("--images says how many images --probe takes: name them with --probe")
    if classes is not None and (certificate is not None or probe is not None):
        raise ModelFileError("--classes gives a fresh head, of which --certificate and --probe can say nothing.")
    job = transfer.open_source(source, from_, model, classes)
    proof_path = None if certificate is None else Path(certificate)
    job.check(None if target is None else Path(target), to, proof_path)
    ranking: list[Candidate] = []
    sentence = ""
    if probe is not None:
        from resnets.acceptance.probe import probe as rank
        from resnets.acceptance.probe import verdict

        ranking = rank(job.model, probe, images or 200)
        chosen, sentence = verdict(ranking, job.model)
        job.adopt(chosen.preprocessing, chosen.graph)
    if target is not None:
        job.write(Path(target))
    proof = None if proof_path is None else job.certify(proof_path)
    document = job.document(target)
    if ranking:
        document["probe"] = [_row(candidate) for candidate in ranking]
        document["verdict"] = sentence
    if json:
        emit(document)
    else:
        _show(job, document, ranking, sentence)
    if proof is not None and not proof["holds"]:
        raise typer.Exit(1)


def _row(candidate: Candidate) -> dict[str, Any]:
    return {
        "what": candidate.what,
        "accuracy": candidate.accuracy,
        "loss": candidate.loss,
        "images": candidate.images,
        "preprocessing": candidate.preprocessing.to_dict(),
        "graph": candidate.graph,
    }


def _show(job: Transfer, document: dict[str, Any], ranking: list[Candidate], sentence: str) -> None:
    from rich.table import Table

    out = console()
    if ranking:
        table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="bold")
        for header in ("accuracy", "loss", "images"):
            table.add_column(header, justify="right", no_wrap=True)
        table.add_column("preprocessing and graph")
        for row in ranking[:LISTED]:
            table.add_row(f"{100 * row.accuracy:.1f} %", f"{row.loss:.3f}", f"{row.images}", row.what)
        out.print(table)
        out.print(sentence)
    out.print(f"{document['source']}: {document['dialect']}, {document['network']}, {document['classes']} classes")
    if document["target"] is not None:
        out.print(f"{document['target']} written ({job.target_dialect})")
    if job.proof is not None:
        out.print(job.proof["verdict"])
        for remark in job.proof["remarks"]:
            note(remark)
