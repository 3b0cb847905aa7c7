"""Rows of tables with labels: .csv, .tsv, .jsonl and .parquet, a block at a time, so that no table is in memory whole.

What a table says is not trusted: a line has a limit, nothing in it is executed, and what is no table is one sentence.
"""

from __future__ import annotations

import csv
import io
import json
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import chain, islice
from typing import Any, BinaryIO

from resnets.data.bounds import RATIO, ROOM
from resnets.errors import DataError
from resnets.machine import needs
from resnets.text import printable

BLOCK = 10_000  # rows in memory at once
MEMORY = 2**26  # bytes of the cells of a block of a parquet, at the most, as far as they can be that large
MOST_LINE = 2**20  # characters of a line
MOST_COLUMNS = 10_000
DELIMITERS = ",;\t|"
JSON_LINES = (".jsonl", ".ndjson")
TABLES = (".csv", ".tsv", *JSON_LINES, ".parquet")
WORKBOOKS = (".xlsx", ".xlsm", ".xls", ".ods")
TORN: Any = object()  # each cell of a row with more of them than there are columns: which is which cannot be told

Cells = tuple[Any, ...]
Opener = Callable[[], BinaryIO]


@dataclass(frozen=True)
class Table:
    """A table that can be read more than once.

    shown       how the user called it, fit for a message
    names       of its columns
    kinds       of a parquet's columns: "bytes", "struct" (of bytes and path), or "text" for all else
    words       of a parquet's columns of whole numbers, where Hugging Face's library wrote what they mean
    rows        how many a parquet has; 0: nobody has counted
    blocks      rows of some columns, in blocks: the number of the first (1: the first behind the names), and the rows,
                of which a cell is None where it is empty or not there, and `TORN`. Raises DataError
    """

    shown: str
    names: tuple[str, ...]
    blocks: Callable[[Sequence[str]], Iterator[tuple[int, list[Cells]]]]
    kinds: Mapping[str, str] = field(default_factory=dict)
    words: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    rows: int = 0


def is_table(key: str) -> bool:
    """Whether a file's name ends like a table's."""
    return key.lower().endswith(TABLES)


def is_workbook(key: str) -> bool:
    """Whether a file's name ends like that of a spreadsheet's own file, which is not read."""
    return key.lower().endswith(WORKBOOKS)


def open_table(shown: str, key: str, opener: Opener) -> Table:
    """A table by the ending of its name. Raises DataError, OSError where it cannot be opened."""
    if is_workbook(key):
        raise DataError(f"{shown} is a workbook of a spreadsheet: save its table beside it as CSV UTF-8.")
    ending = key.lower().rpartition(".")[2]
    if ending == "parquet":
        return _parquet(shown, opener)
    return _json_lines(shown, opener) if f".{ending}" in JSON_LINES else _csv(shown, opener)


# Text --------------------------------------------------------------------------------------------------------


@contextmanager
def _lines(shown: str, opener: Opener) -> Iterator[Iterator[str]]:
    """The lines of a text in UTF-8, with their ends."""

    def read(text: io.TextIOWrapper) -> Iterator[str]:
        for number in range(1, 2**62):
            line = text.readline(MOST_LINE + 1)
            if not line:
                return
            if len(line) > MOST_LINE:
                raise DataError(f"{shown} is no table: line {number:,} has more than {MOST_LINE:,} characters.")
            if "\0" in line:
                raise DataError(f"{shown} is no table of text: line {number:,} holds a zero byte; save it as UTF-8.")
            yield line

    with io.TextIOWrapper(opener(), encoding="utf-8-sig", newline="") as text:
        try:
            yield read(text)
        except UnicodeDecodeError as problem:
            raise DataError(f"{shown} is not in UTF-8: save it as such (in Excel: CSV UTF-8).") from problem
        except csv.Error as problem:
            raise DataError(f"{shown} is no table: {problem}.") from problem


def _csv(shown: str, opener: Opener) -> Table:
    with _lines(shown, opener) as lines:
        first, told = _head(lines)
        delimiter = told or max(DELIMITERS, key=first.count)
        names = tuple(name.strip() for name in next(csv.reader(chain([first], lines), delimiter=delimiter), []))
    _check(shown, names)

    def blocks(columns: Sequence[str]) -> Iterator[tuple[int, list[Cells]]]:
        places = [names.index(name) for name in columns]

        def taken(row: list[str]) -> Cells:
            if any(cell.strip() for cell in row[len(names) :]):
                return (TORN,) * len(places)
            return tuple(_cell(row[at]) if at < len(row) else None for at in places)

        with _lines(shown, opener) as lines:
            head, _ = _head(lines)
            text = csv.reader(chain([head], lines), delimiter=delimiter)
            rows = (row for row in text if any(cell.strip() for cell in row))
            next(rows, None)
            yield from _numbered(taken(row) for row in rows)

    return Table(shown, names, blocks)


def _head(lines: Iterator[str]) -> tuple[str, str]:
    """The first line that holds anything, and the delimiter where Excel's own first line (sep=;) says it, else ""."""
    told = ""
    for line in lines:
        if (found := re.fullmatch(r"sep=(.)\s*", line)) is not None:
            told = found[1]
        elif line.strip():
            return line, told
    return "", told


def _json_lines(shown: str, opener: Opener) -> Table:
    def rows(lines: Iterator[str]) -> Iterator[dict[str, Any]]:
        for number, line in enumerate(lines, start=1):
            if not line.strip():
                continue
            try:
                row = json.loads(line)
            except (ValueError, RecursionError) as problem:
                raise DataError(f"{shown} is no table of JSON lines: line {number:,} is no JSON.") from problem
            if not isinstance(row, dict):
                raise DataError(f"{shown} is no table of JSON lines: line {number:,} is no object.")
            yield row

    with _lines(shown, opener) as lines:  # a column that only a later row has is none
        names = tuple(dict.fromkeys(chain.from_iterable(islice(rows(lines), 100))))
    _check(shown, names)

    def blocks(columns: Sequence[str]) -> Iterator[tuple[int, list[Cells]]]:
        with _lines(shown, opener) as lines:
            yield from _numbered(tuple(_cell(row.get(name)) for name in columns) for row in rows(lines))

    return Table(shown, names, blocks)


def _numbered(rows: Iterator[Cells]) -> Iterator[tuple[int, list[Cells]]]:
    number = 1
    while block := list(islice(rows, BLOCK)):
        yield number, block
        number += len(block)


def _cell(value: Any) -> Any:
    """A text without spaces around it; None for an empty one."""
    return (value.strip() or None) if isinstance(value, str) else value


def _check(shown: str, names: Sequence[str]) -> None:
    if not any(names):
        raise DataError(f"{shown} is an empty table: it needs a column of files and one of labels.")
    if len(names) > MOST_COLUMNS:
        raise DataError(f"{shown} has {len(names):,} columns, which are too many for a table of labels.")
    if twice := sorted({name for name in names if name and names.count(name) > 1}):
        raise DataError(f'{shown} has two columns called "{printable(twice[0][:60])}": rename one.')


# Parquet -----------------------------------------------------------------------------------------------------


def _parquet(shown: str, opener: Opener) -> Table:
    pa, pq = needs("pyarrow", extra="parquet"), needs("pyarrow.parquet", extra="parquet")

    @contextmanager
    def opened() -> Iterator[Any]:
        with opener() as file:
            try:
                yield pq.ParquetFile(file, memory_map=False, buffer_size=2**20)
            except (pa.ArrowException, OSError) as problem:
                raise DataError(
                    f"{shown} is a damaged parquet file ({printable(str(problem))[:120]}): make or download it again."
                ) from problem

    with opened() as file:
        schema = file.schema_arrow
        names, kinds = tuple(schema.names), {field.name: _kind(pa, field.type) for field in schema}
        words, count = _words(schema.metadata or {}), file.metadata.num_rows
        largest = _largest(shown, file.metadata)
    _check(shown, names)

    def blocks(columns: Sequence[str]) -> Iterator[tuple[int, list[Cells]]]:
        number = 1
        # A cell may be as large as the part that it is in, and be there many times over, written once.
        size = max((largest.get(name, 0) for name in columns), default=0)
        block = max(1, min(BLOCK, MEMORY // max(size, 1)))
        with opened() as file:
            for batch in file.iter_batches(batch_size=block, columns=list(columns)):
                values = [batch.column(batch.schema.get_field_index(name)).to_pylist() for name in columns]
                rows = [tuple(map(_cell, row)) for row in zip(*values, strict=True)]
                yield number, rows
                number += len(rows)

    return Table(shown, names, blocks, kinds, words, count)


def _largest(shown: str, metadata: Any) -> dict[str, int]:
    """Bytes of the largest part of each column, by the column's name. Raises DataError for one that is a bomb."""
    found: dict[str, int] = {}
    for group in range(metadata.num_row_groups):
        for place in range(metadata.num_columns):
            part = metadata.row_group(group).column(place)
            if part.total_uncompressed_size > RATIO * part.total_compressed_size + ROOM:
                raise DataError(f"{shown} grows to over {part.total_uncompressed_size:,} bytes, which no table does.")
            name = part.path_in_schema.partition(".")[0]
            found[name] = max(found.get(name, 0), part.total_uncompressed_size)
    return found


def _kind(pa: Any, of: Any) -> str:
    if pa.types.is_dictionary(of):
        of = of.value_type
    if pa.types.is_binary(of) or pa.types.is_large_binary(of):
        return "bytes"
    if pa.types.is_struct(of) and {"bytes", "path"} <= {field.name for field in of}:
        return "struct"
    return "text"


def _words(metadata: dict[bytes, bytes]) -> dict[str, tuple[str, ...]]:
    """What the whole numbers of a column mean, as Hugging Face's `datasets` writes it beside the schema."""
    try:
        features = json.loads(metadata.get(b"huggingface", b"{}"))["info"]["features"]
        found = {
            column: tuple(str(name) for name in feature["names"])
            for column, feature in features.items()
            if isinstance(feature, dict) and feature.get("_type") == "ClassLabel"
        }
    except (ValueError, RecursionError, KeyError, TypeError, AttributeError):
        return {}
    return {column: names for column, names in found.items() if len(set(names)) == len(names)}
