"""rows -> what the network costs: parameters, multiply-adds, memory."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from resnets.architecture.rows import INPUT, Row


@dataclass(frozen=True, slots=True, kw_only=True)
class Profile:
    """The cost of some rows for one float32 image.

    parameters          learned numbers
    macs                multiply-adds
    activations         numbers that the rows put out, all together
    training_bytes      bytes that training keeps for the backward pass: what a convolution, norm, pool or linear
                        layer reads, and every relu's output, each once (an estimate; the allocator rounds up)
    """

    parameters: int
    macs: int
    activations: int
    training_bytes: int


def bytes_to_run(rows: Iterable[Row]) -> int:
    """Bytes that one float32 image takes on its way through: the widest layer's input and output, and the shortcut."""
    rows = tuple(rows)
    image = max(_numbers(row.input) for row in rows if INPUT in row.reads)
    return 4 * (2 * image + max(_numbers(row.input) + 2 * _numbers(row.output) for row in rows))


def profile(rows: Iterable[Row]) -> Profile:
    """Add the rows up."""
    rows = tuple(rows)
    kept = {role: row.input for row in rows if row.kind in ("conv", "norm", "linear", "max_pool") for role in row.reads}
    kept |= {row.role: row.output for row in rows if row.kind == "relu"}
    return Profile(
        parameters=sum(row.parameters for row in rows),
        macs=sum(row.macs for row in rows),
        activations=sum(_numbers(row.output) for row in rows),
        training_bytes=4 * sum(map(_numbers, kept.values())),
    )


def _numbers(shape: tuple[int, int, int]) -> int:
    return shape[0] * shape[1] * shape[2]
