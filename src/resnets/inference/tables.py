"""Rows -> a table on disk, of which a kill at any moment costs nothing: the same command goes on.

Rows are appended to a journal beside the table (`F.parquet.partial`: JSON lines, the first of which says what the rows
come from). What a kill or a crash of the machine tore off is cut away when the journal is opened again, and done again;
so is a row whose file is not what it was. When all rows are there the journal is turned into the table in one stream.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple, Self

from resnets.errors import DataError
from resnets.inference.bulk import STDIN
from resnets.inference.prediction import Outcome
from resnets.inference.seen import Seen, same
from resnets.inference.table_files import WRITERS, is_table
from resnets.machine import needs
from resnets.whole import lock, whole

FORMAT = 3  # of a journal; another one is not continued
LONGEST = 2**24  # bytes of a journal's first line: what is no journal may have no lines at all
_BEGINNING = b'{"resnets table":'  # of every journal; one without rows may become another's
NAMED = 10  # failures that are kept to be named; the others are counted


def check(out: Path) -> None:
    """Raise DataError unless a table can be written at `out`, and ResnetsError where its package is missing."""
    if out.suffix.lower() not in WRITERS:
        raise DataError(f"{out} is no table that can be written: name a file that ends in {', '.join(WRITERS)}.")
    if not out.parent.is_dir():
        raise DataError(f"There is no folder {out.parent} to write {out.name} into: make it first.")
    if out.is_dir():
        raise DataError(f"{out} cannot be written (Is a directory): choose another place.")
    if out.suffix.lower() == ".parquet":
        needs("pyarrow.parquet", extra="parquet")
    if out.exists() and not is_table(out):
        raise DataError(f"{out} is there and is no table of predictions: name another file.")


def belongs(picture: str | bytes, out: Path) -> bool:
    """Whether a file found among the pictures is the table `out` itself, its journal, or what it is written to."""
    if isinstance(picture, bytes) or not os.path.basename(picture).startswith(out.name):
        return False
    places = (out, out.with_name(f"{out.name}.partial"))
    return any(place.exists() and os.path.exists(picture) and os.path.samefile(picture, place) for place in places)


class Dropped(NamedTuple):
    """How many rows of a journal do not hold any more: the picture is another, could not be read, is not asked for."""

    replaced: int = 0
    unread: int = 0
    gone: int = 0

    def __str__(self) -> str:
        done = [f"{self.replaced} whose file is another now"] * bool(self.replaced)
        done += [f"{self.unread} whose file could not be read"] * bool(self.unread)
        told = [f"done again: {' and '.join(done)}"] * bool(done)
        told += [f"left out: {self.gone} whose file is gone, or not asked for"] * bool(self.gone)
        return f"of the rows that were there, {', '.join(told)}" if told else ""


class Journal:
    """The rows of a table that is being made; a context that holds the journal against every other process.

    out        the table: .parquet, .csv or .jsonl
    ranks      how many classes each row names at most
    identity   what the rows come from, by names that an error can say ("model", "precision"); values that JSON can
               hold. Rows that come from something else are never mixed with these

    Every path has one row: a second one for it is ignored. Failures are among the rows, with no names and `why`.

    Raises DataError: another process is at work on the table, its journal was begun with something else, or it
    cannot be written.
    """

    def __init__(self, out: Path, ranks: int, identity: Mapping[str, Any]) -> None:
        self.out, self.ranks = out, ranks
        self.path = out.with_name(f"{out.name}.partial")
        self.failures = 0  # rows with `why`
        self.failed: list[Outcome] = []  # the first of them
        self._identity = {"resnets table": FORMAT, **identity}
        self._places: dict[bytes, int] = {}  # where the row of a path begins
        self._void: set[int] = set()  # where rows begin that do not count any more
        self._end = 0
        self._file: BinaryIO

    def __enter__(self) -> Self:
        with _explained(self.path):
            self._file = self._locked()
            try:
                self._go_on()
            except BaseException:
                self._file.close()
                raise
        return self

    def __exit__(self, *_: object) -> None:
        with suppress(OSError):  # of a row that could not be written, which `add` has told
            self._file.close()

    def __contains__(self, path: str) -> bool:
        return _key(path) in self._places

    def add(self, row: Outcome) -> None:
        """Append a row, unless there is one of its path."""
        if row.path in self:
            return
        line = _line([row.path, row.top, row.why, row.among, row.unlike, row.seen])
        with _explained(self.path):
            self._file.write(line)
            # What has reached the system survives this process. A crash of the machine can tear more off: it is cut
            # away like any other torn end.
            self._file.flush()
        self._count(row, len(line))

    def review(self, pictures: Sequence[str | bytes]) -> tuple[list[str | bytes], Dropped]:
        """What of `pictures` is still to be done, when the rows that do not hold any more are dropped.

        A row holds while its file has the content that it had. One of a file that could not be read is done again.
        """
        asked = {_key(path_of(picture)): isinstance(picture, bytes) for picture in pictures}
        replaced = unread = gone = 0
        self.failures, self.failed = 0, []
        for row, place in self._placed():
            key = _key(row.path)
            # What came through standard input is a part of the identity.
            if key in asked and (asked[key] or (row.seen is not None and same(row.path, row.seen))):
                self._note(row)
                continue
            self._void.add(place)
            del self._places[key]
            replaced += key in asked and row.seen is not None
            unread += key in asked and row.seen is None
            gone += key not in asked and row.seen is not None
        return [picture for picture in pictures if path_of(picture) not in self], Dropped(replaced, unread, gone)

    def rows(self) -> Iterator[Outcome]:
        """All rows that are there, in the order in which they came."""
        return (row for row, _ in self._placed())

    def finish(self) -> list[str]:
        """Turn the journal into the table, which replaces what stood there in one step, and remove the journal.

        Returns sentences about names that are not written as they are.
        """
        with whole(self.out) as file:
            said = WRITERS[self.out.suffix.lower()](file, self.rows(), self.ranks)
        with _explained(self.path):
            self.path.unlink()
        return said

    def _placed(self) -> Iterator[tuple[Outcome, int]]:
        """The rows that count, and where each begins."""
        with open(self.path, "rb") as file:
            place = len(next(file))
            for line in file:
                if place not in self._void and (row := _row(line)):
                    yield row, place
                place += len(line)

    def _locked(self) -> BinaryIO:
        """The journal, open at its beginning, and held."""
        while True:
            file = open(self.path, "a+b")  # noqa: SIM115  (it is what is returned)
            try:
                lock(file.fileno())
            except BlockingIOError as error:
                file.close()
                raise DataError(
                    f"Another process is writing {self.out}: wait for it, or name another `out`."
                ) from error
            # Between the opening and the locking another process may have finished the table and removed the journal.
            with suppress(FileNotFoundError):
                if os.path.samestat(os.stat(self.path), os.fstat(file.fileno())):
                    file.seek(0)
                    return file
            file.close()

    def _go_on(self) -> None:
        """Read what is there, cut off what is torn, and stand behind it."""
        header = _line(self._identity)
        first = self._file.readline(LONGEST)
        if not header.startswith(first) and (not first.startswith(_BEGINNING) or self._file.read(1)):
            raise DataError(self._foreign(first))
        begun = first == header
        self._end = len(header)
        for line in self._file if begun else ():
            row = _row(line)
            if row is None:
                break
            self._count(row, len(line))
        self._file.truncate(self._end if begun else 0)
        if not begun:
            self._file.write(header)
        self._file.flush()

    def _foreign(self, first: bytes) -> str:
        try:
            found = json.loads(first)
            others = [key for key, value in self._identity.items() if found.get(key) != value]
            if found["resnets table"] != FORMAT:
                return f"{self.path} was begun by another version of resnets: remove it to begin again."
        except (ValueError, AttributeError, KeyError, TypeError):
            return f"{self.path} is not the beginning of a table: remove it, or name another `out`."
        return (
            f"{self.path} was begun with another {' and another '.join(others)}: finish it with the same arguments, "
            "or remove it to begin again."
        )

    def _count(self, row: Outcome, length: int) -> None:
        """A row stands at the end: of two of one path the later one counts."""
        key = _key(row.path)
        if key in self._places:
            self._void.add(self._places[key])
        self._places[key] = self._end
        self._end += length
        self._note(row)

    def _note(self, row: Outcome) -> None:
        if row.why:
            self.failures += 1
            if len(self.failed) < NAMED:
                self.failed.append(row)


def path_of(picture: str | bytes) -> str:
    """The path that a picture goes by."""
    return STDIN if isinstance(picture, bytes) else picture


def _key(path: str) -> bytes:
    """16 bytes in place of a path, which may be long."""
    return hashlib.blake2b(path.encode("utf-8", "surrogatepass"), digest_size=16).digest()


def _line(value: Any) -> bytes:
    # ASCII, in which Python writes down, and reads back, names that are not UTF-8.
    return json.dumps(value, separators=(",", ":")).encode() + b"\n"


def _row(line: bytes) -> Outcome | None:
    """The row of a line; None for a torn or a damaged one."""
    try:
        path, top, why, among, unlike, found = json.loads(line)
        pairs = tuple((str(name), float(probability)) for name, probability in top)
        names = None if among is None else tuple(map(str, among))
        seen = None
        if found is not None:
            size, modified, changed, inode, settled, content = found
            seen = Seen(int(size), int(modified), int(changed), int(inode), settled is True, str(content))
    except (ValueError, TypeError):
        return None
    good = line.endswith(b"\n") and isinstance(path, str) and isinstance(why, str) and isinstance(unlike, bool | None)
    return Outcome(path, pairs, why, names, unlike, seen) if good else None


@contextmanager
def _explained(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as problem:
        why = problem.strerror or str(problem)
        raise DataError(f"{path} cannot be written ({why}): choose another place or make room.") from problem
