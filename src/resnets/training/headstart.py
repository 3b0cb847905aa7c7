"""A run that starts from a trained body gets its head before the first step, and keeps it aside.

The head is fitted in seconds (`probe`), written beside the run's record, and is what training starts from. At the end
the head alone is one of those to choose from: nothing is lost where training more of the network does not pay.
"""

from __future__ import annotations

import copy
import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from resnets.data.cache import Cache
from resnets.data.preprocess import Preprocessing
from resnets.errors import TrainingError
from resnets.evaluation.significance import interval, shown
from resnets.inference.features import put_head
from resnets.network import ResNet
from resnets.progress import say
from resnets.text import printable
from resnets.training import checkpoint, probe
from resnets.training.features import seen
from resnets.training.probe import Head
from resnets.training.recipe import Recipe
from resnets.training.setup import label_indices
from resnets.training.weighing import Weighing
from resnets.weights.run import HEAD


@dataclass(frozen=True, eq=False)
class HeadStart:
    """The head that a run starts from.

    network     the body with this head, as training finds it
    head        with the answers out of fold for the training images
    counts      (N,) bool: the training images whose answers out of fold say what the head is worth. Not those that the
                body was trained on before, nor a second copy; none at all where a class has none among them
    train, held_out     (N, D) and (M, D) float32, what the body sees of the images
    familiar    whether the body was trained on some of the training images before
    """

    network: ResNet
    head: Head
    counts: np.ndarray
    train: np.ndarray
    held_out: np.ndarray
    familiar: bool

    def pays(self, labels: np.ndarray, held_out: int, least: float) -> bool:
        """Whether training more than the head could show a gain on so many held-out images; a line says if it cannot.

        labels      (N,) of the training images
        least       wrong answers among the held-out images, below which not even mending all of them would: five that
                    are all mended are what chance does in 3 of 100 cases (sign test)
        """
        fold = self.document(labels)["out_of_fold"]
        wrong = held_out * (1 - fold["right"] / fold["images"]) if fold["images"] else held_out
        if wrong >= least:
            return True
        say(
            f"The head alone is kept: of {held_out:,} held-out images it would miss about {wrong:.0f}, too few to show "
            "that training the rest is better (`overrides=['pays=0']` trains it all the same)."
        )
        return False

    def document(self, labels: np.ndarray) -> dict[str, Any]:
        """For run.json: how it was found. labels: (N,) of the training images."""
        right = self.head.out_of_fold[self.counts].argmax(axis=1) == labels[self.counts]
        return {
            "strength": self.head.strength,
            "seconds": self.head.seconds,
            "out_of_fold": {"images": len(right), "right": int(right.sum())},
        }


def head_start(
    folder: Path,
    network: ResNet,
    preprocessing: Preprocessing,
    caches: Mapping[str, Cache],
    classes: tuple[str, ...],
    device: str,
    familiar: np.ndarray,
    recipe: Recipe,
) -> HeadStart:
    """Give a network its head, in place: the one that lies in the run's folder, or a new one, which is written there.

    network     the body, with a head for `classes` whose weights do not matter
    caches      "train" and the held-out images, in this order
    device      where the body runs
    familiar    (N,) bool: training images that the body was trained on before
    recipe      which says what classes of unequal size weigh

    Raises TrainingError for a file that is damaged or does not fit, WriteError.
    """
    train, held_out = (
        seen(network, preprocessing, cache.images, device, f"looking at {name}") for name, cache in caches.items()
    )
    labels = label_indices(next(iter(caches.values())), classes)
    place = folder / HEAD
    if place.exists():
        head = _read(place, (len(classes), train.shape[1]), len(labels))
    else:
        head = probe.fit(train, labels, len(classes), even=recipe.evens_out)
        offsets = Weighing.of(recipe, np.bincount(labels)).offsets
        if offsets is not None:  # the rare classes ahead, as after a training with the logits' shares added
            shift = offsets.numpy()
            head = dataclasses.replace(head, bias=head.bias - shift, out_of_fold=head.out_of_fold - shift)
        _write(place, head)
    put_head(network, torch.from_numpy(head.weight), torch.from_numpy(head.bias))
    counts = _counting(head.out_of_fold, train, labels, familiar)
    found = HeadStart(copy.deepcopy(network), head, counts, train, held_out, bool(familiar.any()))
    fold = found.document(labels)["out_of_fold"]
    if fold["images"]:
        share = fold["right"] / fold["images"]
        right, images = shown(share, interval(share, fold["images"])), f"{fold['images']:,} training images out of fold"
        say(f"the head alone, fitted in {head.seconds:.1f} s: top-1 {right} on {images}")
    return found


def _counting(answers: np.ndarray, features: np.ndarray, labels: np.ndarray, familiar: np.ndarray) -> np.ndarray:
    """As `HeadStart.counts` says it."""
    rows = np.flatnonzero(np.isfinite(answers).all(axis=1) & ~familiar)
    rows = rows[np.unique(features[rows], axis=0, return_index=True)[1]]
    counts = np.zeros(len(labels), bool)
    if set(labels[rows]) == set(labels):
        counts[rows] = True
    return counts


def _write(path: Path, head: Head) -> None:
    tensors = {name: torch.from_numpy(np.ascontiguousarray(value)) for name, value in _arrays(head).items()}
    checkpoint.write(path, {"strength": head.strength, "seconds": head.seconds}, tensors)


def _read(path: Path, shape: tuple[int, int], images: int) -> Head:
    try:
        table, tensors = checkpoint.read(path)
    except TrainingError as problem:
        shown = printable(str(path))
        raise TrainingError(f"{shown} is damaged: remove it, and the head is fitted again.") from problem
    wanted = {"weight": shape, "bias": shape[:1], "out_of_fold": (images, shape[0])}
    try:
        arrays = {
            name: checkpoint.check(name, tensors[name], torch.empty(size)).numpy() for name, size in wanted.items()
        }
        strength, seconds = (float(checkpoint.number(table, name, float)) for name in ("strength", "seconds"))
    except (KeyError, ValueError) as problem:
        raise TrainingError(
            f"{printable(str(path))} is of another run ({problem}): remove it, and the head is fitted again."
        ) from problem
    return Head(**arrays, strength=strength, seconds=seconds)


def _arrays(head: Head) -> dict[str, np.ndarray]:
    return {name: value for name, value in dataclasses.asdict(head).items() if isinstance(value, np.ndarray)}
