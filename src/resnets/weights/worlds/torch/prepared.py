"""How pictures were prepared for a checkpoint, as far as the arguments of the training that wrote it say."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from resnets.data.preprocess import MAX_SIZE, Preprocessing
from resnets.errors import DataError
from resnets.weights.formats.stored import Foreign
from resnets.weights.worlds.torch.stated import places

MEAN, STD = "mean", "std"
SIZES = ("img_size", "image_size", "input_size", "val_crop_size", "crop_size")
SHARE = "crop_pct"  # of the shorter side that the crop keeps
SIDE = ("val_resize_size", "resize_size")  # to which the shorter side is made
FILTERS = ("bilinear", "bicubic")
SMALLEST = 8  # of a side


def prepared(file: Foreign, usual: Preprocessing) -> tuple[Preprocessing, str]:
    """(the usual way with what the arguments change, who says so; "" where they say nothing).

    Means and deviations above 1 are in levels of 255. What makes no sense is no fact.
    """
    found: dict[str, Any] = {}
    holder = ""
    for name, place in places(file.documents.get("checkpoint", {})):
        if new := {key: value for key, value in _of(place, usual).items() if key not in found}:
            found |= new
            holder = holder or name or "checkpoint"
    if not found:
        return usual, ""
    size = found.get("image_size", usual.image_size)
    ratio = found.pop("ratio", usual.resize_to / usual.image_size)
    found.setdefault("resize_to", max(size, math.floor(size * ratio)))
    try:
        return replace(usual, **found), f"its {holder}"
    except DataError:
        return usual, ""


def _of(place: Mapping[str, Any], usual: Preprocessing) -> dict[str, Any]:
    """Fields of a preprocessing, and `ratio`, that one table says."""
    found: dict[str, Any] = {}
    mean, std = _three(place.get(MEAN)), _three(place.get(STD))
    if mean and std and all(std):
        levels = 255 if max(*mean, *std) > 1 else 1
        found |= {"mean": tuple(one / levels for one in mean), "std": tuple(one / levels for one in std)}
    sizes = [size for key in SIZES if (size := _side(place.get(key)))]
    if sizes and sizes[0] != usual.image_size:
        found["image_size"] = sizes[0]
    share = place.get(SHARE)
    if isinstance(share, float | int) and 0.2 <= share <= 1:
        found["ratio"] = 1 / share
    if sides := [side for key in SIDE if (side := _side(place.get(key)))]:
        found["resize_to"] = sides[0]
    if place.get("interpolation") in FILTERS and place["interpolation"] != usual.interpolation:
        found["interpolation"] = place["interpolation"]
    return found


def _three(value: Any) -> list[float]:
    if not isinstance(value, list | tuple) or len(value) != 3:
        return []
    return [float(one) for one in value] if all(_is_number(one) and 0 <= one <= 255 for one in value) else []


def _is_number(value: Any) -> bool:
    return isinstance(value, float | int) and not isinstance(value, bool)


def _side(value: Any) -> int:
    """A side in pixels, alone or as the last of a square's shape; 0 for what is none."""
    if isinstance(value, list | tuple) and value and value[-1] == value[-min(2, len(value))]:
        value = value[-1]
    return value if type(value) is int and SMALLEST <= value <= MAX_SIZE else 0
