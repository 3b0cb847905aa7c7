"""Writes Caffe's pair of files: the graph as text, and graph with weights in binary; one tensor in memory at a time."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import BinaryIO

import torch

from resnets.weights.formats import protobuf
from resnets.weights.formats.prototxt import Message, printed
from resnets.weights.formats.stored import Stored
from resnets.weights.worlds.caffe.schema import BLOB, LAYER, NET, encoded
from resnets.whole import whole


def write_caffe(
    path: Path, net: Message, blobs_of: Callable[[str], Sequence[Stored]], notes: Iterable[str] = ()
) -> tuple[Path, Path]:
    """Write X.caffemodel and X.prototxt for a path X with whatever suffix; both paths.

    net         a NetParameter's "name" and "layer", layers of the newer form
    blobs_of    a layer's name -> its tensors, which are written as float32
    notes       comments at the top of the .prototxt, one line each

    Raises ModelFileError when a file cannot be written; each is whole or not there.
    """
    model, text = path.with_suffix(".caffemodel"), path.with_suffix(".prototxt")
    with whole(model) as file:
        file.write(encoded({"name": net["name"]}, NET))
        for layer in net["layer"]:
            head = encoded(layer, LAYER)
            blobs = [
                (_within(LAYER["blobs"][0], _blob_head(blob), _size(blob)), blob) for blob in blobs_of(*layer["name"])
            ]
            length = sum(len(start) + _size(blob) for start, blob in blobs)
            file.write(_within(NET["layer"][0], head, length))
            for start, blob in blobs:
                file.write(start)
                _write_numbers(file, blob)
    with whole(text) as file:
        file.writelines(f"# {note}\n".encode() for note in notes)
        file.writelines(line.encode() for line in printed(net))
    return model, text


def write_blob(path: Path, blob: Stored) -> Path:
    """Write one tensor as a .binaryproto, as Caffe keeps mean images. Raises ModelFileError."""
    with whole(path) as file:
        file.write(_blob_head(blob))
        _write_numbers(file, blob)
    return path


def _blob_head(blob: Stored) -> bytes:
    """A blob's message up to its numbers."""
    return encoded({"shape": [{"dim": blob.shape}]}, BLOB) + _within(BLOB["data"][0], b"", _size(blob))


def _within(number: int, head: bytes, more: int) -> bytes:
    """The beginning of a message in a field: its length, its head; `more` bytes are to follow."""
    key = protobuf.encoded(number << 3 | protobuf.BYTES)
    return key + protobuf.encoded(len(head) + more) + head


def _size(blob: Stored) -> int:
    return 4 * math.prod(blob.shape)


def _write_numbers(file: BinaryIO, blob: Stored) -> None:
    file.write(blob.read().to(torch.float32).contiguous().numpy().astype("<f4", copy=False).data)
