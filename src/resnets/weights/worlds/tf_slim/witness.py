"""TF-Slim's residual networks in float64, executed from a checkpoint's variables as TF-Slim's own code defines them.

Rules: tf_slim/nets/resnet_v1.py, resnet_v2.py and resnet_utils.py, under their `resnet_arg_scope`.
"""

from __future__ import annotations

from itertools import count

import torch
import torch.nn.functional as F
from torch import Tensor

from resnets.weights.formats.stored import Foreign

EPSILON = 1e-5  # batch_norm_epsilon of resnet_arg_scope


def run(file: Foreign, x: Tensor) -> dict[str, Tensor]:
    """Activations by role: "stem" (after pool1), "stage1.unit1", ... as (N, C, H, W), and "logits" (N, classes).

    file: a resnet_v1 or resnet_v2 under any scope
    x: (N, C, H, W) float64, preprocessed
    """
    return _Graph(file).run(x)


class _Graph:
    """The functions of resnet_utils.py and of the two `bottleneck`s, with the variables they would get."""

    def __init__(self, file: Foreign) -> None:
        self.tensors = file.tensors
        first = next(name for name in file.tensors if "block1/unit_1/bottleneck_v" in name)
        self.scope, _, rest = first.partition("block1/")
        self.version = rest.split("/")[1]  # bottleneck_v1 or bottleneck_v2

    def run(self, x: Tensor) -> dict[str, Tensor]:
        v1 = self.version == "bottleneck_v1"
        x = self.conv_same(x, "conv1", 2)
        if v1:
            x = torch.relu(self.norm(x, "conv1/BatchNorm"))
        x = _max_pool_same(x)
        out = {"stem": x}
        for block in count(1):
            if not self.has_unit(block, 1):
                break
            for unit in count(1):
                if not self.has_unit(block, unit):
                    break
                # A block strides in its last unit, and the last block not at all.
                last = not self.has_unit(block, unit + 1)
                stride = 2 if last and self.has_unit(block + 1, 1) else 1
                scope = f"block{block}/unit_{unit}/{self.version}"
                x = self.bottleneck_v1(x, scope, stride) if v1 else self.bottleneck_v2(x, scope, stride)
                out[f"stage{block}.unit{unit}"] = x
        if not v1:
            x = torch.relu(self.norm(x, "postnorm"))
        x = self.conv(x.mean((2, 3), keepdim=True), "logits")
        return out | {"logits": x[:, :, 0, 0]}

    def has_unit(self, block: int, unit: int) -> bool:
        return f"{self.scope}block{block}/unit_{unit}/{self.version}/conv1/weights" in self.tensors

    def bottleneck_v1(self, x: Tensor, scope: str, stride: int) -> Tensor:
        if self.changes_depth(x, scope):
            shortcut = self.norm(self.conv(x, f"{scope}/shortcut", stride), f"{scope}/shortcut/BatchNorm")
        else:
            shortcut = x[:, :, ::stride, ::stride]  # a 1x1 max pool
        residual = torch.relu(self.norm(self.conv(x, f"{scope}/conv1"), f"{scope}/conv1/BatchNorm"))
        residual = torch.relu(self.norm(self.conv_same(residual, f"{scope}/conv2", stride), f"{scope}/conv2/BatchNorm"))
        residual = self.norm(self.conv(residual, f"{scope}/conv3"), f"{scope}/conv3/BatchNorm")
        return torch.relu(shortcut + residual)

    def bottleneck_v2(self, x: Tensor, scope: str, stride: int) -> Tensor:
        preact = torch.relu(self.norm(x, f"{scope}/preact"))
        if self.changes_depth(x, scope):
            shortcut = self.conv(preact, f"{scope}/shortcut", stride)
        else:
            shortcut = x[:, :, ::stride, ::stride]
        residual = torch.relu(self.norm(self.conv(preact, f"{scope}/conv1"), f"{scope}/conv1/BatchNorm"))
        residual = torch.relu(self.norm(self.conv_same(residual, f"{scope}/conv2", stride), f"{scope}/conv2/BatchNorm"))
        return shortcut + self.conv(residual, f"{scope}/conv3")

    def changes_depth(self, x: Tensor, scope: str) -> bool:
        return x.shape[1] != self.tensors[f"{self.scope}{scope}/conv3/weights"].shape[-1]

    def conv(self, x: Tensor, scope: str, stride: int = 1) -> Tensor:
        """Without padding; with a bias where there is a variable for it, which no norm then follows."""
        bias = f"{self.scope}{scope}/biases"
        weights = self.value(f"{scope}/weights").permute(3, 2, 0, 1)
        return F.conv2d(x, weights, self.value(f"{scope}/biases") if bias in self.tensors else None, stride)

    def conv_same(self, x: Tensor, scope: str, stride: int) -> Tensor:
        """conv2d_same: k - 1 pixels of padding, the smaller half before, whatever the size and the stride."""
        total = self.tensors[f"{self.scope}{scope}/weights"].shape[0] - 1
        before, after = total // 2, total - total // 2
        return self.conv(F.pad(x, (before, after, before, after)), scope, stride)

    def norm(self, x: Tensor, scope: str) -> Tensor:
        mean, variance, gamma, beta = (
            self.value(f"{scope}/{name}").reshape(-1, 1, 1)
            for name in ("moving_mean", "moving_variance", "gamma", "beta")
        )
        return (x - mean) / torch.sqrt(variance + EPSILON) * gamma + beta

    def value(self, name: str) -> Tensor:
        return self.tensors[self.scope + name].read().double()


def _max_pool_same(x: Tensor) -> Tensor:
    """pool1, 3x3/2: TensorFlow's SAME gives ceil(size / 2) pixels and pads the odd one at the end."""
    pads = [max((-(-size // 2) - 1) * 2 + 3 - size, 0) for size in (x.shape[3], x.shape[2])]
    padding = [pads[0] // 2, pads[0] - pads[0] // 2, pads[1] // 2, pads[1] - pads[1] // 2]
    return F.max_pool2d(F.pad(x, padding, value=-torch.inf), 3, 2)
