"""What the folders of classes are called in words: by a list beside the data, else by WordNet's for ImageNet's folders.

A class keeps the name of its folder everywhere; its title is shown beside it.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from functools import cache
from importlib.resources import files
from types import MappingProxyType
from typing import Any

from resnets.data.labels import class_name
from resnets.data.source import Source
from resnets.errors import ImageError
from resnets.text import printable

LISTS = ("classes.json", "classes.txt")
MOST_BYTES = 2**22  # of a list: a thousand names have 20 kB
LONGEST = 60  # characters of a title

_WNID = re.compile(r"n\d{8}")
_NUMBER = re.compile(r"\d+")
_BETWEEN = re.compile(r"\s*[\t,;:=]\s*|\s+")
_WAYS = "write `folder title` on each line"


def shown(name: str, titles: Mapping[str, str]) -> str:
    """A class as people read it: "cassette player (n02979186)"; one without a title is its own."""
    return f"{titles[name]} ({name})" if name in titles else name


def clean(title: str) -> str:
    """A title as it is kept: one line that can be printed, of at most `LONGEST` characters."""
    line = printable(" ".join(title.split()))
    return line if len(line) <= LONGEST else f"{line[: LONGEST - 1]}…"


def is_list(key: str) -> bool:
    """Whether a file is named like a list of titles."""
    return key.rpartition("/")[2].lower() in LISTS


def titles_of(
    source: Source, classes: Sequence[str], known: Mapping[str, str] = MappingProxyType({})
) -> tuple[dict[str, str], str]:
    """Class -> title of those that have one, and a remark ("": none) where a list beside the data is of no use.

    known   the titles of the weights to start from, which count before WordNet's
    """
    found, remark = _listed(source, classes)
    if not found:
        words = wordnet() if any(_WNID.fullmatch(name) for name in classes) else {}
        found = {name: known.get(name, words.get(name, "")) for name in classes}
    return {name: title for name, title in found.items() if title and title != name}, remark


@cache
def wordnet() -> Mapping[str, str]:
    """WordNet's identifier -> its first word, of ImageNet's 1,000 classes in the order of their logits."""
    text = files(__package__).joinpath("imagenet_1k.tsv").read_text(encoding="utf-8")
    pairs = (line.split("\t") for line in text.splitlines() if not line.startswith("#"))
    return dict(pair for pair in pairs if len(pair) == 2)


def _listed(source: Source, classes: Sequence[str]) -> tuple[dict[str, str], str]:
    """By the first list that is of use, those that lie further outside before others."""
    keys = [key for key in source.beside if is_list(key)]
    remark = ""
    for key in sorted(keys, key=lambda key: (key.count("/"), key)):
        try:
            data = source.read(key)
            if len(data) > MOST_BYTES:
                raise ImageError(f"it is larger than {MOST_BYTES >> 20} MiB")
            text = data.decode("utf-8-sig")
            pairs, alone = _of_json(json.loads(text)) if key.lower().endswith(".json") else _of_lines(text)
            if found := _matched(pairs, alone, classes):
                return found, ""
        except ImageError as problem:
            remark = remark or f"{printable(key)} gives the classes no titles: {problem}."
        except (ValueError, RecursionError):
            remark = remark or f"{printable(key)} gives the classes no titles: it is no list of names."
    return {}, remark


def _of_json(document: Any) -> tuple[list[tuple[str, str]], list[str]]:
    """{"folder": "title"}, ["title", ...], or {"0": ["folder", "title"]}, as ImageNet's own list is."""
    if isinstance(document, list):
        return [], [title for title in document if isinstance(title, str)]
    if not isinstance(document, dict):
        raise ValueError("no list")
    pairs = [value if isinstance(value, list) and len(value) == 2 else (key, value) for key, value in document.items()]
    return [(key, value) for key, value in pairs if isinstance(key, str) and isinstance(value, str)], []


def _of_lines(text: str) -> tuple[list[tuple[str, str]], list[str]]:
    """Lines of "folder title", with white space or a mark between, or of titles alone: both readings."""
    lines = [line.strip() for line in text.splitlines() if line.strip() and not line.startswith("# ")]
    parts = [_BETWEEN.split(line, maxsplit=1) for line in lines]
    return [(one[0], one[1]) for one in parts if len(one) == 2 and one[1]], lines


def _matched(pairs: Sequence[tuple[str, str]], alone: Sequence[str], classes: Sequence[str]) -> dict[str, str]:
    """Class -> title, where there is one reading; {} of a list that says no more than the folders do.

    Pairs count where they name most of the folders, each once. Titles alone count where the folders are as many
    numbers, from 0 or from 1 on, and no line begins with one of them.

    Raises ImageError, which says why, for a list that is about other folders, or can be read in two ways.
    """
    known = {_name(name): name for name in classes}
    named = [(known[_name(key)], clean(title)) for key, title in pairs if _name(key) in known]
    whole = {_name(title) for title in alone}
    others = {_name(title) for _, title in pairs}
    if known.keys() <= whole or (named and all(_NUMBER.fullmatch(title) for _, title in named)):
        return {}  # the folders themselves, or their numbers
    if named:
        once, most = len({name for name, _ in named}) == len(named), 2 * len(named) >= len(known)
        if not once or not most or any(known.get(_name(title), name) != name for name, title in named):
            raise ImageError(f"it can be read in more than one way; {_WAYS}")
        return dict(named)
    for first in (0, 1):
        numbers = {str(first + place): title for place, title in enumerate(alone)}
        if len(alone) == len(known) and numbers.keys() == known.keys():
            return {known[number]: clean(title) for number, title in numbers.items()}
    if (whole | others) & known.keys():
        return {}
    raise ImageError("it names none of the folders")


def _name(name: str) -> str:
    """A folder's name as it is compared: numbers without zeros before them."""
    name = class_name(name)
    return name.lstrip("0") or "0" if _NUMBER.fullmatch(name) else name
