"""The engine of all studies: it trains what is not trained yet, and says what is true of the runs.

Every run is one of `resnets train`, in a folder of its own: DIR/runs/NETWORK-SEED. What is finished there is read and
not made again; what was killed goes on from its checkpoint. DIR/study.json says what the folder is for.
"""

from __future__ import annotations

import dataclasses
import math
import shlex
import statistics
import time
from collections.abc import Iterator
from pathlib import Path

from resnets.architecture import Plan, plan
from resnets.errors import DataError, ParameterError, ResnetsError, TrainingError, nearest
from resnets.progress import duration, say
from resnets.studies.catalog import STUDIES
from resnets.studies.design import Member, Setting
from resnets.studies.experiment import Study
from resnets.studies.folder import claim, leave, place_of
from resnets.studies.found import Found, Run
from resnets.studies.result import StudyResult
from resnets.studies.taught import OF, TAUGHT, Taught, TimeUp, Until
from resnets.text import brief, printable
from resnets.training import resume, train
from resnets.training.claim import is_free, left_by_a_kill
from resnets.training.moved import absolute
from resnets.weights.run import RunRecord, check_minutes
from resnets.weights.runlog import read_log
from resnets.whole import write_json

MOST_SEEDS, MOST_EPOCHS = 100, 10**6
STUDY = "study.json"
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
    minutes     of training in this call: the run that is under way then, and all others, are left to the next call
    quick       the small form, on handwritten digits: the effect in minutes
    epochs      instead of the study's own
    out         the folder of its runs, page and figures; default: runs/study-NAME, or runs/study-NAME-quick
    device      as `resnets.train` takes it

    What is there already is not made again: a second call costs nothing, and a killed one goes on. Raises ResnetsError.
    """
    if name not in STUDIES:
        raise ParameterError(f"There is no study {printable(name)!r}.{nearest(name, STUDIES) or _known()}")
    check_minutes(minutes)
    for what, value, most in (("seeds", seeds, MOST_SEEDS), ("epochs", epochs, MOST_EPOCHS)):
        if value is not None and (type(value) is not int or not 1 <= value <= most):
            raise ParameterError(f"`{what}` is a whole number from 1 to {most:,}, not {brief(value)}.")
    chosen = STUDIES[name]
    setting = chosen.quick if quick else chosen.full
    setting = dataclasses.replace(
        setting,
        data=absolute(setting.data if data is None else data),
        epochs=epochs or setting.epochs,
        seeds=seeds or setting.seeds,
    )
    folder = Path(out) if out is not None else place_of(name, quick)
    engine = _Engine(chosen, setting, folder, quick=quick, device=device)
    claim(folder, engine.asked())
    try:
        engine.make(minutes)
    except ResnetsError:
        leave(folder)
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
        self.failed: dict[str, TrainingError] = {}  # "plain56-0": why
        self.data: tuple[object, ...] | None = None  # what the first run was trained on

    def asked(self) -> dict[str, object]:
        """What the folder is for, fit for JSON."""
        return {
            "study": self.study.name,
            "data": self.setting.data,
            "device": self.device,
            "recipe": [self.setting.recipe, *self.setting.overrides],
            "epochs": self.setting.epochs,
            "networks": {member.name: member.spec.to_dict() for member in self.members},
        }

    def make(self, minutes: float | None) -> None:
        """Make what is not there yet, seed by seed, as far as the time reaches. A training that fails (that diverges,
        for one) is left out, and so is what it gives its time to. Raises its TrainingError where all fail."""
        ends = math.inf if minutes is None else time.perf_counter() + 60 * minutes
        todo = list(self._wanted())
        for number, (member, seed) in enumerate(todo, 1):
            place = self.folder / "runs" / f"{member.name}-{seed}"
            try:
                if not self._finished(place):
                    if time.perf_counter() > ends:
                        raise TimeUp
                    say(f"run {number} of {len(todo)}: {member.name}, seed {seed}, epochs: {self._epochs(member)}")
                    self._train(member, seed, place, ends)
            except TimeUp:
                say(f"The time is up at run {number} of {len(todo)}; the same command goes on from here.")
                return
            except TrainingError as problem:
                self.failed[place.name] = problem
                say(f"{place.name} is left out. {problem}")
                continue
            except KeyboardInterrupt:
                say("The study is stopped: what goes on with it is not its run's command, but its own, typed again.")
                raise
            self.runs[member.name, seed] = self._read(member, seed, place)
        if self.failed and not self.runs:
            raise next(iter(self.failed.values()))

    def _wanted(self) -> Iterator[tuple[Member, int]]:
        def turn(one: Member) -> tuple[bool, bool]:
            """What the sentence needs comes first, and who gets the time of another behind it."""
            return one.name not in self._first(), one.as_long_as is not None

        for seed in range(self.setting.seeds):
            for member in sorted(self.members, key=turn):
                yield member, seed

    def _first(self) -> tuple[str, ...]:
        return self.study.first or tuple(member.name for member in self.members)

    def _epochs(self, member: Member) -> int:
        """As the member asks for. Equal time is that of the first seeds' epochs, so that every seed has as many."""
        epochs = max(1, round(self.setting.epochs * member.times))
        if member.as_long_as is None:
            return epochs
        if missing := {f"{one}-0" for one in (member.as_long_as, self._twin(member))} & self.failed.keys():
            raise TrainingError(f"Its epochs are those of the time of {', '.join(sorted(missing))}, which is left out.")
        lasts, own = self.runs[member.as_long_as, 0], self.runs[self._twin(member), 0]
        if lasts.machine != own.machine:
            raise TrainingError(
                f"Its epochs are those of the time of {lasts.member}-0, which was trained on another machine than "
                f"{own.member}-0: remove one of the two."
            )
        return max(1, round((lasts.seconds) / (own.seconds / own.epochs)))

    def _twin(self, member: Member) -> str:
        """The member of the same network that is trained for the usual epochs, by which its pace is known."""
        return next(one.name for one in self.members if one.spec == member.spec and one.as_long_as is None)

    def _train(self, member: Member, seed: int, place: Path, ends: float) -> None:
        """To its end, or to that of the time; from its checkpoint, where it has been begun."""
        observers = [Taught(), *([self.study.observer()] if self.study.observer else []), Until(ends)]
        if place.exists() and not is_free(place):
            begun = left_by_a_kill(place)
            asked = begun[0] if begun is not None else RunRecord.read(place).asked
            resume(place, observers, data=None if asked.data == self.setting.data else self.setting.data)
            return
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

    def _read(self, member: Member, seed: int, place: Path) -> Run:
        """What came of a run. Raises DataError for one that is not of this study, or not made by it alone."""
        record, shown = RunRecord.read(place), printable(str(place))
        result, size = record.result, record.preprocessing["image_size"]
        if record.asked.network != member.spec.to_dict() or record.asked.seed != seed or result is None:
            raise DataError(f"{shown} is a run of another network or seed: remove it.")
        data = record.dataset["fingerprint"], record.classes, size
        if data != (first := self.data or data):
            what = "images" if data[1:] == first[1:] else "classes or sizes"
            raise DataError(
                f"{shown} was trained on other {what} than the runs before it: remove what is of other data."
            )
        self.data = first
        course = tuple(line for line in read_log(place) if line["kind"] == "epoch")
        wanted = self.study.measures or ("", "")
        for line, beginning in zip((course or ({},))[:: max(len(course) - 1, 1)], wanted, strict=False):
            if TAUGHT not in line or not any(key.startswith(beginning) for key in line):
                raise DataError(f"{shown} has lost its log, or was trained by another command: remove it.")
        self.plans.setdefault(member.name, plan(member.spec, len(record.classes), image_size=int(size)))
        processor = record.machine.get("processor")
        return Run(
            member=member.name,
            seed=seed,
            train_top1=float(course[-1][TAUGHT]),
            taught=int(course[-1][OF]),
            top1=result.top1,
            images=result.held_out_images or 0,
            seconds=max(record.epochs * statistics.median(float(line["seconds"]) for line in course), 1e-6),
            epochs=record.epochs,
            course=course,
            fallbacks=len(result.fallbacks),
            machine=", ".join(
                str(part)
                for part in (
                    processor,
                    f"{record.machine.get('cores')} cores",
                    record.machine.get("gpu"),
                    record.precision,
                )
                if part
            ),
        )

    def _finished(self, place: Path) -> bool:
        try:
            return RunRecord.read(place).result is not None
        except ResnetsError:
            return False

    def _unusual(self) -> dict[str, str]:
        """What was asked for beside the study's own setting, quoted as a shell wants it."""
        from resnets.data.named import here

        usual = self.study.quick if self.quick else self.study.full
        asked: dict[str, object] = {
            "data": here(self.setting.data),
            "epochs": self.setting.epochs,
            "seeds": self.setting.seeds,
            "device": self.device,
        }
        own = {"data": usual.data, "epochs": usual.epochs, "seeds": usual.seeds, "device": "auto"}
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
        left = wanted - len(found.runs) - len(self.failed)
        goes_on = "; the same command goes on" if left else ""
        says, holds = f"Runs made so far: {len(found.runs)} of {wanted}{goes_on}.", None
        if found.told(self._first()):
            about, holds = self.study.says(found)
            says = f"{about} {says}" if left else about
        if self.failed:
            says += f" Trainings that failed, and are left out: {', '.join(self.failed)}."
        if len({run.machine for run in found.runs}) > 1:
            says += " The runs were made on different machines, so that their times do not compare."
        result = StudyResult(
            study=self.study.name, says=says, holds=holds, found=found, page=str(self.folder / PAGE), left=left
        )
        plots = list(self.study.draws(found)) if found.runs else []
        if plots:
            plot.draw(plots, self.study.title, *(self.folder / name for name in FIGURES))
        page.write(self.folder / PAGE, result, self.study, plots, quick=self.quick, asked=self._unusual())
        write_json(self.folder / STUDY, result.document())
        took = sum(run.seconds for run in found.runs)
        say(f"runs: {len(found.runs)}, {duration(took)} of training; wrote {printable(result.page)}")
        return result
