"""What came of a training, as run.json keeps it and `resnets train --json` prints it."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from copy import copy
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

from resnets.weights import checked
from resnets.weights.checked import field

MODEL = "model.safetensors"  # also in a model folder of Hugging Face or timm
REPORT = "report.html"


@dataclass(frozen=True, kw_only=True)
class TrainResult:
    """What came of a run; what older versions did not know has a default.

    run, model, report  paths of its folder, its model file and its page; report is None where it could not be written
    top1            on the held-out images, in float32, each image once; a fraction
    top1_interval   its 95 % interval
    held_out_images how many these are
    estimate        {"top1", "interval", "images", "how"} by the training images, each answered by a head that did not
                    see it; None: there is none
    learnt          the same of images that it was trained on, or of a part of them
    next            {"says", "limit", "command", "gain"}: what it is worth, what limits it, and the one command to type
                    next, see `resnets.evaluation.whatnext`; None: an older version, or a run that has moved
    seconds         of the whole run: opening, decoding, training, judging
    images, epochs  training images; how often each is seen
    skipped_files   {"path", "why"} of every file that is no usable image
    step, steps     where a run that was not trained to its end stands, and of how many; None: it was
    baseline        the share of the commonest class among the held-out images
    better_than_guessing    whether top1 is more than chance would give; None: it cannot be told
    unrecognised    names of the classes that are not recognised, see `resnets.evaluation.guessing`
    fallbacks       of the learning rate, as `resnets.training.Fallback` says them
    chosen          "kept", "losses", "by_halves" and "how" of several networks, as `evaluation.choosing` has them;
                    None: there was one
    weights         what is known of the file that it started from: "name", "sha256", "licence", "source", ...; None:
                    random numbers, or an older version
    remarks         what to know and what to try, a sentence each
    """

    run: str
    model: str
    report: str | None
    top1: float
    seconds: float
    images: int
    epochs: int
    skipped_files: tuple[Mapping[str, str], ...] = ()
    step: int | None = None
    steps: int | None = None
    baseline: float | None = None
    better_than_guessing: bool | None = None
    unrecognised: tuple[str, ...] = ()
    fallbacks: tuple[Mapping[str, Any], ...] = ()
    remarks: tuple[str, ...] = ()
    top1_interval: tuple[float, float] | None = None
    held_out_images: int | None = None
    estimate: Mapping[str, Any] | None = None
    chosen: Mapping[str, Any] | None = None
    learnt: Mapping[str, Any] | None = None
    next: Mapping[str, Any] | None = None
    weights: Mapping[str, Any] | None = None

    def document(self) -> dict[str, Any]:
        """What `resnets train --json` prints; "step" and "steps" are there of an unfinished run alone."""
        found = {one.name: getattr(self, one.name) for one in dataclasses.fields(self)}
        found |= {name: [*map(copy, value)] for name, value in found.items() if isinstance(value, tuple)}
        return found if self.step is not None else {k: v for k, v in found.items() if k not in ("step", "steps")}

    def at(self, folder: Path) -> Self:
        """The same of a run that has moved: its paths are in the folder where it is now."""
        report = self.report and str(folder / REPORT)
        following = self.next if str(folder) == self.run else None  # its command names where the run was
        return dataclasses.replace(self, run=str(folder), model=str(folder / MODEL), report=report, next=following)

    @classmethod
    def from_dict(cls, table: Mapping[str, Any], where: str = "result.") -> Self:
        """The reverse of `document`. Raises ModelFileError, which names the field, for what it cannot be."""
        most, nothing = checked.LARGEST, type(None)
        values: dict[str, Any] = {"run": field(table, "run", str, where=where)}
        values |= {"model": field(table, "model", str, where=where)}
        for name, kind, low, high in (("top1", float, 0, 1), ("seconds", float, 0, most), ("images", int, 0, most)):
            values[name] = field(table, name, kind, where=where, low=low, high=high)
        values["epochs"] = field(table, "epochs", int, where=where, low=0)
        values["skipped_files"] = checked.files(table, "skipped_files", where)
        values["report"] = field({"report": None, **table}, "report", str, nothing, where=where)
        for name, kind, low, high in (
            ("baseline", float, 0, 1),
            ("better_than_guessing", bool, 0, 1),
            ("step", int, 0, most),
            ("steps", int, 1, most),
            ("held_out_images", int, 0, most),
        ):
            values[name] = field({name: None, **table}, name, kind, nothing, where=where, low=low, high=high)
        later = {"unrecognised": [], "fallbacks": [], "remarks": [], **table}
        for name in ("unrecognised", "remarks"):
            values[name] = checked.texts(later, name, where)
        values["top1_interval"] = checked.interval(table, "top1_interval", where)
        for name in ("chosen", "weights"):
            values[name] = field({name: None, **table}, name, dict, nothing, where=where)
        for name in ("estimate", "learnt"):
            values[name] = _estimate(table, name, where)
        values["next"] = _next(table, where)
        return cls(**values, fallbacks=checked.tables(later, "fallbacks", where))


def _estimate(table: Mapping[str, Any], name: str, where: str) -> dict[str, Any] | None:
    found = field({name: None, **table}, name, dict, type(None), where=where)
    if found is None:
        return None
    inside = f"{where}{name}."
    return {
        "top1": field(found, "top1", float, where=inside, low=0, high=1),
        "interval": list(checked.interval(found, "interval", inside) or ()),
        "images": field(found, "images", int, where=inside, low=1, high=checked.LARGEST),
        "how": field(found, "how", str, where=inside),
    }


def _next(table: Mapping[str, Any], where: str) -> dict[str, Any] | None:
    found = field({"next": None, **table}, "next", dict, type(None), where=where)
    if found is None:
        return None
    inside, nothing = f"{where}next.", type(None)
    gain = field(found, "gain", dict, nothing, where=inside)
    return {
        "says": field(found, "says", str, where=inside),
        "limit": field(found, "limit", str, where=inside),
        "command": field(found, "command", str, nothing, where=inside),
        "gain": gain
        and {
            "top1": field(gain, "top1", float, where=f"{inside}gain.", low=0, high=1),
            "interval": list(checked.interval(gain, "interval", f"{inside}gain.") or ()),
        },
    }
