"""What is to be said of the rows of a table: those that are left out, and what somebody may not have meant."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterator
from dataclasses import dataclass, field

from resnets.text import printable, some

NOT_THERE = frozenset({"na", "n/a", "#n/a", "<na>", "nan", "null"})  # as R, pandas and others write an empty cell
FEW = 0.1  # of the pictures: their folder is an odd one
MOST = 4  # pictures that are named


@dataclass
class Away:
    """Pictures that are named by their names alone and lie in another folder than the table, by their folder."""

    folder: str
    found: dict[str, list[str]] = field(default_factory=lambda: defaultdict(list))
    counts: dict[str, int] = field(default_factory=lambda: defaultdict(int))

    def seen(self, path: str, key: str) -> None:
        """One more."""
        place = key[: key.rfind("/") + 1]
        if "/" not in path and place != self.folder:
            self.counts[place] += 1
            if len(self.found[place]) < MOST:
                self.found[place].append(key)

    def remarks(self, shown: str) -> Iterator[str]:
        """Of folders in which so few of them are that another file of that name may be meant."""
        total, main = sum(self.counts.values()), max(self.counts, key=lambda place: self.counts[place], default="")
        for place, count in self.counts.items():
            if count < FEW * total:
                yield (
                    f"{shown}: {count:,} of the pictures that it names without a folder "
                    f"{'is' if count == 1 else 'are'} in {printable(place) or 'its own'}, where most lie in "
                    f"{printable(main)}: see whether they are meant ({some(self.found[place])})."
                )


@dataclass
class Left:
    """Rows that are left out, by why: the first of them and how many."""

    rows: dict[str, list[str]] = field(default_factory=lambda: defaultdict(list))

    def out(self, why: str, row: int, path: object) -> None:
        """One more."""
        self.rows[why].append(f"row {row:,}" + (f" ({printable(str(path))[:100]})" if path else ""))

    def remarks(self, shown: str) -> Iterator[str]:
        """A sentence for each reason."""
        for why, rows in self.rows.items():
            one = len(rows) == 1
            yield f"{shown}: {len(rows):,} row{'' if one else 's'} {why}, left out: {some(rows)}."


def odd_labels(labels: Collection[str]) -> Iterator[str]:
    """What to say of labels that differ in capitals alone, and of those by which programs write that there is none."""
    found = defaultdict(set)
    for label in labels:
        found[label.casefold()].add(label)
    for names in found.values():
        if len(names) > 1:
            quoted = " and ".join(f'"{printable(name[:60])}"' for name in sorted(names)[:3])
            yield f"{quoted} differ in capitals alone and are {len(names)} classes: write them alike if they are one."
    for label in sorted(labels):
        if label.casefold() in NOT_THERE:
            yield f'"{printable(label)}" is taken for a class: leave the cell empty if it means that there is none.'
