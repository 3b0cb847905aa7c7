"""A trained network with everything that its predictions depend on: what files are read into and written from."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass, field

import torch

from resnets.data.preprocess import Preprocessing
from resnets.network import ResNet
from resnets.weights.calibration import Calibration
from resnets.weights.provenance import Provenance


@dataclass(frozen=True, eq=False)
class Model:
    """What a model file holds. It is never changed: `dataclasses.replace` makes another one.

    network         its weights are what counts; mode, device and memory layout are not recorded
    classes         names in the order of the logits
    preprocessing   from the bytes of an image to the network's input
    calibration     how to read its logits as probabilities, and when to doubt
    provenance      where the model comes from
    """

    network: ResNet
    classes: tuple[str, ...]
    preprocessing: Preprocessing
    calibration: Calibration = field(default_factory=Calibration)
    provenance: Provenance = field(default_factory=Provenance)

    @property
    def digest(self) -> str:
        """64 hexadecimal digits that change with anything that a prediction depends on."""
        p = self.network.plan
        spec, preprocessing, calibration = p.spec.to_dict(), self.preprocessing.to_dict(), self.calibration.to_dict()
        found = hashlib.sha256(
            json.dumps([spec, p.output_stride, self.classes, preprocessing, calibration], sort_keys=True).encode()
        )
        tensors = dict(self.network.state_dict())
        if self.preprocessing.mean_image is not None:
            tensors["mean_image"] = torch.from_numpy(self.preprocessing.mean_image)
        for name in sorted(tensors):
            found.update(name.encode())
            found.update(tensors[name].detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy())
        return found.hexdigest()
