"""Networks of one channel, trained on grey pictures, as networks of three: the same answers for grey ones."""

from __future__ import annotations

from dataclasses import replace

import torch

from resnets.architecture import plan
from resnets.network import ResNet
from resnets.weights.model import Model

LUMA = (0.299, 0.587, 0.114)  # of red, green and blue in grey (ITU-R BT.601), as Pillow's mode "L" has it


def coloured(model: Model) -> Model:
    """A model of three channels; one that has them already is its own.

    A grey picture has its value in all three, and the shares add up to one, so that the stem sees what it saw, where
    mean and deviation are one number each; which they become, by their averages. A picture in colours is seen by its
    brightness, unrounded.
    """
    p = model.network.plan
    if p.in_channels != 1:
        return model
    wanted = plan(p.spec, p.num_classes, 3, p.output_stride)
    with torch.device("meta"):
        network = ResNet(wanted)
    state = dict(model.network.state_dict())
    stem = next(name for name in ("stem.conv.weight", "stem.conv1.weight") if name in state)
    shares = LUMA if model.preprocessing.channels == "RGB" else LUMA[::-1]
    state[stem] = state[stem] * torch.tensor(shares).reshape(1, 3, 1, 1)
    network.load_state_dict(state, assign=True)
    own = model.preprocessing
    mean, std = sum(own.mean) / 3, sum(own.std) / 3
    return replace(model, network=network.eval(), preprocessing=replace(own, mean=(mean,) * 3, std=(std,) * 3))
