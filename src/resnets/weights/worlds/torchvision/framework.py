"""torchvision.models.resnet.ResNet, with the sizes that the tensors show."""

from __future__ import annotations

from importlib import import_module
from importlib.metadata import version

import torch

from resnets.weights.formats.stored import Foreign
from resnets.weights.worlds.reference import Reference, UnfitError
from resnets.weights.worlds.torch.framework import fill, unit_roles, watched
from resnets.weights.worlds.torch.witness import Modules


def reference(file: Foreign) -> Reference:
    """The network of a state dict. Raises UnfitError for another number of stages than torchvision builds."""
    if others := file.documents.get("stated", {}).get("fields", {}):
        raise UnfitError(f"torchvision has no network with {', '.join(f'{key}={others[key]!r}' for key in others)}")
    net = Modules(file)
    layers = net.children("layer", first=1)
    if len(layers) != 4:
        raise UnfitError(f"torchvision's networks have four stages, and this has {len(layers)}")
    bottleneck = "layer1.0.conv3" in net
    inner, per_group = file.tensors["layer1.0.conv2.weight"].shape[:2]
    theirs = import_module("torchvision.models.resnet")
    with torch.device("meta"):
        module = theirs.ResNet(
            theirs.Bottleneck if bottleneck else theirs.BasicBlock,
            [len(net.children(f"{layer}.")) for layer in layers],
            num_classes=file.tensors["fc.weight"].shape[0],
            groups=inner // per_group if bottleneck else 1,
            width_per_group=per_group if bottleneck else 64,
        )
    fill(module, file)
    roles = {"maxpool": "stem", **unit_roles(module, layers)}
    release = version("torchvision")
    return Reference(f"torchvision {release}", watched(module, roles), {"torchvision": release})
