"""Labels that stand in a table: each row names a picture and its class, and perhaps its split.

The table lies beside the pictures: `photos/labels.csv`, Hugging Face's `metadata.csv` in a folder of images, or in an
archive of either. A row names a picture by its path from the table's folder on, or by its name alone where that is the
name of one file (`0a1b2c` for `train/0a1b2c.jpg`). What a row lacks is named, and the row left out.
"""

from __future__ import annotations

import os
import posixpath
import sys
import unicodedata
from collections import defaultdict
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, replace
from functools import cached_property

from resnets.data.columns import MOST_NAME, Columns, label_of, path_of
from resnets.data.labels import LayoutError, class_name
from resnets.data.layout import PICTURES, Layout
from resnets.data.reading import USUAL, Reading
from resnets.data.remarks import Away, Left, odd_labels
from resnets.data.rows import TORN, Table
from resnets.data.sample import Sample
from resnets.data.splitnames import parted, roles
from resnets.errors import DataError
from resnets.text import brief, printable, some

METADATA = ("metadata.csv", "metadata.jsonl", "metadata.parquet")  # of Hugging Face's folders of images
TOO_MANY = "with more cells than there are columns (a cell with a comma in it stands in quotes)"
MOST_SPLITS = 100  # different words in a column of splits
DISTINCT = 0.5  # of the rows: a column that was guessed and says more different things holds no labels


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
        """Keys by the last part of their path, with the ending of a picture and without, however it is written."""
        found = defaultdict(list)
        for key in self.sizes():
            name = _folded(key.rpartition("/")[2])
            found[name].append(key)
            stem, dot, ending = name.rpartition(".")
            if dot and f".{ending}" in PICTURES:
                found[stem].append(key)
        return found

    @cached_property
    def by_path(self) -> Mapping[str, list[str]]:
        """Keys by their path, however its accents and capitals are written."""
        found = defaultdict(list)
        for key in self.sizes():
            found[_folded(key)].append(key)
        return found

    def find(self, folder: str, path: str) -> tuple[str, int] | None:
        """(key, bytes) of the file that a row names, in a table of that folder ("" or with "/" at the end)."""
        for one in dict.fromkeys((path, path.replace("\\", "/"))):
            key = self.key(folder, one)
            if key is None:
                continue
            if (size := self.size(key)) is not None:
                return key, size
            for ending in () if one.lower().endswith(PICTURES) else PICTURES:
                if (size := self.size(key + ending)) is not None:
                    return key + ending, size
            if len(found := self.by_path.get(_folded(key), [])) == 1:
                return found[0], self.sizes()[found[0]]
        found = self.named(path)
        return (found[0], self.sizes()[found[0]]) if len(found) == 1 else None

    def named(self, path: str) -> list[str]:
        """Keys of the files that are called like a path that is a name alone; of a path on Windows, its name counts."""
        bare = "/" not in path and ("\\" not in path or ":" in path[:2])
        return self.by_name.get(_folded(path.rpartition("\\")[2]), []) if bare else []

    def key(self, folder: str, path: str) -> str | None:
        """The path as a key; None for one that leads out of a tree that has no outside."""
        joined = posixpath.normpath(posixpath.join(folder, path))
        return None if self.inside and (joined.startswith(("../", "/")) or joined == "..") else joined


def labelled(table: Table, folder: str, tree: Tree, columns: Columns, reading: Reading = USUAL) -> Layout:
    """The samples that a table names, sorted by key.

    folder      that the table lies in, of the tree: "", or with "/" at the end
    reading     which of the files count

    Raises DataError for a table that cannot be used, LayoutError where it names a picture twice with two labels.
    """
    if table.kinds.get(columns.picture, "text") != "text":
        raise DataError(f"{table.shown} holds the pictures themselves: name it alone, not as a table beside pictures.")
    columns, meanings, remarks = split_column(table, columns)
    asked_for = [columns.picture, columns.label, *([columns.split] if columns.split else [])]
    found: dict[str, Sample] = {}
    rows_of: dict[str, int] = {}
    left, away, twice, missing, last = Left(), Away(folder), 0, 0, 0
    for first, rows in table.blocks(asked_for):
        for last, (cell, name, *part) in enumerate(rows, start=first):
            path, label = path_of(cell), label_of(table, columns.label, name, last)
            role = meanings.get(str(part[0]), "") if part else ""
            if cell is TORN:
                left.out(TOO_MANY, last, None)
            elif path is None or not _is_path(path):
                left.out("without a picture", last, None)
            elif label is None:
                left.out("without a label", last, path)
            elif part and not role:
                left.out("without a split", last, path)
            else:
                there = tree.find(folder, path)
                key, size = there or (tree.key(folder, path), 0)
                if key is None:
                    left.out("with a path that leads out of it", last, path)
                    continue
                if there is None and (several := tree.named(path)):
                    left.out("with a name that several files have", last, f"{path}: {some(several)}")
                    continue
                if reading.ignores(key):
                    left.out(f"that ignore={brief(reading.ignore)} matches", last, path)
                    continue
                away.seen(path, key)
                missing += there is None  # whoever reads it says so, as of a link to nowhere
                one = Sample(key, sys.intern(class_name(label)), role, size)
                before = found.setdefault(key, one)
                rows_of.setdefault(key, last)
                twice += before is not one
                if (before.label, before.split) != (one.label, one.split):
                    raise _contradicts(table.shown, before, one, rows_of[key], last)
    labels = {sample.label for sample in found.values()}
    _check(table, columns, found, missing, len(labels), left)
    remarks += [*left.remarks(table.shown), *away.remarks(table.shown), *odd_labels(labels)]
    if twice:
        remarks.append(f"{table.shown}: {twice:,} row{' says' if twice == 1 else 's say'} the same again.")
    return Layout(tuple(found[key] for key in sorted(found)), (), tuple(remarks), tabled=True)


def _check(table: Table, columns: Columns, found: Mapping[str, Sample], missing: int, labels: int, left: Left) -> None:
    if not found:
        why = " ".join(one.removeprefix(": ") for one in left.remarks(""))
        raise DataError(f"{table.shown} names no picture with a label{f': {why[:500]}' if why else '.'}")
    if missing >= len(found):
        first = printable(next(iter(found))[:200])
        raise DataError(f"{table.shown}: none of the {len(found):,} pictures that it names is there, as {first}.")
    if "label" in columns.guessed and labels > max(2, DISTINCT * len(found)):
        raise DataError(
            f'{table.shown}: the column "{printable(columns.label[:60])}" says {labels:,} different things of '
            f"{len(found):,} pictures: that are no classes; call the one with the classes label."
        )


def _folded(text: str) -> str:
    return unicodedata.normalize("NFC", text).casefold()


def _is_path(path: str) -> bool:
    try:
        return b"\0" not in os.fsencode(path)
    except UnicodeEncodeError:
        return False


def split_column(table: Table, columns: Columns) -> tuple[Columns, dict[str, str], list[str]]:
    """(the columns, the split that each cell means, remarks). A column that only sounds like a split is none.

    Raises DataError for a column that somebody has asked for, and for two that both tell splits.
    """
    remarks = []
    if columns.rivals:
        remarks.append(
            f'{table.shown}: the column "{printable(columns.label[:60])}" has the classes; '
            f"columns=label=NAME takes another: {some(columns.rivals)}."
        )
    if columns.split is None:
        return columns, {}, remarks
    found = [_meanings(table, replace(columns, split=name)) for name in columns.splits or (columns.split,)]
    told = [one for one in found if one[1]]
    if len(told) > 1:
        names = some([str(one.split) for one, *_ in told])
        raise DataError(
            f"{table.shown} has several columns that say a split, {names}: "
            "name one, `overrides=['columns=split=NAME']`."
        )
    columns, meanings, said = (told or found)[0]
    return columns, meanings, [*remarks, *said]


def _meanings(table: Table, columns: Columns) -> tuple[Columns, dict[str, str], list[str]]:
    """As `split_column`, of the column that `columns` has for the split."""
    assert columns.split is not None
    cells: set[str] = set()
    for _, rows in table.blocks([columns.split]):
        cells.update(str(cell)[:MOST_NAME] for (cell,) in rows if cell is not None and cell is not TORN)
        if len(cells) > MOST_SPLITS:
            break
    found = {cell: columns.role(cell, sorted(cells)) for cell in cells} if len(cells) <= MOST_SPLITS else {}
    known = {cell: role for cell, role in found.items() if role is not None}
    parts = {*known.values()}
    if len(known) == len(cells) and "train" in parts and len(parts) > 1:
        return columns, known, []
    unknown = sorted(printable(cell[:60]) for cell in cells - known.keys())
    shown = some(unknown or sorted(printable(cell[:60]) for cell in cells) or ["nothing"])
    says = f'{table.shown}: the column "{printable(columns.split[:60])}" says {shown}'
    if "split" not in columns.guessed:
        raise DataError(
            f"{says}: what is known are train, val and test, or true and false in a column like is_valid, and of what "
            "trains and what is held out there must be some."
        )
    return replace(columns, split=None), {}, [f"{says}, and is taken for no split."]


def _contradicts(shown: str, one: Sample, other: Sample, first: int, second: int) -> LayoutError:
    says = (one.label, other.label) if one.label != other.label else (one.split, other.split)
    what = "labels" if one.label != other.label else "splits"
    before, now = (printable(text[:100]) for text in says)
    return LayoutError(
        f"{shown}: {printable(one.key[:200])} has two {what}, {before} in row {first:,} and {now} in row {second:,}: "
        "each picture belongs to one class here, so keep one row."
    )


def merged(layouts: Collection[Layout], beside: Collection[str]) -> Layout:
    """Several tables' layouts as one; a picture that two of them name is theirs that came first.

    Raises LayoutError where they give it two labels.
    """
    found: dict[str, Sample] = {}
    for layout in layouts:
        for sample in layout.samples:
            if (before := found.setdefault(sample.key, sample)).label != sample.label:
                says = " and ".join(printable(one.label[:100]) for one in (before, sample))
                raise LayoutError(f"{printable(sample.key[:200])} has two labels, {says}, in two tables: keep one.")
    remarks = tuple(remark for layout in layouts for remark in layout.remarks)
    others = tuple(sorted(key for key in beside if key not in found))
    return Layout(tuple(found[key] for key in sorted(found)), others, remarks, tabled=True)


def split_by_folder(layout: Layout) -> Layout:
    """The same, where a table gives no splits, and all pictures lie in folders that are splits."""
    parts = [sample.key.split("/")[:-1] for sample in layout.samples]
    if any(sample.split for sample in layout.samples) or not all(parts):
        return layout
    depth = next((place for place, names in enumerate(zip(*parts, strict=False)) if len(set(names)) > 1), 0)
    names = {path[depth] for path in parts if len(path) > depth}
    found = roles(names)
    if not parted(names) or not all(len(path) > depth and path[depth] in found for path in parts):
        return layout
    samples = (replace(one, split=found[path[depth]]) for one, path in zip(layout.samples, parts, strict=True))
    return replace(layout, samples=tuple(samples))
