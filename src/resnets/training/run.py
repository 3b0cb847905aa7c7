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
from contextlib import ExitStack
from pathlib import Path

from resnets.architecture import ResNetSpec
from resnets.data.open import open_source
from resnets.data.reading import Reading
from resnets.data.source import Source
from resnets.errors import ParameterError, ResnetsError, TrainingError, WriteError
from resnets.progress import say, warn
from resnets.text import printable
from resnets.training import command, moved
from resnets.training.asking import FROM_SCRATCH, settle
from resnets.training.claim import Claim, check_free, first_free, left_by_a_kill, note, sweep, tidy
from resnets.training.conclude import conclude
from resnets.training.fit import fit
from resnets.training.following import lead, restarted, together
from resnets.training.made import looks_whole, lost
from resnets.training.observer import Observer
from resnets.training.pacer import paced
from resnets.training.prepare import prepare, reopen
from resnets.training.prepared import Prepared
from resnets.training.recipe import Recipe, recipe_table
from resnets.training.state import State
from resnets.training.wide import current
from resnets.weights.run import CHECKPOINT, MODEL, RECORD, REPORT, Asked, RunRecord, TrainResult, check_minutes, ways_on


def train(
    data: str | Path = "digits",
    *,
    model: str | ResNetSpec | None = None,
    recipe: str | Path | None = None,
    weights: str | Path | None = None,
    epochs: int | None = None,
    minutes: float | None = None,
    image_size: int | None = None,
    out: str | Path | None = None,
    seed: int = 0,
    device: str = "auto",
    overrides: Iterable[str] = (),
    strict: bool = False,
    observers: Iterable[Observer] = (),
    processes: int = 1,
) -> TrainResult:
    """Train a network on labelled images and leave a run folder behind.

    data        a folder or an archive with class folders (with or without train/ and val/ or test/), a table with
                labels, or the name of a set; see `resnets.data.open`
    model       a name of the catalog; default: that of `weights`, else resnet20 for small images, resnet18
    recipe      a shipped recipe or a TOML file; default: fine-tune from a trained body, else digits for the set of that
                name (a mirrored digit is another sign), else quick
    weights     what to start from: a model file, anybody's weights or a tag, whose head is replaced unless the classes
                are the same; "none": random numbers; "auto", the default: the registry's for the network (resnet18
                where none is named), fetched the first time, where pictures are larger than 64 pixels and the recipe
                does not train from scratch
    epochs, image_size   override the recipe's
    minutes     instead of epochs: as many steps as fit, so that everything, the report included, takes that long
    out         the run's folder; default: a new one under runs/
    seed        decides the weights, the order, the augmentation and a split that the data does not bring
    device      "cpu", "cuda", "mps", or "auto" for the fastest that there is
    overrides   "key=value" of the recipe
    strict      refuse data with unusable files instead of leaving them out
    observers   told of every step and epoch; see `resnets.training.Observer`
    processes   that have a part of each batch, on this machine; under torchrun, leave it out

    The result's top1 is a fraction, on the held-out split, in float32, each image once. Raises ResnetsError.
    """
    since = command.began()
    overrides = _asked_beside(list(overrides), epochs, minutes, image_size)

    def begin() -> TrainResult:
        if restarted(out) and out is not None:
            return _resumed(Path(out), observers, None, since)
        if out is not None:
            check_free(Path(out))
        # Which recipe it is, the data may decide.
        reading = Reading.of(recipe_table(recipe or FROM_SCRATCH, overrides))
        source = open_source(moved.absolute(data), reading=reading)
        chosen, start = settle(
            data, source, model=model, recipe=recipe, weights=weights, overrides=overrides, device=device
        )
        spec = model.to_dict() if isinstance(model, ResNetSpec) else model
        place = moved.absolute(data)
        asked = Asked(data=place, network=spec, weights=start, seed=seed, device=device, strict=strict, minutes=minutes)
        return _begin(asked, chosen, None if out is None else Path(out), source, observers, since)

    return together(processes, begin)


def _begin(
    asked: Asked, recipe: Recipe, out: Path | None, source: Source, observers: Iterable[Observer], since: float
) -> TrainResult:
    """A new run, in a folder that is held from before the work begins, which another would do in vain."""
    with ExitStack() as held:
        if out is not None:
            held.enter_context(Claim(out, new=True, note=note(asked, recipe)))

        def place(network: str) -> Path:
            if out is not None:
                return out
            default = Path("runs") / f"{Path(asked.data).stem}-{network}"
            return held.enter_context(first_free(default, note(asked, recipe)))

        return _go_on(prepare(asked, recipe, place, source), observers, since)


def _asked_beside(overrides: list[str], epochs: int | None, minutes: float | None, image_size: int | None) -> list[str]:
    """What of the recipe is overridden, by parameters of their own too. What `epochs` implies, an override may undo."""
    if minutes is not None and epochs is not None:
        raise ParameterError("`minutes` and `epochs` both say how long to train: leave one out.")
    check_minutes(minutes)
    found = ["min_steps=0", "pays=0", *overrides, f"epochs={epochs}"] if epochs is not None else overrides
    return [*found, *([f"image_size={image_size}"] if image_size is not None else [])]


def resume(
    folder: str | Path,
    observers: Iterable[Observer] = (),
    *,
    data: str | Path | None = None,
    processes: int = 1,
) -> TrainResult:
    """Go on with a run that was stopped, to the bit as if it had not been (on the same machine).

    data        where the run's data lies now, if it has moved: a folder or an archive of the same content, whatever its
                files are called. The run's record then says so
    processes   as in `train`; with another number than before, sums are added in another order, norms see other parts
                of a batch, and mixup has other pairs

    A run that was stopped while its model was judged, saved or reported, or that lost its model, gets them made anew; a
    finished one is only reported, and lost pages of it are drawn again where that is possible. One that was killed
    before its run.json was written begins. Raises ResnetsError when the content of the data has changed, the folder is
    no run, or another process works in it.
    """
    since = command.began()
    return together(processes, lambda: _resumed(Path(folder), observers, data, since))


def _resumed(folder: Path, observers: Iterable[Observer], data: str | Path | None, since: float) -> TrainResult:
    begins = left_by_a_kill(folder)
    if begins is None and data is None and (result := _whole(folder)) is not None:
        tidy(folder)
        return result
    with Claim(folder, note=begins and note(*begins)):
        sweep(folder)
        if begins is not None and not (folder / RECORD).exists():  # nor written by another that has ended since
            asked, recipe = begins
            asked = asked if data is None else dataclasses.replace(asked, data=moved.absolute(data))
            return _go_on(prepare(asked, recipe, lambda _: folder), observers, since)
        return _mended(folder, data, trains=True) or _go_on(reopen(folder, data=data), observers, since)


def finish(folder: str | Path, *, data: str | Path | None = None) -> TrainResult:
    """Make a model of a run that was stopped, as it stands at its last checkpoint: of the average where there is one.

    The result says at which of how many steps that is. The run can still be resumed afterwards, and ends with the same
    bits as if this had never been called. A finished run is only reported.

    data        as in `resume`

    Raises ResnetsError like `resume`, and for a run that has no checkpoint yet.
    """
    folder = Path(folder)
    begins = left_by_a_kill(folder)
    if begins is None and data is None and (result := _whole(folder)) is not None:
        tidy(folder)
        return result
    with Claim(folder, note=begins and note(*begins)):
        if begins is not None and not (folder / RECORD).exists():
            raise ResnetsError(f"{_shown(folder)} has learnt nothing yet: {ways_on(folder)}.")
        sweep(folder)
        if (result := _mended(folder, data, trains=False)) is not None:
            return result
        if not (folder / CHECKPOINT).exists():
            raise ResnetsError(f"{_shown(folder)} has no checkpoint yet, so nothing was learnt: {ways_on(folder)}.")
        prepared = reopen(folder, data=data, trains=False, verb="finish")
        state = prepared.reached(trains=False)
        if state.step == 0 and prepared.start is None:
            warn("The run has made no step yet: its model knows nothing.")
        return _concluded(prepared, state)


def _go_on(prepared: Prepared, observers: Iterable[Observer], since: float) -> TrainResult:
    try:
        prepared, observers = paced(prepared, observers, since)
        if (group := current()) is not None:
            lead(group, prepared)
        return _concluded(prepared, fit(prepared, observers))
    except KeyboardInterrupt:
        # It may have come in the middle of a step, so what is in memory is not saved: the last checkpoint is whole.
        say(f"The run is stopped: {ways_on(prepared.folder)}.")
        raise


def _concluded(prepared: Prepared, state: State) -> TrainResult:
    try:
        return conclude(prepared, state)
    except WriteError as problem:
        if not (prepared.folder / CHECKPOINT).exists():  # somebody has removed the folder meanwhile
            raise
        on = ways_on(prepared.folder)
        raise WriteError(f"{problem} Its last checkpoint stays: {on}.", problem) from problem


def _whole(folder: Path) -> TrainResult | None:
    """The result of a finished run whose files are all as they were written; None when there is something to do."""
    record = RunRecord.read(folder)
    return record.result.at(folder) if record.result is not None and not lost(folder, record) else None


def _mended(folder: Path, data: str | Path | None, *, trains: bool) -> TrainResult | None:
    """The result of a finished run, whose lost pages are drawn again if that can be; None when there is more to do.

    Its checkpoint may be older than its model, where there was no room for the last one: then steps are made again.
    """
    record = RunRecord.read(folder)
    if (result := record.result) is None:
        return None
    if data is not None:
        record = moved.at(record, moved.find(record, folder, data, "resume" if trains else "finish"), data)
        record.write(folder)
    result, gone = result.at(folder), lost(folder, record)
    again = f"made again, since not there as written: {', '.join(gone)}"
    if MODEL in gone and (folder / CHECKPOINT).exists():
        say(again)
        return None
    if MODEL in gone and not looks_whole(folder / MODEL):
        raise ResnetsError(f"{_shown(folder)} has lost its model, and the checkpoint to make it of: start a new run.")
    if gone:
        try:
            if not (folder / CHECKPOINT).exists():
                raise TrainingError("the checkpoint is gone, too.")
            prepared = reopen(folder, data=data, trains=False)
            state = prepared.reached(trains=False)
            if state.step < prepared.total and not trains:
                raise TrainingError(f"its checkpoint stands at step {state.step} of {prepared.total}.")
            say(again)
            return conclude(prepared, state) if state.step == prepared.total else None
        except ResnetsError as problem:  # the model is there, and that is what counts
            warn(f"{_shown(folder)} has lost {', '.join(gone)}, and they cannot be made again: {problem}")
            return dataclasses.replace(result, report=None if REPORT in gone else result.report)
    return result


def _shown(folder: Path) -> str:
    return printable(str(folder))
