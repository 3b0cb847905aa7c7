"""Rows made one after the other: what flows between them, its role and its shape, is followed here."""

from __future__ import annotations

from typing import Literal, NamedTuple

from resnets.architecture.rows import INPUT, Kind, Padding, PadSide, Row, Shape
from resnets.architecture.spec import ResNetSpec
from resnets.errors import SpecError


class Value(NamedTuple):
    """What a row gives: its role (`INPUT`: the images) and its shape."""

    role: str
    shape: Shape


class Flow:
    """Makes the rows of a network. A row reads the value `at` and becomes it; set `at` back to fork."""

    def __init__(self, spec: ResNetSpec, shape: Shape) -> None:
        self.spec = spec
        self.at = Value(INPUT, shape)

    @property
    def channels(self) -> int:
        """Of what flows here."""
        return self.at.shape[0]

    def conv(
        self,
        role: str,
        channels: int,
        kernel: int,
        *,
        stride: int = 1,
        dilation: int = 1,
        groups: int = 1,
        normed: bool,
    ) -> Row:
        """A convolution; `normed` says whether a norm reads its output."""
        rule = self.spec.bias
        bias = rule == "always" or (rule == "unnormed" and not normed) or (rule == "stem" and role.startswith("stem"))
        symmetric = dilation * (kernel - 1) // 2
        padding: Padding = "same" if self.spec.conv_padding == "same" and stride > 1 and kernel > 1 else symmetric
        return self._windows(role, "conv", channels, kernel, stride, dilation, padding, groups, bias)

    def thin(self, role: str, kind: Literal["norm", "relu"]) -> Row:
        """A norm or a relu."""
        return self._row(role, kind, self.at.shape)

    def pool(self, role: str) -> Row:
        """The stem's max pool."""
        rule = self.spec.pool_padding
        padding: Padding = 1 if rule == "torch" else 0 if rule == "valid" else rule
        return self._windows(role, "max_pool", self.channels, 3, 2, 1, padding)

    def average(self, role: str, stride: int) -> Row:
        """The 2x2 average of a shortcut, whose output is ceil(size / stride)."""
        return self._windows(role, "avg_pool", self.channels, 2, stride, 1, "same")

    def resampled(self, role: str, kind: Kind, channels: int, stride: int, pad_side: PadSide | None = None) -> Row:
        """Every stride-th pixel, and with `pad` channels of zeros."""
        _, height, width = self.at.shape
        shape = (channels, -(-height // stride), -(-width // stride))
        return self._row(role, kind, shape, stride=stride, pad_side=pad_side)

    def added(self, role: str, shortcut: Value) -> Row:
        """The sum with a shortcut. Raises SpecError where the two have different shapes."""
        if shortcut.shape != self.at.shape:
            sides = f"the branch gives {self.at.shape} and the shortcut {shortcut.shape}"
            raise SpecError(f"At {role} {sides}: they cannot be added.")
        return self._row(role, "add", self.at.shape, shortcut.role)

    def pooled(self, role: str) -> Row:
        """The mean over height and width."""
        return self._row(role, "global_pool", (self.channels, 1, 1))

    def linear(self, role: str, classes: int) -> Row:
        """The last layer."""
        return self._row(role, "linear", (classes, 1, 1), bias=True)

    def _windows(
        self,
        role: str,
        kind: Kind,
        channels: int,
        kernel: int,
        stride: int,
        dilation: int,
        padding: Padding,
        groups: int = 1,
        bias: bool = False,
    ) -> Row:
        height, width = (_output_size(size, kernel, stride, dilation, padding) for size in self.at.shape[1:])
        if min(height, width) < 1:
            raise SpecError(f"The image is too small: nothing of it is left at {role}. Take a larger image_size.")
        return self._row(
            role,
            kind,
            (channels, height, width),
            kernel=kernel,
            stride=stride,
            dilation=dilation,
            padding=padding,
            groups=groups,
            bias=bias,
        )

    def _row(self, role: str, kind: Kind, output: Shape, *also: str, **fields: object) -> Row:
        reads = (self.at.role, *also)
        row = Row(role=role, kind=kind, reads=reads, input=self.at.shape, output=output, **fields)  # type: ignore[arg-type]
        self.at = Value(role, output)
        return row


def _output_size(size: int, kernel: int, stride: int, dilation: int, padding: Padding) -> int:
    reach = dilation * (kernel - 1) + 1
    if padding == "same":
        return -(-size // stride)
    if padding == "ceil":
        return -(-(size - reach) // stride) + 1
    return (size + 2 * (1 if padding == "zero" else int(padding)) - reach) // stride + 1
