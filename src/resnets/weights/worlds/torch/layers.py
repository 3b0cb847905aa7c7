"""The layers of a state dict by the shapes of its tensors, in their order, whatever they are called.

A convolution has four dimensions, a linear layer two; a norm is four vectors of one length, and a bias one.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace

import torch

from resnets.text import printable
from resnets.weights.formats.stored import Stored

NORM = ("weight", "bias", "running_mean", "running_var")
EPS = 1e-5  # of the norms that stand in, as torch.nn has it


class NoMatchError(Exception):
    """Why a file is no residual network by its structure: a clause. Never leaves this room."""


@dataclass(frozen=True)
class Layer:
    """A convolution, norm or linear layer: its kind, its tensors' names in the file, and the first one's shape."""

    kind: str
    names: tuple[str, ...]
    shape: tuple[int, ...]

    def under(self, name: str, tensors: Mapping[str, Stored]) -> dict[str, Stored]:
        """Its tensors under another name."""
        leaves = NORM if self.kind == "norm" else ("weight", "bias")
        return {f"{name}.{leaf}": tensors[theirs] for leaf, theirs in zip(leaves, self.names, strict=False)}


def layers_of(tensors: Mapping[str, Stored]) -> list[Layer]:
    """The layers in their order. Raises NoMatchError for tensors that are part of none."""
    found: list[Layer] = []
    waiting: list[str] = []  # vectors behind the last matrix
    plain = [name for name, stored in tensors.items() if stored.shape != () or stored.dtype.is_floating_point]
    for name in [*plain, ""]:
        shape = tensors[name].shape if name else (0, 0)
        if len(shape) == 1:
            waiting.append(name)
            continue
        if waiting:
            found[-1:] = _with_vectors(found[-1:], waiting, tensors)
            waiting = []
        if not name:
            break
        if len(shape) not in (2, 4) or min(shape) < 1 or (name and not tensors[name].dtype.is_floating_point):
            raise NoMatchError(f"{printable(name)} {shape} is part of no residual network")
        found.append(Layer("conv" if len(shape) == 4 else "linear", (name,), shape))
    return found


def identity(name: str, channels: int, eps: float = EPS) -> dict[str, Stored]:
    """The tensors of a norm that changes nothing."""

    def constant(value: float) -> Stored:
        return Stored((channels,), torch.float32, lambda: torch.full((channels,), value))

    values = {"weight": 1.0, "bias": 0.0, "running_mean": 0.0, "running_var": 1 - eps}
    return {f"{name}.{leaf}": constant(value) for leaf, value in values.items()}


def _with_vectors(last: list[Layer], vectors: list[str], tensors: Mapping[str, Stored]) -> list[Layer]:
    """The last layer with its bias, if it has one, and the norms behind it."""
    bias, found = len(vectors) % 4, list(last)
    if bias == 1 and last and tensors[vectors[0]].shape == last[0].shape[:1]:
        _check_leaf(vectors[0], "bias")
        found[0] = replace(last[0], names=(*last[0].names, vectors[0]))
        vectors = vectors[1:]
    elif bias:
        raise NoMatchError(f"{printable(vectors[0])} begins {len(vectors)} vectors, and a norm has four")
    for first in range(0, len(vectors), 4):
        names = tuple(vectors[first : first + 4])
        shapes = {tensors[name].shape for name in names}
        for leaf, name in zip(NORM, names, strict=True):
            _check_leaf(name, leaf)
        if len(shapes) != 1:
            raise NoMatchError(
                f"{printable(names[0])} begins four vectors of different lengths, and a norm has equal ones"
            )
        found.append(Layer("norm", names, shapes.pop()))
    return found


def _check_leaf(name: str, wanted: str) -> None:
    """Raise NoMatchError where a tensor is called as another one of a layer is."""
    leaf = name.rpartition(".")[2]
    if leaf in NORM and leaf != wanted:
        raise NoMatchError(f"{printable(name)} stands where a layer's {wanted} would: its tensors are in another order")


def come_second(names: Sequence[str], tensors: Collection[str]) -> bool:
    """Whether each of these tensors is of the second module of a sequence whose first has none: a pool, say."""

    def second(parts: list[str]) -> bool:
        before = (".".join([*parts[:place], "0", ""]) for place, one in enumerate(parts) if one == "1")
        return any(not any(name.startswith(start) for name in tensors) for start in before)

    return bool(names) and all(second(name.split(".")) for name in names)


def said(layer: Layer) -> str:
    """A layer by its first tensor's name and shape, for words about it."""
    return f"{printable(layer.names[0])} {layer.shape}"
