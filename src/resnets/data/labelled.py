"""Labels that stand in a table: each row names a picture and its class, and perhaps its split.

The table lies beside the pictures: `photos/labels.csv`, Hugging Face's `metadata.csv` in a folder of images, or in an
archive of either. A row names a picture by its path from the table's folder on, or by its name alone where that is the
name of one file (`0a1b2c` for `train/0a1b2c.jpg`). What a row lacks is named, and the row left out.
"""

from __future__ import annotations

import os
import posixpath
import sys
from collections import defaultdict
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property

from resnets.data.columns import Columns, label_of
from resnets.data.labels import LayoutError, class_name
from resnets.data.layout import PICTURES, Layout
from resnets.data.rows import Table
from resnets.data.sample import Sample
from resnets.data.splitnames import roles
from resnets.errors import DataError
from resnets.text import printable, some

METADATA = ("metadata.csv", "metadata.jsonl", "metadata.parquet")  # of Hugging Face's folders of images
NO_LABELS = "submission"  # in the name of a table that shows how answers are to be handed in
MOST_SPLITS = 100  # different words in a column of splits


@dataclass(frozen=True)
class Tree:
    """The files that rows may name.

    sizes       key to bytes, of those that are known; what is not may be there all the same
    size        the bytes of a file by its key; None: there is none
    inside      whether a key must lie in the tree: the names in an archive lead nowhere else
    """

    sizes: Callable[[], Mapping[str, int]]
    size: Callable[[str], int | None]
    inside: bool = True

    @cached_property
    def by_name(self) -> Mapping[str, list[str]]:
        """Keys by the last part of their path, with the ending of a picture and without."""
        found = defaultdict(list)
        for key in self.sizes():
            name = key.rpartition("/")[2]
            found[name].append(key)
            stem, dot, ending = name.rpartition(".")
            if dot and f".{ending}".lower() in PICTURES:
                found[stem].append(key)
        return found

    def find(self, folder: str, path: str) -> tuple[str, int] | None:
        """(key, bytes) of the file that a row names, in a table of that folder ("" or with "/" at the end)."""
        key = self.key(folder, path)
        if key is not None and (size := self.size(key)) is not None:
            return key, size
        if key is not None and not path.lower().endswith(PICTURES):
            for ending in PICTURES:
                if (size := self.size(key + ending)) is not None:
                    return key + ending, size
        if "/" not in path and len(found := self.by_name.get(path, [])) == 1:
            return found[0], self.sizes()[found[0]]
        return None

    def key(self, folder: str, path: str) -> str | None:
        """The path as a key; None for one that leads out of a tree that has no outside."""
        path = path.replace("\\", "/") if os.name == "nt" or "/" not in path else path
        joined = posixpath.normpath(posixpath.join(folder, path))
        return None if self.inside and (joined.startswith(("../", "/")) or joined == "..") else joined


@dataclass
class Left:
    """Rows that are left out, by why: the first of them and how many."""

    rows: dict[str, list[str]] = field(default_factory=lambda: defaultdict(list))

    def out(self, why: str, row: int, path: object) -> None:
        """One more."""
        self.rows[why].append(f"row {row:,}" + (f" ({printable(str(path))[:100]})" if path else ""))

    def remarks(self, shown: str) -> Iterator[str]:
        """A sentence for each reason."""
        for why, rows in self.rows.items():
            one = len(rows) == 1
            yield f"{shown}: {len(rows):,} row{'' if one else 's'} {why}, left out: {some(rows)}."


def labelled(table: Table, folder: str, tree: Tree, asked: str = "", split: str = "") -> Layout:
    """The samples that a table names, sorted by key.

    folder      that the table lies in, of the tree: "", or with "/" at the end
    asked       as in `Columns.of`
    split       of all of them, where the table says nothing

    Raises DataError for a table that cannot be used, LayoutError where it names a picture twice with two labels.
    """
    columns = Columns.of(table, asked)
    if table.kinds.get(columns.picture, "text") != "text":
        raise DataError(f"{table.shown} holds the pictures themselves: name it alone, not as a table beside pictures.")
    asked_for = [columns.picture, columns.label, *([columns.split] if columns.split else [])]
    meanings = meanings_of(table, columns)
    found: dict[str, Sample] = {}
    rows_of: dict[str, int] = {}
    left, twice, missing = Left(), 0, 0
    for first, rows in table.blocks(asked_for):
        for number, (path, cell, *part) in enumerate(rows, start=first):
            label = label_of(table, columns.label, cell, number)
            role = meanings.get(str(part[0]), "") if part else split
            if not _is_path(path):
                left.out("without a picture", number, None)
            elif label is None:
                left.out("without a label", number, path)
            elif part and not role:
                left.out("without a split", number, path)
            else:
                there = tree.find(folder, str(path))
                key, size = there or (tree.key(folder, str(path)), 0)
                if key is None:
                    left.out("with a path that leads out of it", number, path)
                    continue
                missing += there is None  # whoever reads it says so, as of a link to nowhere
                one = Sample(key, sys.intern(class_name(label)), role, size)
                before = found.setdefault(key, one)
                rows_of.setdefault(key, number)
                twice += before is not one
                if (before.label, before.split) != (one.label, one.split):
                    raise _contradicts(table.shown, before, one, rows_of[key], number)
    if not found:
        raise DataError(f"{table.shown} names no picture with a label.")
    if missing >= len(found):
        first_key = printable(next(iter(found)))
        raise DataError(f"{table.shown}: none of the {len(found):,} pictures that it names is there, as {first_key}.")
    remarks = list(left.remarks(table.shown))
    if twice:
        remarks.append(f"{table.shown}: {twice:,} rows say the same again.")
    return Layout(tuple(found[key] for key in sorted(found)), (), tuple(remarks), tabled=True)


def _is_path(cell: object) -> bool:
    try:
        return isinstance(cell, str | int) and b"\0" not in os.fsencode(str(cell))
    except UnicodeEncodeError:
        return False


def meanings_of(table: Table, columns: Columns) -> dict[str, str]:
    """The split that each cell of that column means, as a text; without those that are empty."""
    if columns.split is None:
        return {}
    cells: set[str] = set()
    for _, rows in table.blocks([columns.split]):
        cells.update(str(cell) for (cell,) in rows if cell is not None)
        if len(cells) > MOST_SPLITS:
            raise DataError(f'{table.shown}: the column "{printable(columns.split)}" says too much to be a split.')
    found = {cell: columns.role(cell, sorted(cells)) for cell in cells}
    if unknown := sorted(printable(cell) for cell, role in found.items() if role is None):
        raise DataError(
            f'{table.shown}: the column "{printable(columns.split)}" says {some(unknown)}: what is known are train, '
            "val and test, or true and false in a column like is_valid."
        )
    return {cell: role for cell, role in found.items() if role is not None}


def _contradicts(shown: str, one: Sample, other: Sample, first: int, second: int) -> LayoutError:
    says = (one.label, other.label) if one.label != other.label else (one.split, other.split)
    what = "labels" if one.label != other.label else "splits"
    return LayoutError(
        f"{shown}: {printable(one.key)} has two {what}, {printable(says[0])} in row {first:,} and {printable(says[1])} "
        f"in row {second:,}: each picture belongs to one class here, so keep one row."
    )


def merged(layouts: Collection[Layout], beside: Collection[str]) -> Layout:
    """Several tables' layouts as one; a picture that two of them name is theirs that came first."""
    found: dict[str, Sample] = {}
    for layout in layouts:
        for sample in layout.samples:
            found.setdefault(sample.key, sample)
    remarks = tuple(remark for layout in layouts for remark in layout.remarks)
    others = tuple(sorted(key for key in beside if key not in found))
    return Layout(tuple(found[key] for key in sorted(found)), others, remarks, tabled=True)


def split_of(folder: str, tops: Collection[str]) -> str:
    """The split that a folder of the tree is, or lies in, by its first part among those there; "" for none."""
    return roles(tops).get(folder.partition("/")[0], "")
