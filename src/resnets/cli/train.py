"""resnets train: from labelled images to a model file."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from resnets.cli.complete import networks, recipes
from resnets.cli.output import emit, line, spoken, told_next

if TYPE_CHECKING:
    from resnets.training import TrainResult


# What each argument and option is.
Data = Annotated[
    str | None,
    typer.Argument(metavar="[DATA]", help="A folder or archive of class folders, a table of labels, or a set's name."),
]
Model = Annotated[
    str | None,
    typer.Option(
        metavar="NAME",
        help="The network; `resnets list` shows them. Default: by image size.",
        autocompletion=networks,
    ),
]
Recipe = Annotated[
    str | None,
    typer.Option(
        metavar="NAME",
        help="fine-tune, probe, quick, standard, paper-cifar, cifar-fast, digits, or your own F.toml.",
        autocompletion=recipes,
    ),
]
Weights = Annotated[
    str | None,
    typer.Option(
        metavar="FILE",
        help="Anybody's weights or a tag to start from; none: random numbers. Default: auto, fetched once.",
    ),
]
Freeze = Annotated[int | None, typer.Option(metavar="N", help="Stages of the body that, with its stem, never change.")]
Epochs = Annotated[int | None, typer.Option(metavar="N", help="How often every image is seen.")]
Minutes = Annotated[
    float | None, typer.Option(metavar="M", help="Instead of epochs: the time that everything may take.")
]
Size = Annotated[int | None, typer.Option(metavar="N", help="Side of the images in pixels.")]
Fit = Annotated[
    str | None,
    typer.Option(
        metavar="HOW",
        help="How pictures become squares: crop, pad or squash. Default: as the weights say it, else crop.",
    ),
]
Out = Annotated[str | None, typer.Option(metavar="DIR", help="The run's folder. Default: a new one under runs/.")]
Resume = Annotated[str | None, typer.Option(metavar="DIR", help="Go on with the stopped run in this folder.")]
Finish = Annotated[
    str | None, typer.Option(metavar="DIR", help="Make a model of the stopped run in this folder, as it stands.")
]
Seed = Annotated[
    int | None, typer.Option(metavar="N", help="Decides weights, order, augmentation and split. Default: 0.")
]
Device = Annotated[
    str | None, typer.Option(metavar="NAME", help="auto, cpu, cuda or mps. Default: the fastest there is.")
]
Overrides = Annotated[
    list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="A value of the recipe; may be repeated.")
]
Processes = Annotated[
    int | None,
    typer.Option(metavar="N", min=1, help="Processes on this machine, each with a part of every batch. Default: 1."),
]
Verify = Annotated[
    bool,
    typer.Option(
        "--verify-resume",
        help="Keep nothing: kill the first steps of this training, resume them, and compare every bit.",
    ),
]
Strict = Annotated[bool, typer.Option("--strict", help="Stop at unusable files instead of leaving them out.")]

# What is handed to the library as it is.
ASKED = ("data", "model", "recipe", "weights", "epochs", "minutes", "image_size", "out", "seed", "device", "processes")


def train(
    data: Data = None,
    model: Model = None,
    recipe: Recipe = None,
    weights: Weights = None,
    freeze: Freeze = None,
    epochs: Epochs = None,
    minutes: Minutes = None,
    image_size: Size = None,
    fit: Fit = None,
    out: Out = None,
    resume: Resume = None,
    finish: Finish = None,
    seed: Seed = None,
    device: Device = None,
    overrides: Overrides = None,
    strict: Strict = False,
    processes: Processes = None,
    verify: Verify = False,
    json: Annotated[bool, typer.Option("--json", help="Print one JSON document.")] = False,
) -> None:
    """Train a network on labelled images and write a run folder with the model, the report and the log.

    \b
    Examples:
      resnets train                                    handwritten digits, offline, under two minutes
      resnets train photos/                            a folder for each class: photos/cat/1.jpg
      resnets train photos.zip --model resnet50 --recipe standard --image-size 224
      resnets train photos/ --minutes 20               as much training as fits into that, report included
      resnets train photos/ --recipe probe             the head alone, on a trained body: seconds
      resnets train photos/ --weights none             from random numbers
      resnets train photos/ --weights runs/other/model.safetensors
      resnets train photos/ --set learning_rate=0.02 --set flip=false
      resnets train --resume runs/photos-resnet18      go on after a stop, to the bit
      resnets train moved/photos/ --resume runs/photos-resnet18      the same, where the photos lie elsewhere by now
      resnets train --finish runs/photos-resnet18      take what a stopped run has learnt so far
      resnets train photos/ --verify-resume            would this very training go on to the bit after a kill?
    """
    began = time.perf_counter()
    from resnets import machine
    from resnets.training.command import commanded
    from resnets.training.wide import started

    flags = {"freeze": freeze, "fit": fit}
    said = [f"{key}={value}" for key, value in flags.items() if value is not None]
    asked = {name: value for name, value in locals().items() if name in ASKED}
    asked |= {"overrides": [*(overrides or ()), *said] or None, "strict": strict or None}
    given = {name: value for name, value in asked.items() if value is not None}
    if verify:
        _verify(given, resume or finish, json)
        return
    machine.keep_memory()
    with commanded(began):
        result = _run(resume, finish, given)
    if started() > 1 and os.environ["RANK"] != "0":  # of torchrun's processes, the first one speaks
        return
    emit(result.document()) if json else _show(result)


def _run(resume: str | None, finish: str | None, given: dict[str, Any]) -> TrainResult:
    from resnets import training
    from resnets.errors import ResnetsError

    named = [flag for flag, folder in (("--resume", resume), ("--finish", finish)) if folder is not None]
    goes_on = {"data", "processes"} if resume is not None else {"data"}  # one that is finished makes no steps
    if named and (given.keys() - goes_on or len(named) > 1):
        raise ResnetsError(f"A run goes on as it was begun: give {named[0]} alone, or with the data's new place.")
    if resume is not None:
        return training.resume(resume, **given)
    return training.train(**given) if finish is None else training.finish(finish, **given)


def _verify(given: dict[str, Any], folder: str | None, json: bool) -> None:
    from resnets.errors import ResnetsError
    from resnets.training.verify import verify_resume

    if folder is not None:
        raise ResnetsError("--verify-resume tries a training that begins: name its data, and no run.")
    verdict = verify_resume(**given)
    emit(verdict.document()) if json else line(verdict.sentence())
    if not verdict.holds:
        raise typer.Exit(1)


def _show(result: TrainResult) -> None:
    from resnets.evaluation.estimate import told
    from resnets.progress import duration
    from resnets.weights.run import ways_on

    if result.step is not None:
        where = f"as it stands at step {result.step} of {result.steps}"
        line(f"{where}; {ways_on(Path(result.run))}")
    line(f"{told(result)}, after {duration(result.seconds)}")
    for sentence in told_next(result.next):
        line(sentence)
    for remark in result.remarks:
        line(spoken(remark))
    line(f"model  {result.model}")
    if result.report:
        line(f"report {result.report}")
    if result.skipped_files:
        line(f"left out {len(result.skipped_files)} unusable files, named in {result.run}/run.json")
