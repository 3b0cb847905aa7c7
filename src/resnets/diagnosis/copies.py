"""Findings on pictures that are there twice: what it means depends on the splits and the labels that they lie in."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from resnets.data.sample import Sample
from resnets.diagnosis.diagnosis import Finding, count
from resnets.text import printable

LEAK = (
    "Keep each picture in one split only; `resnets doctor --fix-into` removes it from the training side. Until then "
    "every figure on the held-out images is too good to be true."
)
TORN = (
    "Keep one of each: the set has no splits. Training keeps equal files on one side, but pictures that only look the "
    "same it parts, and other programs part both; `resnets doctor --fix-into` keeps the first."
)


@dataclass(frozen=True)
class Copies:
    """Groups of indices into `samples`: of equal files, and of pictures that look the same (equal files among them)."""

    samples: Sequence[Sample]
    exact: list[list[int]]
    near: list[list[int]] = field(default_factory=list)

    def findings(self) -> list[Finding]:
        """Leaks, repetitions and contradictions, of equal files and of near duplicates."""
        found = [
            *self._repeated(self.exact, ""),
            *self._repeated(self.near, "near-"),
        ]
        clashing = [group for group in (*self.exact, *self.near) if len({self.samples[i].label for i in group}) > 1]
        if clashing:
            one = [self.samples[i] for i in clashing[0]]
            other = next(sample for sample in one if sample.label != one[0].label)
            found.append(
                Finding(
                    kind="contradiction",
                    severity="error",
                    text=f"{count(len(clashing), 'picture')} {'has' if len(clashing) == 1 else 'have'} two labels: "
                    f"{printable(one[0].key)} is also {printable(other.key)}.",
                    mend="Decide which class is right and remove the other copy; `resnets doctor --fix-into` leaves "
                    "copies with different labels within one split as they are.",
                    **self._about(clashing),
                )
            )
        return found

    def _repeated(self, groups: list[list[int]], prefix: str) -> Iterable[Finding]:
        across = [group for group in groups if len({self.samples[i].split for i in group}) > 1]
        within = [group for group in groups if len({self.samples[i].split for i in group}) == 1]
        if across:
            names = " and in ".join(
                f"{name}/" for name in sorted({self.samples[i].split for group in across for i in group})
            )
            what = "picture" if prefix else "file"
            changed = ", recompressed, resized or cropped" if prefix else ""
            yield Finding(
                kind=f"{prefix}leak",
                severity="error",
                text=f"{count(len(across), what)} {'appears' if len(across) == 1 else 'appear'} in {names}{changed}.",
                mend=LEAK,
                **self._about(across),
            )
        if within:
            torn = self.samples[within[0][0]].split == ""
            extra = sum(len(group) - 1 for group in within)
            a_copy = "is a copy" if extra == 1 else "are copies"
            shows = "shows the same picture as" if extra == 1 else "show the same picture as"
            said = f"{shows} another, recompressed, resized or cropped" if prefix else f"{a_copy} of another"
            remedy = (
                "Remove those that add nothing."
                if prefix
                else "Remove the copies; `resnets doctor --fix-into` keeps the first."
            )
            yield Finding(
                kind=f"{prefix}duplicates",
                severity="error" if torn else "warning",
                text=f"{count(extra, 'file')} {said}{'' if torn else ' in the same split'}.",
                mend=TORN if torn else f"Each counts twice in its split. {remedy}",
                **self._about(within),
            )

    def _about(self, groups: list[list[int]]) -> dict[str, Any]:
        named = [[self.samples[i].key for i in group] for group in groups]
        return {"paths": tuple(key for group in named for key in group), "details": {"groups": named}}


def joined(size: int, exact: list[list[int]], pairs: Sequence[tuple[int, int]]) -> list[list[int]]:
    """Groups of near duplicates among `size` pictures: all that pairs and equal files connect, through any number."""
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    if not pairs:
        return []
    links = [*pairs, *((group[0], other) for group in exact for other in group[1:])]
    rows, columns = np.array(links).T
    _, which = connected_components(
        coo_array((np.ones(len(links)), (rows, columns)), shape=(size, size)), directed=False
    )
    wanted = sorted({int(which[i]) for pair in pairs for i in pair})
    groups: dict[int, list[int]] = {label: [] for label in wanted}
    for index, label in enumerate(which.tolist()):
        if label in groups:
            groups[label].append(index)
    return list(groups.values())
