"""How the classes of a tree of files are found: by the names of its folders, or by a table that lies in it.

Folders that tell classes apart count, and a table beside them that says something else is named. Where they tell none
(pictures in one folder, or in `images_part_1/` and `images_part_2/`), or where somebody has said which columns to take,
Hugging Face's `metadata.csv` counts, else the table that lies furthest outside.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import BinaryIO

from resnets.data.columns import Columns
from resnets.data.labelled import METADATA, Tree, labelled, merged, split_by_folder
from resnets.data.labels import LayoutError, class_names
from resnets.data.layout import PICTURES, Layout, arrange
from resnets.data.reading import USUAL, Reading
from resnets.data.rows import is_table, open_table
from resnets.data.splitnames import SAY_NOTHING, parted, roles, words
from resnets.errors import ImageError, ResnetsError
from resnets.text import brief, printable, some

MOST_TABLES = 20  # that are looked into
HANDED_IN = ("submi", "sample_sub", "samplesub")  # in the names of tables that show how answers are to be handed in


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
    layout = _layout(_Tables(name, sizes, opener, reading), odd, empty)
    if not (ignored := len(everything) - len(sizes)):
        return layout
    files = "file matches" if ignored == 1 else "files match"
    said = f"{ignored:,} {files} ignore={brief(reading.ignore)}: left out."
    return replace(layout, remarks=(said, *layout.remarks))


def _layout(tables: _Tables, odd: Collection[str], empty: Collection[str]) -> Layout:
    if tables.reading.columns and any(map(is_table, tables.sizes)):  # somebody wants a table
        if (found := tables.layout()) is None:
            raise LayoutError(f"{printable(tables.name)}: no table fits {brief(tables.reading.columns)}{tables.why}.")
        return found
    try:
        layout = arrange(tables.name, tables.sizes, odd=odd, empty=empty, depth=tables.reading.depth)
    except LayoutError as problem:
        if (found := tables.layout()) is not None:
            return found
        if not tables.reasons:
            raise
        raise LayoutError(f"{str(problem).rstrip('.')}{tables.why}.") from problem
    classes = class_names(layout.samples)
    tells = len(classes) > 1 and not all(_says_nothing(label) for label in classes)
    found = None
    try:
        found = tables.layout()
    except LayoutError:
        if not tells:
            raise
    if found is not None and not tells:
        return found
    if found is not None and _differs(layout, found):
        said = f"The classes are the folders; {tables.used} gives pictures other labels: name it alone to use those."
        return replace(layout, remarks=(*layout.remarks, said))
    if not tells and tables.reasons:
        return replace(layout, remarks=(*layout.remarks, f"No table is used{tables.why}."))
    return layout


def _says_nothing(label: str) -> bool:
    """Whether a folder's name is like images_part_2, which is nobody's class."""
    found = words(label)
    return bool(found) and all(word in SAY_NOTHING for word in found)


def _differs(layout: Layout, other: Layout) -> bool:
    """Whether a table names pictures of class folders, and gives some of them another label."""
    labels = {sample.key: sample.label for sample in layout.samples}
    return any(labels.get(sample.key, sample.label) != sample.label for sample in other.samples)


@dataclass
class _Tables:
    """The tables of a tree.

    reasons     why tables that were looked into do not fit
    used        names of those that do
    """

    name: str
    sizes: Mapping[str, int]
    opener: Callable[[str], BinaryIO]
    reading: Reading
    reasons: list[str] = field(default_factory=list)
    used: str = ""

    @property
    def why(self) -> str:
        """The first reason, to be put behind a sentence."""
        return f" ({self.reasons[0].rstrip('.')})" if self.reasons else ""

    def layout(self) -> Layout | None:
        """By Hugging Face's metadata, or else by those tables that lie furthest outside and fit; None: none does.

        Raises LayoutError where several fit, of which one must be meant.
        """
        keys = [key for key in sorted(self.sizes, key=lambda key: (key.count("/"), key)) if is_table(key)]
        tree = Tree(lambda: self.sizes, self.sizes.get)
        metadata = [key for key in keys if key.rpartition("/")[2].lower() in METADATA]
        if found := self._fitting(metadata, tree):
            return self._of(found)
        others = [key for key in keys if key not in metadata and not _handed_in(key)][:MOST_TABLES]
        for depth in sorted({key.count("/") for key in others}):
            if found := self._fitting([key for key in others if key.count("/") == depth], tree):
                return self._of(found, one=True)
        return None

    def _fitting(self, keys: Collection[str], tree: Tree) -> dict[str, Layout]:
        return {key: layout for key in keys if (layout := self._try(key, tree)) is not None}

    def _try(self, key: str, tree: Tree) -> Layout | None:
        try:
            table = open_table(printable(f"{self.name}/{key}"), key, lambda: self.opener(key))
            columns = Columns.of(table, self.reading.columns, guess=False)
            return labelled(table, _folder(key), tree, columns)
        except ImageError as problem:
            self.reasons.append(f"{printable(key)}: {problem}")
        except (ResnetsError, OSError) as problem:
            self.reasons.append(str(problem))
        return None

    def _of(self, found: Mapping[str, Layout], *, one: bool = False) -> Layout:
        """Their layouts as one. one: several are one only where each is a split's own."""
        stems = [key.rpartition(".")[0] for key in found]
        parts = roles(stems) if parted(stems) else {}
        if one and len(parts) < len(found) > 1:
            listed = some([printable(key) for key in found])
            raise LayoutError(f"{printable(self.name)} holds {listed}, which all have labels: name the right one.")
        self.used = some([printable(key) for key in found])
        layouts = [_with_split(layout, parts.get(key.rpartition(".")[0], "")) for key, layout in found.items()]
        every = split_by_folder(merged(layouts, self.sizes))
        return replace(every, remarks=(*self._said(every), *every.remarks))

    def _said(self, every: Layout) -> Iterator[str]:
        yield f"The labels are those of {self.used}."
        missing = [key for key in every.beside if key.lower().endswith(PICTURES)]
        if missing:
            one = len(missing) == 1
            yield (
                f"{len(missing):,} picture{'' if one else 's'} that no row of {self.used} names "
                f"{'is' if one else 'are'} left out: {some(missing)}."
            )


def _folder(key: str) -> str:
    above, slash, _ = key.rpartition("/")
    return above + slash


def _handed_in(key: str) -> bool:
    return any(part in key.rpartition("/")[2].lower() for part in HANDED_IN)


def _with_split(layout: Layout, split: str) -> Layout:
    samples = (one if one.split else replace(one, split=split) for one in layout.samples)
    return replace(layout, samples=tuple(samples))
