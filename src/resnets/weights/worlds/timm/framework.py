"""timm.create_model, for a file whose config.json names the architecture."""

from __future__ import annotations

import re
from importlib import import_module
from importlib.metadata import version

import torch

from resnets.weights.formats.stored import Foreign
from resnets.weights.worlds.reference import Reference, UnfitError
from resnets.weights.worlds.timm.witness import SIZES
from resnets.weights.worlds.torch.framework import fill, unit_roles, watched
from resnets.weights.worlds.torch.witness import Modules

STEMS = ("conv1", "conv1.0", "stem.conv", "stem.conv1")


def reference(file: Foreign) -> Reference:
    """The network that the configuration names.

    Raises UnfitError without a configuration, and for arguments other than sizes: some make timm load files.
    """
    config = file.documents.get("config", {})
    architecture, arguments = config.get("architecture"), config.get("model_args", {})
    if not architecture:
        raise UnfitError("it has no config.json that names one of timm's architectures")
    if not re.fullmatch(r"\w+", architecture) or set(arguments) - SIZES:
        raise UnfitError("its config.json asks for more than one of timm's architectures in another size")

    net = Modules(file)
    v2 = "stages" in net
    stages = [f"{stage}.blocks" for stage in net.children("stages.")] if v2 else net.children("layer", first=1)
    depths = [len(net.children(f"{stage}.")) for stage in stages]
    if arguments.get("layers", depths) != depths:  # before anything so deep is built
        raise UnfitError("its config.json has other depths than its tensors")

    shapes = {name: stored.shape for name, stored in file.tensors.items()}
    stem = next(shapes[f"{name}.weight"] for name in STEMS if f"{name}.weight" in shapes)
    sizes = {"num_classes": shapes["head.fc.weight" if v2 else "fc.weight"][0], "in_chans": stem[1]}
    with torch.device("meta"):
        module = import_module("timm").create_model(architecture, **{**arguments, **sizes})
    fill(module, file)
    roles = {"stem" if v2 else "maxpool": "stem", **unit_roles(module, stages)}
    release = version("timm")
    return Reference(f"timm {release}", watched(module, roles), {"timm": release})
