"""How the classes of a tree of files are found: by a table that lies in it, or by the names of its folders.

Hugging Face's `metadata.csv` (or .jsonl, .parquet) counts wherever it has a column of labels. Any other table counts
only where the folders tell no classes apart: photos in one folder, and `labels.csv` beside it.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import suppress
from dataclasses import replace
from typing import BinaryIO

from resnets.data.columns import Columns
from resnets.data.labelled import METADATA, NO_LABELS, Tree, labelled, merged, split_of
from resnets.data.labels import LayoutError, class_names
from resnets.data.layout import PICTURES, Layout, arrange
from resnets.data.reading import USUAL, Reading
from resnets.data.rows import Table, is_table, open_table
from resnets.data.splitnames import roles, words
from resnets.errors import DataError
from resnets.text import printable, some

MOST_TABLES = 20  # beside each other, that are looked into


def layout_of(
    name: str,
    sizes: Mapping[str, int],
    opener: Callable[[str], BinaryIO],
    *,
    odd: Collection[str] = (),
    empty: Collection[str] = (),
    reading: Reading = USUAL,
) -> Layout:
    """What the files of a tree mean.

    opener      opens a file by its key
    reading     which of the files count, how deep the classes lie, and what the columns of a table are
    others      as in `arrange`

    Raises DataError and LayoutError, as `arrange` and `labelled` do.
    """
    everything, sizes = sizes, {key: size for key, size in sizes.items() if not reading.ignores(key)}
    reading.check(printable(name), len(sizes), len(everything) - len(sizes))
    layout = _layout(name, sizes, opener, odd, empty, reading)
    if not (ignored := len(everything) - len(sizes)):
        return layout
    files = "file matches" if ignored == 1 else "files match"
    said = f"{ignored:,} {files} ignore={printable(repr(reading.ignore))}: left out."
    return replace(layout, remarks=(said, *layout.remarks))


def _layout(
    name: str,
    sizes: Mapping[str, int],
    opener: Callable[[str], BinaryIO],
    odd: Collection[str],
    empty: Collection[str],
    reading: Reading,
) -> Layout:
    tree, columns = Tree(lambda: sizes, sizes.get), reading.columns
    given = [key for key in sorted(sizes) if key.rpartition("/")[2].lower() in METADATA]
    if tables := [(key, table) for key, table in _opened(name, given, opener, columns) if _has(table, "file_name")]:
        return _by_tables(name, tables, tree, sizes, columns)
    try:
        layout = arrange(name, sizes, odd=odd, empty=empty, depth=reading.depth)
    except LayoutError:
        if (found := _beside(name, tree, sizes, opener, columns)) is None:
            raise
        return found
    if len(class_names(layout.samples)) > 1:
        return layout
    return _beside(name, tree, sizes, opener, columns) or layout


def _opened(
    name: str, keys: Collection[str], opener: Callable[[str], BinaryIO], columns: str
) -> Iterator[tuple[str, Table]]:
    """Those tables that can be read and tell labels."""
    for key in keys:
        with suppress(DataError, OSError):
            table = open_table(printable(f"{name}/{key}"), key, lambda key=key: opener(key))  # type: ignore[misc]
            Columns.of(table, columns)
            yield key, table


def _has(table: Table, picture: str) -> bool:
    return Columns.of(table).picture == picture


def _by_tables(
    name: str, tables: Collection[tuple[str, Table]], tree: Tree, sizes: Mapping[str, int], columns: str
) -> Layout:
    tops = {key.partition("/")[0] for key in sizes if "/" in key}
    layouts = []
    for key, table in tables:
        folder = key[: len(key) - len(key.rpartition("/")[2])]
        layout = labelled(table, folder, tree, columns, split_of(folder, tops))
        layouts.append(layout if Columns.of(table, columns).split else _split_by_folder(layout, tops))
    found = merged(layouts, sizes)
    missing = [key for key in found.beside if key.lower().endswith(PICTURES)]
    if not missing:
        return found
    one = len(missing) == 1
    said = f"{printable(name)}: {len(missing):,} picture{'' if one else 's'} that no row of "
    said += f"{some([key for key, _ in tables])} names {'is' if one else 'are'} left out: {some(missing)}."
    return replace(found, remarks=(*found.remarks, said))


def _split_by_folder(layout: Layout, tops: Collection[str]) -> Layout:
    """The same, where a table above the splits' folders names pictures in them."""
    if not set(roles(tops).values()) & {"val", "test"}:
        return layout
    samples = (one if one.split else replace(one, split=split_of(one.key, tops)) for one in layout.samples)
    return replace(layout, samples=tuple(samples))


def _beside(
    name: str, tree: Tree, sizes: Mapping[str, int], opener: Callable[[str], BinaryIO], columns: str
) -> Layout | None:
    """By the table that lies furthest outside; None where there is none that fits. Raises LayoutError for two."""
    keys = [key for key in sorted(sizes) if is_table(key) and NO_LABELS not in words(key)]
    depth = min((key.count("/") for key in keys), default=0)
    keys = [key for key in keys if key.count("/") == depth][:MOST_TABLES]
    found: list[tuple[str, Layout]] = []
    for key, table in _opened(name, keys, opener, columns):
        folder = key[: len(key) - len(key.rpartition("/")[2])]
        with suppress(DataError):
            found.append((key, labelled(table, folder, tree, columns)))
    if not found:
        return None
    parts = roles([key.rpartition("/")[2].rpartition(".")[0] for key, _ in found])
    if len(found) > 1 and len(parts) < len(found):
        raise LayoutError(
            f"{printable(name)} holds {some([key for key, _ in found])}, which all have labels: name the right one."
        )
    layouts = [_with_split(layout, parts.get(key.rpartition("/")[2].rpartition(".")[0], "")) for key, layout in found]
    every = merged(layouts if len(found) > 1 else [found[0][1]], sizes)
    said = f"The labels are those of {some([printable(key) for key, _ in found])}."
    return replace(every, remarks=(said, *every.remarks))


def _with_split(layout: Layout, split: str) -> Layout:
    samples = (one if one.split else replace(one, split=split) for one in layout.samples)
    return replace(layout, samples=tuple(samples))
