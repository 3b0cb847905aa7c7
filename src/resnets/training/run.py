"""A run: data and recipe in, a folder with the trained model out.

model.safetensors        the result (see `resnets.weights`)
run.json                 what was asked, on which data and machine, and what came of it
recipe.toml              every value of the recipe
report.html              how good it is, where it fails, and how to use it: one offline page
log.jsonl                a line per step and per epoch; curves.png and curves.svg are drawn from it
checkpoint.safetensors   where a stopped run goes on (`--resume`)
"""

from __future__ import annotations

import dataclasses
import json
import os
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from resnets import diagnosis, machine
from resnets.architecture import ResNetSpec
from resnets.data.labels import class_names
from resnets.data.named import NAMES
from resnets.data.open import open_source
from resnets.data.split import split
from resnets.errors import ResnetsError, TrainingError
from resnets.evaluation import Evaluation, judge
from resnets.evaluation.calibration import calibrate
from resnets.inference import Classifier
from resnets.pages import report
from resnets.progress import say
from resnets.text import printable
from resnets.training import setup
from resnets.training.log import draw_curves
from resnets.training.loop import Job, Training
from resnets.training.recipe import Recipe, load_recipe
from resnets.weights import Model, Provenance
from resnets.weights import load as load_model
from resnets.weights import save as save_model
from resnets.whole import write_json, write_text

_METRICS = ("images", "top1", "top5", "macro_f1", "loss", "ece", "coverage", "set_size", "unsure")


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
) -> dict[str, Any]:
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
    overrides   "key=value" of the recipe
    strict      refuse data with unusable files instead of leaving them out

    Returns {"run", "model", "top1", "seconds", "images", "epochs", "skipped_files"}; top1 is a fraction, on the
    held-out split, in float32, each image once. Raises ResnetsError.
    """
    extra = [f"epochs={epochs}", "min_steps=0"] if epochs is not None else []
    extra += [f"image_size={image_size}"] if image_size is not None else []
    if recipe is None:
        recipe = "fine-tune" if weights else "digits" if data == "digits" else "quick"
    chosen = load_recipe(recipe, [*overrides, *extra])
    asked = {
        "data": _absolute(data),
        "network": model.to_dict() if isinstance(model, ResNetSpec) else model,
        "weights": weights and str(Path(weights).resolve() if Path(weights).exists() else weights),
        "seed": seed,
        "device": device,
        "strict": strict,
    }
    if not 0 <= seed < 2**32:
        raise ResnetsError(f"The seed lies between 0 and {2**32 - 1}, not at {seed}.")
    if not os.fspath(data):
        raise ResnetsError("The data has an empty name: name a folder, an archive or a set.")
    if out is not None:
        _check_empty(Path(out))
    return _run(None if out is None else Path(out), asked, chosen)


def resume(folder: str | Path) -> dict[str, Any]:
    """Go on with a run that was stopped, to the bit as if it had not been (on the same machine).

    Returns what `train` returns; a finished run is only reported. Raises ResnetsError when the data has changed.
    """
    folder = Path(folder)
    try:
        record = json.loads((folder / "run.json").read_text(encoding="utf-8"))
        asked = record["asked"]
    except (OSError, ValueError, KeyError, TypeError) as problem:
        raise ResnetsError(f"{folder} is no run that can be resumed: it has no readable run.json.") from problem
    if "result" in record:
        result = dict(record["result"])
        if not (folder / "report.html").exists():
            say(f"Its report is not there; `resnets evaluate {folder} DATA --report report.html` writes one.")
            result["report"] = None
        return result
    if not (folder / "checkpoint.safetensors").exists():
        raise ResnetsError(f"{folder} has no checkpoint yet: delete it and start the run again.")
    return _run(folder, asked, load_recipe(folder / "recipe.toml"), resume=True)


def _run(folder: Path | None, asked: dict[str, Any], recipe: Recipe, *, resume: bool = False) -> dict[str, Any]:
    """The whole run, in `folder` (None: a new one under runs/). Nothing is written until the data is known good."""
    start = time.perf_counter()
    machine.keep_memory()
    device = machine.pick_device(asked["device"])
    parent = load_model(asked["weights"]) if asked["weights"] else None

    source = open_source(asked["data"])
    splits = split(source, seed=asked["seed"])
    preprocessing = setup.choose_preprocessing(recipe, parent, source, splits, device)
    opened = time.perf_counter() - start
    caches = setup.decode_splits(source, splits, preprocessing, recipe, asked["strict"])
    train_cache, held_out = caches
    classes = class_names(train_cache.samples)
    if recipe.mean == "pixel":
        preprocessing = dataclasses.replace(
            preprocessing, mean_image=setup.mean_image(train_cache.images), std=(1.0, 1.0, 1.0)
        )

    network, name = setup.make_network(asked, recipe, parent, classes, preprocessing.image_size)
    if folder is None or not resume:
        folder = _make_folder(folder, asked["data"], name)
    job = Job(
        recipe=recipe,
        epochs=setup.count_epochs(recipe, len(train_cache.samples)),
        seed=asked["seed"],
        device=device,
        precision=machine.fastest_precision(device) if recipe.precision == "auto" else recipe.precision,
        folder=folder,
        preprocessing=preprocessing,
        augmentation=setup.augmentation(recipe, preprocessing.image_size),
        images=train_cache.images,
        labels=setup.label_indices(train_cache, classes),
        keys=[sample.key for sample in train_cache.samples],
        held_out=(held_out.images, setup.label_indices(held_out, classes)),
    )
    skipped = [{"path": key, "why": why} for cache in caches for key, why in cache.skipped]
    record = {
        "asked": asked,
        "network": name,
        "classes": list(classes),
        "dataset": {"name": source.name, "fingerprint": source.fingerprint, "split": splits.record()},
        "recipe": json.loads(json.dumps(dataclasses.asdict(recipe))),
        "epochs": job.epochs,
        "precision": job.precision,
        "preprocessing": preprocessing.to_dict(),
        "machine": machine.describe(),
        "skipped_files": skipped,
        "opening_seconds": opened,
        "decoding": [{"images": len(c.samples), "seconds": c.seconds, "reused": c.reused} for c in caches],
    }
    found = diagnosis.quick(splits, [pair for cache in caches for pair in cache.skipped], source)
    if resume:
        _same_data(folder, record)
    else:
        write_text(folder / "recipe.toml", f"# The recipe of this run, every value.\n{recipe.toml()}")
        write_json(folder / "run.json", record)
    say(
        f"{name}, {len(classes)} classes, {len(job.images):,} training and {len(held_out.images):,} held-out images at "
        f"{preprocessing.image_size} pixels, {job.epochs} epochs, {job.precision} on {device}, into {folder}"
    )
    say(found.line() or "doctor: a quick look found nothing odd")

    prepared = time.perf_counter() - start
    training = Training(network, job)
    training.run(resume)
    trained = time.perf_counter()
    model = Model(training.result, classes, preprocessing)
    classifier = Classifier(model)
    judgement = judge(classifier, held_out)
    calibration = calibrate(judgement.pixels, judgement.logits, judgement.labels)
    judgement = judgement.calibrated(calibration)
    if judgement.threshold is None:
        say("Too few held-out images to calibrate on: the model will not say when it is unsure.")
    metrics = judgement.figures
    model = dataclasses.replace(model, calibration=calibration, provenance=_provenance(record, metrics))
    classifier = Classifier(model)
    save_model(folder / "model.safetensors", model)
    result = {
        "run": str(folder),
        "model": str(folder / "model.safetensors"),
        "report": str(folder / "report.html"),
        "top1": metrics["top1"],
        "seconds": prepared + training.seconds + time.perf_counter() - trained,
        "images": len(job.images),
        "epochs": job.epochs,
        "skipped_files": skipped,
    }
    write_json(folder / "run.json", {**record, "result": result})
    draw_curves(folder, f"{name} on {printable(Path(source.name).name)}: top-1 {metrics['top1']:.2%} held out")
    unusable = [pair for cache in caches for pair in cache.skipped]
    evaluation = Evaluation.of(judgement, splits.held_out_name, unusable, result["seconds"])
    try:
        report.write(
            folder / "report.html",
            classifier,
            evaluation,
            data=asked["data"],
            run=folder,
            findings=found.document()["findings"],
        )
    except (OSError, ResnetsError) as problem:  # the model is there, and that is what counts
        say(f"warning: no report was written: {problem}")
        result["report"] = None
        write_json(folder / "run.json", {**record, "result": result})
    return result


def _provenance(record: dict[str, Any], metrics: dict[str, Any]) -> Provenance:
    # The name alone: a folder's whole path says more of its owner than a model should tell everybody.
    dataset = {**record["dataset"], "name": Path(record["dataset"]["name"]).name}
    dataset["split"] = {key: value for key, value in dataset["split"].items() if key != "held_out_keys"}
    return Provenance(
        network=record["network"],
        dataset=dataset,
        recipe=record["recipe"],
        epochs=record["epochs"],
        seed=record["asked"]["seed"],
        weights=record["asked"]["weights"] and Path(record["asked"]["weights"]).name,
        versions=record["machine"],
        metrics={key: metrics[key] for key in _METRICS},
    )


def _same_data(folder: Path, record: dict[str, Any]) -> None:
    before = json.loads((folder / "run.json").read_text(encoding="utf-8"))
    if before["dataset"]["fingerprint"] != record["dataset"]["fingerprint"]:
        raise TrainingError("The data has changed since the run began, so it cannot go on exactly: start a new run.")
    if before["machine"] != record["machine"]:
        say("The machine or a version differs from when the run began: it goes on, but not to the bit.")
    for key in ("network", "epochs", "precision", "classes", "preprocessing", "recipe", "skipped_files"):
        if before[key] != record[key]:
            raise TrainingError(
                f"{key} would be {record[key]!r} where the run began with {before[key]!r}: "
                "put it back, or start a new run."
            )


def _absolute(data: str | Path) -> str:
    """A path made absolute, so that --resume works from another folder; the name of a set as it is."""
    return (
        str(data) if data in NAMES or not Path(data).expanduser().exists() else str(Path(data).expanduser().resolve())
    )


def _check_empty(folder: Path) -> None:
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise ResnetsError(f"{folder} is there and not empty: give another --out, or --resume {folder}.")


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
                raise ResnetsError(f"{made} cannot be made ({problem.strerror}): give another --out.") from problem
            number += 1
