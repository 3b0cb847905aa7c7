"""Whether the network that a graph was read as gives what the graph gives: it is asked before a model is handed out.

What a graph does is all in its file, so that nothing has to be believed: a node that was misunderstood, or passed over
behind the head, shows in the answers.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import suppress

import torch
from torch import Tensor

from resnets.architecture import Plan
from resnets.architecture.profile import bytes_to_run
from resnets.errors import SpecError
from resnets.network import ResNet
from resnets.weights.formats.onnx_file import OnnxGraph
from resnets.weights.formats.stored import Foreign, unusable
from resnets.weights.model import check_memory
from resnets.weights.worlds.onnx.witness import fed, values

Proof = Callable[[ResNet], None]
NEAR = 1e-3  # of the answers' spread: rounding in single precision is far below, what was misunderstood is above
MOST_PIXELS = 1024 * 1024  # of a picture that a file declares and that is tried


@torch.no_grad()
def proof(file: Foreign, plan: Plan, headless: bool) -> Proof:
    """Run the graph, and return what runs a network and compares.

    Before the network is there, so that both are never in memory. What is returned raises ModelFileError where none of
    the graph's outputs is what the network gives, as it is or as a softmax.
    """
    graph: OnnxGraph = file.documents["onnx"]
    given = [(x, fed(file, x, lambda p: values(file, p, graph.outputs))) for x in _pictures(file, plan)]

    @torch.no_grad()
    def compare(network: ResNet) -> None:
        for x, theirs in given:
            ours = list(_features(network, x) if headless else _answers(network, x))
            if not any(_same(one, other) for one in theirs.values() for other in ours):
                raise unusable(
                    file.path,
                    "what it gives for a picture is not what the network gives that its layers make; something in its "
                    "graph has another meaning here",
                )

    return compare


def _pictures(file: Foreign, plan: Plan) -> Iterator[Tensor]:
    """Two of the size that is declared; where that is open, of an even and of odd sides."""
    height, width = file.documents["input"][2:] or (0, 0)
    side = 32 if plan.spec.stem == "cifar" else 64
    sizes = [(height, width)] if height and width else [(side, side), (side + 1, side - 1)]
    if height * width > MOST_PIXELS:
        raise unusable(
            file.path, f"it is made for pictures of {height:,} x {width:,} pixels alone; export it with open sides"
        )
    for size in sizes:
        with suppress(SpecError):  # smaller than its pools take, says the network itself
            check_memory(2 * bytes_to_run(plan.at(max(size)).rows), max(size))
        yield torch.randn(2, plan.in_channels, *size, generator=torch.Generator().manual_seed(0))


def _answers(network: ResNet, x: Tensor) -> Iterator[Tensor]:
    logits = network(x)
    yield from (logits, logits.softmax(1), logits.log_softmax(1))
    if logits.shape[1] == 2:  # a yes or no as one number
        one = logits[:, 1:] - logits[:, :1]
        yield from (one, one.sigmoid())


def _features(network: ResNet, x: Tensor) -> Iterator[Tensor]:
    """Of the last unit, and behind what stands before a head: as a map and as its mean."""
    x = network.stem(x)
    for stage in network.stage_names:
        x = network.get_submodule(stage)(x)
    norm = dict(network.head.named_children()).get("norm")
    for one in (x, norm(x), norm(x).relu()) if norm else (x,):
        yield from (one, one.mean((2, 3)))


def _same(theirs: Tensor, ours: Tensor) -> bool:
    if theirs.ndim == 4 and theirs.shape[1:] == (*ours.shape[2:], *ours.shape[1:2]) != ours.shape[1:]:
        theirs = theirs.permute(0, 3, 1, 2)
    if theirs.numel() != ours.numel() or len(theirs) != len(ours):
        return False
    theirs, ours = theirs.reshape(ours.shape).double(), ours.double()
    spread = max(float(ours.max() - ours.min()), 1e-30)
    return float((theirs - ours).abs().max()) <= NEAR * spread  # what is not finite is near nothing
