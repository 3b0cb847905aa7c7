"""What folders that stand beside each other are: splits, classes, or something else that is left out.

The names say it where they can (`splitnames`), and what lies in the folders must agree: folders that hold folders of
the same names are splits, never classes. Where two readings are possible nothing is guessed: the user is asked.
"""

from __future__ import annotations

import unicodedata
from collections import Counter, defaultdict
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field

from resnets.data.labels import LayoutError
from resnets.data.splitnames import is_plain, parted, roles, stranger
from resnets.text import printable, some

SAME = 2  # names of folders that two folders share, from which on they are no classes


@dataclass
class Top:
    """A folder that may be a split or a class.

    files   whether files lie in it, and not only further below
    below   the folders in it, each with those in it
    role    the split that its name means; "" for none
    around  1 if a folder lies around all that is in it, else 0
    split   of what is in it: "train", "val", "test"; "": the data comes without splits
    level   of the class folders below it; 0: it is one itself
    """

    name: str
    files: bool = False
    below: dict[str, set[str]] = field(default_factory=lambda: defaultdict(set))
    role: str = ""
    around: int = 0
    split: str = ""
    level: int = 0

    def add(self, parts: Sequence[str]) -> None:
        """Files lie in the folder that `parts` lead to from here."""
        if parts:
            self.below[parts[0]].update(parts[1:2])
        else:
            self.files = True

    @property
    def wrapped(self) -> bool:
        """Whether all that is in it lies in a single folder, and in further ones there."""
        return len(self.below) == 1 and any(self.below.values())

    def unwrap(self) -> None:
        """Look through that single folder."""
        (inner,) = self.below.values()
        self.below, self.around = {name: set() for name in inner}, 1

    @property
    def names(self) -> set[str]:
        """Of the folders in it, so that they can be compared."""
        return {_compared(name) for name in self.below}


def read_tops(shown: str, tops: Mapping[str, Top], remarks: list[str], *, asks: bool = True) -> dict[str, Top]:
    """Those folders that are splits or classes, with their `split` and `level`; of others it adds words to `remarks`.

    shown   the whole, as the user named it, for the errors
    asks    whether to ask where it is open what they are, else they are classes, or hold them

    Raises LayoutError where it is open what they are.
    """
    every = [tops[name] for name in sorted(tops)]
    for name, role in roles(tops).items():
        tops[name].role = role
    for top in every:
        if top.wrapped and top.names == {_compared(top.name)}:  # seg_train/seg_train/cat
            top.unwrap()
    full = [top for top in every if top.role and top.below]
    if len(full) > 1 and all(top.wrapped and top.names == full[0].names for top in full):  # train/images/cat
        for top in full:
            top.unwrap()
    used = _as_splits(shown, every, remarks)
    if not used:
        if asks:  # nobody has said that classes lie deeper
            _ask(shown, every)
        used = _as_classes(shown, every, remarks)
    return {top.name: top for top in used}


def _as_splits(shown: str, every: Sequence[Top], remarks: list[str]) -> list[Top]:
    """The folders as splits; empty if they are none."""
    train = [top for top in every if top.role == "train"]
    held_out = [top for top in every if top.role in ("val", "test")]
    others = [top for top in every if not top.role]
    labelled = [top for top in held_out if top.below]
    known = set().union(*(top.names for top in train))
    if not train:  # to judge on alone
        if len({top.role for top in labelled}) < 2 or not set.intersection(*(top.names for top in labelled)):
            return []
        if any(len(top.names & labelled[0].names) >= SAME for top in others):
            return []
    elif not held_out or not (known or labelled) or (len(known) < SAME and others and not labelled):
        return []  # "train" beside other folders, and without another split, is a class: somebody sorts vehicles
    elif not known:
        raise LayoutError(f"{shown} has no class folders in {_listed(train)}: photos must lie in train/cat/1.jpg.")
    else:
        labelled = [top for top in labelled if len(top.below) > 1 or top.names & known]
    used = [*(top for top in train if top.below), *labelled]
    _check_twice(shown, used)
    for top in used:
        top.split, top.level = top.role if labelled else "", 1 + top.around
    if unlabelled := [top for top in (*train, *held_out) if top not in used]:
        remarks.append(_without_labels(unlabelled))
    if others:
        remarks.append(stranger(_listed(others), _listed(used)))
    return used


def _as_classes(shown: str, every: Sequence[Top], remarks: list[str]) -> list[Top]:
    """The folders as classes, without one that has a split's name and pictures without labels in it."""
    if every and all(top.role for top in every):
        raise LayoutError(f"{shown} has no class folders in {_listed(every)}: photos must lie in train/cat/1.jpg.")
    unlabelled = [top for top in every if top.role in ("val", "test") and is_plain(top.name)]
    kept = [top for top in every if top not in unlabelled]
    if unlabelled and len(kept) >= SAME:
        remarks.append(f"{_without_labels(unlabelled)} Give it another name if it is a class.")
        return kept
    return list(every)


def _ask(shown: str, every: Sequence[Top]) -> None:
    """Raise LayoutError if folders may be splits as well as classes."""
    if shared := _shared(every):
        one, other, names = shared
        if parted(names):
            raise LayoutError(
                f"{shown} holds {printable(one)}/ and {printable(other)}/, each with the splits {some(names, 2)}: name "
                "one of them as the data, or, if they are classes, put train and val outside, as in train/cat/1.jpg."
            )
        raise LayoutError(
            f"{shown} holds {printable(one)}/ and {printable(other)}/, and both hold the folders {some(names, 2)}: are "
            "they splits, or classes? If splits, call them train and val (or test); if classes, put their photos "
            "straight into them."
        )
    places = {_compared(top.name): top for top in every}
    for top in every:
        beside = [places[name] for name in sorted(top.names) if places.get(name, top) is not top]
        if len(beside) >= SAME or (beside and (top.role or top.wrapped)):
            raise LayoutError(
                f"{shown} holds {_listed(beside)} and others, and {printable(top.name)}/ holds folders of the same "
                "names: name one place alone if it is a copy of the other, or put what trains into train/, and what is "
                "held out into val/."
            )
        if len(every) > 1 and len(top.names) >= SAME and not top.files and (top.role == "train" or is_plain(top.name)):
            raise LayoutError(
                f"{shown} holds {_listed(every)}, and in {printable(top.name)}/ there are the folders "
                f"{some(sorted(top.below), 2)}: is it a split, or a class? If a split, move the others elsewhere, or "
                "into train/ and val/; if a class, give it another name."
            )


def _shared(every: Sequence[Top]) -> tuple[str, str, list[str]] | None:
    """Two folders that hold folders of the same names, and these names."""
    owners: dict[str, list[str]] = defaultdict(list)
    spread = Counter(name for top in every for name in top.names)
    for top in every:
        names = {name for name in top.names if spread[name] > 1}
        if len(names) < SAME:  # it cannot share as many
            continue
        found = Counter(owner for name in sorted(names) for owner in owners[name])  # in an order: the first of equals
        for other, count in found.most_common(1):
            if count >= SAME:
                return other, top.name, sorted(name for name in names if other in owners[name])
        for name in names:
            owners[name].append(top.name)
    return None


def _check_twice(shown: str, used: Sequence[Top]) -> None:
    for role in sorted({top.role for top in used}):
        same = sorted(printable(top.name) for top in used if top.role == role)
        if len(same) > 1:
            raise LayoutError(f"{shown} has both {same[0]}/ and {same[1]}/ for one split: merge or rename them.")


def _without_labels(tops: Sequence[Top]) -> str:
    return f"{_listed(tops)}: no class folders, so no labels, and left out."


def _listed(tops: Collection[Top]) -> str:
    return some([f"{top.name}/" for top in tops])


def _compared(name: str) -> str:
    return unicodedata.normalize("NFC", name).strip().casefold()
