"""Pictures that are there twice: what it means depends on the splits and the labels that they lie in.

What a cleaned copy leaves out of them is decided here, too (`surplus`), so that findings and copy tell one story.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from resnets.data.sample import Sample
from resnets.diagnosis.diagnosis import Finding, count
from resnets.text import printable

_RANK = {"test": 0, "val": 1, "train": 2, "": 3}  # of two copies the one further left stays
UNTIL = "Until then every figure on the held-out images is too good to be true."
ALTERED = ", recompressed, resized or cropped"


def surplus(group: Iterable[Sample], *, near: bool) -> Iterator[tuple[Sample, Sample]]:
    """(file that a cleaned copy leaves out, the one that stays for it) of files that show one picture.

    group   equal files, or with `near` pictures that look the same

    Of two splits the held-out one keeps it. Within a split the first of equal files under one label stays, and where
    the data has no splits, of near duplicates too. Under two labels within a split both stay: somebody has to decide.
    """
    kept: list[Sample] = []
    for sample in sorted(group, key=lambda sample: (_RANK[sample.split], sample.key)):
        for other in kept:
            same_label = other.label == sample.label
            if other.split != sample.split or (same_label and (not near or sample.split == "")):
                yield sample, other
                break
        else:
            kept.append(sample)


@dataclass(frozen=True)
class Copies:
    """Groups of indices into `samples`: of equal files, and of pictures that look the same (equal files among them).

    drawn   the side of each sample ("train", "val") where training draws the split; None: those of the data count
    """

    samples: Sequence[Sample]
    exact: list[list[int]]
    near: list[list[int]] = field(default_factory=list)
    drawn: Sequence[str] | None = None

    def findings(self) -> list[Finding]:
        """Leaks, repetitions and contradictions, of equal files and of near duplicates."""
        return [
            *self.leaks(self.exact, near=False),
            *self._repeated(self.exact, near=False),
            *self.leaks(self.near, near=True),
            *self._repeated(self.near, near=True),
            *self.contradictions(),
        ]

    def leaks(self, groups: Sequence[Sequence[int]], *, near: bool) -> Iterator[Finding]:
        """Pictures on more than one side of a split."""
        across = [group for group in groups if len({self._side(i) for i in group}) > 1]
        if not across:
            return
        what = count(len(across), "picture" if near else "file")
        one = len(across) == 1
        if self.drawn is not None:
            where = f"{'lies' if one else 'lie'} on both sides of the split that training draws"
            mend = f"Keep one of each; `resnets doctor --fix-into` keeps the first. {UNTIL}"
        else:
            sides = sorted({self._side(i) for group in across for i in group})
            where = f"{'appears' if one else 'appear'} in {' and in '.join(f'{side}/' for side in sides)}"
            leave = {gone.split for group in across for gone, _ in surplus(self._of(group), near=near)}
            stay = {kept.split for group in across for _, kept in surplus(self._of(group), near=near)}
            mend = (
                f"Keep each picture in one split only; `resnets doctor --fix-into` removes it from {_either(leave)} "
                f"and keeps it in {_either(stay)}. {UNTIL}"
            )
        yield Finding(
            kind="near-leak" if near else "leak",
            severity="error",
            text=f"{what} {where}{ALTERED if near else ''}.",
            mend=mend,
            fixed=True,
            **_about([self._of(group) for group in across]),
        )

    def contradictions(self) -> Iterator[Finding]:
        """Pictures under more than one label."""
        joined_before = {i for group in self.near for i in group}
        groups = [*self.near, *(group for group in self.exact if group[0] not in joined_before)]
        equal = {i: group for group in self.exact for i in group}
        stay: list[list[Sample]] = []  # under two labels in a cleaned copy too
        settled: list[list[Sample]] = []  # of one label there, as one of two splits alone keeps the picture
        for group in groups:
            if len({self.samples[i].label for i in group}) > 1:
                left = self._staying(group, equal)
                torn = len({sample.label for sample in left}) > 1
                (stay if torn else settled).append(left if torn else self._of(group))
        for found, fixed, remedy in (
            (stay, False, "remove the other copy; `resnets doctor --fix-into` keeps both"),
            (settled, True, "see that the held-out copy has it, which `resnets doctor --fix-into` keeps"),
        ):
            if not found:
                continue
            one = found[0][0]
            other = next(sample for sample in found[0] if sample.label != one.label)
            yield Finding(
                kind="contradiction",
                severity="error",
                text=f"{count(len(found), 'picture')} {'has' if len(found) == 1 else 'have'} two labels"
                f"{' in two splits' if fixed else ''}: {printable(one.key)} is also {printable(other.key)}.",
                mend=f"Decide which class is right and {remedy}.",
                fixed=fixed,
                **_about(found),
            )

    def _repeated(self, groups: Sequence[Sequence[int]], *, near: bool) -> Iterator[Finding]:
        """Pictures that lie in one split under one label more than once."""
        within = [part for group in groups for part in self._alike(group, near)]
        if not within:
            return
        torn = self.samples[within[0][0]].split == ""
        extra = sum(len(part) - 1 for part in within)
        shows = "shows the same picture as" if extra == 1 else "show the same picture as"
        said = f"{shows} another{ALTERED}" if near else f"{'is a copy' if extra == 1 else 'are copies'} of another"
        if torn:
            why = (
                "a split made of it may put one into training and another among the held-out images"
                if near
                else "`resnets train` keeps equal files on one side, but other programs part them"
            )
            mend = f"Keep one of each, as `resnets doctor --fix-into` does: the set has no splits, and {why}."
        elif near:
            mend = "Each counts twice. Remove those that add nothing; `resnets doctor --fix-into` keeps them."
        else:
            mend = "Each counts twice. Remove the copies; `resnets doctor --fix-into` keeps the first."
        yield Finding(
            kind="near-duplicates" if near else "duplicates",
            severity="error" if torn else "warning",
            text=f"{count(extra, 'file')} {said}{'' if torn else ' in the same split'}.",
            mend=mend,
            fixed=torn or not near,
            **_about([self._of(part) for part in within]),
        )

    def _alike(self, group: Sequence[int], near: bool) -> Iterator[list[int]]:
        """The parts of a group that lie in one split under one label; for near duplicates one of equal files each."""
        first = {i: equal[0] for equal in self.exact for i in equal} if near else {}
        parts: dict[tuple[str, str], dict[int, int]] = defaultdict(dict)
        for i in group:
            parts[self.samples[i].split, self.samples[i].label].setdefault(first.get(i, i), i)
        return (list(part.values()) for part in parts.values() if len(part) > 1)

    def _staying(self, group: Sequence[int], equal: Mapping[int, list[int]]) -> list[Sample]:
        """What a cleaned copy keeps of a group: of its equal files first, then of what looks the same."""
        sets = {id(equal[i]): equal[i] for i in group if i in equal}
        gone = {sample.key for own in sets.values() for sample, _ in surplus(self._of(own), near=False)}
        left = [sample for sample in self._of(group) if sample.key not in gone]
        gone = {sample.key for sample, _ in surplus(left, near=True)}
        return [sample for sample in left if sample.key not in gone]

    def _side(self, index: int) -> str:
        return self.samples[index].split if self.drawn is None else self.drawn[index]

    def _of(self, group: Sequence[int]) -> list[Sample]:
        return [self.samples[i] for i in group]


def _about(groups: Sequence[Sequence[Sample]]) -> dict[str, Any]:
    named = [[sample.key for sample in group] for group in groups]
    return {"paths": tuple(key for group in named for key in group), "details": {"groups": named}}


def _either(splits: Iterable[str]) -> str:
    """'train/', or 'train/ or val/'."""
    return " or ".join(f"{split}/" for split in sorted(splits, key=_RANK.__getitem__))


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
