"""timm's own networks, saved and loaded as timm does with its hub's folders."""

from __future__ import annotations

import torch
from common import Draw, main
from torch_common import calibrate, define_torchvision_operators, fill, logits_of, save_all_io

operators = define_torchvision_operators()

import timm  # noqa: E402
from timm.models import load_checkpoint, save_for_hf  # noqa: E402


def make(network, sizes, folder):
    """The network of this name in timm: a hub folder (model.safetensors, config.json) and a plain .pth."""
    model = timm.create_model(network, pretrained=False)
    pre = network.startswith("resnetv2")
    last = "conv3" if pre else "bn2" if network in ("resnet18", "resnet34") else "bn3"
    fill(model, Draw(network), lambda name: name.endswith(last) and not name.startswith("stem"))
    calibrate(model, model.get_classifier(), sizes[0])
    save_all_io(model, sizes, folder)

    save_for_hf(model, folder / "hub", safe_serialization=True)
    torch.save(model.state_dict(), folder / "model.pth")
    return {"safetensors": folder / "hub" / "model.safetensors", "state dict": folder / "model.pth"}


def run(path, network, batches):
    """Load a hub folder, whose config.json names the network, or a file of weights; both strictly."""
    if path.is_dir():
        model = timm.create_model(f"local-dir:{path}", pretrained=True)
    else:
        model = timm.create_model(network, pretrained=False)
        load_checkpoint(model, str(path), strict=True)
    model.eval()
    return [logits_of(model, x) for x in batches]


main(make, run)
