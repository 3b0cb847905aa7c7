"""Which images judge a classifier, and which of its logits their classes are."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from resnets.data.labels import class_name, class_names
from resnets.data.sample import Sample
from resnets.data.source import Source
from resnets.data.split import Splits
from resnets.data.split import split as divide
from resnets.data.splitnames import split_named
from resnets.errors import DataError, nearest
from resnets.progress import say
from resnets.text import printable
from resnets.weights import Provenance


def choose(source: Source, provenance: Provenance, wanted: str | None) -> tuple[str, tuple[Sample, ...]]:
    """(name of the split, its samples)."""
    own = sorted({sample.split for sample in source.samples} - {""})
    parts = {name: tuple(sample for sample in source.samples if sample.split == name) for name in own}
    held_out = "val" if "val" in parts else "test"
    if not parts and (seeded := _seeded(source, provenance)):
        parts, held_out = {"train": seeded.train, seeded.held_out_name: seeded.held_out}, seeded.held_out_name
    if not parts:
        if wanted is not None:
            raise DataError(
                f"{printable(source.name)} has class folders only, and the model was not trained on exactly "
                "these files, so there are no splits: leave `split` out to judge all of them."
            )
        say(
            f"{printable(source.name)} has no splits and is not, or no longer, what the model was trained on: "
            f"all its {len(source.samples)} files are judged; any training image among them flatters the model."
        )
        return "all", source.samples
    name = held_out if wanted is None else split_named(wanted, parts)
    if name not in parts:
        raise DataError(f'There is no split "{name}": {printable(source.name)} has {", ".join(parts)}.')
    return name, parts[name]


def _seeded(source: Source, provenance: Provenance) -> Splits | None:
    """The split that the training made of these very files, if it did."""
    dataset = provenance.dataset or {}
    record = table(dataset.get("split"))
    if dataset.get("fingerprint") != source.fingerprint or record.get("origin") != "seeded":
        return None
    seed, fraction = record.get("seed"), record.get("fraction")
    if not isinstance(seed, int) or not isinstance(fraction, float):
        return None
    return divide(source, seed=seed, fraction=fraction)


def table(value: object) -> dict[str, Any]:
    """A part of a provenance, which may hold anything: itself if it is a dictionary, else an empty one."""
    return value if isinstance(value, dict) else {}


def class_indices(samples: Sequence[Sample], classes: Sequence[str]) -> dict[str, int]:
    """Class name of the data to its place among the logits. A model may write the same name in other bytes."""
    index = {class_name(name): place for place, name in enumerate(classes)}
    index |= {name: place for place, name in enumerate(classes)}
    for name in class_names(samples):
        if name not in index:
            raise DataError(
                f'The model does not know the class "{printable(name)}" of the data.{nearest(name, classes)} '
                f"It knows {len(classes)} classes: rename or remove that folder."
            )
    return index
