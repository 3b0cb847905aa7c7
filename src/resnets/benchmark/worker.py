"""The process in which one side of a benchmark works: a job and orders come in as JSON lines, answers go out.

Each side has a process of its own because an allocator is set for a whole process, and ours is part of what we offer.

    {"set_up": 8}                    -> {"seconds": 1.2}
    {"run": 8, "seconds": 0.5}       -> {"times": [...]}, seconds of one call
    anything that goes wrong         -> {"why": "..."}
"""

from __future__ import annotations

import json
import os
import sys
import time
from typing import Any

from resnets.benchmark import ours, peers, plain
from resnets.benchmark.job import Job, Maker, Work


def main() -> None:
    """Work until standard input ends."""
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # what libraries print must not stand between the answers
    maker: Maker | None = None
    works: dict[int, Work] = {}
    making = 0.0  # what some sides do before they know how many images come: export, conversion, quantisation
    for line in sys.stdin:
        order = json.loads(line)
        try:
            if maker is None:
                began = time.perf_counter()
                maker = _maker(Job(**{**order, "files": tuple(order["files"])}))
                making = time.perf_counter() - began
                answer: dict[str, Any] = {"ready": True}
            elif "set_up" in order:
                began = time.perf_counter()
                works[order["set_up"]] = maker(order["set_up"])
                works[order["set_up"]]()
                answer = {"seconds": making + time.perf_counter() - began}
            else:
                answer = {"times": _times(works[order["run"]], order["seconds"])}
        except ImportError as problem:
            answer = {"why": f"the package {problem.name} is not installed"}
        except Exception as problem:  # whatever a foreign library raises is one line for the parent
            answer = {"why": (str(problem) or type(problem).__name__).strip().splitlines()[0]}
        print(json.dumps(answer), file=answers, flush=True)


def _maker(job: Job) -> Maker:
    if job.who in peers.PRECISIONS:
        return peers.maker(job)
    return plain.maker(job) if job.who == plain.WHO else ours.maker(job)


def _times(work: Work, seconds: float) -> list[float]:
    """One call, after one that does not count, because another side's work lies in the caches; unless it is long."""
    first = _timed(work)
    return [first] if first >= seconds else [_timed(work)]


def _timed(work: Work) -> float:
    began = time.perf_counter()
    work()
    return time.perf_counter() - began


if __name__ == "__main__":
    main()
