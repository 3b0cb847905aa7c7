"""transformers.ResNetForImageClassification, for a file with its config.json."""

from __future__ import annotations

from importlib import import_module
from importlib.metadata import version

import torch

from resnets.weights.formats.stored import Foreign
from resnets.weights.worlds.reference import Reference, UnfitError
from resnets.weights.worlds.torch.framework import fill, unit_roles, watched
from resnets.weights.worlds.torch.witness import Modules

KEYS = (
    *("num_channels", "embedding_size", "hidden_sizes", "depths", "layer_type", "hidden_act"),
    *("downsample_in_first_stage", "downsample_in_bottleneck"),
)


def reference(file: Foreign) -> Reference:
    """The network of a configuration, of which only what shapes it is handed on. Raises UnfitError without one."""
    config = file.documents.get("config")
    if not config:
        raise UnfitError("it has no config.json")
    net = Modules(file)
    stages = net.children("resnet.encoder.stages.")
    depths = [len(net.children(f"{stage}.layers.")) for stage in stages]
    if config.get("depths", [3, 4, 6, 3]) != depths:  # before anything so deep is built
        raise UnfitError("its config.json has other depths than its tensors")

    theirs = import_module("transformers")
    wanted = {key: config[key] for key in KEYS if key in config}
    with torch.device("meta"):
        module = theirs.ResNetForImageClassification(
            theirs.ResNetConfig(**wanted, num_labels=file.tensors["classifier.1.weight"].shape[0])
        )
    fill(module, file)
    roles = {"resnet.embedder": "stem", **unit_roles(module, [f"{stage}.layers" for stage in stages])}
    release = version("transformers")
    return Reference(f"transformers {release}", watched(module, roles), {"transformers": release})
