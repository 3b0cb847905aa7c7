"""Classes of unequal size: what an image weighs in the loss, and what the prior of its class adds to the logits.

The weights are those of King and Zeng 2001, "Logistic regression in rare events data"; the adjustment is that of Menon
et al. 2021, "Long-tail learning via logit adjustment", equation 10.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple, Self

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from resnets.training.recipe import Recipe


class Targets(NamedTuple):
    """What the logits of a batch are to say.

    labels  (B,) int64: the class of each image
    others  (B,) int64: that of the image which it was blended with; None: no image was
    share   (B,) float32: of its own class, the rest being the other's
    """

    labels: Tensor
    others: Tensor | None = None
    share: Tensor | None = None

    @classmethod
    def of(cls, labels: Tensor, share: Tensor | None) -> Self:
        """Of a whole batch, each of whose images was blended with the one before it."""
        return cls(labels) if share is None else cls(labels, labels.roll(1), share)

    def parts(self, count: int) -> list[Self]:
        """The same in so many parts, of about one size."""
        labels = self.labels.tensor_split(count)
        if self.others is None or self.share is None:
            return [type(self)(one) for one in labels]
        cut = zip(labels, self.others.tensor_split(count), self.share.tensor_split(count), strict=True)
        return [type(self)(*one) for one in cut]


@dataclass(frozen=True, eq=False)
class Weighing:
    """What a recipe makes of how many training images each class has.

    weights     (classes,) float32: what an image of each class weighs, 1 on average over the images; None: all alike
    offsets     (classes,) float32: added to the logits in training and left away afterwards, so that the rare classes
                have to be ahead by more; None: nothing
    """

    weights: Tensor | None = None
    offsets: Tensor | None = None

    @classmethod
    def of(cls, recipe: Recipe, counts: np.ndarray, device: str = "cpu") -> Weighing:
        """counts: (classes,) training images of each class, none of them 0."""
        counts = np.asarray(counts, np.float64)
        weights = counts.sum() / (len(counts) * counts) if recipe.class_weights == "balanced" else None
        offsets = recipe.logit_adjustment * np.log(counts / counts.sum()) if recipe.logit_adjustment else None
        ready = (None if found is None else torch.tensor(found, dtype=torch.float32) for found in (weights, offsets))
        return cls(*(None if found is None else found.to(device) for found in ready))

    def loss(self, logits: Tensor, targets: Targets, smoothing: float = 0.0) -> Tensor:
        """The cross entropy of (B, classes) logits with their targets, its mean by weight.

        The mean is divided by the weights of the batch, as torch's own is: one rare image does not blow it up.
        """
        labels, others, share = targets.labels, targets.others, targets.share
        if self.offsets is None and self.weights is None and share is None:
            return F.cross_entropy(logits, labels, label_smoothing=smoothing)
        if self.offsets is not None:
            logits = logits + self.offsets
        own, weight = self._each(logits, labels, smoothing)
        if others is not None and share is not None:
            other, theirs = self._each(logits, others, smoothing)
            own, weight = torch.lerp(other, own, share), torch.lerp(theirs, weight, share)
        return own.mean() if self.weights is None else own.sum() / weight.sum()

    def total(self, targets: Targets) -> float:
        """By what a batch counts beside other parts of the same one: the sum of its weights, or how many there are."""
        if self.weights is None:
            return float(len(targets.labels))
        weight = self.weights[targets.labels]
        if targets.others is not None and targets.share is not None:
            weight = torch.lerp(self.weights[targets.others], weight, targets.share)
        return float(weight.sum())

    def _each(self, logits: Tensor, labels: Tensor, smoothing: float) -> tuple[Tensor, Tensor]:
        """(cross entropy times weight, weight) of each image."""
        weight = torch.ones_like(logits[:, 0]) if self.weights is None else self.weights[labels]
        if self.offsets is None:
            return weight * F.cross_entropy(logits, labels, label_smoothing=smoothing, reduction="none"), weight
        # Smoothed towards what the offsets say before anything is seen: towards all classes alike, what a rare class
        # is ahead by would be bounded, and where the others are more than 19 times as many it would win everywhere.
        sharp = F.cross_entropy(logits, labels, reduction="none")
        smooth = F.cross_entropy(logits, torch.softmax(self.offsets, 0).expand_as(logits), reduction="none")
        return weight * torch.lerp(sharp, smooth, smoothing), weight


def said(recipe: Recipe) -> str:
    """One sentence on what the losses of a training weigh; "" where every image weighs alike."""
    held_out = "the held-out loss and top-1 count every image once"
    if recipe.class_weights == "balanced":
        return f"In the training loss every class weighs the same (class_weights); {held_out}."
    if recipe.sampler == "balanced":
        return f"Every class is drawn equally often (sampler); {held_out}."
    if recipe.logit_adjustment:
        return f"In the training loss the logits carry the classes' shares (logit_adjustment); {held_out}."
    return ""
