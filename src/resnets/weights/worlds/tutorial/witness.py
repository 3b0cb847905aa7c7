"""The teaching version of ResNet-18 (b1, bigblock1..4, linear), executed from a state dict in float64.

Its stem is a convolution, a norm and a pool, without an activation between them.
"""

from __future__ import annotations

from torch import Tensor
from torch.nn.functional import relu

from resnets.weights.formats.stored import Foreign
from resnets.weights.worlds.torch.witness import Modules, stem_pool


def run(file: Foreign, x: Tensor) -> dict[str, Tensor]:
    """(N, C, H, W) float64, preprocessed -> "stem", "stageS.unitU" (N, C', H', W') and "logits" (N, classes)."""
    net = Modules(file)
    x = stem_pool(net.norm("b1.1", net.conv("b1.0", x, stride=2)))
    found = {"stem": x}
    for s, bigblock in enumerate(net.children("bigblock", first=1), start=1):
        for u, block in enumerate(net.children(f"{bigblock}."), start=1):
            stride = 2 if s > 1 and u == 1 else 1
            y = relu(net.norm(f"{block}.bn1", net.conv(f"{block}.conv1", x, stride)))
            y = net.norm(f"{block}.bn2", net.conv(f"{block}.conv2", y))
            shortcut = net.norm(f"{block}.bn3", net.conv(f"{block}.conv3", x, stride)) if f"{block}.conv3" in net else x
            x = relu(y + shortcut)
            found[f"stage{s}.unit{u}"] = x
    return {**found, "logits": net.linear("linear", x.mean((2, 3)))}
