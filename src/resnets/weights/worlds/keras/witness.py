"""keras.applications' residual networks in float64, executed from a file's variables as Keras's own code defines them.

Rules: keras/applications/resnet.py, with the variables' own layout (kernels H, W, I, O). Epsilon and strides are
those of the file's configuration where it has one, or Keras's defaults where that leaves them out.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from itertools import count
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from resnets.weights.formats.stored import Foreign, unusable

EPSILON = 1.001e-5  # of every BatchNormalization that keras.applications makes
MAX_STRIDE = 8
MAX_DEPTH = 16  # of models within models


def run(file: Foreign, x: Tensor) -> dict[str, Tensor]:
    """Activations by role: "stem" (after pool1_pool), "stage1.unit1", ... as (N, C, H, W), and "logits" (N, classes).

    file: variables as "LAYER/VARIABLE"; x: (N, C, H, W) float64, preprocessed. Raises ModelFileError for a file
    that lacks a layer, or whose configuration makes no sense.
    """
    return _Graph(file).run(x)


class _Graph:
    def __init__(self, file: Foreign) -> None:
        self.file = file
        self.early: str | None = file.documents.get("early")  # the pool of the network of 2017, under names of today
        self.settings = dict(_layers(file.documents.get("keras")))

    def run(self, x: Tensor) -> dict[str, Tensor]:
        v2 = "post_bn/gamma" in self.file.tensors
        x = self.conv("conv1_conv", F.pad(x, (3, 3, 3, 3)), 2)  # conv1_pad
        if not v2:
            x = torch.relu(self.norm("conv1_bn", x))
        if self.early != "valid":  # pool1_pad pads with zeros, as before a convolution
            x = F.pad(x, (1, 1, 1, 1))
        x = F.max_pool2d(x, 3, 2)
        out = {"stem": x}
        for stage in count(1):
            stack = f"conv{stage + 1}"
            if not self.has(f"{stack}_block1"):
                break
            for unit in count(1):
                name = f"{stack}_block{unit}"
                if not self.has(name):
                    break
                if v2:  # a stack strides in its last block, and the last stack not at all
                    last = not self.has(f"{stack}_block{unit + 1}")
                    x = self.residual_block_v2(name, x, 2 if last and self.has(f"conv{stage + 2}_block1") else 1)
                else:  # a stack strides in its first block, and the first stack not at all
                    x = self.residual_block_v1(name, x, 2 if unit == 1 and stage > 1 else 1)
                out[f"stage{stage}.unit{unit}"] = x
        if v2:
            x = torch.relu(self.norm("post_bn", x))
        head = self.head()
        return out | {"logits": x.mean((2, 3)) @ self.value(f"{head}/kernel") + self.value(f"{head}/bias")}

    def has(self, name: str) -> bool:
        return f"{name}_1_conv/kernel" in self.file.tensors

    def residual_block_v1(self, name: str, x: Tensor, stride: int) -> Tensor:
        shortcut = x
        if f"{name}_0_conv/kernel" in self.file.tensors:
            shortcut = self.norm(f"{name}_0_bn", self.conv(f"{name}_0_conv", x, stride))
        x = torch.relu(self.norm(f"{name}_1_bn", self.conv(f"{name}_1_conv", x, stride)))
        x = torch.relu(self.norm(f"{name}_2_bn", self.conv(f"{name}_2_conv", x, 1, same=True)))
        return torch.relu(shortcut + self.norm(f"{name}_3_bn", self.conv(f"{name}_3_conv", x)))

    def residual_block_v2(self, name: str, x: Tensor, stride: int) -> Tensor:
        preact = torch.relu(self.norm(f"{name}_preact_bn", x))
        stride = self.stride(f"{name}_2_conv", stride)
        if f"{name}_0_conv/kernel" in self.file.tensors:
            shortcut = self.conv(f"{name}_0_conv", preact, stride)
        else:
            shortcut = F.max_pool2d(x, 1, stride)
        x = torch.relu(self.norm(f"{name}_1_bn", self.conv(f"{name}_1_conv", preact)))
        x = self.conv(f"{name}_2_conv", F.pad(x, (1, 1, 1, 1)), stride)  # 2_pad
        x = torch.relu(self.norm(f"{name}_2_bn", x))
        return shortcut + self.conv(f"{name}_3_conv", x)

    def conv(self, name: str, x: Tensor, stride: int = 1, *, same: bool = False) -> Tensor:
        """Conv2D: valid or (`same`) padded so that ceil(size / stride) pixels come out, the odd pixel at the end."""
        kernel, stride = self.value(f"{name}/kernel").permute(3, 2, 0, 1), self.stride(name, stride)
        if same:
            height, width = (
                max((-(-size // stride) - 1) * stride + window - size, 0)
                for size, window in zip(x.shape[2:], kernel.shape[2:], strict=True)
            )
            x = F.pad(x, (width // 2, width - width // 2, height // 2, height - height // 2))
        bias = self.value(f"{name}/bias") if f"{name}/bias" in self.file.tensors else None
        return F.conv2d(x, kernel, bias, stride)

    def norm(self, name: str, x: Tensor) -> Tensor:
        gamma, beta, mean, variance = (
            self.value(f"{name}/{variable}").reshape(-1, 1, 1)
            for variable in ("gamma", "beta", "moving_mean", "moving_variance")
        )
        usual = 1e-3 if self.early else EPSILON
        epsilon = self.settings[name].get("epsilon", 1e-3) if name in self.settings else usual
        if isinstance(epsilon, bool) or not isinstance(epsilon, int | float) or not 0 < epsilon <= 1:
            raise unusable(self.file.path, f"its configuration gives {name} the epsilon {epsilon!r}")
        return (x - mean) / torch.sqrt(variance + epsilon) * gamma + beta

    def stride(self, name: str, default: int) -> int:
        stride = self.settings[name].get("strides", 1) if name in self.settings else default
        if isinstance(stride, list) and stride and stride == stride[:1] * 2:
            stride = stride[0]
        if type(stride) is not int or not 1 <= stride <= MAX_STRIDE:
            raise unusable(self.file.path, f"its configuration gives {name} the strides {str(stride)[:80]!r}")
        return stride

    def head(self) -> str:
        """The one Dense layer: "predictions", in old files "probs", or what its owner called it."""
        dense = [n for n, stored in self.file.tensors.items() if n.endswith("/kernel") and len(stored.shape) == 2]
        if len(dense) != 1:
            raise unusable(self.file.path, f"it has {len(dense)} dense layers instead of one")
        return dense[0].removesuffix("/kernel")

    def value(self, name: str) -> Tensor:
        if name not in self.file.tensors:
            raise unusable(self.file.path, f"it has no {name}, so that its graph cannot be executed")
        return self.file.tensors[name].read().double()


def _layers(config: Any, depth: int = 0) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """(name, settings) of every layer of a configuration, those of models within it too."""
    inner = config.get("config") if isinstance(config, dict) else None
    if not isinstance(inner, dict) or depth > MAX_DEPTH:
        return
    yield str(inner.get("name")), inner
    layers = inner.get("layers")
    for layer in layers if isinstance(layers, list) else ():
        yield from _layers(layer, depth + 1)
