"""The files that a table can be: CSV, JSON lines, Parquet. All are valid UTF-8, whatever files and classes are called.

How a name that is no text is written says `resnets.text.written`; how CSV keeps spreadsheets from running one, `cell`.
"""

from __future__ import annotations

import csv
import io
import json
import re
from collections.abc import Iterable
from itertools import chain, islice
from pathlib import Path
from typing import Any, BinaryIO

from resnets.inference.prediction import Outcome
from resnets.machine import needs
from resnets.regular import open_regular
from resnets.text import cell, written

GROUP = 2_000  # rows of a parquet file that are compressed together, and in memory at once


def _columns(ranks: int) -> list[str]:
    named = (f"{what}_{rank + 1}" for rank in range(ranks) for what in ("name", "probability"))
    return ["path", *named, "unsure", "unlike", "why"]


class _Cells:
    """Rows as the columns want them, with None for what there is not; counts the names that are not as they were."""

    def __init__(self, ranks: int, defused: bool = False) -> None:
        self._ranks, self._defused = ranks, defused
        self.escaped = self.formulas = 0

    def of(self, row: Outcome) -> list[Any]:
        """The values of a row."""
        named = [None if value != value else value for value in chain.from_iterable(row.top)]  # JSON has no NaN
        values = [row.path, *named, *[None] * (2 * self._ranks - len(named)), row.unsure, row.unlike, row.why or None]
        return [self._text(value) if isinstance(value, str) else value for value in values]

    def said(self) -> list[str]:
        """A sentence for each kind of change."""
        said = []
        if self.escaped:
            said.append(f"{self.escaped} cells hold what is no text, written as escapes like \\xff.")
        if self.formulas:
            said.append(f"{self.formulas} cells would be formulas in a spreadsheet: an apostrophe stands before them.")
        return said

    def _text(self, value: str) -> str:
        text = written(value)
        self.escaped += text != value
        if not self._defused:
            return text
        shown = cell(text)
        self.formulas += shown != text
        return shown


def _write_csv(file: BinaryIO, rows: Iterable[Outcome], ranks: int) -> list[str]:
    cells = _Cells(ranks, defused=True)
    text = io.TextIOWrapper(file, encoding="utf-8", newline="", write_through=True)
    writer = csv.writer(text)
    writer.writerow(_columns(ranks))
    writer.writerows(map(cells.of, rows))
    text.detach()
    return cells.said()


def _write_json_lines(file: BinaryIO, rows: Iterable[Outcome], ranks: int) -> list[str]:
    cells, columns = _Cells(ranks), _columns(ranks)
    for row in rows:
        line = json.dumps(dict(zip(columns, cells.of(row), strict=True)), separators=(",", ":"))
        file.write(line.encode() + b"\n")
    return cells.said()


def _write_parquet(file: BinaryIO, rows: Iterable[Outcome], ranks: int) -> list[str]:
    cells = _Cells(ranks)
    pa, pq = needs("pyarrow", extra="parquet"), needs("pyarrow.parquet", extra="parquet")
    columns = _columns(ranks)
    kinds = [pa.float64() if column.startswith("probability") else pa.string() for column in columns]
    kinds[-3:-1] = [pa.bool_(), pa.bool_()]  # unsure, unlike
    schema = pa.schema(list(zip(columns, kinds, strict=True)))
    with pq.ParquetWriter(file, schema, compression="zstd") as writer:
        rows = iter(rows)
        while group := [cells.of(row) for row in islice(rows, GROUP)]:
            values = (list(column) for column in zip(*group, strict=True))
            writer.write_table(pa.table(dict(zip(columns, values, strict=True)), schema=schema))
    return cells.said()


# By suffix: writes rows to a file, and returns sentences about names that are not written as they are.
WRITERS = {".parquet": _write_parquet, ".csv": _write_csv, ".jsonl": _write_json_lines}


def is_table(path: Path) -> bool:
    """Whether a file is one of these, or empty."""
    try:
        with open_regular(path) as file:
            head = file.read(2**16)
        if head.startswith(b"PAR1"):
            names = needs("pyarrow.parquet", extra="parquet").read_schema(path).names
        elif head.startswith(b"{"):
            names = re.findall(r'"(path|name_1|probability_1)":', head[: 2**16].decode(errors="replace"))
        else:
            names = head.partition(b"\n")[0].decode().strip().split(",")
    except (OSError, ValueError, RecursionError):  # pyarrow's errors are these, too
        return False
    return not head or names[:3] == _columns(1)[:3]
