"""One file of a data set, as it was listed."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Sample:
    """One file of a class folder: perhaps an image, which only decoding can tell."""

    key: str  # its path inside the source, with "/": "train/cat/1.jpg"
    label: str  # the class folder's name: "cat"
    split: str  # "train", "val" or "test"; "" if the source has no splits
    size: int  # bytes
