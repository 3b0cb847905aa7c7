"""The graph of a network -> which of its nodes plays which role, whatever the nodes are called.

A residual network is a stem, a chain of sums and a head. Each sum adds two paths that part at one node: the branch,
with the most convolutions, and the shortcut, which begins a stage unless it is the identity. No world's words here.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

PICTURE = -1  # what a node reads that reads the network's input
CONVOLUTIONS = (2, 3)  # of a branch
STEMS = (1, 3)  # convolutions of a stem
WEIGHTED = ("conv", "norm", "linear")
ON_A_PATH = ("conv", "norm", "relu", "pool", "subsample", "pad")
RESHAPING = ("conv", "norm", "pool", "pad")  # what a shortcut has one of where a stage begins


@dataclass(frozen=True)
class Node:
    """One step of a graph.

    name    as errors call it
    kind    conv, norm, relu, pool, subsample (every n-th pixel), pad (channels of zeros), add or linear; anything else
            has no place in a residual network
    reads   the numbers of the nodes before it that it reads, or `PICTURE`
    """

    name: str
    kind: str
    reads: tuple[int, ...]


def roles(nodes: Sequence[Node]) -> dict[str, int]:
    """Our roles with the numbers of their nodes: "stage2.unit1.conv1", "stem.norm", "head.linear", "stage1.unit1.add".

    The head's role may be a convolution's, and is left out where there is no head. nodes: each behind what it reads.

    Raises ValueError, with a clause that says what it has that no residual network has.
    """
    return _Match(nodes).roles


@dataclass
class _Match:
    nodes: Sequence[Node]
    roles: dict[str, int] = field(default_factory=dict)

    def __post_init__(self) -> None:
        sums = [number for number, node in enumerate(self.nodes) if node.kind == "add"]
        if not sums:
            raise ValueError("nothing in its graph adds a shortcut to a branch")
        before, stage, unit = PICTURE, 0, 0
        for last in sums:
            trunk, branch, shortcut = self._parted(last, before)
            first = before == PICTURE
            if first or self._some(shortcut, RESHAPING):
                stage, unit = stage + 1, 0
            unit += 1
            self._unit(f"stage{stage}.unit{unit}", trunk, branch, shortcut)
            self.roles[f"stage{stage}.unit{unit}.add"] = last
            if first:
                self._stem([number for number in trunk if number not in self.roles.values()])
            before = last
        self._head(before)
        placed = set(self.roles.values())
        for number, node in enumerate(self.nodes):
            if node.kind in WEIGHTED and number not in placed:
                raise ValueError(f"{node.name} has no place in a residual network")

    def _some(self, path: Sequence[int], kinds: Sequence[str]) -> list[int]:
        return [number for number in path if self.nodes[number].kind in kinds]

    def _parted(self, last: int, before: int) -> tuple[list[int], list[int], list[int]]:
        """What leads to a sum, each path in the order in which it runs: the common beginning, branch and shortcut."""
        node = self.nodes[last]
        if len(node.reads) != 2:
            raise ValueError(f"{node.name} adds {len(node.reads)} things, and a residual sum adds two")
        one, other = ([*self._back(read, before, node.name)][::-1] for read in node.reads)
        least = min(len(one), len(other))
        common = next((i for i in range(least) if one[i] != other[i]), least)
        shortcut, branch = sorted((one[common:], other[common:]), key=lambda path: len(self._some(path, ("conv",))))
        if len(self._some(branch, ("conv",))) not in CONVOLUTIONS or len(self._some(shortcut, ("conv",))) > 1:
            raise ValueError(
                f"{node.name} does not add a branch of two or three convolutions to a shortcut of at most one"
            )
        return one[:common], branch, shortcut

    def _back(self, number: int, before: int, name: str) -> Iterator[int]:
        """The nodes from here to the one before, which is left out; backwards."""
        while number != before:
            node = self.nodes[number] if number != PICTURE else None
            if node is None or node.kind == "add":
                raise ValueError(f"not all that {name} adds comes from the sum before it")
            if node.kind not in ON_A_PATH or len(node.reads) != 1:
                raise ValueError(f"{node.name} has no place in a residual network")
            yield number
            number = node.reads[0]

    def _unit(self, unit: str, trunk: Sequence[int], branch: Sequence[int], shortcut: Sequence[int]) -> None:
        """Norms belong to the convolutions behind them where the branch ends in a convolution, else to those before."""
        pre = self.nodes[branch[-1]].kind == "conv"
        convolutions = 0
        for number in branch:
            kind = self.nodes[number].kind
            if kind == "conv":
                convolutions += 1
                self.roles[f"{unit}.conv{convolutions}"] = number
            elif kind == "norm":
                if not (behind := convolutions + pre):
                    raise ValueError(f"{self.nodes[number].name} stands before the first convolution")
                self._give(f"{unit}.norm{behind}", number)
        shared = self._some(trunk, ("norm",))
        if pre and f"{unit}.norm1" not in self.roles and shared:
            self.roles[f"{unit}.norm1"] = shared[-1]
        for number in self._some(shortcut, ("conv", "norm")):
            self._give(f"{unit}.shortcut.{self.nodes[number].kind}", number)

    def _stem(self, trunk: Sequence[int]) -> None:
        convolutions = self._some(trunk, ("conv",))
        if len(convolutions) not in STEMS:
            raise ValueError(
                f"{len(convolutions)} convolutions stand before its first unit, and a stem has one or three"
            )
        place = 0
        for number in trunk:
            kind = self.nodes[number].kind
            place += kind == "conv"
            if kind in ("conv", "norm"):
                self._give(f"stem.{kind}{place if len(convolutions) > 1 else ''}", number)

    def _head(self, before: int) -> None:
        """What follows the last sum: a norm at most, and one layer that gives the logits."""
        behind, heads = {before}, self._some(range(len(self.nodes)), ("linear",))
        for number in range(before + 1, len(self.nodes)):
            node = self.nodes[number]
            if behind.intersection(node.reads):
                if len(node.reads) > 1:
                    raise ValueError(f"{node.name} has no place in a residual network")
                behind.add(number)
                if node.kind == "conv":
                    heads.append(number)
                elif node.kind == "norm":
                    self._give("head.norm", number)
        if len(heads) > 1:
            names = " and ".join(self.nodes[number].name for number in heads[:2])
            raise ValueError(f"it has {len(heads)} heads ({names}{', ...' if heads[2:] else ''}), and one is read")
        if heads:
            self.roles["head.linear"] = heads[0]

    def _give(self, role: str, number: int) -> None:
        if role in self.roles:
            raise ValueError(f"{self.nodes[number].name} is a second {self.nodes[number].kind} where one has its place")
        self.roles[role] = number
