"""A training in several processes: each makes the gradients of a part of every batch, and all make the same steps.

The first process, rank 0, is a training like any other: it reads, judges, writes and speaks. The others follow it (see
`following`): they take part in the steps, and write and say nothing. Gradients and the loss are averaged by what each
process's images weigh, running statistics of norms by process, so that all have the same network, to the bit, after
every step. What decides about the steps (an end by Ctrl-C, fewer of them for the time that is left) is rank 0's, and
told before each step. Rank 0 starts the others itself, or torchrun has started all of them.
"""

from __future__ import annotations

import datetime
import os
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING, Any

import torch
import torch.distributed as dist
from torch import Tensor, nn

from resnets.errors import ParameterError, TrainingError
from resnets.machine import cores
from resnets.sharing import OFF
from resnets.training.memory import Memory

if TYPE_CHECKING:
    from resnets.training.schedule import Schedule

MOST = 64  # processes on one machine
PATIENCE = datetime.timedelta(days=7)  # that one waits for another: rank 0 may decode, or judge, for long


class Wide:
    """One of several processes that train together.

    rank    its number; 0 leads
    size    how many there are
    halted  whether rank 0 wants to halt behind the step that comes
    over    whether rank 0 makes no more steps
    """

    def __init__(self, rank: int, size: int) -> None:
        self.rank, self.size, self.halted, self.over = rank, size, False, False

    @property
    def leads(self) -> bool:
        """Whether this is rank 0."""
        return self.rank == 0

    def part(self) -> slice:
        """Which images of a batch are this process's."""
        return slice(self.rank, None, self.size)

    def average(self, network: nn.Module, loss: Tensor, weight: float, memory: Memory) -> tuple[Tensor, Memory]:
        """Give every process the gradients of the whole batch, and the norms' statistics.

        loss, weight    of this process's images: a mean, and by what it counts
        memory          what this process's step does to take less of it

        Returns the whole loss, and what all of them do from the next step on, so that a resume finds one choice: what
        the most cramped one does.
        """
        gradients = [one.grad for one in network.parameters() if one.grad is not None]
        norms = [one for one in network.modules() if isinstance(one, nn.BatchNorm2d) and one.training]
        statistics = [kept for norm in norms for kept in norm.buffers() if kept.is_floating_point()]
        scalars = torch.stack([loss.detach().float() * weight, loss.new_tensor(weight).float()])
        choices = torch.zeros(self.size, device=loss.device)
        choices[self.rank] = 2 * memory.accumulate + memory.recompute
        parts = [scalars, choices, *(one * weight for one in gradients), *statistics]
        flat = torch.cat([one.detach().reshape(-1).float() for one in parts])
        with _together():
            dist.all_reduce(flat)
        (loss_sum, total), choices, *sums = flat.split([one.numel() for one in parts])  # type: ignore[no-untyped-call]
        for number, (one, summed) in enumerate(zip([*gradients, *statistics], sums, strict=True)):
            by = total if number < len(gradients) else self.size
            one.copy_((summed / by).reshape(one.shape))
        codes = [round(code) for code in choices.tolist()]
        return loss_sum / total, Memory(
            recompute=any(code % 2 for code in codes), accumulate=max(code // 2 for code in codes)
        )

    def agree(self, schedule: Schedule, halts: Callable[[], bool], over: bool = False) -> None:
        """Before a step: what rank 0 has decided counts for all. over: rank 0 makes no more of them."""
        last = schedule.refitted[-1] if schedule.refitted else {"step": 0, "to": 0}
        said = 2 * over + (self.leads and halts())
        words = torch.tensor([said, len(schedule.refitted), last["step"], last["to"]])
        with _together():
            dist.broadcast(words, 0)
        said, count, step, to = words.tolist()
        self.halted, self.over = bool(said % 2), said >= 2
        if count > len(schedule.refitted):
            schedule.refit(step, to, "as rank 0 does")

    def tell(self, thing: Any = None) -> Any:
        """Rank 0's thing, for all: what it hands out, or waits with."""
        box = [thing]
        with _together():
            dist.broadcast_object_list(box, 0)
        return box[0]


class LostError(TrainingError):
    """Another process is gone."""


@contextmanager
def _together() -> Iterator[None]:
    try:
        yield
    except RuntimeError as problem:  # the connection to another one is gone
        raise LostError(
            f"A process of this training has ended before it{_last_words()}: `resume` goes on with the last checkpoint."
        ) from problem


_CURRENT: Wide | None = None


def current() -> Wide | None:
    """The group that this process trains in; None: it trains alone."""
    return _CURRENT


@contextmanager
def processes(count: int) -> Iterator[Wide | None]:
    """Train in so many processes, of which this is the first, or in those that torchrun has started.

    Raises ParameterError for a number that cannot be.
    """
    global _CURRENT
    if not 1 <= count <= MOST:
        raise ParameterError(f"`processes` is a whole number from 1 to {MOST}, not {count}.")
    outer = started()
    if _CURRENT is not None or (outer == 1 and count == 1):
        yield _CURRENT
        return
    if outer > 1 and count > 1:
        raise ParameterError("torchrun has started the processes: leave `processes` out.")
    with ExitStack() as ending:
        environment = dict(os.environ) if outer > 1 else _launched(count, ending)
        _CURRENT = _joined(environment, ending)
        try:
            yield _CURRENT
        finally:
            _CURRENT = None


def started() -> int:
    """How many processes torchrun has started; 1 where it has not: WORLD_SIZE alone is somebody else's."""
    theirs = [os.environ.get(name, "") for name in ("WORLD_SIZE", "RANK", "MASTER_ADDR", "MASTER_PORT")]
    return int(theirs[0]) if all(theirs) and theirs[0].isdecimal() else 1


def _joined(environment: Mapping[str, str], ending: ExitStack) -> Wide:
    rank, size = int(environment["RANK"]), int(environment["WORLD_SIZE"])
    device, local = torch.cuda.is_available(), int(environment.get("LOCAL_RANK", "0"))
    if device and local < torch.cuda.device_count():  # more processes than that train on the processor
        torch.cuda.set_device(local)
    kind = "cpu:gloo,cuda:nccl" if device else "gloo"
    store = _store(environment)
    store.set(f"here {rank}", "")
    _await(store, size)
    dist.init_process_group(kind, store=store, rank=rank, world_size=size, timeout=PATIENCE)
    ending.callback(dist.destroy_process_group)
    before = torch.get_num_threads()
    torch.set_num_threads(max(1, min(before, cores() // int(environment.get("LOCAL_WORLD_SIZE", size)))))
    ending.callback(torch.set_num_threads, before)
    fixed = os.environ.get(OFF)
    os.environ[OFF] = "fixed"  # the others are no strangers
    ending.callback(os.environ.pop, OFF) if fixed is None else ending.callback(os.environ.__setitem__, OFF, fixed)
    return Wide(rank, size)


def _store(environment: Mapping[str, str]) -> Any:  # torch exports its stores without saying so
    """Where the processes find each other. torchrun's own outlasts a restart, so that each start has keys of its own:
    else they would look for each other where those before them were."""
    theirs = bool(environment.get("TORCHELASTIC_USE_AGENT_STORE"))
    store = dist.TCPStore(  # type: ignore[attr-defined]
        environment["MASTER_ADDR"],
        int(environment["MASTER_PORT"]),
        int(environment["WORLD_SIZE"]),
        is_master=not theirs and environment["RANK"] == "0",
        wait_for_workers=False,
        timeout=PATIENCE,
    )
    start = f"start {environment.get('TORCHELASTIC_RESTART_COUNT', 0)}"
    return dist.PrefixStore(start, store)  # type: ignore[attr-defined]


def _await(store: Any, size: int) -> None:
    """Wait until all have found the store. Raises LostError where one that this process has started ended before."""
    while _STARTED and not store.check([f"here {rank}" for rank in range(size)]):
        if any(one.poll() is not None for one, _ in _STARTED):
            raise LostError(f"A process of this training could not begin{_last_words()}.")
        time.sleep(0.05)


_STARTED: list[tuple[subprocess.Popen[bytes], Any]] = []  # by this process, with what each says


def _launched(count: int, ending: ExitStack) -> dict[str, str]:
    """Start the others; the environment of this one. They end with it."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    about = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    about |= {"WORLD_SIZE": str(count), "LOCAL_WORLD_SIZE": str(count)}
    for rank in range(1, count):
        log = ending.enter_context(tempfile.TemporaryFile())  # noqa: SIM115  (the stack closes it)
        own = {**os.environ, **about, "RANK": str(rank), "LOCAL_RANK": str(rank)}
        command = [sys.executable, "-P", "-m", "resnets.training.following"]
        child = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, env=own, start_new_session=True
        )
        _STARTED.append((child, log))
        ending.callback(_STARTED.remove, (child, log))
        ending.callback(_over, child)
    return {**about, "RANK": "0", "LOCAL_RANK": "0"}


def _over(started: subprocess.Popen[bytes]) -> None:
    try:
        started.wait(0 if sys.exc_info()[0] else 60)
    except subprocess.TimeoutExpired:
        started.kill()
        started.wait()


def _last_words() -> str:
    """What one of those that were started has said at its end, in brackets."""
    for _, log in _STARTED:
        log.seek(0)
        if said := log.read().decode(errors="replace").strip():
            return f" ({said.rpartition(chr(10))[2]})"
    return ""
