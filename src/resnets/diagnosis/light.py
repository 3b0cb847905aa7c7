"""Pictures on which there is nothing to see: of one colour, wholly transparent, nearly black or nearly white.

Measured on the pixels that decoding gives, for these are all that a network gets: a file may hold more, behind its
transparency or in bits that its format does not promise.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np

from resnets.data.sample import Sample
from resnets.diagnosis.diagnosis import Finding, count
from resnets.text import some

PLAIN, FLAT, DARK, BRIGHT = range(4)
SAME = 1.0  # grey levels: standard deviation of every colour, below which all is one colour to the eye
NEAR = 25  # of 255: how far from black, or from white, is still nearly that
SPECKS = 0.01  # share of the pixels that may be otherwise
GRID = 16  # pixels along a side that are looked at first
BLOCK = 256  # pictures at once
LOOKED_AT = 2**31  # bytes of pixels; of larger sets evenly spread pictures

_CLEAR = ("RGBA", "LA", "PA", "La", "RGBa")  # Pillow's modes with transparency

KINDS = {
    "blank": (
        "of one colour",
        "There is nothing to learn from them: remove them, unless a class is meant to show nothing.",
    ),
    "invisible": (
        "wholly transparent, so that only the white behind is seen",
        "Where there is a picture below, save it without transparency; else remove them.",
    ),
    "dark": (
        "nearly black",
        "Look at them. Pictures of more than eight bits may use a part of their range only: scale them yourself.",
    ),
    "bright": ("nearly white", "Look at them: scans of empty pages, and exposures that went wrong, are so."),
}


def kinds(pictures: np.ndarray, every: int = 1) -> np.ndarray:
    """Which of (N, H, W, 3) uint8 pictures are FLAT, DARK or BRIGHT, and which PLAIN.

    every   of so many one is looked at
    """
    rows = np.arange(0, len(pictures), every)
    found = np.zeros(len(rows), np.int64)
    step = max(1, min(pictures.shape[1:3]) // GRID)
    for first in range(0, len(rows), BLOCK):
        block = slice(rows[first], rows[first : first + BLOCK][-1] + 1, every)
        found[first : first + BLOCK] = _kinds(pictures[block, ::step, ::step])
    for place in np.flatnonzero(found):  # between the points of the grid there may be something after all
        row = rows[place]
        found[place] = _kinds(pictures[row : row + 1])[0]
    return found


def _kinds(pictures: np.ndarray) -> np.ndarray:
    flat = pictures.reshape(len(pictures), -1, 3)
    same = flat.std(axis=1, dtype=np.float32).max(axis=1) < SAME
    dark = (flat.max(axis=2) > NEAR).mean(axis=1) <= SPECKS
    bright = (flat.min(axis=2) < 255 - NEAR).mean(axis=1) <= SPECKS
    return np.select([same, dark, bright], [FLAT, DARK, BRIGHT], PLAIN)


def findings(samples: Sequence[Sample], found: Sequence[int], modes: Sequence[str] | None = None) -> list[Finding]:
    """What to say of pictures of these `kinds`; `modes` are Pillow's, where they are known."""
    by_kind: dict[str, list[str]] = {name: [] for name in KINDS}
    for number, (sample, kind) in enumerate(zip(samples, found, strict=True)):
        if kind == FLAT:
            clear = modes is not None and modes[number] in _CLEAR
            by_kind["invisible" if clear else "blank"].append(sample.key)
        elif kind != PLAIN:
            by_kind["dark" if kind == DARK else "bright"].append(sample.key)
    return [
        Finding(
            kind=name,
            severity="warning",
            text=f"{count(len(keys), 'picture')} {'is' if len(keys) == 1 else 'are'} {KINDS[name][0]}: {some(keys)}.",
            mend=f"{KINDS[name][1]} A cleaned copy keeps them.",
            paths=tuple(keys),
        )
        for name, keys in by_kind.items()
        if keys
    ]


def of_decoded(decoded: Iterable[tuple[Sequence[Sample], np.ndarray]]) -> list[Finding]:
    """The same of what training has decoded: samples, and their (N, S, S, 3) uint8 pixels."""
    samples: list[Sample] = []
    found: list[int] = []
    for own, pixels in decoded:
        step = max(1, -(-pixels.nbytes // LOOKED_AT))
        samples += own[::step]
        found += kinds(pixels, step).tolist()
    return findings(samples, found)
