"""The resnet.py of akamaster/pytorch_resnet_cifar10, executed from a state dict in float64."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor
from torch.nn.functional import relu

from resnets.weights.formats.stored import Foreign
from resnets.weights.worlds.torch.witness import Modules


def run(file: Foreign, x: Tensor) -> dict[str, Tensor]:
    """(N, C, H, H) float64, preprocessed -> "stem", "stageS.unitU" (N, C', H', W') and "logits" (N, classes)."""
    net = Modules(file)
    x = relu(net.norm("bn1", net.conv("conv1", x)))
    found = {"stem": x}
    for s, layer in enumerate(net.children("layer", first=1), start=1):
        for u, block in enumerate(net.children(f"{layer}."), start=1):
            stride = 2 if s > 1 and u == 1 else 1
            y = relu(net.norm(f"{block}.bn1", net.conv(f"{block}.conv1", x, stride)))
            y = net.norm(f"{block}.bn2", net.conv(f"{block}.conv2", y))
            x = relu(y + _shortcut(x, y.shape[1], stride))
            found[f"stage{s}.unit{u}"] = x
    return {**found, "logits": net.linear("linear", F.avg_pool2d(x, x.shape[3]).flatten(1))}


def _shortcut(x: Tensor, planes: int, stride: int) -> Tensor:
    """Option A: every second pixel, and a quarter of the new width in zero channels on either side."""
    if stride == 1 and x.shape[1] == planes:
        return x
    return F.pad(x[:, :, ::2, ::2], (0, 0, 0, 0, planes // 4, planes // 4))
