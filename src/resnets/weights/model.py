"""A trained network with everything that its predictions depend on: what files are read into and written from."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property

import torch

from resnets.architecture.profile import bytes_to_run
from resnets.data.preprocess import Preprocessing
from resnets.errors import ModelFileError
from resnets.network import ResNet
from resnets.weights.calibration import Calibration
from resnets.weights.provenance import Provenance

MOST_BYTES = 2 * 2**30
"""Of memory for a single image: ResNet-50 takes 10 MB at 224 pixels, 220 MB at 1024 and 0.9 GB at 2048."""


def check_memory(needed: int, image_size: int) -> None:
    """Raise ModelFileError if a single image takes too much memory: sizes come from files and from users."""
    if needed > MOST_BYTES:
        raise ModelFileError(
            f"An image of {image_size:,} pixels takes {needed / 2**30:.1f} GiB of memory in this network; more than "
            f"{MOST_BYTES >> 30} are refused: choose a smaller image size."
        )


def at_once(network: ResNet, image_size: int, wanted: int) -> int:
    """So many images, or fewer where they are so large that they would take more than `MOST_BYTES` together."""
    return min(wanted, max(1, MOST_BYTES // _bytes_each(network, image_size)))


def _bytes_each(network: ResNet, image_size: int) -> int:
    return bytes_to_run(network.plan.at(image_size).rows)


@dataclass(frozen=True, eq=False)
class Model:
    """What a model file holds. It is never changed: `dataclasses.replace` makes another one.

    network         its weights are what counts; mode, device and memory layout are not recorded
    classes         names in the order of the logits
    preprocessing   from the bytes of an image to the network's input
    calibration     how to read its logits as probabilities, and when to doubt
    provenance      where the model comes from
    titles          class -> what it is called in words, of those that have a title; see `resnets.data.titles`
    """

    network: ResNet
    classes: tuple[str, ...]
    preprocessing: Preprocessing
    calibration: Calibration = field(default_factory=Calibration)
    provenance: Provenance = field(default_factory=Provenance)
    titles: Mapping[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Refuse what would take too much memory."""
        check_memory(self.bytes_to_run, self.preprocessing.image_size)

    @cached_property
    def bytes_to_run(self) -> int:
        """Bytes of memory that one image takes on its way through the network."""
        return _bytes_each(self.network, self.preprocessing.image_size)

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
