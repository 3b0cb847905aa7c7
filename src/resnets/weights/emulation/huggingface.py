"""Transformers' models/resnet/modeling_resnet.py (ResNetForImageClassification), executed in float64.

The configuration says what the tensors do not; what it leaves out is as in ResNetConfig.
"""

from __future__ import annotations

from torch import Tensor
from torch.nn.functional import relu

from resnets.weights.emulation.torch_modules import Modules, stem_pool
from resnets.weights.files.stored import Foreign, unusable


def run(file: Foreign, x: Tensor) -> dict[str, Tensor]:
    """(N, C, H, W) float64, preprocessed -> "stem", "stageS.unitU" (N, C', H', W') and "logits" (N, classes).

    Raises ModelFileError for an activation other than relu.
    """
    config = file.documents.get("config", {})
    if (activation := config.get("hidden_act", "relu")) != "relu":
        raise unusable(file.path, f"its activation is {activation}, which is not emulated; install transformers")
    net = Modules(file)
    x = stem_pool(relu(_conv_layer(net, "resnet.embedder.embedder", x, 2)))
    found = {"stem": x}
    for s, stage in enumerate(net.children("resnet.encoder.stages."), start=1):
        halves = s > 1 or config.get("downsample_in_first_stage", False)
        for u, layer in enumerate(net.children(f"{stage}.layers."), start=1):
            stride = 2 if halves and u == 1 else 1
            shortcut = _conv_layer(net, f"{layer}.shortcut", x, stride) if f"{layer}.shortcut" in net else x
            first = config.get("layer_type", "bottleneck") == "basic" or config.get("downsample_in_bottleneck", False)
            x = relu(_branch(net, f"{layer}.layer", x, striding=0 if first else 1, stride=stride) + shortcut)
            found[f"stage{s}.unit{u}"] = x
    return {**found, "logits": net.linear("classifier.1", x.mean((2, 3)))}


def _branch(net: Modules, name: str, x: Tensor, striding: int, stride: int) -> Tensor:
    """ResNetBasicLayer and ResNetBottleNeckLayer up to the addition; the last convolution has no activation."""
    layers = net.children(f"{name}.")
    for i, layer in enumerate(layers):
        x = _conv_layer(net, layer, x, stride if i == striding else 1)
        if i < len(layers) - 1:
            x = relu(x)
    return x


def _conv_layer(net: Modules, name: str, x: Tensor, stride: int) -> Tensor:
    return net.norm(f"{name}.normalization", net.conv(f"{name}.convolution", x, stride))
