"""Before the first step: data, recipe and weights made into everything that a training needs, and its folder.

A run that goes on comes through here again, from its folder alone, and must come out the same.
"""

from __future__ import annotations

import dataclasses
import json
import time
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from resnets import diagnosis, machine
from resnets.data.augment import Augmentation
from resnets.data.batches import Batches, CachedBatches
from resnets.data.cache import Cache
from resnets.data.labels import class_names
from resnets.data.open import open_source
from resnets.data.preprocess import Preprocessing
from resnets.data.split import split
from resnets.diagnosis import Diagnosis
from resnets.errors import ParameterError, TrainingError
from resnets.network import ResNet
from resnets.progress import say
from resnets.training import setup
from resnets.training.recipe import Recipe, load_recipe
from resnets.training.state import State
from resnets.weights import load as load_model
from resnets.weights.run import CHECKPOINT, RECIPE, RECORD, Asked, RunRecord
from resnets.whole import write_text

SAME = ("network", "epochs", "precision", "classes", "preprocessing", "recipe", "skipped_files")


@dataclass(frozen=True, kw_only=True, eq=False)
class Prepared:
    """A run that can begin, or go on.

    record          what its run.json says: what was asked, and what that came to
    network         with the weights to start from; it is trained in place
    train, held_out decoded images
    held_out_name   "val" or "test"
    findings        of a quick look for what is wrong with the data
    seconds         that all this took
    """

    folder: Path
    record: RunRecord
    recipe: Recipe
    network: ResNet
    device: str
    preprocessing: Preprocessing
    augmentation: Augmentation
    train: Cache
    held_out: Cache
    held_out_name: str
    findings: Diagnosis
    seconds: float

    def batches(self) -> Batches:
        """The training images."""
        keys = [sample.key for sample in self.train.samples]
        labels = setup.label_indices(self.train, self.record.classes)
        recipe = self.recipe
        return CachedBatches(self.train.images, labels, keys, recipe.batch_size, self.record.asked.seed, recipe.workers)

    def reached(self) -> State:
        """Where the run stands: at its checkpoint, or at the start. Raises TrainingError for a damaged checkpoint."""
        state = State(self.network, self.recipe, self.device)
        if (self.folder / CHECKPOINT).exists():
            state.load(self.folder)
        return state


def prepare(asked: Asked, recipe: Recipe, out: Path | None = None) -> Prepared:
    """Prepare a new run, in the folder `out`, or in a new one under runs/; nothing is written before the data is good.

    Raises ResnetsError: for data, weights and a recipe that cannot be used, and for a folder that cannot be made.
    """
    if out is not None and out.exists() and not _is_free(out):
        raise ParameterError(f"{out} is there and not empty: give another `out`, or `resume={out}`.")
    found = _open(asked, recipe, Path())
    prepared = dataclasses.replace(found, folder=_make_folder(out, asked.data, found.record.network))
    prepared.record.write(prepared.folder)  # from here on the run can be resumed
    write_text(prepared.folder / RECIPE, f"# The recipe of this run, every value.\n{recipe.toml()}")
    _introduce(prepared)
    return prepared


def reopen(folder: Path, *, trains: bool = True) -> Prepared:
    """Prepare a run again, from its folder alone; what its record says of its beginning stays.

    trains      whether it will go on, which needs what its steps depend on to be as it was

    Raises ModelFileError for a folder without a readable run.json, TrainingError when the data or the recipe has
    changed, and what `prepare` raises.
    """
    before = RunRecord.read(folder)
    kept = (folder / RECIPE).exists()
    recipe = load_recipe(folder / RECIPE) if kept else Recipe.from_table(before.recipe, RECORD)
    prepared = _open(before.asked if trains else dataclasses.replace(before.asked, device="auto"), recipe, folder)
    _check_same(before, prepared.record, [name for name in SAME if trains or name != "precision"])
    prepared = dataclasses.replace(prepared, record=before)
    _introduce(prepared)
    return prepared


def _open(asked: Asked, recipe: Recipe, folder: Path) -> Prepared:
    """The same for the same data, recipe and machine, whenever it is called."""
    start = time.perf_counter()
    machine.import_compiler()
    device = machine.pick_device(asked.device)
    parent = load_model(asked.weights) if asked.weights else None
    source = open_source(asked.data)
    splits = split(source, seed=asked.seed)
    preprocessing = setup.choose_preprocessing(recipe, parent, source, splits, device)
    setup.check_size(asked, parent, preprocessing.image_size)
    opened = time.perf_counter() - start
    caches = setup.decode_splits(source, splits, preprocessing, recipe, asked.strict)
    classes = class_names(caches[0].samples)
    if recipe.mean == "pixel":
        mean = setup.mean_image(caches[0].images)
        preprocessing = dataclasses.replace(preprocessing, mean_image=mean, std=(1.0, 1.0, 1.0))
    network, name = setup.make_network(asked, recipe, parent, classes, preprocessing.image_size)
    skipped = [pair for cache in caches for pair in cache.skipped]
    record = RunRecord(
        asked=asked,
        network=name,
        classes=classes,
        dataset={"name": source.name, "fingerprint": source.fingerprint, "split": splits.record()},
        recipe=json.loads(json.dumps(dataclasses.asdict(recipe))),
        epochs=setup.count_epochs(recipe, len(caches[0].samples)),
        precision=machine.fastest_precision(device) if recipe.precision == "auto" else recipe.precision,
        preprocessing=preprocessing.to_dict(),
        machine=machine.describe(),
        skipped_files=tuple({"path": key, "why": why} for key, why in skipped),
        opening_seconds=opened,
        decoding=tuple({"images": len(c.samples), "seconds": c.seconds, "reused": c.reused} for c in caches),
    )
    return Prepared(
        folder=folder,
        record=record,
        recipe=recipe,
        network=network,
        device=device,
        preprocessing=preprocessing,
        augmentation=setup.augmentation(recipe, preprocessing.image_size),
        train=caches[0],
        held_out=caches[1],
        held_out_name=splits.held_out_name,
        findings=diagnosis.quick(splits, skipped, source),
        seconds=time.perf_counter() - start,
    )


def _introduce(prepared: Prepared) -> None:
    """Say in two lines what will be trained on what."""
    record, size = prepared.record, prepared.preprocessing.image_size
    say(
        f"{record.network}, {len(record.classes)} classes, {len(prepared.train.images):,} training and "
        f"{len(prepared.held_out.images):,} held-out images at {size} pixels, {record.epochs} epochs, "
        f"{record.precision} on {prepared.device}, into {prepared.folder}"
    )
    say(prepared.findings.line() or "doctor: a quick look found nothing odd")


def _check_same(before: RunRecord, now: RunRecord, names: Iterable[str]) -> None:
    if before.dataset["fingerprint"] != now.dataset["fingerprint"]:
        raise TrainingError("The data has changed since the run began, so it cannot go on exactly: start a new run.")
    if before.machine != now.machine:
        say("The machine or a version differs from when the run began: it goes on, but not to the bit.")
    for name in names:
        if getattr(before, name) != getattr(now, name):
            raise TrainingError(
                f"{name} would be {getattr(now, name)!r} where the run began with {getattr(before, name)!r}: "
                "put it back, or start a new run."
            )


def _is_free(folder: Path) -> bool:
    """Whether a run may begin here: nothing lies in it but what a writer that was killed has left."""
    return folder.is_dir() and all(path.name.startswith(f".{RECORD}.") for path in folder.iterdir())


def _make_folder(folder: Path | None, data: str, network: str) -> Path:
    """Make the run's folder: the one asked for, or the first runs/DATA-NETWORK-N that is not there yet."""
    number = 1
    while True:
        stem = f"{Path(data).stem}-{network}" if number == 1 else f"{Path(data).stem}-{network}-{number}"
        made = folder or Path("runs") / stem
        try:
            made.mkdir(parents=True, exist_ok=folder is not None)
            return made
        except OSError as problem:
            if folder is not None or not made.exists():
                raise ParameterError(f"{made} cannot be made ({problem.strerror}): give another `out`.") from problem
            number += 1
