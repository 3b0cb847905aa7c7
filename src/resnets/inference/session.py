"""A network at work for many: which engine, in which precision, on how many threads, and one batch after the other.

An engine is asked by one thread at a time; a `Session` lets any number of threads share it. `open_session` chooses the
engine. What int8 needs beside it, a calibration that has passed on labelled images, `acceptance.gate` hands in.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from threading import Lock

import torch
from torch import Tensor

from resnets.errors import ParameterError, ResnetsError
from resnets.inference import choice, engines
from resnets.inference.engine import Engine
from resnets.inference.quantize import Quantisation
from resnets.progress import say
from resnets.sharing import Sharing
from resnets.weights import Model

TORCH = ("torch", "compiled")  # the engines that work with torch's threads
_TORCH_THREADS = Lock()  # torch's number of threads belongs to the process: who wants another one has it alone


class Session:
    """An engine that any number of threads may share; batches are executed one after the other.

    engine    what executes them; from now on nobody else may call it
    threads   how many torch works with meanwhile, if the engine is one of torch's. Default: as many as the process has
              it use. After each batch the process is as it was

    session(x) is what engine(x) is: see `inference.engine`. A session is an engine itself.
    """

    def __init__(self, engine: Engine, threads: int | None = None) -> None:
        if threads is not None and threads < 1:
            raise ParameterError(f"threads is at least 1, not {threads}.")
        self.engine, self.threads = engine, threads
        self._turn = Lock()
        self._sharing = Sharing(torch.get_num_threads()) if threads is None and engine.name in TORCH else None

    @property
    def name(self) -> str:
        """The engine's."""
        return self.engine.name

    @property
    def precision(self) -> str:
        """The engine's."""
        return self.engine.precision

    @property
    def quantisation(self) -> Quantisation | None:
        """The engine's: what int8 computes with."""
        return self.engine.quantisation

    def __repr__(self) -> str:
        return f"Session({self.name}, {self.precision})"

    def __call__(self, x: Tensor) -> Tensor:
        """The logits of one batch, (N, classes) float32 on the processor."""
        with self._turn, torch_threads(self._now()):
            return self.engine(x)

    def _now(self) -> int | None:
        """How many threads this batch gets: fewer than torch has where others need the cores; None: all of them."""
        if self._sharing is None:
            return self.threads
        count = self._sharing.look()
        return count if count < min(self._sharing.most, torch.get_num_threads()) else None


def open_session(
    model: Model,
    engine: str = "torch",
    precision: str = "float32",
    *,
    batch: int = 8,
    threads: int | None = None,
    quantisations: Mapping[str, Quantisation] | None = None,
) -> Session:
    """Make the engine that was asked for.

    engine          a name of `inference.engines`, or "auto": the fastest here, of those that compute the right thing
    precision       "float32", "bfloat16" or "int8"
    batch           how many images usually come at once; any other number works too
    threads         how many the engine works with. Default: torch as the process has it, others one for each core
    quantisations   for int8: engine -> what it may compute with; "auto" chooses among these

    Raises ResnetsError for an engine or precision that is not there, and for int8 without quantisations.
    """
    for what, value in (("threads", threads), ("batch_size", batch)):
        if value is not None and value < 1:
            raise ParameterError(f"{what} is at least 1, not {value}.")
    engines.check("torch" if engine == "auto" else engine, precision)
    network, size, allowed = model.network, model.preprocessing.image_size, dict(quantisations or {})
    if precision == "int8" and not allowed.keys() & ({engine} if engine != "auto" else allowed.keys()):
        raise ResnetsError("int8 needs a quantisation that was judged on images: see resnets.acceptance.gate.")

    def make(name: str, *_: object, **__: object) -> Engine:
        more = {"image_size": size, "batch": batch, "quantisation": allowed.get(name), "threads": threads}
        return engines.make(name, network, precision, **more)  # type: ignore[arg-type]

    candidates = list(allowed) if precision == "int8" else None
    if engine == "auto" and candidates and len(candidates) == 1:
        (engine,) = candidates
    if engine == "auto":
        kept = threads is None  # with another number of them, what was measured holds for this question alone
        about = [model.digest, *(f"{name} {allowed[name].to_dict()}" for name in sorted(allowed))]
        with torch_threads(threads):
            engine, _ = choice.fastest(
                *(network, precision),
                image_size=size,
                batch=batch,
                model_digest=hashlib.sha256("\n".join(about).encode()).hexdigest() if kept else None,
                candidates=candidates,
                make=make,
            )
    return Session(make(engine), threads)


@contextmanager
def torch_shared() -> Iterator[Callable[[], None]]:
    """Gives what is to be called between two pieces of work: it lets torch leave cores to others, and take them back.

    Afterwards torch works with as many threads as before.
    """
    before = torch.get_num_threads()
    sharing, told = Sharing(before), False

    def look() -> None:
        nonlocal told
        if (count := sharing.look()) != torch.get_num_threads():
            torch.set_num_threads(count)
            if count < before and not told:
                told = True
                threads = f"{count} thread{'' if count == 1 else 's'}"
                say(f"other processes use this machine's cores: {threads} instead of {before} while they do")

    try:
        yield look
    finally:
        torch.set_num_threads(before)


@contextmanager
def torch_threads(count: int | None) -> Iterator[None]:
    """Let torch work with `count` threads, and with as many as before afterwards. None: leave it as it is."""
    if count is None:
        yield
        return
    with _TORCH_THREADS:
        before = torch.get_num_threads()
        torch.set_num_threads(count)
        try:
            yield
        finally:
            torch.set_num_threads(before)
