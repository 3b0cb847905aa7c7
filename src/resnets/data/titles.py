"""What the folders of classes are called in words: by a list beside the data, else by WordNet's for ImageNet's folders.

A class keeps the name of its folder everywhere; its title is shown beside it.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from functools import cache
from importlib.resources import files
from typing import Any

from resnets.data.labels import class_name
from resnets.data.source import Source
from resnets.errors import ImageError
from resnets.text import printable

LISTS = ("classes.json", "classes.txt")
MOST_BYTES = 2**22  # of a list: a thousand names have 20 kB
LONGEST = 200  # characters of a title

_WNID = re.compile(r"n\d{8}")
_BETWEEN = re.compile(r"\s*[\t,;:=]\s*|\s+")


def shown(name: str, titles: Mapping[str, str]) -> str:
    """A class as people read it: "cassette player (n02979186)"; one without a title is its own."""
    return f"{titles[name]} ({name})" if name in titles else name


def is_list(key: str) -> bool:
    """Whether a file is named like a list of titles."""
    return key.rpartition("/")[2].lower() in LISTS


def titles_of(source: Source, classes: Sequence[str]) -> tuple[dict[str, str], str]:
    """Class -> title of those that have one, and a remark ("": none) where a list beside the data is of no use."""
    found, remark = _listed(source, classes)
    if not found:
        words = wordnet() if any(_WNID.fullmatch(name) for name in classes) else {}
        found = {name: words[name] for name in classes if name in words}
    return {name: title for name, title in found.items() if title != name}, remark


@cache
def wordnet() -> Mapping[str, str]:
    """WordNet's identifier -> its first word, of ImageNet's 1,000 classes in the order of their logits."""
    text = files(__package__).joinpath("imagenet_1k.tsv").read_text(encoding="utf-8")
    pairs = (line.split("\t") for line in text.splitlines() if not line.startswith("#"))
    return dict(pair for pair in pairs if len(pair) == 2)


def _listed(source: Source, classes: Sequence[str]) -> tuple[dict[str, str], str]:
    """By the list that lies furthest outside."""
    keys = [key for key in source.beside if is_list(key)]
    for key in sorted(keys, key=lambda key: (key.count("/"), key)):
        try:
            data = source.read(key)
            if len(data) > MOST_BYTES:
                raise ValueError(f"larger than {MOST_BYTES >> 20} MiB")
            text = data.decode("utf-8-sig")
            read = _of_json(json.loads(text)) if key.lower().endswith(".json") else _of_lines(text)
        except (ImageError, ValueError, RecursionError) as problem:
            reason = str(problem) if isinstance(problem, ImageError) else "it is no list of names"
            return {}, f"{printable(key)} gives the classes no titles: {reason}."
        found = _matched(*read, classes)
        return found or {}, (
            "" if found is not None else f"{printable(key)} gives the classes no titles: it names none of the folders."
        )
    return {}, ""


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
    lines = [line.strip() for line in text.splitlines() if line.strip() and not line.startswith("#")]
    parts = [_BETWEEN.split(line, maxsplit=1) for line in lines]
    return [(one[0], one[1]) for one in parts if len(one) == 2 and one[1]], lines


def _matched(pairs: Sequence[tuple[str, str]], titles: Sequence[str], classes: Sequence[str]) -> dict[str, str] | None:
    """Class -> title; None where nothing of it is about these folders.

    Titles alone count where the folders are as many numbers, from 0 or from 1 on.
    """
    known = {class_name(name): name for name in classes}
    found = {known[class_name(key)]: _clean(title) for key, title in pairs if class_name(key) in known}
    if found:
        return {name: title for name, title in found.items() if title}
    for first in (0, 1):
        numbers = {str(first + place): title for place, title in enumerate(titles)}
        if len(titles) == len(known) and numbers.keys() == {name.lstrip("0") or "0" for name in known}:
            return {name: _clean(numbers[name.lstrip("0") or "0"]) for name in known}
    listed = {class_name(title) for title in (*titles, *(title for _, title in pairs))}
    return {} if listed & known.keys() else None  # a list of the folders themselves says nothing more


def _clean(title: str) -> str:
    return printable(" ".join(title.split()))[:LONGEST]
