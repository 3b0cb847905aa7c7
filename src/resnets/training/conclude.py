"""The end of a run: judge, calibrate, save, draw, report. All of it can be made again from the run's folder."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from resnets.data.named import here
from resnets.data.reading import Reading
from resnets.errors import ResnetsError
from resnets.evaluation import Evaluation, Judgement, judge
from resnets.evaluation.case import Next
from resnets.evaluation.choosing import choose
from resnets.evaluation.course import Course
from resnets.evaluation.estimate import told
from resnets.evaluation.whatnext import what_next
from resnets.inference import Classifier
from resnets.pages import report
from resnets.progress import say, warn
from resnets.text import printable
from resnets.training import moved
from resnets.training.advice import advice, flatters
from resnets.training.curves import draw_curves
from resnets.training.estimates import HEAD_ALONE, estimate, gain, learnt, together
from resnets.training.keeping import kept
from resnets.training.made import described
from resnets.training.prepared import Prepared
from resnets.training.state import State
from resnets.weights import Model, Provenance
from resnets.weights import save as save_model
from resnets.weights.provenance import BEST
from resnets.weights.run import CURVES, MODEL, REPORT, RunRecord, TrainResult

TRAINED = "all that was trained"  # what there is to choose from beside the head alone

_METRICS = (
    "images",
    "top1",
    "top1_interval",
    "baseline",
    "better_than_guessing",
    "top5",
    "balanced_accuracy",
    "macro_f1",
    "loss",
    "ece",
    "coverage",
    "set_size",
    "unsure",
)

# What a page may fail of: a disk that is full, or a log in which somebody has written.
_SPARES = (OSError, ResnetsError, ArithmeticError, LookupError, TypeError, ValueError)


def conclude(prepared: Prepared, state: State) -> TrainResult:
    """Make a model of a state, and everything that is said of it, in the run's folder.

    Everything else is written before run.json, so that a run whose record has a result has its model, and one that was
    killed in here is concluded again. Curves and report may fail: a warning says so. A state that is not the last gives
    a result "so far": it can still go on. The folder is the caller's alone (`Claim`).

    Raises ModelFileError when the network's answers are not finite, or a file cannot be written.
    """
    began = time.perf_counter()
    prepared = prepared.settled()
    folder, record = prepared.folder, prepared.record
    total = prepared.total
    stands: dict[str, Any] = {} if state.step >= total else {"step": state.step, "steps": total}
    model, judgement, figures, chosen = _judged(prepared, state, stands)
    record = dataclasses.replace(record, chosen=chosen)
    save_model(folder / MODEL, model)
    result = TrainResult(
        run=str(folder),
        model=str(folder / MODEL),
        report=str(folder / REPORT),
        **_worth(figures),
        estimate=estimate(prepared, chosen["kept"] if chosen else HEAD_ALONE),
        learnt=learnt(Classifier(model), prepared),
        fallbacks=tuple(state.fallbacks),
        chosen=chosen,
        weights=record.body,
        remarks=tuple(advice(prepared, state, figures)),
        seconds=prepared.seconds + state.seconds + time.perf_counter() - began,
        images=len(prepared.train.images),
        epochs=record.epochs,
        skipped_files=record.skipped_files,
        **stands,
    )
    following = _following(prepared, judgement, record.with_result(result))
    result = dataclasses.replace(result, next=None if following is None else following.document())
    knows = record.with_result(result)
    _draw(folder, result, knows)
    unusable = [(file["path"], file["why"]) for file in record.skipped_files]
    evaluation = Evaluation.of(judgement, prepared.held_out_name, unusable, result.seconds, following)
    evaluation = dataclasses.replace(evaluation, flatters=tuple(flatters(prepared)))
    try:
        report.write(
            folder / REPORT,
            Classifier(model),
            evaluation,
            data=here(record.asked.data),
            run=folder,
            record=knows,
            findings=prepared.findings.document()["findings"],
        )
    except _SPARES as problem:  # the model is there, and that is what counts
        warn(f"no report was written: {problem}")
        _remove(folder, REPORT)
        result = dataclasses.replace(result, report=None)
    dataclasses.replace(record.with_result(result), files=described(folder)).write(folder)
    return result


def _draw(folder: Path, result: TrainResult, record: RunRecord) -> None:
    """The curves of a training that made steps."""
    data = printable(Path(record.dataset["name"]).name)
    try:
        if record.epochs:
            draw_curves(folder, f"{record.network} on {data}{_other(result)}: {told(result)}", record)
    except _SPARES as problem:
        warn(f"no curves were drawn: {problem}")
        _remove(folder, *CURVES)


def _remove(folder: Path, *names: str) -> None:
    """What an earlier end of the run has left, which says something else by now."""
    for name in names:
        with suppress(OSError):
            (folder / name).unlink()


def _other(result: TrainResult) -> str:
    """For the curves' title, where they are not those of the network that was kept."""
    kept = result.chosen["kept"] if result.chosen else TRAINED
    return "" if kept == TRAINED else f" (kept: {kept})"


def _worth(figures: Mapping[str, Any]) -> dict[str, Any]:
    """Those of a judgement's figures that a result has."""
    return {
        "top1": figures["top1"],
        "top1_interval": tuple(figures["top1_interval"]),
        "held_out_images": figures["images"],
        "baseline": figures["baseline"],
        "better_than_guessing": figures["better_than_guessing"],
        "unrecognised": tuple(figures["unrecognised"]),
    }


def _following(prepared: Prepared, judgement: Judgement, record: RunRecord) -> Next | None:
    """What to do next; None, with a warning, where a log in which somebody has written makes no sense of it."""
    try:
        course = Course.of(record, prepared.folder, gain(prepared))
        data, reading = here(record.asked.data), Reading.of(record.recipe)
        found = what_next(judgement, course, data, str(prepared.folder), reading, own=True)
        return None if found.limit == "none" and flatters(prepared) else found  # by those it is not as good as it looks
    except _SPARES as problem:
        warn(f"what to do next cannot be told: {problem}")
        return None


def _judged(
    prepared: Prepared, state: State, stands: dict[str, int]
) -> tuple[Model, Judgement, dict[str, Any], dict[str, Any] | None]:
    """The calibrated model of a state, the held-out images judged by it, the figures of that, and how it was chosen."""
    candidates = {}
    if prepared.start is not None:
        candidates[HEAD_ALONE] = prepared.start.network
    if state.step or not candidates:
        candidates[TRAINED] = state.trained()
    candidates |= kept(state)
    models = {
        name: Model(network, prepared.record.classes, prepared.preprocessing, titles=prepared.titles)
        for name, network in candidates.items()
    }
    judged = {name: judge(Classifier(model), prepared.held_out) for name, model in models.items()}
    choice = choose(judged, BEST)
    model, judgement, calibration = models[choice.kept], choice.judgement, choice.calibration
    # A threshold without a coverage: on the held-out images it is no better than guessing, whatever others say.
    if choice.kept == HEAD_ALONE and calibration.coverage is None and calibration.unsure is None:
        calibration = together(prepared, judged[choice.kept])
        judgement = choice.calibrated(calibration)
    if judgement.threshold is None:
        say("There are too few images to calibrate on: the model will not say when it is unsure.")
    figures = judgement.figures
    chosen = choice.document() if len(models) > 1 else None
    provenance = _provenance(dataclasses.replace(prepared.record, chosen=chosen), figures, stands, state.fallbacks)
    if chosen:
        say(f"Kept: {choice.kept} ({', '.join(f'{name}: loss {loss:.3f}' for name, loss in choice.losses.items())}).")
    model = dataclasses.replace(model, calibration=calibration, provenance=provenance)
    return model, judgement, figures, chosen


def _provenance(
    record: RunRecord, figures: dict[str, Any], stands: dict[str, int], fallbacks: list[dict[str, Any]]
) -> Provenance:
    # The name alone: a folder's whole path says more of its owner than a model should tell everybody.
    dataset = {**record.dataset, "name": Path(record.dataset["name"]).name}
    dataset["split"] = {key: value for key, value in dataset["split"].items() if key != "held_out_keys"}
    dataset = {key: value for key, value in dataset.items() if key not in ("contents", "seen_before")}
    if (known := moved.known_of(record)) is not None:
        dataset["contents"] = known.to_dict()  # so that a model alone knows its training images again
    weights, body = record.asked.weights, record.body or {}
    return Provenance(
        network=record.network,
        dataset=dataset,
        recipe=record.recipe,
        epochs=record.epochs,
        seed=record.asked.seed,
        weights=weights and Path(weights).name,
        pretrained={key: body[key] for key in ("name", "sha256", "licence", "source") if key in body} or None,
        versions=record.machine,
        metrics={key: figures[key] for key in _METRICS},
        other={
            **_chosen(record),
            **({"stopped_at": stands} if stands else {}),
            **({"fallbacks": fallbacks} if fallbacks else {}),
        },
    )


def _chosen(record: RunRecord) -> dict[str, str]:
    """What was kept of several networks, and how that was found, in words; {}: there was one."""
    return {} if record.chosen is None else {"chosen": f"{record.chosen['kept']}: {record.chosen['how']}"}
