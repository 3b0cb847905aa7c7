"""What a body that others have trained sees of images: computed once, by the fast engines, and kept under `home`.

A second run on the same pixels with the same body finds them there. A file is the numbers and, behind them, their
hash; it is checked when it is read, and made again when anything is off.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable
from contextlib import suppress

import numpy as np
import torch

from resnets.data.cache import middle
from resnets.data.preprocess import Preprocessing
from resnets.errors import ModelFileError
from resnets.inference import engines
from resnets.inference.features import pooling
from resnets.machine import fastest_precision, home, open_kept
from resnets.network import ResNet
from resnets.progress import track
from resnets.store import make_room, mark, own
from resnets.weights.formats.safetensors_file import raw
from resnets.weights.model import at_once
from resnets.whole import whole

BATCH = 64  # images that the engine sees at once
FORMAT = 1  # of the file, and of how the numbers are made; counts up when either changes
HASH = 32  # bytes


def seen(network: ResNet, preprocessing: Preprocessing, images: np.ndarray, device: str, what: str) -> np.ndarray:
    """(N, D) float32: what the head's linear layer reads, of the middle of every image, as when it is judged.

    network     any, on any device; it is left as it is
    images      (N, S, S, 3) uint8, S at least the preprocessing's size
    what        the words in the progress display

    Raises ModelFileError where they are not finite in float32 either.
    """
    body, precision = pooling(network), fastest_precision(device)
    shape = (len(images), network.plan.head[-1].in_channels)
    path = own(home() / "cache" / f"{_key(body, preprocessing, images, device, precision)}.f32")
    with suppress(OSError, ValueError), open_kept(path) as file:
        data = file.read(4 * shape[0] * shape[1] + HASH + 1)
        if hashlib.sha256(data[:-HASH]).digest() == data[-HASH:]:
            mark(path)
            return np.frombuffer(bytearray(data[:-HASH]), np.float32).reshape(shape)
    found = _run(body, preprocessing, images, device, precision, what)
    if not np.isfinite(found).all():  # bfloat16 and float32 have the same range, but not the same rounding
        found = _run(body, preprocessing, images, device, "float32", what)
        if not np.isfinite(found).all():
            raise ModelFileError("What the body of `weights` sees of these images is not finite: take another one.")
    with suppress(OSError):  # then it is computed again next time
        path.parent.mkdir(parents=True, exist_ok=True)
        make_room(found.nbytes)
        with whole(path) as file:
            file.write(found.tobytes() + hashlib.sha256(found.data).digest())
    return found


def _run(
    body: ResNet, preprocessing: Preprocessing, images: np.ndarray, device: str, precision: str, what: str
) -> np.ndarray:
    size = preprocessing.image_size
    few = at_once(body, size, BATCH)
    engine = engines.make("torch", body.to(device), precision, image_size=size, batch=few)
    found = np.empty((len(images), body.plan.num_classes), np.float32)
    with track(what, len(images)) as advance:
        for first in range(0, len(images), few):
            part = np.array(middle(images, size, slice(first, first + few)))
            x = preprocessing.normalise(torch.from_numpy(part)).to(device)
            found[first : first + len(part)] = engine(x).numpy()
            advance(len(part))
    return found


def _key(body: ResNet, preprocessing: Preprocessing, images: np.ndarray, device: str, precision: str) -> str:
    """Everything that decides the numbers."""
    words = [FORMAT, torch.__version__, device, precision, preprocessing.to_dict(), images.shape]
    found = hashlib.sha256(json.dumps([words, body.plan.spec.to_dict()]).encode())
    for block in _blocks(body, images):
        found.update(block)
    return found.hexdigest()


def _blocks(body: ResNet, images: np.ndarray) -> Iterable[memoryview]:
    for tensor in body.state_dict().values():
        yield raw(tensor.cpu().contiguous())
    for first in range(0, len(images), BATCH):
        yield np.ascontiguousarray(images[first : first + BATCH]).data
