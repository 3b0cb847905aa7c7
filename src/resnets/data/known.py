"""What a training has seen: the contents that it was trained on and those that it held out.

A run records them whole. A model file has the beginning of each, which tells its images from any others too (of a
million images, one of some hundred million others would be taken for one of them).
"""

from __future__ import annotations

import base64
import binascii
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from resnets.data.identity import SIZE
from resnets.data.source import Source
from resnets.data.split import Splits

SHORT = 6  # bytes of each digest in a model file
MOST = 1_500_000  # images; of more, a model file would grow by over 12 MB, and has none

TRAINED_ON, HELD_OUT, NEW = "trained_on", "held_out", "new"


@dataclass(frozen=True)
class Known:
    """Beginnings of digests, `size` bytes each, sorted; copies of one image stand there as often as they are there."""

    size: int
    trained_on: tuple[bytes, ...]
    held_out: tuple[bytes, ...]

    @classmethod
    def of(cls, source: Source, splits: Splits) -> Known:
        """Of a split, every file of it."""
        sides = (sorted(source.contents[sample.key] for sample in side) for side in (splits.train, splits.held_out))
        return cls(SIZE, *map(tuple, sides))

    def shortened(self) -> Known | None:
        """For a model file; None for too many images."""
        if len(self.trained_on) + len(self.held_out) > MOST:
            return None
        short = (tuple(digest[:SHORT] for digest in side) for side in (self.trained_on, self.held_out))
        return Known(SHORT, *short)

    def after(self, before: Known) -> Known:
        """Of a training that started from weights which had been trained on other images before."""
        short = Known(SHORT, *(tuple(one[:SHORT] for one in side) for side in (self.trained_on, self.held_out)))
        seen = {one[:SHORT] for one in before.trained_on}
        return Known(SHORT, tuple(sorted([*short.trained_on, *(seen - short._trained_on)])), short.held_out)

    def of_content(self, content: bytes) -> str:
        """TRAINED_ON, HELD_OUT or NEW; an image that lies on both sides was trained on."""
        own = content[: self.size]
        return TRAINED_ON if own in self._trained_on else HELD_OUT if own in self._held_out else NEW

    def difference(self, other: Known) -> tuple[int, int]:
        """How many files are here and not there, and there and not here, on whatever side."""
        mine, theirs = (Counter(known.trained_on + known.held_out) for known in (self, other))
        return (mine - theirs).total(), (theirs - mine).total()

    def to_dict(self) -> dict[str, Any]:
        """Fit for JSON."""
        sides = {TRAINED_ON: self.trained_on, HELD_OUT: self.held_out}
        return {"bytes": self.size} | {name: base64.b64encode(b"".join(side)).decode() for name, side in sides.items()}

    @classmethod
    def from_dict(cls, table: object) -> Known | None:
        """The reverse of `to_dict`; None for what is none: a file may hold anything."""
        if not isinstance(table, Mapping):
            return None
        size = table.get("bytes")
        if type(size) is not int or not SHORT <= size <= SIZE:
            return None
        sides = []
        for text in (table.get(TRAINED_ON), table.get(HELD_OUT)):
            if not isinstance(text, str) or 3 * len(text) > 4 * size * (MOST + 1):
                return None
            try:
                data = base64.b64decode(text, validate=True)
            except (binascii.Error, ValueError):
                return None
            if len(data) % size:
                return None
            sides.append(tuple(data[at : at + size] for at in range(0, len(data), size)))
        return cls(size, *sides)

    @cached_property
    def _trained_on(self) -> frozenset[bytes]:
        return frozenset(self.trained_on)

    @cached_property
    def _held_out(self) -> frozenset[bytes]:
        return frozenset(self.held_out)
