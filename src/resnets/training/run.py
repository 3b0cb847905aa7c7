"""A run: data and recipe in, a folder with the trained model out, by way of `prepare`, `fit` and `conclude`.

model.safetensors        the result (see `resnets.weights`)
run.json                 what was asked, on which data and machine, and what came of it (see `resnets.weights.run`)
recipe.toml              every value of the recipe
report.html              how good it is, where it fails, and how to use it: one offline page
log.jsonl                a line per step and per epoch; curves.png and curves.svg are drawn from it
checkpoint.safetensors   where a stopped run goes on (`resume`), or of which a model is made as it stands (`finish`)
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable
from pathlib import Path

from resnets.architecture import ResNetSpec
from resnets.errors import ResnetsError
from resnets.progress import say, warn
from resnets.training import moved
from resnets.training.conclude import conclude, missing
from resnets.training.fit import fit
from resnets.training.observer import Observer
from resnets.training.prepare import Prepared, prepare, reopen
from resnets.training.recipe import load_recipe
from resnets.weights.run import CHECKPOINT, MODEL, REPORT, Asked, RunRecord, TrainResult, ways_on


def train(
    data: str | Path = "digits",
    *,
    model: str | ResNetSpec | None = None,
    recipe: str | Path | None = None,
    weights: str | Path | None = None,
    epochs: int | None = None,
    image_size: int | None = None,
    out: str | Path | None = None,
    seed: int = 0,
    device: str = "auto",
    overrides: Iterable[str] = (),
    strict: bool = False,
    observers: Iterable[Observer] = (),
) -> TrainResult:
    """Train a network on labelled images and leave a run folder behind.

    data        a folder, .zip or .tar with class folders (with or without train/ and val/ or test/), or the
                name of a set; see `resnets.data.open`
    model       a name of the catalog; default: that of `weights`, else resnet20 for small images, resnet18
    recipe      a shipped recipe or a TOML file; default: fine-tune with `weights`, else
                digits for the set of that name (a mirrored digit is another sign), else quick
    weights     a model file to start from: its head is replaced unless the classes are the same
    epochs, image_size   override the recipe's
    out         the run's folder; default: a new one under runs/
    seed        decides the weights, the order, the augmentation and a split that the data does not bring
    device      "cpu", "cuda", "mps", or "auto" for the fastest that there is
    overrides   "key=value" of the recipe
    strict      refuse data with unusable files instead of leaving them out
    observers   told of every step and epoch; see `resnets.training.Observer`

    The result's top1 is a fraction, on the held-out split, in float32, each image once. Raises ResnetsError.
    """
    extra = [f"epochs={epochs}", "min_steps=0"] if epochs is not None else []
    extra += [f"image_size={image_size}"] if image_size is not None else []
    if recipe is None:
        recipe = "fine-tune" if weights else "digits" if data == "digits" else "quick"
    chosen = load_recipe(recipe, [*overrides, *extra])
    asked = Asked(
        data=moved.absolute(data),
        network=model.to_dict() if isinstance(model, ResNetSpec) else model,
        weights=str(Path(weights).resolve() if Path(weights).exists() else weights) if weights else None,
        seed=seed,
        device=device,
        strict=strict,
    )
    return _go_on(prepare(asked, chosen, None if out is None else Path(out)), observers)


def resume(folder: str | Path, observers: Iterable[Observer] = (), *, data: str | Path | None = None) -> TrainResult:
    """Go on with a run that was stopped, to the bit as if it had not been (on the same machine).

    data        where the run's data lies now, if it has moved: a folder or an archive of the same content, whatever its
                files are called. The run's record then says so

    A run that was stopped while its model was judged, saved or reported, or that lost its model, gets them made anew; a
    finished one is only reported, and lost pages of it are drawn again where that is possible. Raises ResnetsError when
    the content of the data has changed, or the folder is no run.
    """
    folder = Path(folder)
    return _finished(folder, data) or _go_on(reopen(folder, data=data), observers)


def finish(folder: str | Path, *, data: str | Path | None = None) -> TrainResult:
    """Make a model of a run that was stopped, as it stands at its last checkpoint: of the average where there is one.

    The result says at which of how many steps that is. The run can still be resumed afterwards, and ends with the same
    bits as if this had never been called. A finished run is only reported.

    data        as in `resume`

    Raises ResnetsError like `resume`, and for a run that has no checkpoint yet.
    """
    folder = Path(folder)
    if (result := _finished(folder, data, "finish")) is not None:
        return result
    if not (folder / CHECKPOINT).exists():
        raise ResnetsError(f"{folder} has no checkpoint yet, so nothing was learnt: {ways_on(folder)}.")
    prepared = reopen(folder, data=data, trains=False, verb="finish")
    state = prepared.reached()
    if state.step == 0:
        warn("The run has made no step yet: its model knows nothing.")
    return conclude(prepared, state)


def _go_on(prepared: Prepared, observers: Iterable[Observer]) -> TrainResult:
    try:
        return conclude(prepared, fit(prepared, observers))
    except KeyboardInterrupt:
        # It may have come in the middle of a step, so what is in memory is not saved: the last checkpoint is whole.
        say(f"The run is stopped: {ways_on(prepared.folder)}.")
        raise


def _finished(folder: Path, data: str | Path | None, verb: str = "resume") -> TrainResult | None:
    """The result of a finished run, whose lost pages are drawn again if that can be; None when there is more to do."""
    record = RunRecord.read(folder)
    if record.result is None:
        return None
    if data is not None:
        moved.at(record, moved.find(record, folder, data, verb), data).write(folder)
    result = record.result.at(folder)
    if not (folder / MODEL).exists():
        if not (folder / CHECKPOINT).exists():
            raise ResnetsError(f"{folder} has lost its model, and the checkpoint to make it of: start a new run.")
        return None
    if lost := missing(result, folder):
        try:
            prepared = reopen(folder, data=data, trains=False)
            return conclude(prepared, prepared.reached())
        except ResnetsError as problem:  # the model is there, and that is what counts
            warn(f"{folder} has lost {', '.join(lost)}, and they cannot be made again: {problem}")
            return dataclasses.replace(result, report=result.report if (folder / REPORT).exists() else None)
    return result
