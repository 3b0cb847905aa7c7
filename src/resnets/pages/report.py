"""The report of a model, one offline page: how good it is, how sure that is, where it fails, and how to use it.

The words stand in `templates/report.html`, the drawings in `templates/charts.html`; here is what they are made from.
"""

from __future__ import annotations

import dataclasses
import datetime
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from markupsafe import Markup

from resnets import __version__
from resnets.data.titles import shown as titled
from resnets.evaluation import Evaluation, Judgement
from resnets.evaluation.metrics import ece, honest_ece
from resnets.evaluation.significance import interval, shown
from resnets.explanation.heat import heat, overlay
from resnets.inference import Classifier
from resnets.inspection.diagram import diagram
from resnets.pages import charts, page, provenance
from resnets.weights.run import RunRecord
from resnets.weights.runlog import until

FEWEST = 20  # images, below which no sentence is made of them
SURE = 0.9  # a probability that a reader takes for certainty
MISTAKES = 12  # shown with their heat maps
PAIRS, LISTED, EXAMPLES = 6, 20, 4  # confused pairs with pictures, and in the list; pictures of each
SIDE = 112  # pixels of a picture, at most
TRUE_TO_WORD = 0.03  # calibration error up to which probabilities are called honest
OPEN = 30  # classes in the table; the others unfold


def write(
    path: Path,
    classifier: Classifier,
    evaluation: Evaluation,
    *,
    data: str,
    run: Path | None = None,
    record: RunRecord | None = None,
    findings: Sequence[Mapping[str, Any]] = (),
    model: str | None = None,
) -> None:
    """Write the report of `classifier` as `evaluation` found it.

    path        the page; see `page.check` for what it may replace
    data        what was judged, as on a command line
    run         the folder of the run: adds learning curves, the time, and how to train it again
    record      of the run; default: what its run.json says
    findings    of the doctor, as in its document; none: nothing is said about them
    model       the model as on a command line; default: `run`, else model.safetensors

    Raises ModelFileError when the page cannot be written.
    """
    names = tuple(titled(name, classifier.titles) for name in classifier.classes)
    judgement = dataclasses.replace(evaluation.judgement, classes=names)
    found, log = provenance.read_run(run) if run is not None else (None, [])
    record = record or found
    confidence = judgement.probabilities.max(axis=1)
    confusion = np.zeros((len(judgement.classes),) * 2, np.int64)
    np.add.at(confusion, (judgement.labels, judgement.predicted), 1)
    named = model or (str(run) if run is not None else "model.safetensors")
    network = str(classifier.provenance.network or "network")
    plan = classifier.network.plan.at(classifier.preprocessing.image_size)
    text = page.render(
        "report.html",
        network=network,
        data=Path(data).absolute().name or data,
        version=__version__,
        today=datetime.date.today().isoformat(),
        document=evaluation.document(),
        flatters=evaluation.flatters,
        split=evaluation.split,
        top1=shown(evaluation.top1, evaluation.top1_interval),
        sure=_sure(judgement, confidence),
        fewest=FEWEST,
        calibration=_calibration(judgement, confidence),
        pairs=_pairs(judgement, confidence, confusion),
        mistakes=_mistakes(classifier, judgement, confidence),
        matrix=charts.matrix(confusion, judgement.classes),
        rows=_classes(confusion, judgement.classes),
        open_rows=OPEN,
        stated=judgement.coverage,
        curves=charts.curves(until(log, record)),
        findings=findings,
        drawing=Markup(diagram(plan, network)),
        plan=plan,
        facts=provenance.facts(classifier.provenance.to_dict(), record),
        commands=provenance.commands(named, data, evaluation.split, record, run),
    )
    page.write(path, text)


def _sure(judgement: Judgement, confidence: np.ndarray) -> dict[str, Any]:
    """How often the model is sure and wrong then, and the pair (true, said, times) that it is wrong about most."""
    sure = confidence >= SURE
    wrong = sure & ~judgement.correct
    pairs, times = np.unique(
        np.stack([judgement.labels[wrong], judgement.predicted[wrong]]), axis=1, return_counts=True
    )
    pair = None
    if times.size and times.max() > 1:
        true, said = pairs[:, times.argmax()]
        pair = judgement.classes[true], judgement.classes[said], int(times.max())
    return {"from": SURE, "images": int(sure.sum()), "wrong": int(wrong.sum()), "pair": pair}


def _calibration(judgement: Judgement, confidence: np.ndarray) -> dict[str, Any]:
    """How far the stated probabilities can be believed."""
    right = judgement.correct
    error, bias = ece(confidence, right), float(confidence.mean() - right.mean())
    if len(right) < FEWEST:
        verdict = "few"
    elif error <= TRUE_TO_WORD:
        verdict = "honest"
    elif error <= honest_ece(confidence):
        verdict = "unrefuted"
    elif abs(bias) < error / 2:
        verdict = "off"
    else:
        verdict = "too sure" if bias > 0 else "too modest"
    return {
        "error": error,
        "verdict": verdict,
        "said": float(confidence.mean()),
        "right": float(right.mean()),
        "temperature": judgement.temperature,
        **charts.reliability(confidence, right),
    }


def _pairs(judgement: Judgement, confidence: np.ndarray, confusion: np.ndarray) -> list[dict[str, Any]]:
    """The classes that are taken for each other most often: of each pair the names, both counts, and examples."""
    wrong = confusion.copy()
    np.fill_diagonal(wrong, 0)
    both = np.triu(wrong + wrong.T)
    ranked = np.argsort(-both, axis=None, kind="stable")[:LISTED]
    found = []
    for number, (first, second) in enumerate(np.stack(np.unravel_index(ranked, both.shape), axis=1)):
        if both[first, second] == 0:
            break
        directions = [(a, b) for a, b in ((first, second), (second, first)) if wrong[a, b]]
        directions.sort(key=lambda pair: -wrong[pair])
        examples: list[dict[str, Any]] = []
        if number < PAIRS:
            rows = np.flatnonzero(
                ~judgement.correct
                & np.isin(judgement.labels, (first, second))
                & np.isin(judgement.predicted, (first, second))
            )
            surest = rows[np.argsort(-confidence[rows], kind="stable")]
            examples = [_shown(judgement, row, confidence) for row in surest[:EXAMPLES]]
        found.append(
            {
                "directions": [
                    {
                        "true": judgement.classes[a],
                        "said": judgement.classes[b],
                        "times": int(wrong[a, b]),
                        "images": int(confusion[a].sum()),
                    }
                    for a, b in directions
                ],
                "examples": examples,
            }
        )
    return found


def _mistakes(classifier: Classifier, judgement: Judgement, confidence: np.ndarray) -> list[dict[str, Any]]:
    """The mistakes that the model is surest of, each with the heat map of what it said."""
    wrong = np.flatnonzero(~judgement.correct)
    rows = wrong[np.argsort(-confidence[wrong], kind="stable")][:MISTAKES]
    if not len(rows):
        return []
    pixels = np.stack([judgement.pixels[row] for row in rows])
    heats = heat(classifier, pixels, judgement.predicted[rows])
    return [
        {**_shown(judgement, row, confidence), "heat": page.picture(overlay(one, hot), SIDE)}
        for row, one, hot in zip(rows, pixels, heats, strict=True)
    ]


def _shown(judgement: Judgement, row: int, confidence: np.ndarray) -> dict[str, Any]:
    return {
        "picture": page.picture(judgement.pixels[row], SIDE),
        "key": judgement.samples[row].key,
        "true": judgement.classes[judgement.labels[row]],
        "said": judgement.classes[judgement.predicted[row]],
        "confidence": float(confidence[row]),
        "unlike": judgement.unlike is not None and bool(judgement.unlike[row]),
    }


def _classes(confusion: np.ndarray, classes: Sequence[str]) -> list[dict[str, Any]]:
    """Class by class, the least recognised first, those without images last."""
    rows = []
    for number, name in enumerate(classes):
        right, images, said = (
            int(n) for n in (confusion[number, number], confusion[number].sum(), confusion[:, number].sum())
        )
        wrong = confusion[number].copy()
        wrong[number] = 0
        rows.append(
            {
                "name": name,
                "images": images,
                "recall": _share(right, images),
                "precision": _share(right, said),
                "taken_for": classes[int(wrong.argmax())] if wrong.any() else None,
                "times": int(wrong.max()),
            }
        )
    return sorted(rows, key=lambda row: (row["recall"] is None, row["recall"] and row["recall"]["share"]))


def _share(part: int, whole: int) -> dict[str, Any] | None:
    return {"share": part / whole, "interval": interval(part / whole, whole)} if whole else None
