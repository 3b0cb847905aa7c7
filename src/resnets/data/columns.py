"""Which column of a table holds the pictures, which the labels, and which the split: by its name, or as asked."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Collection, Sequence
from dataclasses import dataclass

from resnets.data.rows import Table
from resnets.data.splitnames import roles, words
from resnets.errors import DataError, nearest
from resnets.text import brief, printable, some

# Names of columns in use, in the order in which they are looked for: the first that is there counts.
PICTURE = (
    *("file_name", "filename", "image_path", "img_path", "file_path", "filepath", "path", "file", "image_file"),
    *("image", "img", "picture", "photo", "image_name", "img_name", "image_id", "img_id", "imageid", "id", "name"),
)
LABEL = (
    *("label", "class", "class_name", "label_name", "category", "category_name", "target", "labels", "classes"),
    *("species", "breed", "y", "class_id", "label_id", "category_id"),
)
SPLIT = ("split", "set", "subset", "partition", "data_set", "dataset", "fold_name", "phase", "usage")
HELD_OUT = {"is_valid": "val", "is_val": "val", "is_validation": "val", "is_test": "test"}  # yes or no
MOST_NAME = 1000  # characters of a class's name

_YES, _NO = {"true", "1", "1.0", "yes", "y", "t"}, {"false", "0", "0.0", "no", "n", "f"}
_COUNTER = re.compile(r"|unnamed: \d+|index", re.IGNORECASE)  # of the rows, as pandas writes it


@dataclass(frozen=True)
class Columns:
    """Names of columns.

    split       None: the table has none
    guessed     what was taken for it without being asked, of "label" and "split"
    splits      all columns that may say the split, where nobody has said which
    rivals      other columns that are called as labels are, where nobody has said which
    """

    picture: str
    label: str
    split: str | None = None
    guessed: frozenset[str] = frozenset()
    splits: tuple[str, ...] = ()
    rivals: tuple[str, ...] = ()

    @classmethod
    def of(cls, table: Table, asked: str = "", *, guess: bool = True) -> Columns:
        """Those of a table.

        asked       "label=species image=photo", for what its names do not tell; "split=" for none
        guess       of two columns, the one that is no picture may be the label

        Raises DataError, with the names that there are.
        """
        wanted = _asked(table, asked)
        known = _Known(table)
        label = wanted.get("label") or known.first("label", LABEL, wanted.values())
        heavy = [name for name, kind in table.kinds.items() if kind in ("bytes", "struct")]
        picture = wanted.get("image") or known.picture(heavy, {label, *wanted.values()})
        taken = {label, picture, *wanted.values()}
        splits = () if "split" in wanted else tuple(known.every((*SPLIT, *HELD_OUT), taken))
        rivals = () if "label" in wanted else tuple(known.every(LABEL, {*taken, *splits}))
        split = wanted.get("split") or next(iter(splits), None)
        guessed = {"split"} if splits else set()
        others = [name for name in table.names if not _COUNTER.fullmatch(name) and name not in (picture, label, split)]
        if label is None and picture is not None and len(others) == 1 and guess:
            label = others[0]
            guessed.add("label")
        if picture is None or label is None:
            raise _lacking(table, picture)
        return cls(picture, label, split, frozenset(guessed), splits, rivals)

    def role(self, cell: str, there: Sequence[str]) -> str | None:
        """The split that a cell means: "train", "val" or "test"; None: none that is known. there: all the cells."""
        text = cell.strip().lower()
        if self.split is not None and (held_out := HELD_OUT.get(_plain(self.split))) and text in _YES | _NO:
            return held_out if text in _YES else "train"
        return roles([one.strip().lower() for one in there]).get(text)


class _Known:
    """A table's columns by what they are called, in words, without numbers."""

    def __init__(self, table: Table) -> None:
        self.table = table
        self._named: dict[str, list[str]] = defaultdict(list)
        for name in table.names:
            self._named[_plain(name)].append(name)

    def every(self, wanted: Sequence[str], taken: Collection[str | None]) -> list[str]:
        """The columns that are called like one of these, in the order of these, without those that are taken."""
        return [name for plain in wanted for name in self._named.get(plain, ()) if name not in taken]

    def first(self, key: str, wanted: Sequence[str], taken: Collection[str | None]) -> str | None:
        """The first of them. Raises DataError where its name but for a number is that of several."""
        for plain in wanted:
            there = self.every([plain], taken)
            exact = [name for name in there if name.strip().lower() == plain]
            if len(exact or there) > 1:
                raise DataError(
                    f"{self.table.shown} has {some(there)}, of which any may hold the {key}: name one, "
                    f"`overrides=['columns={key}=NAME']`. A column for each class is not read."
                )
            if there:
                return (exact or there)[0]
        return None

    def picture(self, heavy: Sequence[str], taken: Collection[str | None]) -> str | None:
        """That of the pictures, where one holds them as bytes that one. heavy: those of bytes."""
        light = {name for name in self.table.names if name not in heavy}
        found = self.first("image", PICTURE, {*taken, *light}) or self.first("image", PICTURE, taken)
        return found or (heavy[0] if len(heavy) == 1 else None)


def label_of(table: Table, column: str, cell: object, row: int) -> str | None:
    """The class that a cell names; None where there is none. Raises DataError for several at once, and for a novel."""
    if isinstance(cell, list | tuple | dict):
        raise DataError(
            f"{table.shown}: row {row:,} has several labels at once, {printable(str(cell))[:80]}: a picture belongs to "
            "one class here."
        )
    names = table.words.get(column)
    if names and type(cell) is int:
        return names[cell] if 0 <= cell < len(names) else None
    text = _text(cell)
    if len(text) > MOST_NAME:
        raise DataError(f"{table.shown}: row {row:,} has a label of {len(text):,} characters: that is no class.")
    return text or None


def path_of(cell: object) -> str | None:
    """The path that a cell names; None where it names none."""
    if isinstance(cell, float) and cell.is_integer():  # a number that stands in a column with gaps
        cell = int(cell)
    return str(cell) if isinstance(cell, str | int) and not isinstance(cell, bool) else None


def _asked(table: Table, asked: str) -> dict[str, str]:
    found = {}
    for part in re.split(r"\s+(?=(?:image|label|split)=)", asked.strip()) if asked.strip() else ():
        key, equals, name = (one.strip() for one in part.partition("="))
        if not equals or key not in ("image", "label", "split"):
            raise DataError(f"columns is like 'image=photo label=species split=part', not {brief(asked)}.")
        if name not in table.names and not (key == "split" and not name):
            raise DataError(f"{table.shown} has no column {brief(name)}.{nearest(name, table.names)}")
        found[key] = name
    return found


def _lacking(table: Table, picture: str | None) -> DataError:
    key, lacks = ("image", "pictures") if picture is None else ("label", "labels")
    known = "file_name" if picture is None else key
    there = some([name[:60] for name in table.names], 12)
    return DataError(
        f"{table.shown} has no column known to hold the {lacks}; its columns are {there}: name it, "
        f"`overrides=['columns={key}=NAME']`, or call it {known}. A column for each class is not read."
    )


def _text(cell: object) -> str:
    if isinstance(cell, bytes):
        return cell.decode("utf-8", "replace").strip()
    return "" if cell is None or cell != cell else str(cell).strip()


def _plain(name: str) -> str:
    return "_".join(words(name)) or name.lower()
