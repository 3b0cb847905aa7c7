"""A folder of class folders, or of pictures and a table with their labels, read in place; and such a table alone."""

from __future__ import annotations

import os
import stat
from collections.abc import Mapping
from functools import cache
from itertools import islice

from resnets.data.arrangement import layout_of
from resnets.data.columns import Columns
from resnets.data.labelled import Tree, labelled, split_by_folder
from resnets.data.labels import LayoutError
from resnets.data.reading import USUAL, Reading
from resnets.data.rows import open_table
from resnets.data.source import Source, read_image
from resnets.data.walk import Found, walk
from resnets.regular import open_regular
from resnets.text import printable, some

MOST_NAMES = 2_000_000  # files below a table's folder that are looked through for a name


class Folder(Source):
    """A folder, walked as `resnets.data.walk` says. Raises LayoutError for one that cannot be walked."""

    def __init__(self, name: str, root: str, reading: Reading = USUAL) -> None:
        files: dict[str, Found] = {}
        others: dict[str, list[str]] = {"odd": [], "empty": []}
        ours: dict[str, list[str]] = {}  # by what they are
        for one in walk(root):
            if one.kind == "barred" or (one.kind == "ours" and not one.key):
                raise LayoutError(f"{printable(os.path.join(root, one.key))} {one.why}.")
            if one.kind == "ours":
                ours.setdefault(one.why, []).append(one.key)
            else:
                others.get(one.kind, []).append(one.key)
                if one.kind != "empty":  # what is odd is named where it would be read
                    files[one.key] = one
        remarks = [f"{some(keys)} {why}: left out." for why, keys in ours.items()]
        sizes = {key: one.size for key, one in files.items()}
        layout = layout_of(name, sizes, lambda key: open_regular(os.path.join(root, key)), **others, reading=reading)
        super().__init__(name, layout, lambda key: files[key].changed if key in files else 0, root, remarks=remarks)

    def holder(self, key: str) -> str:
        """As ``Source.holder``."""
        return os.path.join(self.place or "", key)

    def read(self, key: str) -> bytes:
        """As ``Source.read``."""
        return read_image(self.holder(key))


class Listed(Source):
    """A table of files: each row names one from the table's folder on, or by its whole path.

    Raises DataError for a table that cannot be used.
    """

    def __init__(self, name: str, path: str, reading: Reading = USUAL) -> None:
        root, file = os.path.split(os.path.abspath(path))

        @cache
        def below() -> Mapping[str, int]:
            return {one.key: one.size for one in islice(walk(root), MOST_NAMES) if one.kind == "file"}

        def size(key: str) -> int | None:
            try:
                info = os.stat(os.path.join(root, key))
            except (OSError, ValueError):
                return None
            return None if stat.S_ISDIR(info.st_mode) else info.st_size

        table = open_table(printable(name), file, lambda: open_regular(path))
        columns = Columns.of(table, reading.columns)
        layout = labelled(table, "", Tree(below, size, inside=False), columns, reading)
        super().__init__(name, split_by_folder(layout), lambda _: 0, root)  # no earlier version knew tables

    def holder(self, key: str) -> str:
        """As ``Source.holder``."""
        return os.path.join(self.place or "", key)

    def read(self, key: str) -> bytes:
        """As ``Source.read``."""
        return read_image(self.holder(key))
