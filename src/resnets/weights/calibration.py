"""What makes a model's answers honest, as its file holds it: how to read logits as probabilities, and when to doubt."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from itertools import chain
from typing import Any

LARGEST = 1e9  # of any number here; what lies outside would overflow, or make every answer the same


@dataclass(frozen=True)
class Usual:
    """What the images were like that a model was calibrated on (see `resnets.inference.novelty`).

    mean      D numbers
    whiten    D rows of D
    limit     the squared distance above which an image is unlike them all
    """

    mean: tuple[float, ...]
    whiten: tuple[tuple[float, ...], ...] = field(repr=False)
    limit: float

    def to_dict(self) -> dict[str, Any]:
        """As the model file holds it."""
        return {"mean": list(self.mean), "whiten": [list(row) for row in self.whiten], "limit": self.limit}

    @classmethod
    def from_dict(cls, document: Mapping[str, Any]) -> Usual:
        """Of what `check` has passed."""
        return cls(tuple(document["mean"]), tuple(map(tuple, document["whiten"])), document["limit"])


@dataclass(frozen=True)
class Fit:
    """What was fitted on one set of images.

    temperature   logits are divided by it before the softmax (Guo et al. 2017); 1 for a model never calibrated
    unsure        a class belongs to an image's set where its probability is at least this; an image whose set is not
                  one class alone is answered with "unsure". None: never calibrated
    unlike        what the images were like; None: unknown
    """

    temperature: float = 1.0
    unsure: float | None = None
    unlike: Usual | None = None

    def to_dict(self) -> dict[str, Any]:
        """As the model file holds it."""
        unlike = None if self.unlike is None else self.unlike.to_dict()
        return {"temperature": self.temperature, "unsure": self.unsure, "unlike": unlike}


@dataclass(frozen=True)
class Calibration(Fit):
    """What was fitted on all held-out images, and on either half of them. The default: a model never calibrated.

    coverage      the share of images whose true class is in its set, as promised when `unsure` was chosen
    fitted_on     digests of the images that all this was fitted on, sorted
    halves        what was fitted on the first, third, fifth ... of these images alone, and on the others. One of these
                  images is judged by what was fitted on the half without it
    """

    coverage: float | None = None
    fitted_on: tuple[str, ...] = field(default=(), repr=False)
    halves: tuple[Fit, ...] = field(default=(), repr=False)

    def to_dict(self) -> dict[str, Any]:
        """As the model file holds it; what is unknown is left out."""
        known = super().to_dict()
        if self.coverage is not None:
            known["coverage"] = self.coverage
        if self.fitted_on or self.halves:
            known |= {"fitted_on": list(self.fitted_on), "halves": [half.to_dict() for half in self.halves]}
        elif self.unlike is None:
            del known["unlike"]
        return known

    @classmethod
    def from_dict(cls, document: Mapping[str, Any]) -> Calibration:
        """Of a document, which is not trusted. Raises ValueError, KeyError or TypeError for what cannot be used."""
        check(document)
        return cls(
            **_fields(document),
            coverage=document.get("coverage"),
            fitted_on=tuple(document.get("fitted_on", ())),
            halves=tuple(Fit(**_fields(half)) for half in document.get("halves", ())),
        )


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


def _fields(document: Mapping[str, Any]) -> dict[str, Any]:
    unlike = document.get("unlike")
    return {
        "temperature": document["temperature"],
        "unsure": document["unsure"],
        "unlike": None if unlike is None else Usual.from_dict(unlike),
    }


def _number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and -LARGEST <= value <= LARGEST
