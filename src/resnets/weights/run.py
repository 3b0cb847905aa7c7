"""The folder of a run: what its files are called, and what stands in run.json.

`Asked` is what somebody wanted, `RunRecord` what the training found it to mean, `TrainResult` what came of it. Each has
one form in JSON, which training, `resnets.load`, the report and its commands read alike.
"""

from __future__ import annotations

import dataclasses
import shlex
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

from resnets.data.walk import RECORD as RECORD
from resnets.errors import ModelFileError, ParameterError, ResnetsError
from resnets.text import printable
from resnets.weights import checked
from resnets.weights.checked import field
from resnets.weights.result import MODEL as MODEL
from resnets.weights.result import REPORT as REPORT
from resnets.weights.result import TrainResult as TrainResult
from resnets.whole import write_json

RECIPE = "recipe.toml"
LOG = "log.jsonl"
CHECKPOINT = "checkpoint.safetensors"
HEAD = "head.safetensors"  # what a run that starts from a trained body begins with
LONGEST = 100_000  # minutes of a training: ten weeks
CURVES = ("curves.png", "curves.svg")


@dataclass(frozen=True, kw_only=True)
class Asked:
    """What a run was asked for, beside its recipe.

    data        a path, made absolute, or the name of a set
    network     a name of the catalog, a spec as `ResNetSpec.to_dict` says it, or None: what suits the data
    weights     a file, made absolute, or a tag to start from; None: fresh ones
    seed        0 to 2**32 - 1
    device      "auto", "cpu", "cuda" or "mps"
    strict      whether unusable files stop the run
    minutes     that everything may take, above 0 and up to LONGEST; None: the epochs decide

    Raises ParameterError for an empty name of the data, and for a seed or minutes out of range.
    """

    data: str
    network: str | Mapping[str, Any] | None = None
    weights: str | None = None
    seed: int = 0
    device: str = "auto"
    strict: bool = False
    minutes: float | None = None

    def __post_init__(self) -> None:
        if not self.data:
            raise ParameterError("The data has an empty name: name a folder, an archive or a set.")
        if not 0 <= self.seed < 2**32:
            raise ParameterError(f"The seed lies between 0 and {2**32 - 1}, not at {self.seed}.")
        check_minutes(self.minutes)

    def to_dict(self) -> dict[str, Any]:
        """Fit for JSON."""
        return {one.name: getattr(self, one.name) for one in dataclasses.fields(self)}

    @classmethod
    def from_dict(cls, table: Mapping[str, Any]) -> Self:
        """The reverse of `to_dict`. Raises ModelFileError, which names the field, for what it cannot be."""
        return cls(
            data=field(table, "data", str, where="asked."),
            network=field(table, "network", str, dict, type(None), where="asked."),
            weights=field(table, "weights", str, type(None), where="asked."),
            seed=field(table, "seed", int, where="asked."),
            device=field(table, "device", str, where="asked."),
            strict=field(table, "strict", bool, where="asked."),
            minutes=field({"minutes": None, **table}, "minutes", float, type(None), where="asked."),
        )


@dataclass(frozen=True, kw_only=True)
class RunRecord:
    """What run.json holds; all of it is fit for JSON.

    network             its name in the catalog, or "custom"
    classes             in the order of the logits
    dataset             "name", "fingerprint", and "split" as `resnets.data.split.Splits.record` says it
    recipe              every value
    epochs, precision   as they came out for this data on this machine
    preprocessing       as `resnets.data.preprocess.Preprocessing.to_dict` says it
    machine             as `resnets.machine.describe` says it
    skipped_files       {"path", "why"} of every file that is no usable image
    schedule            "minutes", "steps", "evaluate_every", "pace" and "refitted", as `training.schedule` says them;
                        None: the epochs say how many steps there are
    opening_seconds     for listing the data, and reading the weights to start from
    decoding            {"images", "seconds", "reused"} of the training and the held-out images
    weights             the hash of those to start from; None: fresh ones, or a run of an older version
    head                how the head was found that a run from a trained body starts with, see `training.headstart`
    body                what is known of the file that it came from: name, sha256, licence, source
    chosen              which of several networks was kept, see `evaluation.choosing`
    result              what came of it, once it was trained to the end
    so_far              what `finish` made of it before that; the run can still go on
    memory              what a step does from the first one on to take less of it, see `training.memory`
    processes           that each make a part of a batch
    files               {"bytes", "sha256"} of model, curves and report as they were written, by their names
    """

    asked: Asked
    network: str
    classes: tuple[str, ...]
    dataset: Mapping[str, Any]
    recipe: Mapping[str, Any]
    epochs: int
    precision: str
    preprocessing: Mapping[str, Any]
    machine: Mapping[str, Any]
    skipped_files: tuple[Mapping[str, str], ...] = ()
    schedule: Mapping[str, Any] | None = None
    opening_seconds: float = 0.0
    decoding: tuple[Mapping[str, Any], ...] = ()
    weights: str | None = None
    head: Mapping[str, Any] | None = None
    body: Mapping[str, Any] | None = None
    chosen: Mapping[str, Any] | None = None
    result: TrainResult | None = None
    so_far: TrainResult | None = None
    memory: Mapping[str, Any] | None = None
    processes: int = 1
    files: Mapping[str, Mapping[str, Any]] = dataclasses.field(default_factory=dict)

    def to_dict(self) -> dict[str, Any]:
        """The document of run.json."""
        found = {one.name: getattr(self, one.name) for one in dataclasses.fields(self)}
        found |= {"asked": self.asked.to_dict(), "classes": list(self.classes)}
        found |= {"skipped_files": list(self.skipped_files), "decoding": list(self.decoding)}
        for name in ("result", "so_far"):
            result = found.pop(name)
            found |= {name: result.document()} if result is not None else {}
        for name in ("weights", "head", "body", "chosen", "files", "schedule", "memory"):  # where there are any
            found |= {name: value} if (value := found.pop(name)) else {}
        if found["processes"] == 1:  # as a record of an older version, which did not say
            del found["processes"]
        return found

    @classmethod
    def from_dict(cls, table: object) -> Self:
        """The reverse of `to_dict`; what it does not know, a later version's, is left aside.

        Raises ModelFileError, which names the field, for what it cannot be.
        """
        if not isinstance(table, dict):
            raise ModelFileError("run.json is not a table.")
        dataset = field(table, "dataset", dict)
        for key, kind in (("name", str), ("fingerprint", str), ("split", dict)):
            field(dataset, key, kind, where="dataset.")
        if "held_out_keys" in dataset["split"]:
            checked.texts(dataset["split"], "held_out_keys", "dataset.split.")
        decoding = checked.tables({"decoding": [], **table}, "decoding")
        for one in decoding:
            for key in ("images", "seconds"):
                field(one, key, float, where="decoding.", low=0)
        results = {
            name: TrainResult.from_dict(field(table, name, dict), f"{name}.")
            for name in ("result", "so_far")
            if table.get(name) is not None
        }
        return cls(
            asked=Asked.from_dict(field(table, "asked", dict)),
            network=field(table, "network", str),
            classes=checked.texts(table, "classes"),
            dataset=dataset,
            recipe=field(table, "recipe", dict),
            epochs=field(table, "epochs", int, low=0),
            precision=field(table, "precision", str),
            preprocessing=field(table, "preprocessing", dict),
            machine=field(table, "machine", dict),
            skipped_files=checked.files(table, "skipped_files"),
            schedule=checked.schedule(table),
            opening_seconds=field({"opening_seconds": 0.0, **table}, "opening_seconds", float, low=0),
            decoding=decoding,
            weights=field({"weights": None, **table}, "weights", str, type(None)),
            head=field({"head": None, **table}, "head", dict, type(None)),
            body=field({"body": None, **table}, "body", dict, type(None)),
            chosen=field({"chosen": None, **table}, "chosen", dict, type(None)),
            memory=field({"memory": None, **table}, "memory", dict, type(None)),
            processes=field({"processes": 1, **table}, "processes", int, low=1),
            files=field({"files": {}, **table}, "files", dict),
            **results,
        )

    @classmethod
    def read(cls, folder: Path) -> Self:
        """The record of a run's folder. Raises ModelFileError, in one sentence, when there is none or it is damaged."""
        try:
            return cls.from_dict(checked.document(folder / RECORD))
        except ResnetsError as problem:  # which may be a ValueError too
            raise ModelFileError(
                f"{_shown(folder)} is no run that can be resumed or finished: {printable(str(problem))}"
            ) from problem
        except (OSError, ValueError, RecursionError) as problem:
            raise ModelFileError(
                f"{_shown(folder)} is no run that can be resumed or finished: it has no readable {RECORD}."
            ) from problem

    def with_result(self, result: TrainResult) -> Self:
        """The same run, with what came of it so far, or in the end."""
        whole = result.step is None
        return dataclasses.replace(self, result=result if whole else None, so_far=None if whole else result)

    def write(self, folder: Path) -> None:
        """Write it to the run's folder, whole; see `resnets.whole`."""
        write_json(folder / RECORD, self.to_dict())


def check_minutes(minutes: float | None) -> None:
    """Raise ParameterError for what is no time that a training may take; None: none was given."""
    if minutes is not None and not 0 < minutes <= LONGEST:
        raise ParameterError(f"`minutes` lie above 0 and up to {LONGEST:,}, not at {minutes:g}.")


def without_model(folder: Path) -> str:
    """Why the folder of a run has no model, in a sentence that names the ways to one; "" for any other folder."""
    if (folder / MODEL).exists():
        return ""
    try:
        record = RunRecord.read(folder)
    except ModelFileError:  # somebody else's run.json, or none
        return ""
    why = "lost its model:" if record.result else "has no model yet; if nobody trains it now,"
    return f"{_shown(folder)} is a run that {why} {ways_on(folder)}."


def ways_on(folder: Path) -> str:
    """How a run without a model comes to one, in words that can be typed."""
    on = f"`{on_with(folder)}` goes on with it"
    if not (folder / CHECKPOINT).exists():
        return on
    return f"{on}, `{on_with(folder, 'finish')}` makes a model of it as it stands"


def on_with(folder: Path, verb: str = "resume") -> str:
    """The command that goes on with a run, or finishes it, as it can be typed."""
    name = shlex.quote(f"./{_shown(folder)}" if _shown(folder).startswith("-") else _shown(folder))
    return f"resnets train --{verb} {name}"


def _shown(folder: Path) -> str:
    return printable(str(folder))
