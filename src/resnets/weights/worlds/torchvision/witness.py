"""torchvision's models/resnet.py (ResNet, ResNeXt and Wide ResNet), executed from a state dict in float64."""

from __future__ import annotations

from torch import Tensor
from torch.nn.functional import relu

from resnets.weights.formats.stored import Foreign
from resnets.weights.worlds.torch.witness import Modules


def run(file: Foreign, x: Tensor) -> dict[str, Tensor]:
    """(N, C, H, W) float64, preprocessed -> "stem", "stageS.unitU" (N, C', H', W') and "logits" (N, classes)."""
    net = Modules(file)
    if net.kernel("conv1") == 3:  # of small pictures: somebody's own stem, as it usually is
        x = relu(net.norm("bn1", net.conv("conv1", x)))
    else:
        x = net.pool(relu(net.norm("bn1", net.conv("conv1", x, stride=2))))
    found = {"stem": x}
    for s, layer in enumerate(net.children("layer", first=1), start=1):
        for u, block in enumerate(net.children(f"{layer}."), start=1):
            stride = 2 if s > 1 and u == 1 else 1
            y = branch(net, block, x, stride)
            if f"{block}.downsample" in net:
                x = relu(y + _downsample(net, f"{block}.downsample", x, stride))
            else:
                x = relu(y + net.unprojected(x, y.shape[1], stride))
            found[f"stage{s}.unit{u}"] = x
    return {**found, "logits": net.linear("fc", x.mean((2, 3)))}


def branch(net: Modules, block: str, x: Tensor, stride: int) -> Tensor:
    """BasicBlock and Bottleneck up to the addition."""
    if f"{block}.conv3" not in net:
        x = relu(net.norm(f"{block}.bn1", net.conv(f"{block}.conv1", x, stride)))
        return net.norm(f"{block}.bn2", net.conv(f"{block}.conv2", x))
    first, second = net.strides(stride)
    x = relu(net.norm(f"{block}.bn1", net.conv(f"{block}.conv1", x, first)))
    x = relu(net.norm(f"{block}.bn2", net.conv(f"{block}.conv2", x, second)))
    return net.norm(f"{block}.bn3", net.conv(f"{block}.conv3", x))


def _downsample(net: Modules, name: str, x: Tensor, stride: int) -> Tensor:
    return net.norm(f"{name}.1", net.conv(f"{name}.0", x, stride))
