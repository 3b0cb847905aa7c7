"""Hugging Face's ResNetForImageClassification: folders of save_pretrained."""

from __future__ import annotations

import json

import torch
from common import Draw, main, refuse
from torch_common import calibrate, fill, logits_of, save_all_io
from transformers import ResNetConfig, ResNetForImageClassification

BASIC = {"layer_type": "basic", "hidden_sizes": [64, 128, 256, 512]}
CONFIGS = {
    "resnet-18": {"depths": [2, 2, 2, 2], **BASIC},
    "resnet-50": {"depths": [3, 4, 6, 3]},
    "resnet-101": {"depths": [3, 4, 23, 3]},
    "resnet-50-v1": {"depths": [3, 4, 6, 3], "downsample_in_bottleneck": True},
}


def make(network, sizes, folder):
    """A network of CONFIGS: its folder with safetensors, and the same folder with pytorch_model.bin."""
    config = ResNetConfig(num_labels=1000, **CONFIGS[network])
    model = ResNetForImageClassification(config)
    last = "layer.1.normalization" if config.layer_type == "basic" else "layer.2.normalization"
    fill(model, Draw(network), lambda name: name.endswith(last))
    calibrate(model, model.classifier[1], sizes[0])
    save_all_io(model, sizes, folder)

    model.save_pretrained(folder / "safetensors")
    binary = folder / "bin"
    binary.mkdir()
    config.save_pretrained(binary)
    torch.save(model.state_dict(), binary / "pytorch_model.bin")
    return {"safetensors folder": folder / "safetensors", "bin folder": binary}


def run(path, network, batches):
    """from_pretrained on a folder, with nothing missing, unexpected or misshapen; the config must say the same."""
    model, info = ResNetForImageClassification.from_pretrained(path, output_loading_info=True, local_files_only=True)
    if any(info.values()):
        refuse(f"from_pretrained found {info}")
    wanted = ResNetConfig(**CONFIGS[network]).to_dict()
    stated = json.loads((path / "config.json").read_text())
    shape = ("depths", "hidden_sizes", "embedding_size", "layer_type", "downsample_in_bottleneck", "hidden_act")
    for key in shape:
        if stated.get(key, wanted[key]) != wanted[key]:
            refuse(f"config.json says {key} = {stated[key]}, not {wanted[key]}")
    model.eval()
    return [logits_of(model, x) for x in batches]


main(make, run)
