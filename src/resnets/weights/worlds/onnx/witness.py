"""Runs an ONNX graph as the standard defines its nodes, in float64, from the file's own nodes and tensors.

It knows operators, not residual networks; which values are the activations of our roles, the file's documents say.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping

import torch
from torch import Tensor

from resnets.weights.formats.onnx_file import OnnxGraph
from resnets.weights.formats.stored import Foreign, unusable
from resnets.weights.worlds.onnx.ops import evaluate

Named = Mapping[str, Tensor]  # by the name of a value


def run(file: Foreign, x: Tensor) -> dict[str, Tensor]:
    """(N, C, H, W) float64, as fed to the network's input -> the activations of our roles, float64.

    Raises ModelFileError for nodes that cannot be computed.
    """
    graph: OnnxGraph = file.documents["onnx"]
    wanted = {name for name, _ in file.documents["reports"].values()}

    def once(pictures: Tensor) -> dict[str, Tensor]:
        uses = Counter(name for node in graph.nodes for name in node.inputs)
        values: dict[str, Tensor] = {next(iter(graph.inputs)): pictures}
        for name, stored in graph.tensors.items():
            tensor = stored.read()
            values[name] = tensor.double() if tensor.is_floating_point() else tensor
        found = {}
        for node in graph.nodes:
            try:
                inputs = [values[name] if name else None for name in node.inputs]
                given = evaluate(node, inputs)
            except (KeyError, ValueError) as problem:
                raise unusable(file.path, str(problem)) from problem
            given = given.double() if given.is_floating_point() else given
            for name in node.outputs[:1]:
                values[name] = given
                if name in wanted:
                    found[name] = given
            uses.subtract(node.inputs)
            for name in node.inputs:
                if not uses[name]:
                    values.pop(name, None)
        return found

    return reported(file, x, once)


def reported(file: Foreign, x: Tensor, run: Callable[[Tensor], Named]) -> dict[str, Tensor]:
    """What a runner of a graph gives for pictures (N, C, H, W), by our roles and with the channels first.

    Pictures are handed over as the graph wants them: so many at once, and the channels where they belong.
    """
    together = file.documents["input"][:1]
    size = together[0] if together and together[0] else len(x)
    parts = []
    for start in range(0, len(x), size):
        pictures = x[start : start + size]
        filled = torch.cat([pictures, pictures[-1:].expand(size - len(pictures), -1, -1, -1)])
        given = run(filled.permute(0, 2, 3, 1) if file.documents["channels_last"] else filled)
        parts.append({name: tensor[: len(pictures)] for name, tensor in given.items()})
    found = {}
    for role, (name, last) in file.documents["reports"].items():
        tensor = torch.cat([part[name] for part in parts])
        tensor = tensor.permute(0, 3, 1, 2) if last and tensor.ndim == 4 else tensor
        found[role] = tensor.flatten(1) if role == "logits" else tensor
    return found
