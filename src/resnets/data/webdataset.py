"""Shards as others write them: .tar files in which a picture's class lies beside it, as WebDataset has it.

KEY.jpg belongs to KEY.cls (a number or a name), KEY.txt or KEY.json; what stands before the first point of a name's
last part is the key. Nothing here knows an index.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Mapping
from contextlib import suppress

from resnets.data.archives import members
from resnets.data.labels import apart
from resnets.data.layout import PICTURES
from resnets.data.source import opened
from resnets.errors import DataError
from resnets.regular import open_regular

LABELS = (".cls", ".txt", ".json")  # the endings of what says a picture's class, in the order in which they count
LABEL_KEYS = ("label", "cls", "class", "class_name", "category", "target")  # of a .json
MOST_LABEL = 2**16  # bytes of such a file
ANY = ".img"  # the ending that `pack` gives to a picture without a known one


def tars(folder: str) -> list[str]:
    """The .tar files in a folder, by name."""
    with os.scandir(folder) as entries:
        found = [one.name for one in entries if one.name.lower().endswith(".tar") and one.is_file()]
    return sorted(name for name in found if not name.startswith("."))


def is_sharded(folder: str) -> bool:
    """Whether a folder holds .tar files in which labels lie beside pictures."""
    first = next(iter(tars(folder)), None)
    with suppress(DataError, OSError):
        return first is not None and is_shard(os.path.join(folder, first))
    return False


def is_shard(path: str) -> bool:
    """Whether labels lie beside the pictures in a .tar. Raises DataError for one that is damaged."""
    found = members(os.path.basename(path), path)
    pictures = pictures_of(found)
    return any(_key(key)[0] in pictures and f".{_key(key)[1]}" in LABELS for key in found)


def pictures_of(found: Mapping[str, tuple[int, int]]) -> dict[str, list[str]]:
    """Stem -> its pictures, those that are called by no more than an ending first: KEY.jpg before KEY.seg.png."""
    pictures: dict[str, list[str]] = {}
    for key in found:
        stem, ending = _key(key)
        if f".{ending.rpartition('.')[2].lower()}" in (*PICTURES, ANY):
            pictures.setdefault(stem, []).append(key)
    return {stem: sorted(keys, key=lambda key: (key.count("."), key)) for stem, keys in pictures.items()}


def labels_of(path: str, found: Mapping[str, tuple[int, int]]) -> dict[str, str]:
    """What stands beside the pictures: stem -> class, as a number or a name."""
    beside: dict[str, tuple[int, str]] = {}
    for key in found:
        stem, ending = _key(key)
        if f".{ending}" in LABELS:
            rank = LABELS.index(f".{ending}")
            if stem not in beside or rank < beside[stem][0]:
                beside[stem] = (rank, key)
    labels = {}
    with opened(path, None) as file:
        for stem, (rank, key) in beside.items():
            offset, size = found[key]
            if size <= MOST_LABEL:
                file.seek(offset)
                text = file.read(size).decode("utf-8", "replace").strip()
                label = _of_json(text) if LABELS[rank] == ".json" else text.partition("\n")[0].strip()
                if label:
                    labels[stem] = label
    return labels


def _of_json(text: str) -> str:
    try:
        document = json.loads(text)
    except (ValueError, RecursionError):
        return ""
    if not isinstance(document, dict):
        return str(document) if isinstance(document, int | str) else ""
    return next((str(document[key]) for key in LABEL_KEYS if isinstance(document.get(key), int | str)), "")


def class_list(folder: str) -> dict[str, str]:
    """Number -> name, by a classes.txt with a name on each line."""
    try:
        with open_regular(os.path.join(folder, "classes.txt")) as file:
            lines = file.read(2**22).decode("utf-8").splitlines()
    except (OSError, ValueError):
        return {}
    return {str(number): name for number, name in enumerate(apart([line.strip() for line in lines])) if name}


def _key(key: str) -> tuple[str, str]:
    """As WebDataset reads a name: up to the first point of its last part, and what stands behind it."""
    folder, _, last = key.rpartition("/")
    stem, _, ending = last.partition(".")
    return f"{folder}/{stem}", ending


def stem_of(shard: str) -> str:
    """A shard's name without its number and ending: "imagenet-train" of "imagenet-train-000001.tar"."""
    return re.sub(r"[-_.]?\d+$", "", shard.rpartition(".")[0])
