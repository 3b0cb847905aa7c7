"""What a network sees in a picture before its head names a class: the maps that are pooled, and what pooling gives."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from resnets.network import ResNet


def head(network: ResNet) -> tuple[nn.Sequential, nn.Sequential]:
    """The head's layers before its pooling (with pre-activation a norm and a relu), and those from the pooling on."""
    rows = network.plan.head
    before = [row.kind for row in rows].index("global_pool")
    layers = [network.get_submodule(row.role) for row in rows]
    return nn.Sequential(*layers[:before]), nn.Sequential(*layers[before:])


def seen(network: ResNet, x: Tensor) -> Tensor:
    """What the head's pooling reads: (N, C, S, S) float32, normalised -> (N, C', H, W), without gradients."""
    with torch.inference_mode(False), torch.no_grad():
        last: Tensor = head(network)[0](network.features(x)[network.stage_names[-1]])
    return last


def pooled(network: ResNet, x: Tensor) -> Tensor:
    """What the head's linear layer reads: (N, C, S, S) float32, normalised -> (N, C'), without gradients."""
    with torch.no_grad():
        found: Tensor = head(network)[1][0](seen(network, x))
    return found
