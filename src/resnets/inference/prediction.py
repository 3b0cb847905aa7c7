"""What comes out of pictures: of one picture a `Prediction`, of one file an `Outcome`."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from resnets.inference.seen import Seen
from resnets.notebook import table


@dataclass(frozen=True, slots=True)
class Prediction:
    """What one picture shows.

    top      (class name, probability) pairs, the most probable first
    among    the classes that it is one of, with the coverage that the model states, the most probable first: one when
             the model is sure, more or none when it is not. None for a model that was never calibrated
    unlike   whether it is unlike all that the model was calibrated on; None for a model that does not know
    """

    top: tuple[tuple[str, float], ...]
    among: tuple[str, ...] | None = None
    unlike: bool | None = None

    @property
    def unsure(self) -> bool | None:
        """Whether the model cannot tell one class alone; None for a model that was never calibrated."""
        return None if self.among is None else len(self.among) != 1

    @property
    def doubts(self) -> str:
        """What it is unsure of, in words; "" where it is not."""
        among = f"unsure: one of {', '.join(self.among or ()) or 'no class'}" if self.unsure else ""
        return "; ".join(filter(None, (among, "unlike all that the model knows" if self.unlike else "")))

    def _repr_html_(self) -> str:
        """In a notebook: the classes and their probabilities."""
        return table(("class", "%"), [(name, f"{100 * p:.1f}") for name, p in self.top], title=self.doubts)

    def document(self) -> dict[str, Any]:
        """What a program reads, ready for JSON."""
        return {
            "top": [{"name": name, "probability": p} for name, p in self.top],
            "unsure": self.unsure,
            "among": self.among,
            "unlike": self.unlike,
        }


class Predictions(list[Prediction]):
    """A list of predictions that knows what the pictures are called.

    paths   a path as it was given; "image 3" for a picture without one, counted from 0
    """

    def __init__(self, named: Iterable[tuple[str, Prediction]] = (), titles: Mapping[str, str] | None = None) -> None:
        pairs = list(named)
        super().__init__(prediction for _, prediction in pairs)
        self.paths = tuple(path for path, _ in pairs)
        self._pairs, self._titles = tuple(pairs), dict(titles or {})

    def _repr_html_(self) -> str:
        """In a notebook: a row for each picture."""
        rows = [
            (path, ", ".join(f"{name} {100 * p:.1f} %" for name, p in one.top), one.doubts)
            for path, one in self._named()
        ]
        return table(("picture", "classes", ""), rows, words=3)

    def document(self) -> dict[str, Any]:
        """What a program reads, ready for JSON: as of `document`, with nothing that failed."""
        return _whole([{"path": path, **one.document()} for path, one in self._named()], [], self._titles)

    def _named(self) -> list[tuple[str, Prediction]]:
        """Each with its path, though the list was sorted or cut since."""
        paths = {id(one): path for path, one in self._pairs}
        return [(paths.get(id(one), f"image {number}"), one) for number, one in enumerate(self)]


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of one file.

    path     as it was named; bytes that are not UTF-8 are lone surrogates, as everywhere in Python
    top      (class name, probability) pairs, the most probable first; none if the file could not be used
    why      the reason if it could not, else ""
    among    the classes that it is one of, and
    unlike   whether it is unlike all that the model knows, both as in `Prediction`
    seen     what the file was when it was read; None where it could not be read this time, and for what is no file
    """

    path: str
    top: tuple[tuple[str, float], ...] = ()
    why: str = ""
    among: tuple[str, ...] | None = None
    unlike: bool | None = None
    seen: Seen | None = field(default=None, compare=False, repr=False)

    @property
    def unsure(self) -> bool | None:
        """As in `Prediction`."""
        return self.prediction.unsure

    @property
    def prediction(self) -> Prediction:
        """What it shows, without the file."""
        return Prediction(self.top, self.among, self.unlike)

    def document(self) -> dict[str, Any]:
        """What a program reads, ready for JSON: of a file that could not be used "path" and "why"."""
        return {"path": self.path, "why": self.why} if self.why else {"path": self.path, **self.prediction.document()}


def document(outcomes: Iterable[Outcome], titles: Mapping[str, str]) -> dict[str, Any]:
    """{"predictions": [...], "failed": [...]}, each in the order of the outcomes, and the classes' "titles", if any."""
    good: list[dict[str, Any]] = []
    bad: list[dict[str, Any]] = []
    for outcome in outcomes:
        (bad if outcome.why else good).append(outcome.document())
    return _whole(good, bad, titles)


def _whole(good: list[dict[str, Any]], bad: list[dict[str, Any]], titles: Mapping[str, str]) -> dict[str, Any]:
    return {"predictions": good, "failed": bad, **({"titles": dict(titles)} if titles else {})}
