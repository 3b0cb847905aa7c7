"""Whether a killed training goes on to the bit: tried with the user's own data, network and recipe.

Three trainings of the first steps, each in a process of its own: one that is left alone, one that is killed between two
steps (SIGKILL), and that one resumed. Every loss is compared, and at the end every number that a checkpoint has.

    python -m resnets.training.verify FILE      one of the three, as the file says
"""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from resnets.architecture import ResNetSpec
from resnets.errors import ParameterError, ResnetsError, TrainingError
from resnets.progress import track
from resnets.sharing import OFF
from resnets.training.observer import Observer, StepRecord, Training
from resnets.training.run import resume, train
from resnets.weights.formats.safetensors_file import hashed
from resnets.whole import workspace

FEW = 20  # steps that are compared; an epoch and a little more where that has no more than LONG of them
LONG = 60
BEHIND = 4  # steps behind the end of an epoch


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """What came of it.

    holds       whether losses and state are equal to the bit
    steps       that were compared, of how many `total` the training has
    killed_at   the step during which the process was killed
    resumed_at  the step at which it went on, by its last checkpoint
    differs_at  the first step whose loss differs; None: none does
    state       whether weights, optimiser, average and all else that a checkpoint has are equal
    """

    holds: bool
    steps: int
    total: int
    killed_at: int
    resumed_at: int
    differs_at: int | None
    state: bool

    def document(self) -> dict[str, Any]:
        """What a program reads, ready for JSON."""
        return asdict(self)

    def sentence(self) -> str:
        """The verdict in words."""
        about = f"killed at step {self.killed_at} of {self.steps}, resumed at step {self.resumed_at}"
        threads = "" if os.environ.get(OFF) == "fixed" else f" (with as many threads, which {OFF}=fixed keeps)"
        if self.holds:
            return f"resume is exact here: {about}; every loss, weight and optimiser value is equal to the bit{threads}"
        where = "the state" if self.differs_at is None else f"the loss of step {self.differs_at}"
        return f"resume is NOT exact here: {about}; {where} differs"


def verify_resume(**asked: Any) -> Verdict:
    """Kill, resume and compare the beginning of a training; nothing of it is kept.

    asked   what `resnets.train` takes, without `out`, `minutes` and `observers`

    Raises ParameterError for what cannot be verified, TrainingError where a training fails, and what `train` raises.
    """
    if asked.get("minutes") is not None:
        raise ParameterError("`minutes` makes a training of whatever fits: verify it with `epochs` instead.")
    asked = {name: value for name, value in asked.items() if name not in ("out", "minutes")}
    asked = {name: os.fspath(value) if isinstance(value, os.PathLike) else value for name, value in asked.items()}
    if isinstance(asked.get("model"), ResNetSpec):
        asked["model"] = {"spec": asked["model"].to_dict()}
    asked["overrides"] = [*(asked.get("overrides") or ()), "checkpoint_seconds=0"]  # after every step
    with workspace() as place, track("verifying", 3, "trainings") as advance:
        alone = _work(place, "alone", {"asked": asked, "out": str(place / "one")})
        advance(1)
        steps, total = alone["steps"], alone["total"]
        kill = random.randrange(2, steps)
        _work(place, "killed", {"asked": asked, "out": str(place / "two"), "to": steps, "kill": kill})
        advance(1)
        again = {"resume": str(place / "two"), "to": steps, "processes": asked.get("processes", 1)}
        resumed = _work(place, "resumed", again)
        advance(1)
    wrong = [step for step, loss in resumed["losses"].items() if alone["losses"][step] != loss]
    same = resumed["state"] == alone["state"]
    return Verdict(
        holds=same and not wrong,
        steps=steps,
        total=total,
        killed_at=kill,
        resumed_at=min(map(int, resumed["losses"])),
        differs_at=int(wrong[0]) if wrong else None,
        state=same,
    )


def _work(place: Path, name: str, order: Mapping[str, Any]) -> dict[str, Any]:
    """What one of the three trainings writes; nothing of the one that is killed."""
    ordered, written = place / f"{name}.json", place / f"{name}.result.json"
    ordered.write_text(json.dumps({**order, "result": str(written)}))
    command = [sys.executable, "-P", "-m", "resnets.training.verify", str(ordered)]
    fixed = {**os.environ, OFF: "fixed"}  # equal bits are promised for equal threads
    done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, env=fixed, check=False)
    found: dict[str, Any] = json.loads(written.read_text()) if written.exists() else {}
    if "error" in found:
        raise (TrainingError if found["status"] == TrainingError.exit_status else ResnetsError)(found["error"])
    if done.returncode != (-signal.SIGKILL if "kill" in order else 0):
        last = done.stderr.decode(errors="replace").strip().rpartition("\n")[2]
        raise TrainingError(f"The {name} training ended by itself: {last or done.returncode}.")
    return found


class _Watch(Observer):
    """Writes down every loss, and ends the process where it shall end."""

    def __init__(self, order: Mapping[str, Any]) -> None:
        self.order = order
        self.losses: dict[int, str] = {}
        self.to: int | None = order.get("to")

    def started(self, training: Training) -> None:
        """How far, unless that was said: an epoch and a little more, if that is not long."""
        if self.to is None:
            epoch = training.batches.steps
            self.to = min(training.total, epoch + BEHIND if epoch <= LONG else FEW)
            if self.to < 3:
                raise ParameterError(f"The training has {training.total} steps, too few to be killed between two.")

    def stepped(self, training: Training, step: StepRecord) -> None:
        """One step more."""
        if step.step == self.order.get("kill"):
            os.kill(os.getpid(), signal.SIGKILL)
        self.losses[step.step] = step.loss.hex()
        if step.step + 1 == self.to:
            table, tensors = training.state.contents()
            told = {key: value for key, value in table.items() if key not in ("seconds", "log", "identity")}
            state = f"{hashed(tensors)} {json.dumps(told, sort_keys=True, default=str)}"
            found = {"losses": self.losses, "steps": self.to, "total": training.total, "state": state}
            Path(self.order["result"]).write_text(json.dumps(found))
            os._exit(0)  # neither a checkpoint nor a model is of any use


def _main(path: str) -> None:
    order = json.loads(Path(path).read_text())
    try:
        watch = _Watch(order)
        if "resume" in order:
            resume(order["resume"], [watch], processes=order["processes"])
        else:
            asked = order["asked"]
            if isinstance(asked.get("model"), dict):
                asked["model"] = ResNetSpec.from_dict(asked["model"]["spec"])
            train(**asked, out=order["out"], observers=[watch])
        raise ParameterError("The head alone is trained here, in no step that could be interrupted.")
    except ResnetsError as problem:
        Path(order["result"]).write_text(json.dumps({"error": str(problem), "status": problem.exit_status}))


if __name__ == "__main__":
    _main(sys.argv[1])
