"""What makes a model's answers honest, as its file holds it: how to read logits as probabilities, and when to doubt.

A dictionary that JSON can hold:

temperature   logits are divided by it before the softmax (Guo et al. 2017); 1 for a model that was never calibrated
unsure        a class belongs to an image's set where its probability is at least this; an image whose set is not one
              class alone is answered with "unsure". None: never calibrated
coverage      the share of images whose true class is in its set, as promised when `unsure` was chosen
unlike        what the looks of the images were that it was calibrated on (see `resnets.inference.novelty`): "mean" (D
              numbers), "whiten" (D rows of D) and "limit", the squared distance above which an image is unlike them all
fitted_on     digests of the images that all this was fitted on, sorted
halves        temperature, unsure and unlike once more, fitted on the first, third, fifth ... of these images alone,
              and fitted on the others. One of these images is judged by what was fitted on the half without it
"""

from __future__ import annotations

from collections.abc import Mapping
from itertools import chain
from typing import Any

LARGEST = 1e9  # of any number here; what lies outside would overflow, or make every answer the same


def neutral() -> dict[str, Any]:
    """The calibration of a model that was never calibrated."""
    return {"temperature": 1.0, "unsure": None}


def check(calibration: Mapping[str, Any]) -> None:
    """Raise ValueError (KeyError for a missing key) unless every value can be used: files are not trusted."""
    _check_fit(calibration)
    coverage = calibration.get("coverage")
    if coverage is not None and not (_number(coverage) and 0 < coverage < 1):
        raise ValueError(f"the coverage lies between 0 and 1, not at {coverage!r}")
    fitted_on, halves = calibration.get("fitted_on", []), calibration.get("halves", [])
    if not isinstance(fitted_on, list) or not all(isinstance(digest, str) for digest in fitted_on):
        raise ValueError("fitted_on is not a list of digests")
    if not isinstance(halves, list) or len(halves) != (2 if fitted_on else 0):
        raise ValueError("fitted_on and halves do not belong together")
    if sorted(set(fitted_on)) != fitted_on:
        raise ValueError("the digests in fitted_on are not sorted, or not different")
    for half in halves:
        _check_fit(half)
        if any((half.get(key) is None) != (calibration.get(key) is None) for key in ("unsure", "unlike")):
            raise ValueError("a half of the calibration knows what the whole does not, or the other way round")


def _check_fit(calibration: Mapping[str, Any]) -> None:
    temperature, unsure = calibration["temperature"], calibration["unsure"]
    if not _number(temperature) or not 1 / LARGEST <= temperature <= LARGEST:
        raise ValueError(f"the temperature is a number above 0, of a sensible size, not {temperature!r}")
    if unsure is not None and not (_number(unsure) and 0 <= unsure <= 1):
        raise ValueError(f"the probability of unsure lies between 0 and 1, not at {unsure!r}")
    if (unlike := calibration.get("unlike")) is not None:
        mean, whiten, limit = unlike["mean"], unlike["whiten"], unlike["limit"]
        rows = [mean, *whiten]
        square = len(rows) == len(mean) + 1 and all(isinstance(row, list) and len(row) == len(mean) for row in rows)
        if not square or not all(map(_number, chain([limit], *rows))) or not limit >= 1 / LARGEST:
            raise ValueError("unlike is not a mean, a square matrix and a limit")


def _number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and -LARGEST <= value <= LARGEST
