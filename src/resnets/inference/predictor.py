"""From pictures to names: the one way in which a trained network is asked, by Python and by every verb."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import cast

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from resnets.errors import ImageError, ModelFileError
from resnets.inference import engines, novelty
from resnets.inference.bulk import P, Picture, predict_each
from resnets.weights import Model
from resnets.weights import load as load_model


@dataclass(frozen=True, slots=True)
class Prediction:
    """What one picture shows.

    top      (class name, probability) pairs, the most probable first
    among    the classes that it is one of, with the coverage that the model states, the most probable first: one when
             the model is sure, more or none when it is not. None for a model that was never calibrated
    unlike   whether it is unlike all that the model was calibrated on; None for a model that does not know
    """

    top: tuple[tuple[str, float], ...]
    among: tuple[str, ...] | None = None
    unlike: bool | None = None

    @property
    def unsure(self) -> bool | None:
        """Whether the model cannot tell one class alone; None for a model that was never calibrated."""
        return None if self.among is None else len(self.among) != 1


class Classifier:
    """A network with everything that its predictions depend on.

    network         in evaluation mode, float32, channels_last memory
    engine          what executes it: the torch engine in float32, or what `use` was given. Engines have a copy of the
                    weights. The default one is made again when the network's tensors are changed in place (by an
                    optimiser, by load_state_dict); after replacing them, or writing through `.data`, call `use(None)`
    classes         names in the order of the logits
    preprocessing   from a picture to the network's input
    calibration     how to read logits as probabilities, and when to doubt: see `resnets.weights.calibration`
    provenance      where the model comes from

    Raises ModelFileError for a network that does not take the three channels of a picture.
    """

    def __init__(self, model: Model) -> None:
        if model.network.plan.in_channels != 3:
            raise ModelFileError(
                f"The network takes {model.network.plan.in_channels} channels and a picture has 3: "
                "use model.network itself on input that you prepare."
            )
        # mypy knows no `memory_format` without the arguments before it.
        self.network = model.network.eval().to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.classes = model.classes
        self.preprocessing = model.preprocessing
        self.calibration = model.calibration
        self.provenance = model.provenance
        for fit in (self.calibration, *self.calibration.get("halves", [])):
            if fit.get("unlike") and len(fit["unlike"]["mean"]) != novelty.dimensions(self.preprocessing.image_size):
                raise ModelFileError("The model's calibration is not for its image size: calibrate it again.")
        self._default: tuple[object, engines.Engine] | None = None
        self.use(None)

    @property
    def engine(self) -> engines.Engine:
        """What executes the network."""
        if self._chosen is not None:
            return self._chosen
        stamp = self._stamp()
        if self._default is None or self._default[0] != stamp:
            self._default = stamp, engines.make("torch", self.network, image_size=self.preprocessing.image_size)
        return self._default[1]

    def use(self, engine: engines.Engine | None) -> None:
        """Let `engine`, made for this very network, execute it from now on. None: the default, made anew."""
        self._chosen, self._default = engine, None
        self._tensors = list(self.network.state_dict(keep_vars=True).values())

    def _stamp(self) -> list[tuple[int, int]]:
        """What changes with the tensors: torch counts changes in place, and other memory has another address."""
        return [(tensor.data_ptr(), 0 if tensor.is_inference() else tensor._version) for tensor in self._tensors]

    @property
    def digest(self) -> str:
        """64 hexadecimal digits that change with anything that a prediction depends on, the engine left aside."""
        p = self.network.plan
        found = hashlib.sha256(
            json.dumps(
                [p.spec.to_dict(), p.output_stride, self.classes, self.preprocessing.to_dict(), dict(self.calibration)]
            ).encode()
        )
        tensors = dict(self.network.state_dict())
        if self.preprocessing.mean_image is not None:
            tensors["mean_image"] = torch.from_numpy(self.preprocessing.mean_image)
        for name in sorted(tensors):
            found.update(name.encode())
            found.update(tensors[name].detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy())
        return found.hexdigest()

    def logits(self, pixels: np.ndarray) -> Tensor:
        """The network's answer to (N, S, S, 3) uint8 as `preprocessing.pixels` gives them.

        Returns (N, classes) float32 on the CPU, not yet divided by the temperature.
        """
        batch = torch.from_numpy(np.require(pixels, requirements=["C", "W"]))
        return self.engine(self.preprocessing.normalise(batch))

    def probabilities(self, logits: Tensor) -> Tensor:
        """softmax(logits / temperature) over the classes, (N, classes) float64."""
        return torch.softmax(logits.double() / float(self.calibration["temperature"]), dim=1)

    def predict(self, images: Picture | Iterable[Picture], top: int = 5, batch_size: int = 32) -> list[Prediction]:
        """Say what pictures show, one `Prediction` each, in their order.

        images      paths, bytes of image files, Pillow pictures, or uint8 arrays (H, W, 3) RGB or (H, W)
                    grey; a single one may come without a list around it
        top         how many classes to name; all of them if there are fewer
        batch_size  pictures that the network sees at once

        Raises ImageError, naming the picture, for the first that cannot be used. `predict_each` goes on.
        """
        alone = isinstance(images, str | Path | bytes | Image.Image)
        if alone or (isinstance(images, np.ndarray) and images.ndim <= 3):
            images = [cast(Picture, images)]
        results = []
        pictures = cast(Iterable[Picture], images)
        for number, (picture, result) in enumerate(self.predict_each(pictures, top, batch_size)):
            if isinstance(result, ImageError):
                name = picture if isinstance(picture, str | Path) else f"image {number}"
                raise ImageError(f"{name}: {result}") from result
            results.append(result)
        return results

    def predict_each(
        self, images: Iterable[P], top: int = 5, batch_size: int = 32
    ) -> Iterator[tuple[P, Prediction | ImageError]]:
        """Like `predict`, with (picture, result) as results come in; never stop at a bad one.

        A picture that cannot be used has an ImageError in its place, whose message is the reason alone.
        """
        return predict_each(self, images, top, batch_size)

    def name(self, pixels: np.ndarray, top: int) -> list[Prediction]:
        """The `top` classes of each of (N, S, S, 3) uint8, as `preprocessing.pixels` gives them, and the doubts."""
        logits = self.logits(pixels)
        # Sorted by logits, where fewer are equal than among rounded probabilities; of equals the first wins.
        order = logits.argsort(dim=1, descending=True, stable=True)
        values = self.probabilities(logits).gather(1, order)
        least, usual = self.calibration["unsure"], self.calibration.get("unlike")
        sizes = [None] * len(pixels) if least is None else (values >= least).sum(dim=1).tolist()
        unlike = (novelty.score(pixels, usual) > 1).tolist() if usual else [None] * len(pixels)
        return [
            Prediction(
                tuple((self.classes[i], p) for i, p in zip(row[:top], ps, strict=True)),
                None if size is None else tuple(self.classes[i] for i in row[:size]),
                odd,
            )
            for row, ps, size, odd in zip(order.tolist(), values[:, :top].tolist(), sizes, unlike, strict=True)
        ]


def load(what: str | Path) -> Classifier:
    """Load a trained network: our model file, a run's folder, anybody's checkpoint, or a tag of the registry.

    What it is, is seen from its content. Raises ModelFileError when there is none or it cannot be trusted; see
    `resnets.weights.load`.
    """
    return Classifier(load_model(what))
