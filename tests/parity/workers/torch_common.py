"""For the workers on torch: torchvision beside a CPU build, random weights for any ResNet, logits."""

from __future__ import annotations

import numpy as np
import torch
from common import LAST, images, save_io
from torch import nn


def define_torchvision_operators():
    """Let torchvision be imported where its compiled part does not fit torch; keep the result alive.

    torchvision registers shapes for two operators of its compiled part, which must exist by name.
    """
    library = torch.library.Library("torchvision", "DEF")
    for name in ("nms", "qnms"):
        library.define(f"{name}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
    return library


def fill(model, draw, last):
    """Random weights for a model; `last(name)` says whether a layer is the last with weights of its unit's branch.

    With post-activation that is a norm, with pre-activation a convolution.
    """
    with torch.no_grad():
        for name, module in model.named_modules():
            gain = LAST if last(name) else 1.0
            if isinstance(module, nn.Conv2d | nn.Linear):
                weight = draw.kernel(tuple(module.weight.shape), gain=gain)
                module.weight.copy_(torch.from_numpy(weight))
                if module.bias is not None:
                    module.bias.copy_(torch.from_numpy(draw.bias(len(module.bias))))
            elif isinstance(module, nn.BatchNorm2d):
                values = draw.norm(module.num_features, gain)
                for tensor, value in zip(
                    (module.weight, module.bias, module.running_mean, module.running_var), values, strict=True
                ):
                    tensor.copy_(torch.from_numpy(value))
                module.num_batches_tracked.fill_(1000)
    return model.eval()


def logits_of(model, x):
    """The logits of images (N, 3, H, W), both as arrays."""
    with torch.no_grad():
        y = model(torch.from_numpy(x))
    return getattr(y, "logits", y).numpy()


def calibrate(model, head, size):
    """Scale the head (a linear layer or a 1x1 convolution) so that the logits' standard deviation is 1."""
    spread = float(np.std(logits_of(model, images(size))))
    with torch.no_grad():
        head.weight /= spread
        head.bias /= spread


def save_all_io(model, sizes, folder):
    """One io_SIZE.npz for each size."""
    for size in sizes:
        x = images(size)
        save_io(folder, size, x, logits_of(model, x))
