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
from resnets.data.rows import is_table, is_workbook, open_table
from resnets.data.splitnames import SAY_NOTHING, parted, roles, stranger, words
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
    kept, said = reading.sifted(printable(name), sizes)
    layout = _layout(_Tables(name, {key: sizes[key] for key in kept}, opener, reading), odd, empty)
    return replace(layout, remarks=(*said, *layout.remarks))


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
    broken      tables with labels that cannot be used, and why
    used        names of those that do fit
    """

    name: str
    sizes: Mapping[str, int]
    opener: Callable[[str], BinaryIO]
    reading: Reading
    reasons: list[str] = field(default_factory=list)
    broken: dict[str, str] = field(default_factory=dict)
    used: str = ""

    @property
    def why(self) -> str:
        """The first reason, to be put behind a sentence."""
        return f" ({self.reasons[0].rstrip('.')})" if self.reasons else ""

    def layout(self) -> Layout | None:
        """By Hugging Face's metadata, or else by those tables that lie furthest outside and fit; None: none does.

        Raises LayoutError where several fit, of which one must be meant.
        """
        keys = sorted(self.sizes, key=lambda key: (key.count("/"), key))
        keys = [key for key in keys if is_table(key) or is_workbook(key)]
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
        except (ResnetsError, OSError) as problem:
            why = f"{printable(key)}: {problem}" if isinstance(problem, ImageError) else str(problem)
            self.reasons.append(why)
            if not is_workbook(key):  # beside which its table is mostly saved
                self.broken[key] = why
            return None
        try:
            columns = Columns.of(table, self.reading.columns, guess=False)
        except ResnetsError as problem:  # it is about something else
            self.reasons.append(str(problem))
            return None
        try:
            return labelled(table, _folder(key), tree, columns, self.reading)
        except (ResnetsError, OSError) as problem:
            self.reasons.append(str(problem))
            self.broken[key] = str(problem)
        return None

    def _of(self, found: Mapping[str, Layout], *, one: bool = False) -> Layout:
        """Their layouts as one. one: several are one only where each is a split's own.

        Raises LayoutError where that of another split is broken: what trains must not go for what is held out.
        """
        depth = min(key.count("/") for key in found)
        broken = {key: why for key, why in self.broken.items() if not one or key.count("/") == depth}
        stems = [_stem(key) for key in (*found, *broken)]
        parts = roles(stems) if parted(stems) else {}
        for key, why in broken.items():
            if _stem(key) in parts or not one:
                raise LayoutError(why)
        own = [key for key in found if _stem(key) in parts]
        if one and len(own) < len(found) > 1:
            listed = some([printable(key) for key in found])
            raise LayoutError(f"{printable(self.name)} holds {listed}, which all have labels: name the right one.")
        layouts = {key: _with_split(layout, _role(key, parts)) for key, layout in found.items()}
        whole = {key for key, layout in layouts.items() if all(sample.split for sample in layout.samples)}
        others = [key for key in found if parts and key not in whole]
        self.used = some([printable(key) for key in found if key not in others])
        every = split_by_folder(merged([layouts[key] for key in found if key not in others], self.sizes))
        said = [stranger(some(others), self.used)] if others else []
        return replace(every, remarks=(*self._said(every, broken), *said, *every.remarks))

    def _said(self, every: Layout, broken: Mapping[str, str]) -> Iterator[str]:
        yield f"The labels are those of {self.used}."
        yield from (f"{why.rstrip('.')}: not used." for why in broken.values())
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


def _stem(key: str) -> str:
    return key.rpartition(".")[0]


def _role(key: str, parts: Mapping[str, str]) -> str:
    """The split of a table: its own, or that of a table in a folder around it; "": none."""
    around = (role for stem, role in parts.items() if "/" in stem and key.startswith(_folder(stem)))
    return parts.get(_stem(key)) or next(around, "")


def _handed_in(key: str) -> bool:
    return any(part in key.rpartition("/")[2].lower() for part in HANDED_IN)


def _with_split(layout: Layout, split: str) -> Layout:
    samples = (one if one.split else replace(one, split=split) for one in layout.samples)
    return replace(layout, samples=tuple(samples))
