"""How classes and splits are read from the names of folders.

Layouts: ``train/`` with ``val/`` or ``test/`` (or other names, see `splitnames`), each with one folder per class; or
class folders alone. What is left out is said. A folder of writings (lists, labels, reports) is no class.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass

from resnets.data.labels import LayoutError, class_name, is_utf8
from resnets.data.sample import Sample
from resnets.data.splitnames import parted, roles
from resnets.data.tops import SAME, Top, read_tops
from resnets.errors import DataError
from resnets.text import printable, some

# Endings of pictures, for words about stray files and for folders without any: what is used, its content decides.
PICTURES = (".jpg", ".jpeg", ".jfif", ".png", ".webp", ".bmp", ".gif", ".tif", ".tiff", ".heic", ".avif", ".ppm")
ARCHIVES = (".zip", ".tar", ".tar.gz", ".tgz", ".tar.xz", ".7z", ".rar")

# Endings of what people and programs write beside pictures; such files alone make no class.
WRITINGS = (
    *(
        ".txt",
        ".md",
        ".rst",
        ".html",
        ".htm",
        ".json",
        ".jsonl",
        ".csv",
        ".tsv",
        ".xml",
        ".yaml",
        ".yml",
        ".toml",
        ".log",
    ),
    *(".py", ".ipynb", ".parquet", ".safetensors", ".onnx", ".pdf", ".doc", ".docx", ".xls", ".xlsx"),
)

FURTHER = 3  # levels of folders, from a class folder on, in which splits are looked for

Parts = list[str]  # of a folder's path


@dataclass(frozen=True)
class Layout:
    """What the folders mean.

    samples     the files in class folders, sorted by key
    beside      the keys of all others, sorted
    remarks     sentences on what was left out, merged, or may be meant otherwise
    tabled      whether the classes stand in a table, and not in the names of folders
    """

    samples: tuple[Sample, ...]
    beside: tuple[str, ...]
    remarks: tuple[str, ...]
    tabled: bool = False


def arrange(
    name: str, sizes: Mapping[str, int], *, odd: Collection[str] = (), empty: Collection[str] = (), depth: int = 1
) -> Layout:
    """Find the layout in the keys of ``sizes`` (key to bytes) and give each file its class and split.

    name    of the whole, as the user gave it
    odd     keys of what is no regular file; alone it makes no class
    empty   folders that hold nothing, with a "/" at the end
    depth   of the class folders; 2: those in the folders that would be classes else

    Raises DataError where there are no files, LayoutError where there are no class folders or they may mean two things.
    """
    if not sizes:
        raise DataError(
            f"{printable(name)} holds no files: put photos into one folder per class, as in photos/cat/1.jpg."
        )
    folders = {folder: folder.split("/") for folder in {_folder(key) for key in sizes} if folder}
    pictures = {_folder(key) for key in sizes if key.lower().endswith(PICTURES)} - {""}
    remarks: list[str] = []
    around = _around(folders.values(), [folders[folder] for folder in pictures], remarks)
    if depth > 1:  # the folder around all others may be one of those that classes lie in
        around = around[: max(0, max(map(len, folders.values()), default=0) - depth)]
    tops = _tops((parts for parts in folders.values() if parts[: len(around)] == around), len(around))
    where = _Where(around, tops.keys(), read_tops(printable(name), tops, remarks, asks=depth == 1), depth)
    places = {folder: found for folder, parts in folders.items() if (found := where.place(parts))}
    excluded = frozenset(odd)
    names = {label: class_name(label) for label, _ in set(places.values())}
    makes_class = (key for key in sizes if key not in excluded and not key.lower().endswith(WRITINGS))
    real = {places[_folder(key)] for key in makes_class if _folder(key) in places}
    samples, beside = [], []
    for key in sorted(sizes):
        found = places.get(_folder(key))
        if found and found in real:
            samples.append(Sample(key, names[found[0]], found[1], sizes[key]))
        else:
            beside.append(key)
    if not samples:
        raise LayoutError(
            f"{printable(name)} has no class folders: photos must lie in one folder per class: photos/cat/1.jpg."
            if depth == 1
            else f"{printable(name)} has no class folders {depth} levels deep: give another depth."
        )
    remarks += _called({label for label, _ in real})
    inside = _in_classes((folders[folder] for folder in sorted(places) if places[folder] in real), where)
    remarks += _of_folders(printable(name), inside)
    loose = [key for key in beside if key.lower().endswith(PICTURES)]
    remarks += _stray([key for key in loose if where.is_outside(key.split("/")[:-1])])
    packed = [key for key in beside if key.lower().endswith(ARCHIVES) and where.is_outside(key.split("/")[:-1])]
    remarks += _packed(packed)
    barren = [folder.rstrip("/").split("/") for folder in empty]
    remarks += _without_pictures({where.bare(parts, real) for parts in [*folders.values(), *barren]} - {""})
    return Layout(tuple(samples), tuple(beside), tuple(remarks))


@dataclass(frozen=True)
class _Where:
    """Where classes lie: below the folders `around` and, of the folders there (`seen`), in `used`, so deep."""

    around: Parts
    seen: Collection[str]
    used: Mapping[str, Top]
    depth: int = 1

    def _inside(self, parts: Parts) -> bool:
        return len(parts) > len(self.around) and parts[: len(self.around)] == self.around

    def _top(self, parts: Parts) -> Top | None:
        return self.used.get(parts[len(self.around)]) if self._inside(parts) else None

    def place(self, parts: Parts) -> tuple[str, str] | None:
        """(the class folder's name, the split) of what lies in a folder; None: it lies in no class folder."""
        top, level = self._top(parts), self.level(parts)
        return (parts[level], top.split) if top and len(parts) > level else None

    def level(self, parts: Parts) -> int:
        """The place in `parts` of the class folder that they lie in; of those that `place` finds."""
        top = self._top(parts)
        return len(self.around) + top.level + self.depth - 1 if top else 0

    def bare(self, parts: Parts, real: Collection[tuple[str, str]]) -> str:
        """The class or split that a folder is, or lies in, where no class came of it; else ""."""
        found = self.place(parts)
        if found and found not in real:
            return f"{found[1]}/{found[0]}/" if found[1] else f"{found[0]}/"
        is_new = self._inside(parts) and parts[len(self.around)] not in self.seen
        return f"{parts[len(self.around)]}/" if is_new else ""

    def is_outside(self, parts: Parts) -> bool:
        """Whether class folders lie in a folder, and not files alone."""
        return parts == self.around[: len(parts)] or (self._top(parts) is not None and self.place(parts) is None)


def _folder(key: str) -> str:
    return key.rpartition("/")[0]


def _around(folders: Collection[Parts], pictures: Iterable[Parts], remarks: list[str]) -> Parts:
    """The folders around the layout, from the outside: each is alone, or alone holds pictures, in several folders."""
    around: Parts = []
    inside, seen = [parts for parts in folders if parts], list(pictures)  # those in the folders so far
    while True:
        depth = len(around)
        tops = {parts[depth] for parts in inside}
        if len(tops) > 1:
            tops = {parts[depth] for parts in seen}
        if len(tops) != 1:
            return around
        (top,) = tops
        below = {parts[depth + 1] for parts in inside if parts[depth] == top and len(parts) > depth + 1}
        others = sorted({parts[depth] for parts in inside} - tops)
        whole = [*around, top] not in inside  # no file lies in it itself
        if not below or (others and roles(tops) != {top: "train"} and not (whole and len(below) >= SAME)):
            return around
        if others:  # lists, labels, models
            remarks.append(f"{some([f'{other}/' for other in others])}: without pictures, and left out.")
        around = [*around, top]
        inside = [parts for parts in inside if parts[depth] == top and len(parts) > depth + 1]
        seen = [parts for parts in seen if parts[depth] == top and len(parts) > depth + 1]


def _tops(folders: Iterable[Parts], depth: int) -> dict[str, Top]:
    tops: dict[str, Top] = {}
    for parts in folders:
        if len(parts) > depth:
            tops.setdefault(parts[depth], Top(parts[depth])).add(parts[depth + 1 : depth + 3])
    return tops


def _called(labels: Collection[str]) -> Iterator[str]:
    """What to say of how classes are called; `labels` are their folders' names."""
    same, alike = defaultdict(list), defaultdict(set)
    for label in sorted(labels):
        same[class_name(label)].append(label)
        alike[class_name(label).casefold()].add(class_name(label))
    for name, folders in same.items():
        if len(folders) > 1:
            yield (
                f'{len(folders)} folders are called "{printable(name)}", only in other bytes (accents written in '
                "another way, or spaces around it): they are one class."
            )
        elif not is_utf8(folders[0]):
            yield f'The name of a class folder is not UTF-8: the class is called "{printable(name)}".'
    for names in alike.values():
        if len(names) > 1:
            quoted = " and ".join(f'"{printable(name)}"' for name in sorted(names))
            yield f"{quoted} differ in capitals alone and are {len(names)} classes: rename the folders if they are one."


def _in_classes(folders: Iterable[Parts], where: _Where) -> dict[str, set[str]]:
    """Class folders, and folders a little way below: path to the names of the folders in it, and "" for files in it."""
    inside = defaultdict(set)
    for parts in folders:
        first = where.level(parts) + 1
        for depth in range(first, min(first + FURTHER, len(parts) + 1)):
            inside["/".join(parts[:depth])].update(parts[depth : depth + 1] or [""])
    return inside


def _of_folders(shown: str, inside: Mapping[str, set[str]]) -> Iterator[str]:
    """What to say of classes that hold folders alone. Raises LayoutError for one with splits in it."""
    for folder, names in inside.items():
        if parted(names):
            raise LayoutError(
                f"{shown} holds {printable(folder)}/ with the splits {some(sorted(roles(names)))} in it, and all of it "
                "would be one class: if it is a data set, name it alone, or move what lies beside it."
            )
    outermost = [folder for folder in inside if folder.rpartition("/")[0] not in inside]
    if whole := sorted(f"{folder}/" for folder in outermost if len(inside[folder]) > 1 and "" not in inside[folder]):
        what = "in it, and all below is one class" if len(whole) == 1 else "in them; each is one class with all below"
        yield f"{some(whole)}: only folders {what}."


def _stray(keys: list[str]) -> Iterator[str]:
    if keys:
        one = len(keys) == 1
        yield (
            f"{len(keys):,} picture{'' if one else 's'} {'lies' if one else 'lie'} beside the class folders, in none, "
            f"and {'is' if one else 'are'} left out: {some(keys)}."
        )


def _packed(keys: list[str]) -> Iterator[str]:
    if keys:
        yield f"{some(keys)}: beside the class folders, and not looked into; unpack what belongs here."


def _without_pictures(names: Collection[str]) -> Iterator[str]:
    if names:
        yield f"{some(sorted(names))}: without pictures, so no class is made of {'it' if len(names) == 1 else 'them'}."
