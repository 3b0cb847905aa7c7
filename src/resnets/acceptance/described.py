"""What a user says of somebody's weights and no file does: the classes' names, and how pictures are prepared."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from resnets.data.labels import apart, class_names
from resnets.data.open import open_source
from resnets.data.preprocess import Preprocessing
from resnets.data.published import LISTS
from resnets.data.titles import clean, wordnet
from resnets.errors import DataError, ParameterError
from resnets.regular import bounded, open_regular
from resnets.text import brief, printable
from resnets.weights import Model

MOST_BYTES = 2**22  # of a list of names
ORDERS = ("RGB", "BGR")
SAYS = ("mean", "std", "resize", "crop", "order")
_SYNSET = re.compile(r"(n\d{8})\s+(\S.*)")
_NUMBERED = re.compile(r"(\d+)(?:\s*[,;:=]\s*|\s+)(\S.*)")


def with_names(model: Model, names: str | Path) -> Model:
    """The model with names for its classes, in the order of its logits.

    names   "imagenet", "cifar10" or "cifar100"; a file with a name on each line, or a JSON list or table (by number);
            or labelled images, whose classes are taken in sorted order

    Raises ParameterError for others, and for a list of another length.
    """
    wanted = model.network.plan.num_classes
    found, titles = _named(names, wanted)
    if len(found) != wanted:
        raise ParameterError(
            f"`class_names` ({printable(str(names))}) has {len(found):,} names, and the network has {wanted:,} classes."
        )
    return replace(model, classes=found, titles=titles)


def prepared(own: Preprocessing, said: Mapping[str, Any]) -> Preprocessing:
    """The preprocessing with what a user says of it; None is nothing said.

    mean, std   one number or one for each channel, in the network's order of channels. In levels (0 to 255) if one of
                them is above 1, and then the levels are divided by `std`, by 1 if it is not given; else in shares of
                white (0 to 1)
    resize      pixels of the shorter side, 256, or of both, "256x256", whatever the picture's shape
    crop        side of the square that is cut from the middle. Without `resize` the picture grows or shrinks with it
    order       RGB or BGR, of the channels of the network; a mean and a deviation that are not given go with it

    Raises ParameterError for what makes no sense, and for other keys.
    """
    if others := [key for key in said if key not in SAYS]:
        raise ParameterError(f"The preprocessing is said by {', '.join(SAYS)}, not by {brief(others[0])}.")
    mean, std, resize, crop, order = (said.get(key) for key in SAYS)
    if order not in (None, *ORDERS):
        raise ParameterError(f"`order` is RGB or BGR, not {brief(order)}.")
    if order not in (None, own.channels):
        own = own.turned()
    changed: dict[str, Any] = {}
    if mean is not None or std is not None:
        changed |= _normalisation(own, mean, std)
    if crop is not None and (not isinstance(crop, int) or crop < 1):
        raise ParameterError(f"`crop` is a number of pixels, 1 or more, not {brief(crop)}.")
    size = own.image_size if crop is None else crop
    if crop is not None:
        changed |= {"image_size": crop, "resize_to": max(crop, round(own.resize_to * crop / own.image_size))}
        if own.mean_image is not None and crop != own.image_size:
            changed["mean_image"] = None
    if resize is not None:
        changed |= _resized(resize, size)
    try:
        return replace(own, **changed)
    except DataError as problem:
        raise ParameterError(str(problem)) from problem


def _normalisation(own: Preprocessing, mean: Any, std: Any) -> dict[str, Any]:
    found = {"mean": _numbers("mean", mean), "std": _numbers("std", std)}
    means, stds = found["mean"], found["std"]
    levels = max((*means, *stds), default=0.0) > 1
    if levels and ((means and 0 < max(means) <= 1) or (stds and max(stds) < 1)):
        raise ParameterError("`mean` and `std` are both in levels (0 to 255), or both in shares of white (0 to 1).")
    white = 255.0 if levels else 1.0
    changed: dict[str, Any] = {}
    if means:
        changed |= {"mean": _three(means, white), "mean_image": None}
    if stds:
        changed["std"] = _three(stds, white)
    elif levels:
        changed["std"] = _three((1.0,), white)
    return changed


def _numbers(key: str, given: Any) -> tuple[float, ...]:
    """One number or three; none of None. Raises ParameterError."""
    values = () if given is None else (given,) if isinstance(given, int | float) else given
    plain = isinstance(values, list | tuple) and all(
        isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value) for value in values
    )
    if not plain or len(values) not in ((0,) if given is None else (1, 3)):
        raise ParameterError(f"`{key}` is one number or three, as in 104,117,123, not {brief(given)}.")
    return tuple(map(float, values))


def _three(values: Sequence[float], white: float) -> tuple[float, ...]:
    return tuple(value / white for value in (tuple(values) * 3 if len(values) == 1 else values))


def _resized(resize: str | int, size: int) -> dict[str, Any]:
    match = re.fullmatch(r"(\d{1,5})(?:x(\d{1,5}))?", str(resize))
    if not match or match[2] not in (None, match[1]):
        raise ParameterError(f"`resize` is 256 (the shorter side) or 256x256 (both sides), not {brief(resize)}.")
    if int(match[1]) < size:
        raise ParameterError(f"`resize` is {match[1]}, and {size} pixels are cut from it: give a smaller `crop`.")
    return {"resize": "stretch" if match[2] else "shorter", "resize_to": int(match[1])}


def _named(names: str | Path, wanted: int) -> tuple[tuple[str, ...], dict[str, str]]:
    """(names, titles)."""
    if names == "imagenet":
        words = dict(wordnet())
        return (("background",) if wanted == len(words) + 1 else ()) + tuple(words), words
    if names in LISTS:
        return LISTS[str(names)], {}
    path = Path(names)
    try:
        there = bool(str(names)) and path.exists()
    except OSError:  # a name that no file can have
        there = False
    if there and path.suffix.lower() in (".txt", ".json", ".names") and path.is_file():
        return _of_file(path)
    if not there:
        raise ParameterError(
            f"There is no list of names {brief(str(names))}: give imagenet, {', '.join(LISTS)}, a file with a name "
            "on each line, or labelled images."
        )
    return class_names(open_source(path).samples), {}


def _of_file(path: Path) -> tuple[tuple[str, ...], dict[str, str]]:
    try:
        with open_regular(path) as file:
            data = bounded(file, MOST_BYTES)
        if len(data) > MOST_BYTES:
            raise ValueError(f"it is larger than {MOST_BYTES >> 20} MiB")
        text = data.decode("utf-8-sig")
        lines = _of_json(json.loads(text)) if path.suffix.lower() == ".json" else text.splitlines()
        lines = [" ".join(line.split()) for line in lines if line.strip()]
        if not all(line.isprintable() for line in lines):
            raise ValueError("a name in it cannot be printed")
    except (OSError, ValueError, RecursionError) as problem:
        raise ParameterError(f"`class_names`: {path} is no list of names ({problem}).") from problem
    synsets = [_SYNSET.fullmatch(line) for line in lines]
    if lines and all(synsets):
        titles = {match[1]: clean(match[2].partition(",")[0]) for match in synsets if match}
        return tuple(match[1] for match in synsets if match), titles
    numbered = [_NUMBERED.fullmatch(line) for line in lines]
    for first in (0, 1):
        if all(match and int(match[1]) == first + place for place, match in enumerate(numbered)):
            lines = [match[2] for match in numbered if match]
            break
    return apart(lines), {}


def _of_json(document: Any) -> list[str]:
    """["cat", ...], {"0": "cat"}, {"cat": 0}, or ImageNet's {"0": ["n01440764", "tench"]}."""
    if isinstance(document, dict):
        if document and all(isinstance(value, int) and not isinstance(value, bool) for value in document.values()):
            document = {str(number): name for name, number in document.items()}
        keys = [str(place) for place in range(len(document))]
        if document.keys() != set(keys):
            raise ValueError("its numbers do not go from 0 on, each once")
        document = [document[key] for key in keys]
        if all(isinstance(one, list) and len(one) == 2 for one in document):
            document = [" ".join(map(str, one)) for one in document]
    if not isinstance(document, list) or not all(isinstance(one, str) for one in document):
        raise ValueError("it is neither a list of names nor a table of numbers")
    return document
