"""Damages a good file in many ways and demands that its reader always answers: with its tensors, or its own error.

Each input is made from (seed, number) alone, so a finding can be made again. Inputs are read in forked workers
with one more GB of address space than they started with and two seconds of processor time for each. What is not
an answer (a crash, another exception, no memory, no end) fails, and the input's bytes are kept for a replay.
"""

from __future__ import annotations

import faulthandler
import io
import os
import random
import resource
import shutil
import signal
import struct
import tempfile
import traceback
import warnings
import zipfile
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from mmap import mmap
from pathlib import Path

import torch

from resnets.errors import ModelFileError
from resnets.weights.formats.stored import Foreign

SECONDS = 2.0  # of processor time for one input, so that a busy machine alone finds nothing
PATIENCE = 60  # seconds by the clock for one input, for a reader that waits instead of working
MEMORY = 2**30
CHUNK = 500  # inputs of one worker, so that a library's small leaks do not add up
WORKERS = 2
MOST_FINDINGS = 20

Mutate = Callable[[bytes], bytes]
Inside = Callable[[bytes, Mutate, random.Random], bytes]
Read = Callable[[Path], object]

_EXTREME = (0, 1, -1, 2**7, 2**8 - 1, 2**15, 2**16 - 1, 2**31 - 1, 2**31, 2**32 - 1, 2**40, 2**62, 2**63 - 1, -(2**63))


@dataclass
class Outcome:
    """How many inputs opened and were read, how many were refused, and what went wrong with which number."""

    opened: int = 0
    refused: int = 0
    findings: dict[int, str] = field(default_factory=dict)


@dataclass(frozen=True)
class _Job:
    """files: suffix -> content; a worker writes "input" + suffix for each and opens "input" + `opens`."""

    read: Read
    files: Mapping[str, bytes]
    opens: str
    seed: int
    inside: Inside | None

    def put(self, number: int, folder: Path) -> Path:
        """Write input `number` into a folder (files are replaced, because old ones may still be mapped)."""
        rng = random.Random(f"{self.seed}/{number}")
        chosen = rng.choice(sorted(self.files))
        for suffix, content in self.files.items():
            if suffix == chosen and self.inside is not None and rng.random() < 0.5:
                content = self.inside(content, lambda part: mutated(part, rng), rng)
            elif suffix == chosen:
                content = mutated(content, rng)
            path = folder / f"input{suffix}"
            path.unlink(missing_ok=True)
            path.write_bytes(content)
        return folder / f"input{self.opens}"


def fuzz(
    open_and_read_all: Read,
    original: bytes | Mapping[str, bytes],
    suffix: str,
    count: int,
    seed: int,
    *,
    keep: Path,
    inside: Inside | None = None,
) -> Outcome:
    """Give `count` damaged copies of `original` to a reader. Raises AssertionError with the findings, if any.

    original    a good file of a few kB; or, for a format of several files, suffix -> content of each, of which one
                is damaged at a time
    suffix      of the file to open (".pth"; may be "" for a prefix such as TensorFlow's)
    keep        folder for the inputs that went wrong; `open_and_read_all` on one of them shows it again
    inside      (content, mutate, random) -> content: damages a part of the file and makes its checksums right
                again; used for every other input. `rezipped` does so for what is a zip
    """
    files = {suffix: original} if isinstance(original, bytes) else original
    job = _Job(open_and_read_all, files, suffix, seed, inside)
    outcome = Outcome()
    with tempfile.TemporaryDirectory() as folder:
        left = [range(start, min(start + CHUNK, count)) for start in range(0, count, CHUNK)]
        running: list[_Worker] = []
        while (left or running) and len(outcome.findings) < MOST_FINDINGS:
            while left and len(running) < WORKERS:
                running.append(_Worker(job, left.pop(), Path(folder)))
            if rest := running.pop(0).harvest(outcome):
                left.append(rest)
        for worker in running:
            worker.harvest(outcome)
    assert not outcome.findings, _report(job, outcome, keep, count)
    return outcome


def read_all(reader: Callable[[Path], Foreign]) -> Read:
    """What a conversion does with a reader, and more: open, then read every tensor and compare it with its promise."""

    def read(path: Path) -> None:
        for name, stored in reader(path).tensors.items():
            tensor = stored.read()
            assert (tuple(tensor.shape), tensor.dtype) == (stored.shape, stored.dtype), name
            assert tensor.is_contiguous(), name

    return read


def mutated(data: bytes, rng: random.Random) -> bytes:
    """`data` with one to four damages of the kinds that files meet, and of those that attackers choose."""
    for _ in range(rng.choice((1, 1, 1, 2, 3, 4))):
        data = rng.choice(_DAMAGES)(bytearray(data), rng)
    return data


def rezipped(data: bytes, mutate: Mutate, rng: random.Random) -> bytes:
    """A zip with one damaged member; sizes and checksums of the archive agree with the damage."""
    out = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(data)) as old, zipfile.ZipFile(out, "w") as new:
        chosen = rng.choice(old.namelist())
        for entry in old.infolist():
            content = old.read(entry)
            new.writestr(entry, mutate(content) if entry.filename == chosen else content)
    return out.getvalue()


def _spot(data: bytearray, rng: random.Random) -> int:
    """A place in the data; half of them near the ends, where headers and directories are."""
    near = min(len(data), 400)
    return rng.choice(
        (rng.randrange(near + 1), len(data) - rng.randrange(near + 1), rng.randrange(len(data) + 1))
        if rng.random() < 0.75
        else (rng.randrange(len(data) + 1),)
    )


def _piece(data: bytearray, rng: random.Random) -> slice:
    start = _spot(data, rng)
    return slice(start, start + int(rng.choice((4, 16, 64, 512, len(data) + 1)) ** rng.random()))


def _flip(data: bytearray, rng: random.Random) -> bytes:
    for _ in range(rng.choice((1, 1, 2, 8))):
        if data:
            data[_spot(data, rng) % len(data)] ^= 1 << rng.randrange(8)
    return bytes(data)


def _bytes(data: bytearray, rng: random.Random) -> bytes:
    for _ in range(rng.choice((1, 1, 2, 8))):
        if data:
            data[_spot(data, rng) % len(data)] = rng.randrange(256)
    return bytes(data)


def _truncate(data: bytearray, rng: random.Random) -> bytes:
    return bytes(data[: _spot(data, rng)])


def _insert(data: bytearray, rng: random.Random) -> bytes:
    spot = _spot(data, rng)
    data[spot:spot] = rng.randbytes(int(4096 ** rng.random()))
    return bytes(data)


def _delete(data: bytearray, rng: random.Random) -> bytes:
    del data[_piece(data, rng)]
    return bytes(data)


def _swap(data: bytearray, rng: random.Random) -> bytes:
    one, two = sorted((_piece(data, rng), _piece(data, rng)), key=lambda piece: piece.start)
    if one.stop <= two.start:
        data[one], data[two] = data[two], data[one]
    return bytes(data)


def _duplicate(data: bytearray, rng: random.Random) -> bytes:
    piece, spot = data[_piece(data, rng)], _spot(data, rng)
    data[spot:spot] = piece * rng.choice((1, 1, 2, 10, 200)) if len(piece) < 2000 else piece
    return bytes(data)


def _overwrite(data: bytearray, rng: random.Random) -> bytes:
    piece, spot = data[_piece(data, rng)], _spot(data, rng)
    data[spot : spot + len(piece)] = piece
    return bytes(data)


def _extreme(data: bytearray, rng: random.Random) -> bytes:
    for _ in range(rng.choice((1, 1, 2))):
        width = rng.choice((1, 2, 4, 8))
        number = (rng.choice(_EXTREME) & (1 << 8 * width) - 1).to_bytes(width, rng.choice(("little", "little", "big")))
        spot = _spot(data, rng)
        data[spot : spot + width] = number
    return bytes(data)


def _digits(data: bytearray, rng: random.Random) -> bytes:
    """Numbers in text (JSON, shapes in a directory): another number in place of one digit."""
    spots = [spot for spot in range(_spot(data, rng), len(data)) if data[spot] in b"0123456789"][:200]
    if spots:
        spot = rng.choice(spots)
        data[spot : spot + 1] = str(rng.choice((rng.randrange(10), *_EXTREME))).encode()
    return bytes(data)


_DAMAGES: tuple[Callable[[bytearray, random.Random], bytes], ...] = (
    *(_flip, _bytes, _extreme, _flip, _bytes, _extreme),
    *(_truncate, _insert, _delete, _swap, _duplicate, _overwrite, _digits),
)


class _Worker:
    """One forked process that reads a range of inputs. What it shares with its parent: three numbers and a log."""

    def __init__(self, job: _Job, numbers: range, folder: Path) -> None:
        self.numbers = numbers
        self.shared = mmap(-1, 24)  # the number at work, opened, refused
        self.log = tempfile.TemporaryFile(dir=folder)  # noqa: SIM115 (closed by `harvest`)
        self.folder = Path(tempfile.mkdtemp(dir=folder))
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # newer Pythons warn of threads; the child needs none
            self.pid = os.fork()
        if self.pid == 0:
            try:
                self._run(job)
                os._exit(0)
            except BaseException:
                self._say(traceback.format_exc())
            os._exit(1)

    def harvest(self, outcome: Outcome) -> range:
        """Wait for the end, add what was found, and return the inputs that are still to be read."""
        _, status = os.waitpid(self.pid, 0)
        number, opened, refused = struct.unpack("3q", self.shared)
        outcome.opened += opened
        outcome.refused += refused
        shutil.rmtree(self.folder)
        with self.log:
            self.log.seek(0)
            said = self.log.read().decode(errors="replace")
        if status == 0:
            return range(0)
        why = {signal.SIGPROF: f"took more than {SECONDS:g} s", signal.SIGALRM: f"took more than {PATIENCE} s"}
        ended = os.waitstatus_to_exitcode(status)
        outcome.findings[number] = f"{why.get(-ended, f'signal {-ended}') if ended < 0 else 'raised'}\n{said}"
        return range(number + 1, self.numbers.stop)

    def _run(self, job: _Job) -> None:
        torch.set_num_threads(1)  # the parent's other threads are not here
        pages = int(Path("/proc/self/statm").read_text().split()[0])
        resource.setrlimit(resource.RLIMIT_AS, (pages * resource.getpagesize() + MEMORY, resource.RLIM_INFINITY))
        signal.signal(signal.SIGALRM, signal.SIG_DFL)
        faulthandler.enable(self.log, all_threads=False)
        faulthandler.register(signal.SIGPROF, self.log, all_threads=False, chain=True)
        opened = refused = 0
        for number in self.numbers:
            self.shared[:] = struct.pack("3q", number, opened, refused)
            path = job.put(number, self.folder)
            signal.alarm(PATIENCE)
            signal.setitimer(signal.ITIMER_PROF, SECONDS)
            try:
                job.read(path)
                opened += 1
            except ModelFileError as refusal:
                refused += 1
                message = str(refusal)
                assert str(path) in message, f"the message does not name the file: {message!r}"
                assert message.isprintable(), f"a message is one line that a terminal can show: {message!r}"
                assert len(message) < len(str(path)) + 1000, f"a message is one sentence: {message!r}"
            finally:
                signal.setitimer(signal.ITIMER_PROF, 0)
        self.shared[:] = struct.pack("3q", self.numbers.stop, opened, refused)

    def _say(self, text: str) -> None:
        self.log.write(text[-8000:].encode(errors="replace"))
        self.log.flush()


def _report(job: _Job, outcome: Outcome, keep: Path, count: int) -> str:
    def lines() -> Iterator[str]:
        yield f"{len(outcome.findings)} findings in at most {count} inputs"
        for number, why in sorted(outcome.findings.items()):
            folder = keep / f"seed{job.seed}-{number}"
            folder.mkdir(parents=True, exist_ok=True)
            yield f"\n{job.put(number, folder)}: {why}"

    return "\n".join(lines())
