"""What a network sees in a picture before its head names a class: the maps that are pooled, and what pooling gives."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from resnets.network import ResNet, with_new_head


def head(network: ResNet) -> tuple[nn.Sequential, nn.Sequential]:
    """The head's layers before its pooling (with pre-activation a norm and a relu), and those from the pooling on."""
    rows = network.plan.head
    before = [row.kind for row in rows].index("global_pool")
    layers = [network.get_submodule(row.role) for row in rows]
    return nn.Sequential(*layers[:before]), nn.Sequential(*layers[before:])


def seen(network: ResNet, x: Tensor) -> Tensor:
    """What the head's pooling reads: (N, C, S, S) float32, normalised -> (N, C', H, W), without gradients."""
    with torch.inference_mode(False), torch.no_grad(), torch.autocast(x.device.type, enabled=False):
        last: Tensor = head(network)[0](network.features(x)[network.stage_names[-1]])
    return last


def pooled(network: ResNet, x: Tensor) -> Tensor:
    """What the head's linear layer reads: (N, C, S, S) float32, normalised -> (N, C'), without gradients."""
    with torch.no_grad(), torch.autocast(x.device.type, enabled=False):
        found: Tensor = head(network)[1][0](seen(network, x))
    return found


def pooling(network: ResNet) -> ResNet:
    """A network whose logits are what the head's linear layer of this one reads, so that every engine can give it.

    The body is copied; the linear layer is the identity. In evaluation mode.
    """
    width = network.plan.head[-1].in_channels
    found = with_new_head(network, width, seed=0)
    put_head(found, torch.eye(width), torch.zeros(width))
    return found.eval()


def put_head(network: ResNet, weight: Tensor, bias: Tensor) -> None:
    """Give a network's linear layer these (classes, D) and (classes,) numbers, in place."""
    linear = network.get_submodule("head.linear")
    assert isinstance(linear, nn.Linear)
    with torch.no_grad():
        linear.weight.copy_(weight)
        linear.bias.copy_(bias)
