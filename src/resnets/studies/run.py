"""The engine of all studies: it trains what is not trained yet, and says what is true of the runs.

Every run is one of `resnets train`, in a folder of its own: DIR/runs/NETWORK-SEED. What is finished there is read and
not made again; what was killed goes on from its checkpoint. DIR/study.json says what the folder is for.
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
import math
import shlex
import statistics
import time
from collections.abc import Iterator
from pathlib import Path

from resnets.architecture import Plan, plan
from resnets.errors import DataError, ParameterError, ResnetsError, nearest
from resnets.progress import duration, say
from resnets.regular import read_regular
from resnets.studies.catalog import STUDIES
from resnets.studies.design import Member, Setting
from resnets.studies.experiment import Study
from resnets.studies.found import Found, Run
from resnets.studies.result import StudyResult
from resnets.studies.taught import Taught
from resnets.text import printable
from resnets.training import resume, train
from resnets.training.moved import absolute
from resnets.weights.run import RunRecord, check_minutes
from resnets.weights.runlog import read_log
from resnets.whole import write_json

MOST_SEEDS = 100
START = 15.0  # seconds of a run beside its steps: opening, looking for what is wrong with the data, judging, drawing
STUDY, ASKED = "study.json", "asked.json"
PAGE, FIGURES = "study.html", ("study.svg", "study.png")


def study(
    name: str,
    data: str | Path | None = None,
    *,
    seeds: int | None = None,
    minutes: float | None = None,
    quick: bool = False,
    epochs: int | None = None,
    out: str | Path | None = None,
    device: str = "auto",
) -> StudyResult:
    """Train the networks of a paper's experiment and say what is true of them.

    name        one of `resnets.studies.STUDIES`
    data        what to train on, as `resnets.train` takes it; default: the study's own
    seeds       runs of each network; default: the study's own
    minutes     that this call may take: runs that would not fit are left to the next call. None: all are made
    quick       the small form, on handwritten digits: the effect in minutes
    epochs      instead of the study's own
    out         the folder of its runs, page and figures; default: runs/study-NAME, or runs/study-NAME-quick
    device      as `resnets.train` takes it

    What is there already is not made again: a second call costs nothing, and a killed one goes on. Raises ResnetsError.
    """
    if name not in STUDIES:
        raise ParameterError(f"There is no study {printable(name)!r}.{nearest(name, STUDIES) or _known()}")
    check_minutes(minutes)
    if seeds is not None and not 1 <= seeds <= MOST_SEEDS:
        raise ParameterError(f"`seeds` lie between 1 and {MOST_SEEDS}, not at {seeds}.")
    if epochs is not None and epochs < 1:
        raise ParameterError(f"`epochs` begin at 1, not at {epochs}.")
    chosen = STUDIES[name]
    setting = chosen.quick if quick else chosen.full
    setting = dataclasses.replace(
        setting,
        data=absolute(setting.data if data is None else data),
        epochs=epochs or setting.epochs,
        seeds=seeds or setting.seeds,
    )
    folder = Path(out) if out is not None else Path("runs") / f"study-{name}{'-quick' if quick else ''}"
    engine = _Engine(chosen, setting, folder, quick=quick, device=device)
    engine.claim()
    try:
        engine.make(minutes)
    except ResnetsError:
        engine.leave()
        raise
    return engine.conclude()


def _known() -> str:
    return f" There are {', '.join(STUDIES)}."


class _Engine:
    """The runs of one study in one folder."""

    def __init__(self, study: Study, setting: Setting, folder: Path, *, quick: bool, device: str) -> None:
        self.study, self.setting, self.folder, self.quick, self.device = study, setting, folder, quick, device
        self.members: tuple[Member, ...] = tuple(study.members(quick))
        self.runs: dict[tuple[str, int], Run] = {}
        self.plans: dict[str, Plan] = {}

    def claim(self) -> None:
        """See that the folder is new, or of the same study of the same networks, trained alike."""
        mine = {
            "study": self.study.name,
            "data": self.setting.data,
            "recipe": [self.setting.recipe, *self.setting.overrides],
            "epochs": self.setting.epochs,
            "networks": {member.name: member.spec.to_dict() for member in self.members},
        }
        path, shown = self.folder / ASKED, printable(str(self.folder))
        if self.folder.exists() and not self.folder.is_dir():
            raise DataError(f"{shown} is a file: name a folder for the study.")
        if path.exists():
            try:
                theirs = json.loads(read_regular(path, 2**24))
            except (OSError, ValueError, RecursionError) as problem:
                raise DataError(f"{shown} has an {ASKED} that cannot be read: choose another folder.") from problem
            differ = [key for key, value in mine.items() if not isinstance(theirs, dict) or theirs.get(key) != value]
            if differ:
                raise DataError(
                    f"{shown} belongs to a study with other {', '.join(differ)}: choose another folder with `out`."
                )
            return
        if self.folder.is_dir() and any(self.folder.iterdir()):
            raise DataError(f"{shown} is not empty, and no study: choose another folder with `out`.")
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
        except OSError as problem:
            raise DataError(f"{shown} cannot be made a folder ({problem.strerror}): choose another.") from problem
        write_json(path, mine)

    def leave(self) -> None:
        """Leave no folder behind that nothing was made in, because its data cannot be used, say."""
        if not (self.folder / "runs").exists():
            (self.folder / ASKED).unlink(missing_ok=True)
            with contextlib.suppress(OSError):
                self.folder.rmdir()

    def make(self, minutes: float | None) -> None:
        """Make what is not there yet, seed by seed, as far as the time reaches."""
        ends = math.inf if minutes is None else time.perf_counter() + 60 * minutes
        todo = list(self._wanted())
        for number, (member, seed) in enumerate(todo, 1):
            place = self.folder / "runs" / f"{member.name}-{seed}"
            if not self._finished(place) and time.perf_counter() + self._guess(member) > ends:
                say(f"The time is up before {member.name}, seed {seed}; the same command goes on from here.")
                return
            if not self._finished(place):
                say(f"run {number} of {len(todo)}: {member.name}, seed {seed}, {self._epochs(member)} epochs")
            self.runs[member.name, seed] = self._run(member, seed, place)

    def _wanted(self) -> Iterator[tuple[Member, int]]:
        for seed in range(self.setting.seeds):
            # Who gets the time of another comes behind it.
            for member in sorted(self.members, key=lambda one: one.as_long_as is not None):
                yield member, seed

    def _epochs(self, member: Member) -> int:
        """As the member asks for. Equal time is that of the first seeds' epochs, so that every seed has as many."""
        epochs = max(1, round(self.setting.epochs * member.times))
        if member.as_long_as is None:
            return epochs
        lasts, own = self.runs[member.as_long_as, 0], self.runs[self._twin(member), 0]
        return max(1, round((lasts.seconds) / (own.seconds / own.epochs)))

    def _twin(self, member: Member) -> str:
        """The member of the same network that is trained for the usual epochs, by which its pace is known."""
        return next(one.name for one in self.members if one.spec == member.spec and one.as_long_as is None)

    def _run(self, member: Member, seed: int, place: Path) -> Run:
        observers = [Taught(), *([self.study.observer()] if self.study.observer else [])]
        if place.exists():
            if not self._finished(place):
                resume(place, observers)
        else:
            train(
                self.setting.data,
                model=member.spec,
                recipe=self.setting.recipe,
                weights="none",
                epochs=self._epochs(member),
                out=place,
                seed=seed,
                device=self.device,
                overrides=self.setting.overrides,
                observers=observers,
            )
        record = RunRecord.read(place)
        result = record.result
        if record.asked.network != member.spec.to_dict() or record.asked.seed != seed or result is None:
            raise DataError(f"{printable(str(place))} is a run of another network or seed: remove it.")
        course = tuple(line for line in read_log(place) if line["kind"] == "epoch")
        if not course or "train_top1" not in course[-1]:
            raise DataError(f"{printable(str(place))} has lost its log: remove it, and it is trained again.")
        size = int(record.preprocessing["image_size"])
        self.plans.setdefault(member.name, plan(member.spec, len(record.classes), image_size=size))
        return Run(
            member=member.name,
            seed=seed,
            train_top1=float(course[-1]["train_top1"]),
            top1=result.top1,
            images=result.held_out_images or 0,
            seconds=record.epochs * statistics.median(float(line["seconds"]) for line in course),
            epochs=record.epochs,
            course=course,
            fallbacks=len(result.fallbacks),
        )

    def _finished(self, place: Path) -> bool:
        try:
            return RunRecord.read(place).result is not None
        except ResnetsError:
            return False

    def _guess(self, member: Member) -> float:
        """Seconds that a run takes: as its network's others, or by the multiply-adds of those that were made."""
        if not self.runs:
            return 0.0
        made = next((run for run in self.runs.values() if run.member == member.name), None)
        if made is not None:
            return made.seconds + START
        size = next(iter(self.plans.values())).image_size
        own = plan(member.spec, image_size=size).macs
        paces = [run.seconds / (self.plans[run.member].macs * run.epochs) for run in self.runs.values()]
        return max(paces) * own * self._epochs(member) + START

    def _unusual(self) -> dict[str, str]:
        """What was asked for beside the study's own setting, quoted as a shell wants it."""
        from resnets.data.named import here

        usual = self.study.quick if self.quick else self.study.full
        asked = {"data": here(self.setting.data), "epochs": self.setting.epochs, "seeds": self.setting.seeds}
        own = {"data": usual.data, "epochs": usual.epochs, "seeds": usual.seeds}
        return {name: shlex.quote(str(value)) for name, value in asked.items() if value != own[name]}

    def conclude(self) -> StudyResult:
        """Say what is true of the runs that are there, and write it down."""
        from resnets.pages import plot
        from resnets.studies import page

        found = Found(
            setting=self.setting,
            members=self.members,
            plans=self.plans,
            runs=tuple(self.runs.values()),
        )
        wanted = self.setting.seeds * len(self.members)
        left = wanted - len(found.runs)
        says, holds = f"{len(found.runs)} of {wanted} runs are made; the same command goes on.", None
        if found.told(member.name for member in self.members):
            about, holds = self.study.says(found)
            says = f"{about} {says}" if left else about
        result = StudyResult(
            study=self.study.name, says=says, holds=holds, found=found, page=str(self.folder / PAGE), left=left
        )
        plots = list(self.study.draws(found)) if found.runs else []
        if plots:
            plot.draw(plots, self.study.title, *(self.folder / name for name in FIGURES))
        page.write(self.folder / PAGE, result, self.study, plots, quick=self.quick, asked=self._unusual())
        write_json(self.folder / STUDY, result.document())
        took = sum(run.seconds for run in found.runs)
        say(f"{len(found.runs)} runs, {duration(took)} of training; wrote {printable(result.page)}")
        return result
