"""Which column of a table holds the pictures, which the labels, and which the split: by its name, or as asked."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from resnets.data.rows import Table
from resnets.data.splitnames import roles, words
from resnets.errors import DataError, nearest
from resnets.text import printable, some

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
HELD_OUT = {"is_valid": "val", "is_val": "val", "is_validation": "val", "is_test": "test", "valid": "val"}  # yes or no

_YES, _NO = {"true", "1", "1.0", "yes", "y", "t"}, {"false", "0", "0.0", "no", "n", "f"}


@dataclass(frozen=True)
class Columns:
    """Names of columns. split: None where the table has none."""

    picture: str
    label: str
    split: str | None = None

    @classmethod
    def of(cls, table: Table, asked: str = "") -> Columns:
        """Those of a table. asked: "label=species image=photo", for what its names do not tell.

        Raises DataError, with the names that there are.
        """
        found = cls._asked(table, asked)
        known = {_plain(name): name for name in reversed(table.names)}
        label = found.get("label") or _first(known, LABEL)
        free = {plain: name for plain, name in known.items() if name != label}
        picture = found.get("image") or _first(free, PICTURE) or _heavy(table)
        split = found.get("split") or _first(free, (*SPLIT, *HELD_OUT))
        others = [name for name in table.names if name and name not in (picture, label, split)]
        if label is None and picture is not None and len(others) == 1:
            label = others[0]
        if picture is None or label is None:
            lacks = "pictures" if picture is None else "labels"
            key = "image" if picture is None else "label"
            raise DataError(
                f"{table.shown} has no column known to hold the {lacks}; its columns are {some(table.names, 12)}: "
                f"name it, `overrides=['columns={key}=NAME']`, or call it {key if key == 'label' else 'file_name'}."
            )
        return cls(picture, label, split if split != picture else None)

    @staticmethod
    def _asked(table: Table, asked: str) -> dict[str, str]:
        found = {}
        for part in asked.split():
            key, equals, name = part.partition("=")
            if not equals or key not in ("image", "label", "split"):
                raise DataError(f"columns is like 'image=photo label=species split=part', not {printable(asked)!r}.")
            if name not in table.names:
                raise DataError(f"{table.shown} has no column {printable(name)!r}.{nearest(name, table.names)}")
            found[key] = name
        return found

    def role(self, cell: object, there: Sequence[str]) -> str | None:
        """The split that a cell means: "train", "val" or "test"; None: none that is known. there: all the cells."""
        text = _text(cell).lower()
        if self.split is not None and (held_out := HELD_OUT.get(_plain(self.split))) and text in _YES | _NO:
            return held_out if text in _YES else "train"
        return roles([one.lower() for one in there]).get(text)


def label_of(table: Table, column: str, cell: object, row: int) -> str | None:
    """The class that a cell names; None where there is none. Raises DataError for several at once."""
    if isinstance(cell, list | tuple | dict):
        raise DataError(
            f"{table.shown}: row {row:,} has several labels at once, {printable(str(cell))[:80]}: a picture belongs to "
            "one class here."
        )
    names = table.words.get(column)
    if names and type(cell) is int:
        return names[cell] if 0 <= cell < len(names) else None
    return _text(cell) or None


def _text(cell: object) -> str:
    if isinstance(cell, float):
        return "" if cell != cell else f"{cell:g}" if cell.is_integer() else str(cell)
    return "" if cell is None else str(cell).strip()


def _plain(name: str) -> str:
    return "_".join(words(name)) or name.lower()


def _first(known: dict[str, str], wanted: Sequence[str]) -> str | None:
    return next((known[name] for name in wanted if name in known), None)


def _heavy(table: Table) -> str | None:
    """The one column of pictures as bytes."""
    found = [name for name, kind in table.kinds.items() if kind in ("bytes", "struct")]
    return found[0] if len(found) == 1 else None
