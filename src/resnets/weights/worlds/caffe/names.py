"""Caffe's residual networks: a .prototxt and a .caffemodel, as a dialect.

Layers go under the names of He's published files (`he.py`); in files with other names the graph says which layer is
which (`roles.py`). Then the graph is compared with that of our network, layer by layer.
"""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor

from resnets.architecture import Plan, ResNetSpec
from resnets.architecture.catalog import name_of
from resnets.data.preprocess import Preprocessing, Triple
from resnets.errors import DataError, ModelFileError
from resnets.weights.formats.stored import Foreign, Stored, unusable
from resnets.weights.model import Model
from resnets.weights.worlds.base import Dialect, Naming
from resnets.weights.worlds.caffe import he
from resnets.weights.worlds.caffe.facts import WHOLE, differences, facts
from resnets.weights.worlds.caffe.graph import graph
from resnets.weights.worlds.caffe.layer import CaffeLayer
from resnets.weights.worlds.caffe.net import net
from resnets.weights.worlds.caffe.reader import MEAN
from resnets.weights.worlds.caffe.roles import under_known_names
from resnets.weights.worlds.caffe.writer import write_blob, write_caffe
from resnets.weights.worlds.differing import another_network

# The means of the channels of He's ResNet_mean.binaryproto, blue first: what his files were trained with, but for
# where in the picture a pixel lies. (104, 117, 123) are CaffeNet's, (103.94, 116.78, 123.68) are VGG's.
MEANS: Triple = (103.0626238 / 255, 115.90288257 / 255, 123.15163084 / 255)
RECORD = "resnets "  # begins the comment in which our files say what Caffe's have no place for


class Caffe(Dialect):
    """A .prototxt and a .caffemodel."""

    name: ClassVar = "caffe"
    containers: ClassVar = ("caffe",)
    framework: ClassVar = "OpenCV"
    orders: ClassVar = ("post", "pre")

    def prepare(self, file: Foreign) -> Foreign:
        """Under He's names; mean and variance divided by the factor that Caffe keeps beside them; zeros for shifts that
        are not there.
        """
        file = under_known_names(file)
        tensors = dict(file.tensors)
        for layer in _graph(file):
            mean, factor, shift = (f"{layer.name}/{i}" for i in (0, 2, 1))
            if layer.type == "BatchNorm" and factor in tensors and math.prod(tensors[factor].shape) == 1:
                count = tensors.pop(factor)
                for name in (mean, shift):
                    tensors[name] = _divided(tensors[name], count)
            if layer.type == "Scale" and not layer.settings["bias"] and mean in tensors:
                tensors[shift] = _zeros(tensors[mean])
        return replace(file, tensors=tensors)

    def namings(self, file: Foreign) -> Iterable[Naming]:
        """He's names, with the letters of the units and the name of the head as they are in this file."""
        units: dict[int, dict[str, None]] = {}
        for layer in _graph(file):
            if match := he.UNIT.match(layer.name):
                units.setdefault(int(match[1]) - 1, {})[match[2]] = None
        heads = [layer.name for layer in _graph(file) if layer.type == "InnerProduct"]
        return [he.naming({stage: list(letters) for stage, letters in units.items()}, heads[-1] if heads else "")]

    def fields(self, file: Foreign) -> Mapping[str, Any]:
        """What the graph says at its most telling places; `check` finds out whether all of it is so."""
        layers = _graph(file)
        known = facts(layers)
        fields: dict[str, Any] = {}
        strides = {layer.name: layer.settings["stride"] for layer in layers if layer.type == "Convolution"}
        if any(f"{name[:-1]}c" in strides and stride != (1, 1) for name, stride in strides.items() if name[-1:] == "a"):
            fields["stride_conv"] = "first"
        pools = [known[name] for name in known if name.startswith("pool ")]
        if any((pool["method"], pool.get("pad"), pool.get("ceil")) == ("MAX", "0x0", "yes") for pool in pools):
            fields["pool_padding"] = "ceil"
        if "sum 1" not in known:
            fields["shortcut"] = "none"
        elif any(pool["method"] == "AVE" and pool["kernel"] != WHOLE for pool in pools):
            fields["shortcut"] = "avgpool"
        if any({"scale_conv1", "scale_conv1_3"} & set(layer["reads"].split(" and ")) for layer in known.values()):
            fields["stem_activation"] = False
        if eps := Counter(layer.settings["eps"] for layer in layers if layer.type == "BatchNorm"):
            fields["norm_eps"] = eps.most_common(1)[0][0]
        return fields

    def check(self, file: Foreign, plan: Plan, names: Mapping[str, str]) -> None:
        """Every layer must be what the network has in its place, and read what it reads there."""
        wanted = graph(net(plan, _layer_of(lambda ours: names.get(ours, "/")), "", ()))
        if "head.linear.weight" not in names:
            del wanted[-3:]  # the pool, the fully connected layer, the softmax
        rows = [*differences(facts(_graph(file)), facts(wanted))]
        theirs = {name: f"{name} ({old})" for name, old in file.documents.get("originals", {}).items() if name != old}
        if rows:
            raise another_network(
                file.path, plan, [(theirs.get(name, name), there, here) for name, there, here in rows]
            )

    def preprocessing(self, file: Foreign, spec: ResNetSpec) -> Preprocessing:
        """What our own files say; else pixels of 0..255, blue first, less the mean image beside the file or He's mean.

        Caffe's own cut: where the mean image is larger than the network's input, its centre counts.
        """
        try:
            mean = _mean_image(file)
            if document := _record(file).get("preprocessing"):
                return Preprocessing.from_dict(document, mean if document.get("mean_image") else None)
            shape = file.documents["input"]
            size = shape[2] if len(shape) == 4 and shape[2] == shape[3] else spec.image_size
            usual = Preprocessing.evaluation(size, channels="BGR", mean=MEANS, std=(1 / 255, 1 / 255, 1 / 255))
            if mean is None:
                return usual
            _, height, width = mean.shape
            top, left = (height - size) // 2, (width - size) // 2
            if min(top, left) < 0:
                return replace(usual, mean=tuple(mean.mean((1, 2)).tolist()))
            return replace(usual, mean_image=mean[:, top : top + size, left : left + size])
        except (DataError, ModelFileError, AttributeError, RuntimeError, TypeError, ValueError) as problem:
            raise unusable(file.path, f"what it says of preparing pictures makes no sense ({problem})") from problem

    def classes(self, file: Foreign, count: int) -> tuple[str, ...]:
        """Those of our own files; others have numbers."""
        classes = _record(file).get("classes")
        if isinstance(classes, list) and len(set(map(str, classes))) == count == len(classes):
            return tuple(map(str, classes))
        return super().classes(file, count)

    def naming(self, plan: Plan) -> Naming:
        """As He would name this network; the head is fc and the number of classes."""
        return he.naming(he.letters(plan.spec.depths), f"fc{plan.num_classes}")

    def states(self, file: Foreign) -> Mapping[str, str]:
        """Its layers are the graph; how pictures are prepared stands in our own comments alone."""
        return {"graph": "its layers", **({"preprocessing": "its comments"} if _record(file) else {})}

    def documents(self, model: Model) -> dict[str, Any]:
        """The graph, and comments with what Caffe's files have no place for. Raises ModelFileError."""
        p, wanted = model.network.plan, model.preprocessing
        shape = (1, p.in_channels, wanted.image_size, wanted.image_size)
        record = {"preprocessing": wanted.to_dict(), "classes": list(model.classes)}
        mean = "the mean image beside this file" if wanted.mean_image is not None else _plainly(wanted.mean)
        documents: dict[str, Any] = {
            "graph": graph(net(p, _layer_of(self.naming(p)), "", shape)),
            "input": shape,
            "notes": [
                f"Pictures: {wanted.geometry()}; {wanted.channels}, 0..1, less {mean}, over {_plainly(wanted.std)}.",
                RECORD + json.dumps(record),
            ],
        }
        if wanted.mean_image is not None:
            image = torch.from_numpy(wanted.mean_image).double()
            documents["mean_image"] = Stored(tuple(image.shape), image.dtype, lambda: image * 255)
        return documents

    def write(self, path: Path, file: Foreign, plan: Plan) -> tuple[Path, ...]:
        """Both files; and the mean image as a third, if there is one."""
        if path.suffix not in (".caffemodel", ".prototxt"):
            raise ModelFileError(f"{path} does not end in .caffemodel, as Caffe's weights do.")
        message = net(plan, _layer_of(self.naming(plan)), name_of(plan.spec) or "resnet", file.documents["input"])
        factor = Stored((1,), torch.float32, lambda: torch.ones(1))
        tensors = {
            **file.tensors,
            **{f"{layer.name}/2": factor for layer in graph(message) if layer.type == "BatchNorm"},
        }

        def blobs_of(layer: str) -> list[Stored]:
            return [tensors[name] for name in (f"{layer}/{i}" for i in range(3)) if name in tensors]

        written: tuple[Path, ...] = write_caffe(path, message, blobs_of, file.documents["notes"])
        if mean := file.documents.get("mean_image"):
            written += (write_blob(path.with_name(path.stem + MEAN), mean),)
        return written


def _graph(file: Foreign) -> Sequence[CaffeLayer]:
    return file.documents["graph"]  # type: ignore[no-any-return]


def _plainly(numbers: Sequence[float]) -> str:
    return " ".join(f"{number:.6g}" for number in numbers)


def _layer_of(naming: Naming) -> Callable[[str], str]:
    """Our state name -> the layer that has it."""
    return lambda state_name: he.layer_of(naming, state_name)


def _divided(stored: Stored, factor: Stored) -> Stored:
    """A sum over its factor, both as Caffe keeps them; a factor of 0 says that nothing was summed yet."""

    def read() -> Tensor:
        count = float(factor.read().double().reshape(-1)[0])
        return (stored.read().double() / count).float() if count else torch.zeros(stored.shape)

    return replace(stored, dtype=torch.float32, read=read)


def _zeros(like: Stored) -> Stored:
    return replace(like, read=lambda: torch.zeros(like.shape, dtype=like.dtype))


def _record(file: Foreign) -> Mapping[str, Any]:
    """What `documents` left in a comment; nothing in the files of others."""
    for note in file.documents.get("notes", ()):
        if note.startswith(RECORD + "{"):
            try:
                record = json.loads(note.removeprefix(RECORD))
            except (ValueError, RecursionError) as problem:
                raise unusable(file.path, f"its comment with our record is damaged ({problem})") from problem
            return record  # type: ignore[no-any-return]
    return {}


def _mean_image(file: Foreign) -> np.ndarray | None:
    """(channels, height, width), pixels of 0..1."""
    stored: Stored | None = file.documents.get("mean_image")
    return None if stored is None else (stored.read().double() / 255).float().reshape(stored.shape[-3:]).numpy()
