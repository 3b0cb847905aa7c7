"""timm's models/resnet.py and models/resnetv2.py (with BatchNorm), executed from a state dict in float64.

What the names do not show is as in the networks that timm registers: no dilation, plain relu, and in resnetv2
averaging shortcuts exactly where the stem is deep.
"""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor
from torch.nn.functional import relu

from resnets.weights.formats.stored import Foreign, unusable
from resnets.weights.worlds.torch.witness import Modules
from resnets.weights.worlds.torchvision.witness import branch

# Arguments of a configuration that change nothing but sizes, which the tensors show as well, or the training.
SIZES = {
    *("block", "layers", "channels", "num_classes", "in_chans", "cardinality", "base_width", "stem_width", "stem_chs"),
    *("stem_type", "avg_down", "width_factor", "bottle_ratio", "basic"),
    *("drop_rate", "drop_path_rate", "drop_block_rate", "zero_init_last"),
    "global_pool",  # no size, but timm always writes it
}
HIDDEN_V2 = {"stem_type", "avg_down"}  # of which resnetv2's names tell too little
USUAL = {"global_pool": "avg", "output_stride": 32, "act_layer": "relu"}  # what is executed


def run(file: Foreign, x: Tensor) -> dict[str, Tensor]:
    """(N, C, H, W) float64, preprocessed -> "stem", "stageS.unitU" (N, C', H', W') and "logits" (N, classes).

    Raises ModelFileError for a configuration whose arguments change the graph.
    """
    net = Modules(file)
    config = file.documents.get("config", {})
    arguments, pretrained = config.get("model_args") or {}, config.get("pretrained_cfg") or {}
    known = SIZES - HIDDEN_V2 if "stages" in net else SIZES
    pools = [("global_pool", place.get("global_pool")) for place in (config, pretrained)]
    other = {
        key
        for key, value in [*arguments.items(), *pools]
        if value is not None and (value != USUAL[key] if key in USUAL else key not in known)
    }
    if other:
        raise unusable(
            file.path, f"its config.json sets {', '.join(sorted(other))}, which is not emulated; install timm"
        )
    return _resnetv2(net, x) if "stages" in net else _resnet(net, x)


def _resnet(net: Modules, x: Tensor) -> dict[str, Tensor]:
    if "conv1.0" in net:
        x = relu(net.norm("conv1.1", net.conv("conv1.0", x, stride=2)))
        x = relu(net.norm("conv1.4", net.conv("conv1.3", x)))
        x = net.conv("conv1.6", x)
    else:
        x = net.conv("conv1", x, stride=2)
    x = net.pool(relu(net.norm("bn1", x)))
    found = {"stem": x}
    for s, layer in enumerate(net.children("layer", first=1), start=1):
        for u, block in enumerate(net.children(f"{layer}."), start=1):
            stride = 2 if s > 1 and u == 1 else 1
            y = branch(net, block, x, stride)
            x = relu(y + _downsample(net, f"{block}.downsample", x, y.shape[1], stride))
            found[f"stage{s}.unit{u}"] = x
    return {**found, "logits": net.linear("fc", x.mean((2, 3)))}


def _downsample(net: Modules, name: str, x: Tensor, channels: int, stride: int) -> Tensor | float:
    if name not in net:
        return net.unprojected(x, channels, stride)
    if f"{name}.2" in net:  # downsample_avg: 0 is the pool
        return net.norm(f"{name}.2", net.conv(f"{name}.1", _average(x, stride)))
    return net.norm(f"{name}.1", net.conv(f"{name}.0", x, stride))


def _average(x: Tensor, stride: int) -> Tensor:
    return F.avg_pool2d(x, 2, stride, ceil_mode=True, count_include_pad=False) if stride > 1 else x


def _resnetv2(net: Modules, x: Tensor) -> dict[str, Tensor]:
    deep = "stem.conv1" in net
    if deep:
        x = relu(net.norm("stem.norm1", net.conv("stem.conv1", x, stride=2)))
        x = relu(net.norm("stem.norm2", net.conv("stem.conv2", x)))
        x = net.conv("stem.conv3", x)
    else:
        x = net.conv("stem.conv", x, stride=2)
    x = net.pool(x)
    found = {"stem": x}
    for s, stage in enumerate(net.children("stages."), start=1):
        for u, block in enumerate(net.children(f"{stage}.blocks."), start=1):
            x = _preact(net, block, x, 2 if s > 1 and u == 1 else 1, deep)
            found[f"stage{s}.unit{u}"] = x
    pooled = relu(net.norm("norm", x)).mean((2, 3), keepdim=True)
    return {**found, "logits": net.conv("head.fc", pooled).flatten(1)}


def _preact(net: Modules, block: str, x: Tensor, stride: int, average: bool) -> Tensor:
    """PreActBasic and PreActBottleneck: a projection reads what the first norm and relu give."""
    active = relu(net.norm(f"{block}.norm1", x))
    if f"{block}.downsample" in net:
        y, step = (_average(active, stride), 1) if average else (active, stride)
        shortcut: Tensor | float = net.conv(f"{block}.downsample.conv", y, step)
    else:
        shortcut = net.unprojected(
            x, net.channels(f"{block}.conv3" if f"{block}.conv3" in net else f"{block}.conv2"), stride
        )
    first, second = net.strides(stride) if f"{block}.conv3" in net else (stride, 1)
    y = net.conv(f"{block}.conv1", active, first)
    y = net.conv(f"{block}.conv2", relu(net.norm(f"{block}.norm2", y)), second)
    if f"{block}.conv3" in net:
        y = net.conv(f"{block}.conv3", relu(net.norm(f"{block}.norm3", y)))
    return y + shortcut
