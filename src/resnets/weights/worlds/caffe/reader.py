"""Reads Caffe's pair of files: .prototxt (the graph, as text) and .caffemodel (graph and weights, in binary).

The user names one of them; the other is looked up beside it. Weights belong to layers by the layers' names, and
layers that the graph does not have are passed over, both as in Caffe itself.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from resnets.progress import say
from resnets.regular import bounded, open_regular
from resnets.weights.formats.prototxt import Message, parse
from resnets.weights.formats.stored import (
    MAX_DIMENSIONS,
    MAX_TENSOR_BYTES,
    MAX_TENSORS,
    Foreign,
    Stored,
    mapped,
    unusable,
)
from resnets.weights.worlds.caffe import graph as caffe_graph
from resnets.weights.worlds.caffe.layer import CaffeLayer
from resnets.weights.worlds.caffe.schema import BLOB, NET, decoded

MEAN = "_mean.binaryproto"  # what a mean image's name ends in; before it, the model's stem, if there are several
MAX_TEXT_BYTES = 8 * 2**20  # of a .prototxt; ResNet-1001's has 1.5 MB
_TYPES: dict[str, tuple[np.dtype[Any], torch.dtype]] = {
    "data": (np.dtype("<f4"), torch.float32),
    "double_data": (np.dtype("<f8"), torch.float64),
}


def open_caffe(path: Path) -> Foreign:
    """Open a .caffemodel or .prototxt with its partner.

    tensors     "LAYER/INDEX", in the shapes of today's Caffe even where the file is older
    documents   "graph": list of `CaffeLayer`, with the same tensors; "input": the declared shape of the input, a tuple;
                "notes": the comments at the top of the .prototxt, if there is one; "mean_image": a `Stored` of
                (channels, height, width), if a *_mean.binaryproto lies beside the model

    The partner has the same stem; or it is X-deploy.prototxt of X-model.caffemodel; or the only *deploy*.prototxt,
    or the only file of its kind, in the folder. Without a .prototxt the graph is that in the .caffemodel.

    Raises ModelFileError.
    """
    text = path if path.suffix == ".prototxt" else _partner(path, ".prototxt", "*deploy*.prototxt")
    model = path if path.suffix != ".prototxt" else _partner(path, ".caffemodel", "*model.caffemodel")
    if model is None:
        raise unusable(path, "there is no .caffemodel beside it: put it there under the same name")
    named = model.with_name(model.stem + MEAN)
    mean = named if named.is_file() else _only(sorted(path.parent.glob(f"*{MEAN}")))
    documents: dict[str, Any] = {}
    with _answering(path, model):
        net = weights = decoded(mapped(model), NET)
    with _answering(path, text or model):
        if text is not None:
            net, documents["notes"] = _text(text)
        layers = caffe_graph.graph(net, trained=text is None)
        if text is None and caffe_graph.trains(net):
            say(f"{model.name} holds the graph that trained it: its norms are taken with the statistics that it holds.")
        documents["input"] = caffe_graph.input_shape(net)
    with _answering(path, model):
        documents["graph"] = _with_blobs(layers, weights)
    if mean is not None:
        with _answering(path, mean):
            documents["mean_image"] = _stored(decoded(mapped(mean), BLOB), axes=3)
    tensors = {f"{layer.name}/{i}": blob for layer in documents["graph"] for i, blob in enumerate(layer.blobs)}
    files = tuple(file for file in (text, model, mean) if file is not None)
    return Foreign(path=path, container="caffe", tensors=tensors, documents=documents, files=files)


def _partner(path: Path, suffix: str, pattern: str) -> Path | None:
    """The file of the other kind that belongs to this one, or None."""
    here, there = ("-model", "-deploy") if suffix == ".prototxt" else ("-deploy", "-model")
    for stem in (path.stem, path.stem.replace(here, there)):
        if (found := path.with_name(stem + suffix)).is_file():
            return found
    return _only(sorted(path.parent.glob(pattern))) or _only(sorted(path.parent.glob("*" + suffix)))


def _only(paths: list[Path]) -> Path | None:
    return paths[0] if len(paths) == 1 else None


@contextmanager
def _answering(path: Path, reading: Path) -> Iterator[None]:
    """Turn what goes wrong with a file into the one error, which names what the user named."""
    try:
        yield
    except ValueError as problem:
        where = "" if reading == path else f"in {reading.name} beside it, "
        raise unusable(path, f"{where}{problem}") from problem
    except OSError as problem:
        raise unusable(path, f"{reading.name} cannot be read ({problem.strerror}); check its permissions") from problem


def _text(path: Path) -> tuple[Message, list[str]]:
    with open_regular(path) as file:
        data = bounded(file, MAX_TEXT_BYTES)
    if len(data) > MAX_TEXT_BYTES:
        raise ValueError(f"it has more than {MAX_TEXT_BYTES:,} bytes, which no network's description has")
    text = data.decode("utf-8-sig", "replace")  # names and words are ASCII; comments are in any encoding
    notes = []
    for line in text.splitlines():
        if not line.startswith("#"):
            break
        notes.append(line[1:].strip())
    return parse(text), notes


def _with_blobs(layers: list[CaffeLayer], weights: Message) -> list[CaffeLayer]:
    """The layers with the tensors that the model has under their names."""
    blobs = {caffe_graph.name_of(message): message.get("blobs", []) for message in caffe_graph.messages(weights)}
    if sum(map(len, blobs.values())) > MAX_TENSORS:
        raise ValueError(f"it has more than {MAX_TENSORS:,} tensors")
    found = []
    for layer in layers:
        stored = []
        for i, blob in enumerate(blobs.get(layer.name, ())):
            axes = {"Convolution": 4, "InnerProduct": 2}.get(layer.type, 1) if i == 0 else 1
            try:
                stored.append(_stored(blob, axes))
            except ValueError as problem:
                raise ValueError(f"tensor {i} of the layer {layer.name!r} {problem}") from None
        found.append(replace(layer, blobs=tuple(stored)))
    return found


def _stored(blob: Message, axes: int) -> Stored:
    """A blob, its numbers not read. Older files have four dimensions always; `axes` of them are meant."""
    old = [blob[name][-1] if name in blob else 0 for name in ("num", "channels", "height", "width")]
    if any(old):
        shape = tuple(old[4 - axes :] if old[: 4 - axes] == [1] * (4 - axes) else old)
    else:
        shape = tuple(size for message in blob.get("shape", ()) for size in message.get("dim", ()))
    if len(shape) > MAX_DIMENSIONS:
        raise ValueError(f"has {len(shape)} dimensions")
    field = "double_data" if "double_data" in blob else "data"
    pieces = blob.get(field, [memoryview(b"")])
    stored, dtype = _TYPES[field]
    size = math.prod(shape) * stored.itemsize
    if len(pieces) > 1 or size != len(pieces[0]) or size > MAX_TENSOR_BYTES:
        found = sum(map(len, pieces))
        raise ValueError(f"should have {size} bytes in one piece, and has {found} in {len(pieces)}: get it again")

    def read() -> Tensor:
        numbers = np.frombuffer(pieces[0], stored).astype(stored.newbyteorder("="))
        return torch.from_numpy(numbers).reshape(shape)

    return Stored(shape, dtype, read)
