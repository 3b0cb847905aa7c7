"""Rows in a line, and the residual unit: one class for every block of the family.

Basic, bottleneck, ResNeXt, wide, plain, post- and pre-activation differ in their rows, not in their class.
"""

from __future__ import annotations

from collections.abc import Iterable

from torch import Tensor, nn

from resnets.architecture import ResNetSpec, Row, Unit
from resnets.network.layers import layer


class Line(nn.Module):
    """Rows that run one after the other. Each is a submodule with the last word of its role as its name."""

    def __init__(self, rows: Iterable[Row], spec: ResNetSpec) -> None:
        super().__init__()
        for row in rows:
            self.add_module(row.role.rpartition(".")[2], layer(row, spec))

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, H, W) -> what the last row gives."""
        for module in self.children():
            x = module(x)
        return x


class ResidualUnit(nn.Module):
    """branch(x) + shortcut(x), (N, C, H, W) -> (N, C', H', W').

    Post-activation ends with a relu. With pre-activation a shortcut that changes the shape reads the
    branch's first norm-relu, which both then share. A plain unit has no addition.
    """

    def __init__(self, unit: Unit, spec: ResNetSpec) -> None:
        super().__init__()
        for row in unit.branch:
            self.add_module(row.role.rpartition(".")[2], layer(row, spec))
        self.shortcut = Line(unit.shortcut, spec) if unit.shortcut else None
        self.branch_names = [row.role.rpartition(".")[2] for row in unit.branch]
        self.shared = 2 if unit.shares_preactivation else 0  # modules of the branch that the shortcut shares
        self.residual = unit.residual
        self.last_relu = nn.ReLU(inplace=True) if spec.order == "post" else None

    def forward(self, x: Tensor) -> Tensor:
        """One unit."""
        y = x
        for name in self.branch_names[: self.shared]:
            y = getattr(self, name)(y)
        if self.shared:
            x = y
        for name in self.branch_names[self.shared :]:
            y = getattr(self, name)(y)
        if self.residual:
            y += x if self.shortcut is None else self.shortcut(x)  # y is the branch's own; nobody else reads it
        return y if self.last_relu is None else self.last_relu(y)
