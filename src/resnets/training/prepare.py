"""Before the first step: data, recipe and weights made into everything that a training needs, and its folder.

A run that goes on comes through here again, from its folder alone, and must come out the same.
"""

from __future__ import annotations

import dataclasses
import json
import time
from collections.abc import Callable, Container
from pathlib import Path

from resnets import diagnosis, machine
from resnets.data.depth import full_scale
from resnets.data.labels import class_names
from resnets.data.open import open_source
from resnets.data.reading import Reading
from resnets.data.source import Source
from resnets.data.split import CONTENT, split
from resnets.errors import RecipeError
from resnets.progress import say
from resnets.text import printable
from resnets.training import identity, moved, setup, weighing
from resnets.training.headstart import head_start
from resnets.training.prepared import Prepared
from resnets.training.recipe import Recipe, load_recipe
from resnets.training.schedule import Schedule
from resnets.training.wide import current
from resnets.weights.body import load_body
from resnets.weights.formats.safetensors_file import hashed
from resnets.weights.run import RECIPE, RECORD, Asked, RunRecord
from resnets.whole import write_text


def prepare(asked: Asked, recipe: Recipe, place: Callable[[str], Path], source: Source | None = None) -> Prepared:
    """Prepare a new run; nothing is written before the data is good.

    source      the data, where it has been opened already
    place       makes the run's folder, given the network's name, and returns it; nothing of a run lies in it

    Raises ResnetsError: for data, weights and a recipe that cannot be used, and what `place` raises.
    """
    found = _open(
        asked, recipe, Path(), source or open_source(asked.data, reading=Reading.of(dataclasses.asdict(recipe)))
    )
    prepared = dataclasses.replace(found.fitted(), folder=place(found.record.network))
    prepared.record.write(prepared.folder)  # from here on the run can be resumed
    write_text(
        prepared.folder / RECIPE, f"# The recipe of this run: every value, and what it means.\n\n{recipe.toml()}"
    )
    _introduce(prepared)
    return _with_head(prepared)


def reopen(folder: Path, *, data: str | Path | None = None, trains: bool = True, verb: str = "resume") -> Prepared:
    """Prepare a run again, from its folder; what its record says of its beginning stays.

    data        where the run's data lies now; None: where it lay. The record then says so
    trains      whether it will go on, which needs what its steps depend on to be as it was
    verb        as in `moved.find`

    Raises ModelFileError for a folder without a readable run.json, TrainingError when the data or the recipe has
    changed, and what `prepare` raises.
    """
    before = RunRecord.read(folder)
    source = moved.find(before, folder, data, verb)
    kept = (folder / RECIPE).exists()
    recipe = load_recipe(folder / RECIPE) if kept else Recipe.from_table(before.recipe, RECORD)
    asked = before.asked if trains else dataclasses.replace(before.asked, device="auto")
    prepared = _open(asked, recipe, folder, source, before)
    _check_same(before, prepared.record, () if trains else identity.ELSEWHERE)
    now = dataclasses.replace(moved.at(before, source, data), skipped_files=prepared.record.skipped_files)
    if now != before:
        now.write(folder)
    prepared = dataclasses.replace(prepared, record=now)
    _introduce(prepared)
    return _with_head(prepared)


def _with_head(prepared: Prepared) -> Prepared:
    """The same with the head that it starts from, where it starts from a trained body; the record says how it is."""
    recipe, record = prepared.recipe, prepared.record
    if not recipe.probe or record.asked.weights is None or (recipe.epochs and not prepared.new_head):
        return prepared
    began = time.perf_counter()
    caches = {"training images": prepared.train, "held-out images": prepared.held_out}
    network, device = prepared.network, prepared.device
    start = head_start(
        prepared.folder, network, prepared.preprocessing, caches, record.classes, device, prepared.familiar, recipe
    )
    labels = setup.label_indices(prepared.train, record.classes)
    record = dataclasses.replace(record, head=start.document(labels))
    if record.schedule is None and record.epochs and not start.pays(labels, len(prepared.held_out.images), recipe.pays):
        record = dataclasses.replace(record, schedule=Schedule(0, prepared.batches().steps).document(), epochs=0)
    if record != prepared.record:
        record.write(prepared.folder)
    seconds = prepared.seconds + time.perf_counter() - began
    return dataclasses.replace(prepared, record=record, start=start, seconds=seconds)


def _check_mean(recipe: Recipe, *, fresh: bool) -> None:
    """fresh: there are no weights to start from, or the run has begun already."""
    if recipe.mean == "pixel" and not fresh:
        raise RecipeError(
            "mean='pixel' is for training from scratch, and the weights bring the mean that they were trained with: "
            "leave it out, or `weights='none'`."
        )


def _open(asked: Asked, recipe: Recipe, folder: Path, source: Source, before: RunRecord | None = None) -> Prepared:
    """The same for the same data, recipe and machine, whenever it is called. before: of a run that goes on."""
    start = time.perf_counter()
    machine.import_compiler()
    device = machine.pick_device(asked.device)
    body = load_body(asked.weights, setup.asked_spec(asked)) if asked.weights else None
    parent = body.model if body else None
    _check_mean(recipe, fresh=parent is None or before is not None)
    splits = split(source, seed=asked.seed, order=moved.order_of(before) if before else CONTENT)
    seen = moved.seen_before(source, splits, parent.provenance) if parent else {}
    # A run of a version that did not ask what is white in the set goes on with each file's own scale.
    white = before.preprocessing.get("full_scale") if before else full_scale(source, splits.train)
    size = before.preprocessing.get("image_size") if before else None
    preprocessing = setup.choose_preprocessing(recipe, parent, source, splits, device, white, size)
    setup.check_size(asked, parent, preprocessing.image_size)
    opened = time.perf_counter() - start
    gone = {file["path"]: file["why"] for file in before.skipped_files} if before else {}
    caches = setup.decode_splits(source, splits, preprocessing, recipe, asked.strict, gone)
    classes = class_names(caches[0].samples)
    if recipe.mean == "pixel":
        mean = setup.mean_image(caches[0].images)
        preprocessing = dataclasses.replace(preprocessing, mean_image=mean, std=(1.0, 1.0, 1.0))
    network, name = setup.make_network(asked, recipe, parent, classes, preprocessing.image_size)
    skipped = [pair for cache in caches for pair in cache.skipped]
    fixed = before if before and before.schedule else None
    record = RunRecord(
        asked=asked,
        network=name,
        classes=classes,
        dataset=moved.dataset(source, splits) | seen,
        recipe=json.loads(json.dumps(dataclasses.asdict(recipe))),
        epochs=fixed.epochs if fixed else setup.count_epochs(recipe, len(caches[0].samples)),
        schedule=fixed.schedule if fixed else None,
        precision=machine.fastest_precision(device) if recipe.precision == "auto" else recipe.precision,
        preprocessing=preprocessing.to_dict(),
        machine=machine.describe(),
        skipped_files=tuple({"path": key, "why": why} for key, why in skipped),
        opening_seconds=opened,
        weights=hashed(parent.network.state_dict()) if parent else None,
        body=body.origin if body else None,
        decoding=tuple({"images": len(c.samples), "seconds": c.seconds, "reused": c.reused} for c in caches),
    )
    return Prepared(
        folder=folder,
        record=record,
        recipe=recipe,
        network=network,
        new_head=parent is None or classes != parent.classes,
        device=device,
        preprocessing=preprocessing,
        augmentation=setup.augmentation(recipe, preprocessing.image_size),
        train=caches[0],
        held_out=caches[1],
        held_out_name=splits.held_out_name,
        familiar=moved.familiar(source, caches[0].samples, seen),
        flattering=int(moved.familiar(source, caches[1].samples, seen).sum()),
        findings=diagnosis.quick(splits, skipped, source, [(cache.samples, cache.images) for cache in caches]),
        titles=setup.titles(source, classes, parent),
        seconds=time.perf_counter() - start,
    )


def _introduce(prepared: Prepared) -> None:
    """Say in two lines what will be trained on what."""
    record, size = prepared.record, prepared.preprocessing.image_size
    say(
        f"{record.network}, {len(record.classes)} classes, {len(prepared.train.images):,} training and "
        f"{len(prepared.held_out.images):,} held-out images at {size} pixels, {_length(record)}, "
        f"{record.precision} on {prepared.device}, into {printable(str(prepared.folder))}"
    )
    say(prepared.findings.line() or "doctor: a quick look found nothing odd")
    if losses := weighing.said(prepared.recipe):
        say(losses)


def _length(record: RunRecord) -> str:
    """How long it trains, in words."""
    if record.epochs and record.schedule is not None:
        return f"{record.schedule['steps']:,} steps"
    if record.epochs and record.asked.minutes is not None:
        return f"{record.asked.minutes:g} minutes"
    return {0: "the head alone", 1: "1 epoch"}.get(record.epochs, f"{record.epochs} epochs")


def _check_same(before: RunRecord, now: RunRecord, but: Container[str]) -> None:
    if before.machine != now.machine:
        say("The machine or a version differs from when the run began: it goes on, but not to the bit.")
    if not but and before.processes != (processes := group.size if (group := current()) else 1):
        say(f"The run began in {before.processes} processes, and goes on in {processes}: not to the bit.")
    wanted, found = (identity.identity(record) for record in (before, now))
    identity.check(identity.without(found, but), wanted)
    if not moved.same_files(before, now):
        identity.check({"skipped_files": list(now.skipped_files)}, {"skipped_files": list(before.skipped_files)})
