"""From pictures to names: the one way in which a trained network is asked, by Python and by every verb."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from threading import Lock
from typing import Any

import numpy as np
import torch
from torch import Tensor

from resnets import surface
from resnets.architecture.catalog import name_of
from resnets.data.preprocess import Preprocessing
from resnets.errors import ImageError, ModelFileError, ParameterError
from resnets.inference import engines, features, novelty, pictures
from resnets.inference.engine import Engine
from resnets.inference.pictures import P, Picture
from resnets.inference.prediction import Prediction, Predictions
from resnets.inference.session import Session
from resnets.network import ResNet
from resnets.weights import Calibration, Model, Provenance
from resnets.weights import save as save_model
from resnets.weights.grey import coloured
from resnets.weights.model import MOST_BYTES


class Classifier:
    """A network with everything that its predictions depend on. Any number of threads may share one.

    model           what it was made of: network, classes, preprocessing, calibration and provenance, which are its own
                    attributes too. Nothing of it is changed: another model is another classifier. The network is put
                    into evaluation mode and channels_last memory
    session         what executes the network: the torch engine in float32, or what `use` was given. Engines have a copy
                    of the weights. The default one is made again when the network's tensors are changed in place (by an
                    optimiser, by load_state_dict); after replacing them, or writing through `.data`, call `use(None)`

    A network of one channel sees pictures in grey (`coloured`). Raises ModelFileError for one that takes neither one
    channel nor the three of a picture.
    """

    def __init__(self, model: Model) -> None:
        model = coloured(model)
        if model.network.plan.in_channels != 3:
            raise ModelFileError(
                f"The network takes {model.network.plan.in_channels} channels and a picture has 3: "
                "use model.network itself on input that you prepare."
            )
        # mypy knows no `memory_format` without the arguments before it.
        model.network.eval().to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        self._model = model
        for fit in (self.calibration, *self.calibration.halves):
            if fit.unlike and len(fit.unlike.mean) != novelty.dimensions(self.preprocessing.image_size):
                raise ModelFileError("The model's calibration is not for its image size: calibrate it again.")
        self._making = Lock()
        self._default: tuple[object, Session] | None = None
        self.use(None)

    @property
    def model(self) -> Model:
        """The model, as a file holds it."""
        return self._model

    @property
    def network(self) -> ResNet:
        """In evaluation mode, float32, channels_last memory."""
        return self._model.network

    @property
    def classes(self) -> tuple[str, ...]:
        """Names in the order of the logits."""
        return self._model.classes

    @property
    def titles(self) -> Mapping[str, str]:
        """Class -> what it is called in words, of those that have a title."""
        return self._model.titles

    @property
    def preprocessing(self) -> Preprocessing:
        """From a picture to the network's input."""
        return self._model.preprocessing

    @property
    def calibration(self) -> Calibration:
        """How to read logits as probabilities, and when to doubt."""
        return self._model.calibration

    @property
    def provenance(self) -> Provenance:
        """Where the model comes from."""
        return self._model.provenance

    @property
    def digest(self) -> str:
        """64 hexadecimal digits that change with anything that a prediction depends on, the engine left aside."""
        return self._model.digest

    @property
    def session(self) -> Session:
        """What executes the network."""
        if self._chosen is not None:
            return self._chosen
        with self._making:
            stamp = self._stamp()
            if self._default is None or self._default[0] != stamp:
                size = self.preprocessing.image_size
                self._default = stamp, Session(engines.make("torch", self.network, image_size=size))
            return self._default[1]

    @property
    def chosen(self) -> Session | None:
        """What `use` was given; None for the default."""
        return self._chosen

    def use(self, engine: Engine | None) -> None:
        """Let `engine`, made for this very network, execute it from now on. None: the default, made anew."""
        self._chosen = engine if engine is None or isinstance(engine, Session) else Session(engine)
        self._default = None
        self._tensors = list(self.network.state_dict(keep_vars=True).values())

    def _stamp(self) -> list[tuple[int, int]]:
        """What changes with the tensors: torch counts changes in place, and other memory has another address."""
        return [(tensor.data_ptr(), 0 if tensor.is_inference() else tensor._version) for tensor in self._tensors]

    def __repr__(self) -> str:
        network, size = name_of(self.network.plan.spec) or "custom", self.preprocessing.image_size
        engine, precision = (self._chosen.name, self._chosen.precision) if self._chosen else ("torch", "float32")
        return f"Classifier({network}, {len(self.classes)} classes, {size} x {size} pixels, {engine}, {precision})"

    def logits(self, pixels: np.ndarray) -> Tensor:
        """The network's answer to (N, S, S, 3) uint8 as `preprocessing.pixels` gives them.

        Returns (N, classes) float32 on the CPU, not yet divided by the temperature.
        """
        return torch.cat([self.session(self.input(part)) for part in self._parts(pixels)])

    def probabilities(self, logits: Tensor) -> Tensor:
        """softmax(logits / temperature) over the classes, (N, classes) float64."""
        return torch.softmax(logits.double() / float(self.calibration.temperature), dim=1)

    def pooled(self, pixels: np.ndarray) -> np.ndarray:
        """What the head's linear layer reads, (N, D) float32, by the network itself.

        pixels  (N, S, S, 3) uint8, as `preprocessing.pixels` gives them
        """
        device = next(self.network.parameters()).device
        found = [features.pooled(self.network, self.input(part).to(device)).cpu() for part in self._parts(pixels)]
        return torch.cat(found).numpy()

    def predict(self, images: Picture | Iterable[Picture], top: int = 5, batch_size: int = 32) -> Predictions:
        """Say what pictures show, one `Prediction` each, in their order.

        images      paths, bytes of image files, Pillow pictures, or uint8 arrays (H, W, 3) RGB or (H, W)
                    grey; a single one may come without a list around it
        top         how many classes to name; all of them if there are fewer
        batch_size  pictures that the network sees at once

        Raises ImageError, naming the picture, for the first that cannot be used. `predict_each` goes on.
        """
        return Predictions(pictures.good(self.predict_each(pictures.listed(images), top, batch_size)), self.titles)

    def predict_each(
        self,
        images: Iterable[P],
        top: int = 5,
        batch_size: int = 32,
        *,
        fast: bool = False,
        threads: int | None = None,
        watch: pictures.Watch | None = None,
    ) -> Iterator[tuple[P, Prediction | ImageError]]:
        """Like `predict`, with (picture, result) as results come in; never stop at a bad one.

        fast      read JPEG files by `data.fast_decode`, which does not give quite the same pixels
        threads   how many prepare pictures. Default: one for each core
        watch     told of each file that was read, and of what it was

        A picture that cannot be used has an ImageError in its place, whose message is the reason alone.
        """
        if top < 1 or batch_size < 1:
            raise ParameterError(f"top and batch_size are at least 1, not {top} and {batch_size}.")
        return pictures.each(
            lambda pixels: self.name(pixels, top), self.preprocessing, images, batch_size, fast, threads, watch
        )

    def _parts(self, pixels: np.ndarray) -> list[np.ndarray]:
        """All of them, or parts of so many as fit into memory together."""
        most = max(1, MOST_BYTES // self.model.bytes_to_run)
        return [pixels[first : first + most] for first in range(0, max(1, len(pixels)), most)]

    def embed(self, images: Picture | Iterable[Picture], batch_size: int = 32) -> np.ndarray:
        """The features that the network sees in pictures, pooled: what the head's linear layer reads.

        images      as in `predict`
        batch_size  pictures that the network sees at once

        Returns (N, D) float32, not scaled; D is the width of the last stage. They come from the network in float32,
        whatever the engine. Raises ImageError, naming the picture, for the first that cannot be used.
        """
        wanted = pictures.listed(images)
        each = pictures.each(lambda pixels: list(self.pooled(pixels)), self.preprocessing, wanted, batch_size)
        found = [row for _, row in pictures.good(each)]
        return np.stack(found) if found else np.empty((0, self.network.plan.head[-1].input[0]), np.float32)

    def name(self, pixels: np.ndarray, top: int) -> list[Prediction]:
        """The `top` classes of each of (N, S, S, 3) uint8, as `preprocessing.pixels` gives them, and the doubts."""
        logits = self.logits(pixels)
        # Sorted by logits, where fewer are equal than among rounded probabilities; of equals the first wins.
        order = logits.argsort(dim=1, descending=True, stable=True)
        values = self.probabilities(logits).gather(1, order)
        least, usual = self.calibration.unsure, self.calibration.unlike
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

    def __reduce__(self) -> tuple[type[Classifier], tuple[Model]]:
        """A copy, here or in another process, begins with the default engine."""
        return Classifier, (self.model,)

    def save(self, path: str | Path) -> None:
        """Write the model file.

        path    as in `resnets.save`
        """
        save_model(path, self.model)

    def evaluate(self, data: str | Path, split: str | None = None) -> Any:
        """Judge it on images whose classes are known: `resnets.evaluate` with this model, an `Evaluation`.

        data, split     as in `resnets.evaluate`
        """
        return surface.verb("evaluate")(self, data, split=split)

    def export(self, out: str | Path, **options: Any) -> Any:
        """Write it as a file for other runtimes: `resnets.export` with this model, an `Exported`.

        out, options    as in `resnets.export`
        """
        return surface.verb("export")(self, out, **options)

    def input(self, pixels: np.ndarray) -> Tensor:
        """What an engine is given.

        pixels      (N, S, S, 3) uint8, as `preprocessing.pixels` gives them

        Returns (N, 3, S, S) float32, normalised.
        """
        return self.preprocessing.normalise(torch.from_numpy(np.require(pixels, requirements=["C", "W"])))
