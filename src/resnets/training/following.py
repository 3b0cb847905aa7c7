"""The processes of a training that follow rank 0: they get its run as files, take part in its steps, and leave nothing.

python -m resnets.training.following      one of them, as the environment of torch.distributed says
"""

from __future__ import annotations

import logging
import os
from collections.abc import Callable
from pathlib import Path

from resnets.errors import ParameterError, ResnetsError
from resnets.machine import keep_memory
from resnets.progress import LOG
from resnets.training.fit import fit
from resnets.training.prepare import reopen
from resnets.training.prepared import Prepared
from resnets.training.wide import LostError, Wide
from resnets.training.wide import processes as in_processes
from resnets.weights.run import CHECKPOINT, HEAD, RECIPE, RECORD, TrainResult
from resnets.whole import workspace

FILES = (RECORD, RECIPE, CHECKPOINT, HEAD)


def together(processes: int, work: Callable[[], TrainResult]) -> TrainResult:
    """Do the work of rank 0, in so many processes, or take part in it; all of them return what came of it.

    Raises what the work raises, and ParameterError for a number of processes that cannot be.
    """
    with in_processes(processes) as wide:
        if wide is not None and not wide.leads:
            return follow(wide)
        result = work()
        return result if wide is None else wide.tell(result)


def restarted(out: str | Path | None) -> bool:
    """Whether torchrun has started this process again, and its run is there already.

    Raises ParameterError where torchrun may do so, and could not tell which run was its own.
    """
    if out is not None:
        return int(os.environ.get("TORCHELASTIC_RESTART_COUNT", "0")) > 0 and (Path(out) / RECORD).exists()
    if int(os.environ.get("TORCHELASTIC_MAX_RESTARTS", "0")) > 0:
        raise ParameterError("With restarts under torchrun, name the run's folder by `out`: it goes on by that name.")
    return False


def lead(wide: Wide, prepared: Prepared) -> None:
    """Rank 0, before its first step: hand the run out."""
    folder = prepared.folder
    if not (folder / CHECKPOINT).exists():
        prepared.reached().save(folder)
    there = [name for name in FILES if (folder / name).exists()]
    wide.tell({name: (folder / name).read_bytes() for name in there})


def follow(wide: Wide) -> TrainResult:
    """Any other: take part to the end; what came of it, rank 0 tells. Raises SystemExit where rank 0 is lost."""
    level = LOG.level
    LOG.setLevel(logging.CRITICAL)  # rank 0 says it all
    try:
        files = wide.tell()
        if isinstance(files, TrainResult):  # there was nothing left to do
            return files
        with workspace() as place:
            folder = Path(place) / "run"
            folder.mkdir()
            for name, content in files.items():
                (folder / name).write_bytes(content)
            fit(reopen(folder))
        result: TrainResult = wide.tell()
        return result
    except LostError as problem:  # rank 0 has said why, or was killed
        raise SystemExit(1) from problem
    finally:
        LOG.setLevel(level)


def _main() -> None:
    keep_memory()
    try:
        with in_processes(1) as wide:
            assert wide is not None
            follow(wide)
    except ResnetsError as problem:
        raise SystemExit(str(problem)) from problem


if __name__ == "__main__":
    _main()
