"""torchvision's own networks: their state dicts as people save them."""

from __future__ import annotations

import torch
from common import Draw, main
from torch_common import calibrate, define_torchvision_operators, fill, logits_of, save_all_io

operators = define_torchvision_operators()

import torchvision  # noqa: E402


def make(network, sizes, folder):
    """The network of this name in torchvision.models; a state dict, and an old-style training checkpoint."""
    model = getattr(torchvision.models, network)(weights=None)
    last = "bn2" if "resnet18" in network or "resnet34" in network else "bn3"
    fill(model, Draw(network), lambda name: name.endswith(last))
    calibrate(model, model.fc, sizes[0])
    save_all_io(model, sizes, folder)

    state = model.state_dict()
    torch.save(state, folder / "model.pth")
    checkpoint = {"epoch": 90, "arch": network, "best_acc1": torch.tensor(76.1)}
    checkpoint["state_dict"] = {f"module.{name}": tensor for name, tensor in state.items()}
    torch.save(checkpoint, folder / "checkpoint.pth.tar", _use_new_zipfile_serialization=False)
    return {"state dict": folder / "model.pth", "old checkpoint": folder / "checkpoint.pth.tar"}


def run(path, network, batches):
    """Load a state dict (.pth, or .safetensors) strictly."""
    if path.suffix == ".safetensors":
        from safetensors.torch import load_file

        state = load_file(path)
    else:
        state = torch.load(path, weights_only=True)
    model = getattr(torchvision.models, network)(weights=None, num_classes=len(state["fc.bias"]))
    model.load_state_dict(state, strict=True)
    model.eval()
    return [logits_of(model, x) for x in batches]


main(make, run)
