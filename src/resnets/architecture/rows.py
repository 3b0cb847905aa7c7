"""The vocabulary of a plan: a row is one layer, a unit is one residual block made of rows."""

from __future__ import annotations

from dataclasses import dataclass

Shape = tuple[int, int, int]  # channels, height, width


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One layer. `role` names it for good: 'stage3.unit2.conv1', 'stem.norm', 'head.linear'.

    kind: conv, norm, relu, max_pool, avg_pool, subsample (every stride-th pixel), pad (subsample, then
    zero channels), add, global_pool, linear. padding is symmetric pixels, or the name of a rule:
    'same' and 'ceil' depend on the size of the input, 'zero' pads a pool with one pixel of zeros, 'end'
    and 'both' say where a pad puts its channels.
    """

    role: str
    kind: str
    input: Shape
    output: Shape
    kernel: int = 1
    stride: int = 1
    dilation: int = 1
    padding: int | str = 0
    groups: int = 1
    bias: bool = False

    @property
    def in_channels(self) -> int:
        """Channels that come in."""
        return self.input[0]

    @property
    def out_channels(self) -> int:
        """Channels that go out."""
        return self.output[0]

    @property
    def parameters(self) -> int:
        """Learned numbers; a norm's running mean and variance are not among them."""
        if self.kind == "norm":
            return 2 * self.out_channels
        if self.kind in ("conv", "linear"):
            weights = self.in_channels // self.groups * self.out_channels * self.kernel**2
            return weights + self.out_channels * self.bias
        return 0

    @property
    def macs(self) -> int:
        """Multiply-adds for one image: those of convolutions and of the linear layer, biases not counted."""
        if self.kind not in ("conv", "linear"):
            return 0
        _, height, width = self.output
        return self.in_channels // self.groups * self.kernel**2 * self.out_channels * height * width


@dataclass(frozen=True, slots=True, kw_only=True)
class Unit:
    """One residual unit: its branch, its shortcut (empty: identity) and what follows them.

    `residual` is False in a plain network, which has neither shortcut nor addition.
    """

    role: str
    branch: tuple[Row, ...]
    shortcut: tuple[Row, ...]
    after: tuple[Row, ...]
    residual: bool

    @property
    def shares_preactivation(self) -> bool:
        """Whether the shortcut reads the branch's first norm-relu instead of the unit's input."""
        return self.branch[0].kind == "norm" and any(row.kind in ("conv", "pad") for row in self.shortcut)

    @property
    def rows(self) -> tuple[Row, ...]:
        """All rows, in the order in which they run."""
        return self.branch + self.shortcut + self.after
