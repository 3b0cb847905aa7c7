"""Rows -> a table on disk, of which a kill at any moment costs nothing: the same command goes on.

Rows are appended to a journal beside the table (`F.parquet.partial`: JSON lines, the first of which says what the rows
come from). What a kill or a crash of the machine tore off is cut away when the journal is opened again, and done again.
When all rows are there the journal is turned into the table in one stream, and vanishes.
"""

from __future__ import annotations

import csv
import hashlib
import io
import json
import os
import sys
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from itertools import chain, islice
from pathlib import Path
from typing import Any, BinaryIO, Self

from resnets.errors import DataError
from resnets.inference.prediction import Outcome
from resnets.machine import needs
from resnets.whole import whole

FORMAT = 2  # of a journal; another one is not continued
GROUP = 2_000  # rows of a parquet file that are compressed together, and in memory at once
LONGEST = 2**24  # bytes of a journal's first line: what is no journal may have no lines at all
_BEGINNING = b'{"resnets table":'  # of every journal; one without rows may become another's
NAMED = 10  # failures that are kept to be named; the others are counted


def check(out: Path) -> None:
    """Raise DataError unless a table can be written at `out`, and ResnetsError where its package is missing."""
    if out.suffix.lower() not in _WRITERS:
        raise DataError(f"{out} is no table that can be written: name a file that ends in {', '.join(_WRITERS)}.")
    if not out.parent.is_dir():
        raise DataError(f"There is no folder {out.parent} to write {out.name} into: make it first.")
    if out.is_dir():
        raise DataError(f"{out} cannot be written (Is a directory): choose another place.")
    if out.suffix.lower() == ".parquet":
        needs("pyarrow.parquet", extra="parquet")


def belongs(picture: str | bytes, out: Path) -> bool:
    """Whether a file found among the pictures is the table `out` itself, its journal, or what it is written to."""
    if isinstance(picture, bytes) or not os.path.basename(picture).startswith(out.name):
        return False
    places = (out, out.with_name(f"{out.name}.partial"))
    return any(place.exists() and os.path.exists(picture) and os.path.samefile(picture, place) for place in places)


def digest(content: bytes) -> str:
    """32 hexadecimal digits of it, for a journal's identity."""
    return hashlib.blake2b(content, digest_size=16).hexdigest()


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
        self._seen: set[bytes] = set()
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
        return _key(path) in self._seen

    def add(self, row: Outcome) -> None:
        """Append a row, unless there is one of its path."""
        if row.path in self:
            return
        with _explained(self.path):
            self._file.write(_line([row.path, row.top, row.why, row.among, row.unlike]))
            # What has reached the system survives this process. A crash of the machine can tear more off: it is cut
            # away like any other torn end.
            self._file.flush()
        self._count(row)

    def rows(self) -> Iterator[Outcome]:
        """All rows that are there, in the order in which they came."""
        with open(self.path, "rb") as file:
            next(file)
            for line in file:
                if row := _row(line):
                    yield row

    def finish(self) -> None:
        """Turn the journal into the table, which replaces what stood there in one step, and remove the journal."""
        with whole(self.out) as file:
            _WRITERS[self.out.suffix.lower()](file, self.rows(), self.ranks)
        with _explained(self.path):
            self.path.unlink()

    def _locked(self) -> BinaryIO:
        """The journal, open at its beginning, and held."""
        while True:
            file = open(self.path, "a+b")  # noqa: SIM115
            if sys.platform != "win32":  # there, two processes at one table are on their own
                import fcntl

                try:
                    fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
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
        good = len(first) if first == header else 0
        for line in self._file if good else ():
            row = _row(line)
            if row is None:
                break
            self._count(row)
            good += len(line)
        self._file.truncate(good)
        if not good:
            self._file.write(header)
        self._file.flush()

    def _foreign(self, first: bytes) -> str:
        try:
            found = json.loads(first)
            others = [key for key, value in self._identity.items() if found.get(key) != value]
        except (ValueError, AttributeError):
            return f"{self.path} is not the beginning of a table: remove it, or name another `out`."
        return (
            f"{self.path} was begun with another {' and another '.join(others)}: finish it with the same arguments, "
            "or remove it to begin again."
        )

    def _count(self, row: Outcome) -> None:
        self._seen.add(_key(row.path))
        if row.why:
            self.failures += 1
            if len(self.failed) < NAMED:
                self.failed.append(row)


def _key(path: str) -> bytes:
    """16 bytes in place of a path, which may be long."""
    return hashlib.blake2b(os.fsencode(path), digest_size=16).digest()


def _line(value: Any) -> bytes:
    # ASCII, in which Python writes down, and reads back, names that are not UTF-8.
    return json.dumps(value, separators=(",", ":")).encode() + b"\n"


def _row(line: bytes) -> Outcome | None:
    """The row of a line; None for a torn or a damaged one."""
    try:
        path, top, why, among, unlike = json.loads(line)
        pairs = tuple((str(name), float(probability)) for name, probability in top)
        names = None if among is None else tuple(map(str, among))
    except (ValueError, TypeError):
        return None
    good = line.endswith(b"\n") and isinstance(path, str) and isinstance(why, str) and isinstance(unlike, bool | None)
    return Outcome(path, pairs, why, names, unlike) if good else None


@contextmanager
def _explained(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as problem:
        why = problem.strerror or str(problem)
        raise DataError(f"{path} cannot be written ({why}): choose another place or make room.") from problem


def _columns(ranks: int) -> list[str]:
    named = (f"{what}_{rank + 1}" for rank in range(ranks) for what in ("name", "probability"))
    return ["path", *named, "unsure", "unlike", "why"]


def _values(row: Outcome, ranks: int) -> list[Any]:
    """A row as the columns want it, with None for what there is not."""
    named = [None if value != value else value for value in chain.from_iterable(row.top)]  # JSON has no NaN
    return [row.path, *named, *[None] * (2 * ranks - len(named)), row.unsure, row.unlike, row.why or None]


def _write_csv(file: BinaryIO, rows: Iterable[Outcome], ranks: int) -> None:
    # Paths are bytes to the system; those that are not UTF-8 are written back as they were.
    text = io.TextIOWrapper(file, encoding="utf-8", errors="surrogateescape", newline="", write_through=True)
    writer = csv.writer(text)
    writer.writerow(_columns(ranks))
    writer.writerows(_values(row, ranks) for row in rows)
    text.detach()


def _write_json_lines(file: BinaryIO, rows: Iterable[Outcome], ranks: int) -> None:
    # In paths that are not UTF-8 the odd bytes are the escapes \udc80 to \udcff, as Python reads them.
    columns = _columns(ranks)
    file.writelines(_line(dict(zip(columns, _values(row, ranks), strict=True))) for row in rows)


def _write_parquet(file: BinaryIO, rows: Iterable[Outcome], ranks: int) -> None:
    pa, pq = needs("pyarrow", extra="parquet"), needs("pyarrow.parquet", extra="parquet")
    columns = _columns(ranks)
    kinds = [pa.float64() if column.startswith("probability") else pa.string() for column in columns]
    kinds[-3:-1] = [pa.bool_(), pa.bool_()]  # unsure, unlike
    schema = pa.schema(list(zip(columns, kinds, strict=True)))
    with pq.ParquetWriter(file, schema, compression="zstd") as writer:
        rows = iter(rows)
        while group := [_values(row, ranks) for row in islice(rows, GROUP)]:
            values = ([_valid(value) for value in column] for column in zip(*group, strict=True))
            writer.write_table(pa.table(dict(zip(columns, values, strict=True)), schema=schema))


def _valid(value: Any) -> Any:
    r"""Parquet's strings are UTF-8 throughout: other bytes of a path become \x80 to \xff, for people to read."""
    if isinstance(value, str):
        return value.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")
    return value


_WRITERS = {".parquet": _write_parquet, ".csv": _write_csv, ".jsonl": _write_json_lines}
