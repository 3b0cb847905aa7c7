"""Where a model comes from: what training, conversion and the registry of weights write down, and anything else."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

# A network among those to choose from: that of the least loss on the first half of the held-out images. What a model
# says of how it was "chosen" begins with it, where it was kept.
BEST = "the best epoch"


@dataclass(frozen=True)
class Provenance:
    """What is known of a model's making; None: unknown.

    network     the name of the architecture, or "custom"
    dataset     "name", "fingerprint" and "split" of what it was trained on
    recipe      every value of the recipe
    epochs      of the training
    seed        of the training: weights, order, augmentation, split
    weights     what training started from; None: from random numbers, if there is a recipe
    versions    the machine and the packages
    metrics     figures on the held-out images
    converted   "dialect", "network" and "files" of a foreign file
    pretrained  "tag", "licence" and "source" of registered weights
    other       whatever else a file says, by its key; values of another type than those above among it
    """

    network: str | None = None
    dataset: Mapping[str, Any] | None = None
    recipe: Mapping[str, Any] | None = None
    epochs: int | None = None
    seed: int | None = None
    weights: str | None = None
    versions: Mapping[str, Any] | None = None
    metrics: Mapping[str, Any] | None = None
    converted: Mapping[str, Any] | None = None
    pretrained: Mapping[str, Any] | None = None
    other: Mapping[str, Any] = field(default_factory=dict)

    def to_dict(self) -> dict[str, Any]:
        """As the model file holds it: what is unknown is left out."""
        told = {key: value for key in _KINDS if (value := getattr(self, key)) is not None}
        if self.recipe is not None:  # a training that started from nothing says so
            told["weights"] = self.weights
        return {**told, **self.other}

    @classmethod
    def from_dict(cls, document: Mapping[str, Any]) -> Provenance:
        """Of a document, which may hold anything. Nothing is lost: `to_dict` gives it back."""
        known: dict[str, Any] = {
            key: value for key, value in document.items() if isinstance(value, _KINDS.get(key, ()))
        }
        other = {key: value for key, value in document.items() if key not in known}
        if "recipe" in known and other.get("weights", "") is None:
            del other["weights"]
        return cls(**known, other=other)


_KINDS: dict[str, type] = {
    "network": str,
    "dataset": dict,
    "recipe": dict,
    "epochs": int,
    "seed": int,
    "weights": str,
    "versions": dict,
    "metrics": dict,
    "converted": dict,
    "pretrained": dict,
}
