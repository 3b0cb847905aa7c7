"""Runs an ONNX graph as the standard defines its nodes, from the file's own nodes and tensors.

It knows operators, not residual networks; which values are the activations of our roles, the file's documents say.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Mapping

import torch
from torch import Tensor

from resnets.weights.formats.onnx_file import OnnxGraph
from resnets.weights.formats.stored import Foreign, unusable
from resnets.weights.worlds.onnx.ops import evaluate

LARGEST_BATCH = 64  # that a graph may ask for
Named = Mapping[str, Tensor]  # by the name of a value


def run(file: Foreign, x: Tensor) -> dict[str, Tensor]:
    """(N, C, H, W) float64, as fed to the network's input -> the activations of our roles, float64.

    Raises ModelFileError for nodes that cannot be computed.
    """
    names = {name for name, _ in file.documents["reports"].values()}
    found = fed(file, x, lambda pictures: values(file, pictures, names))
    return by_role(file, found)


def values(file: Foreign, pictures: Tensor, names: Collection[str]) -> dict[str, Tensor]:
    """Values of the graph by their names, for pictures as it wants them, in their precision. Raises ModelFileError."""
    graph: OnnxGraph = file.documents["onnx"]
    nodes = graph.needed
    uses = Counter(name for node in nodes for name in node.inputs)
    there: dict[str, Tensor] = {next(iter(graph.inputs)): pictures}

    def value(name: str) -> Tensor:
        if name in there:
            return there[name]
        tensor = graph.tensors[name].read()  # read when it is needed, since together they are as large as the network
        return tensor.to(pictures.dtype) if tensor.is_floating_point() else tensor

    found = {}
    for node in nodes:
        try:
            given = evaluate(node, [value(name) if name else None for name in node.inputs])
        except (KeyError, ValueError) as problem:
            raise unusable(file.path, str(problem)) from problem
        given = given.to(pictures.dtype) if given.is_floating_point() else given
        for name in node.outputs[:1]:
            there[name] = given
            if name in names:
                found[name] = given
        uses.subtract(node.inputs)
        for name in node.inputs:
            if not uses[name]:
                there.pop(name, None)
    return found


def fed(file: Foreign, x: Tensor, run: Callable[[Tensor], Named]) -> dict[str, Tensor]:
    """What a runner of a graph gives for pictures (N, C, H, W), by the names of values.

    Pictures are handed over as the graph wants them: so many at once, and the channels where they belong. Raises
    ModelFileError for a graph that wants more than 64 at once.
    """
    together = file.documents["input"][:1]
    size = together[0] if together and together[0] else len(x)
    if size > LARGEST_BATCH:
        raise unusable(file.path, f"it takes {size:,} pictures at once and no fewer; export it with an open batch")
    parts = []
    for start in range(0, len(x), size):
        pictures = x[start : start + size]
        filled = torch.cat([pictures, pictures[-1:].expand(size - len(pictures), -1, -1, -1)])
        given = run(filled.permute(0, 2, 3, 1) if file.documents["channels_last"] else filled)
        parts.append({name: tensor[: len(pictures)] for name, tensor in given.items()})
    return {name: torch.cat([part[name] for part in parts]) for name in parts[0]}


def by_role(file: Foreign, found: Named) -> dict[str, Tensor]:
    """The values that are activations of our roles, with the channels first."""
    reported = {}
    for role, (name, last) in file.documents["reports"].items():
        tensor = found[name]
        tensor = tensor.permute(0, 3, 1, 2) if last and tensor.ndim == 4 else tensor
        reported[role] = tensor.flatten(1) if role == "logits" else tensor
    return reported
