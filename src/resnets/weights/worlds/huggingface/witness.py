"""Transformers' models/resnet/modeling_resnet.py (ResNetForImageClassification), executed in float64.

The configuration says what the tensors do not; what it leaves out is as in ResNetConfig.
"""

from __future__ import annotations

from torch import Tensor
from torch.nn.functional import relu

from resnets.weights.formats.stored import Foreign, unusable
from resnets.weights.worlds.torch.witness import Modules


def run(file: Foreign, x: Tensor) -> dict[str, Tensor]:
    """(N, C, H, W) float64, preprocessed -> "stem", "stageS.unitU" (N, C', H', W') and "logits" (N, classes).

    Raises ModelFileError for an activation other than relu, and for tensors that its classes do not have.
    """
    config = file.documents.get("config", {})
    if (activation := config.get("hidden_act", "relu")) != "relu":
        raise unusable(file.path, f"its activation is {activation}, which is not emulated; install transformers")
    net = _Layers(file)
    x = net.pool(relu(net.layer("resnet.embedder.embedder", x, 7, 2)))
    found = {"stem": x}
    for s, stage in enumerate(net.children("resnet.encoder.stages."), start=1):
        halves = s > 1 or config.get("downsample_in_first_stage", False)
        for u, layer in enumerate(net.children(f"{stage}.layers."), start=1):
            stride = 2 if halves and u == 1 else 1
            shortcut = net.layer(f"{layer}.shortcut", x, 1, stride) if f"{layer}.shortcut" in net else x
            if config.get("layer_type", "bottleneck" if config or f"{layer}.layer.2" in net else "basic") == "basic":
                x = relu(net.basic(f"{layer}.layer", x, stride) + shortcut)
            else:
                first = config.get("downsample_in_bottleneck", net.strides(2) == (2, 1))
                x = relu(net.bottleneck(f"{layer}.layer", x, *((stride, 1) if first else (1, stride))) + shortcut)
            found[f"stage{s}.unit{u}"] = x
    return {**found, "logits": net.linear("classifier.1", x.mean((2, 3)))}


class _Layers(Modules):
    """The layers with the kernels and widths of their code, which a configuration cannot change."""

    def basic(self, name: str, x: Tensor, stride: int) -> Tensor:
        """ResNetBasicLayer up to the addition."""
        return self.layer(f"{name}.1", relu(self.layer(f"{name}.0", x, 3, stride)), 3)

    def bottleneck(self, name: str, x: Tensor, *strides: int) -> Tensor:
        """ResNetBottleNeckLayer up to the addition, with the strides of its first two convolutions."""
        inner = relu(self.layer(f"{name}.0", x, 1, strides[0]))
        inner = relu(self.layer(f"{name}.1", inner, 3, strides[1]))
        y = self.layer(f"{name}.2", inner, 1)
        if inner.shape[1] != y.shape[1] // 4:
            raise unusable(
                self._file.path, f"{name} is {inner.shape[1]} wide inside, and transformers' a quarter of outside"
            )
        return y

    def layer(self, name: str, x: Tensor, kernel: int, stride: int = 1) -> Tensor:
        """ResNetConvLayer and ResNetShortCut, without the activation."""
        stored = self._file.tensors.get(f"{name}.convolution.weight")
        if stored is not None and stored.shape[1:] != (x.shape[1], kernel, kernel):
            raise unusable(self._file.path, f"{name} is {stored.shape}, which transformers' classes have not")
        return self.norm(f"{name}.normalization", self.conv(f"{name}.convolution", x, stride))
