"""Which training images look most alike to a network: those whose pooled features point in the same direction."""

from __future__ import annotations

import hashlib
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from resnets.data.cache import IN_MEMORY, Cache, cached
from resnets.data.open import open_as_trained
from resnets.data.source import Source
from resnets.errors import DataError, ModelFileError
from resnets.evaluation.held_out import choose
from resnets.inference import Classifier
from resnets.machine import home, open_kept
from resnets.progress import say, track
from resnets.store import make_room, mark, own
from resnets.whole import whole

BATCH = 64  # images that the network sees at once
COUNT = 8


@dataclass(frozen=True, eq=False)
class Neighbour:
    """One image of a data set.

    key         its path inside the data
    label       its class folder
    similarity  the cosine between its features and the picture's, -1 to 1
    same        whether it is the picture itself, pixel for pixel as the network sees it
    pixels      (S, S, 3) uint8, as the network sees it
    """

    key: str
    label: str
    similarity: float
    same: bool
    pixels: np.ndarray


def neighbours(
    classifier: Classifier, data: str | Path, pixels: np.ndarray, count: int = COUNT
) -> tuple[Neighbour, ...]:
    """The `count` training images that the network sees as the most alike, the most alike first.

    data    whatever `resnets.data.open.open_source` takes; its classes need not be the model's. Of class folders
            alone, those that the model was trained on, known by their content, else all
    pixels  (S, S, 3) uint8, as `classifier.preprocessing.pixels` gives them

    Images and features are kept under `resnets.machine.home`, so that a second time is quick. Files that are no
    usable images are left out, and a line says how many.

    Raises DataError for data that cannot be read.
    """
    source = open_as_trained(data, classifier.provenance.recipe)
    try:
        samples = choose(source, classifier.provenance, "train").samples
    except DataError:  # there are no splits
        samples = source.samples
    cache = cached(source, samples, classifier.preprocessing)
    if cache.skipped:
        say(f"{len(cache.skipped):,} files of the neighbours are no usable images and are left out.")
    everything = _remembered(classifier, cache, source)
    similar = everything @ directions(classifier, pixels[None])[0]
    return tuple(
        Neighbour(
            cache.samples[i].key,
            cache.samples[i].label,
            float(similar[i]),
            np.array_equal(cache.images[i], pixels),
            np.array(cache.images[i]),
        )
        for i in np.argsort(-similar, kind="stable")[:count]
    )


def directions(classifier: Classifier, pixels: np.ndarray) -> np.ndarray:
    """What the head's linear layer reads, scaled to length 1: (N, S, S, 3) uint8 -> (N, features) float32."""
    found = []
    with track("looking at", len(pixels)) as advance:
        for first in range(0, len(pixels), BATCH):
            pooled = classifier.pooled(np.array(pixels[first : first + BATCH]))
            found.append(torch.nn.functional.normalize(torch.from_numpy(pooled), dim=1).numpy())
            advance(len(pooled))
    return np.concatenate(found)


def _remembered(classifier: Classifier, cache: Cache, source: Source) -> np.ndarray:
    """`directions` of a cache, or what an earlier run found for the same network and the same content."""
    if cache.images.nbytes < IN_MEMORY:
        return directions(classifier, cache.images)
    key = hashlib.sha256(classifier.digest.encode())
    contents = source.contents_of(cache.samples)
    for sample in cache.samples:
        key.update(contents[sample.key])
    path = own(home() / "cache" / f"{key.hexdigest()}.npy")
    with suppress(OSError, ValueError):
        with open_kept(path) as file:
            known = np.load(file, allow_pickle=False)
        norms = np.linalg.norm(known, axis=1)
        if len(known) == len(cache.samples) and np.allclose(norms, 1, atol=1e-3):  # all zeros are no directions
            mark(path)
            return known  # type: ignore[no-any-return]
    found = directions(classifier, cache.images)
    with suppress(OSError, ModelFileError):  # a full disk only makes the next time slow
        path.parent.mkdir(parents=True, exist_ok=True)
        make_room(found.nbytes)
        with whole(path) as file:
            np.save(file, found)
    return found
