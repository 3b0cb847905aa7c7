"""Which images judge a classifier, and which of its logits their classes are.

A model knows its training images again by their content, wherever they lie. What it was trained on never judges it
without a word; what it has not seen, and was not held out of its training either, is new.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from resnets.data.known import HELD_OUT, NEW, TRAINED_ON, Known
from resnets.data.labels import class_name, class_names
from resnets.data.sample import Sample
from resnets.data.source import Source
from resnets.data.split import CONTENT, KEY, Splits
from resnets.data.split import split as divide
from resnets.data.splitnames import split_named
from resnets.errors import DataError, nearest
from resnets.progress import say
from resnets.text import printable, some
from resnets.weights import Provenance
from resnets.weights.provenance import BEST

UNSEEN = "unseen"  # held out or new
UNKNOWN = "unknown_classes"


@dataclass(frozen=True)
class Chosen:
    """The images that judge.

    split       their name: "train", "val", "test", "new", "unseen" or "all"
    samples     the images
    roles       of each by its key: TRAINED_ON, HELD_OUT or NEW; None where the model does not know its training images
    left_out    the keys of what could be judged and is not: by the same roles, and those of UNKNOWN classes
    words       what has to be said of that, a sentence each
    flatters    those of them by which the figures are no measure of new images
    """

    split: str
    samples: tuple[Sample, ...]
    roles: Mapping[str, str] | None = None
    left_out: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    words: tuple[str, ...] = ()
    flatters: tuple[str, ...] = ()

    def announce(self) -> Chosen:
        """Say the words; returns itself."""
        for sentence in self.words:
            say(sentence)
        return self

    def keys(self, role: str, among: Iterable[Sample] | None = None) -> tuple[str, ...]:
        """The keys of a role, of all images or of those among them that are usable."""
        roles = self.roles or {}
        samples = self.samples if among is None else among
        return tuple(sample.key for sample in samples if roles.get(sample.key) == role)


def choose(
    source: Source,
    provenance: Provenance,
    wanted: str | None = None,
    *,
    classes: Sequence[str] | None = None,
    unseen: bool = False,
) -> Chosen:
    """The images of a source that judge a model of this provenance; without a `wanted` split, the fairest there are.

    That is the held-out split of data that brings splits. Of class folders alone it is what the training held out, as
    far as it is still there: where less than half of that is, new images judge beside it, and without any, they alone.
    A model that does not know its training images judges all of them, and the words say so.

    classes     those of the model; images of others are left out. None: any will do
    unseen      take nothing that was trained on, and everything else, unless a split is wanted

    Raises DataError for a split that is not there, for images that were all trained on, and where no class is known.
    """
    samples, strange = _of_known_classes(source, classes)
    known = Known.from_dict((provenance.dataset or {}).get("contents"))
    parts = {name: tuple(s for s in samples if s.split == name) for name in sorted({s.split for s in samples} - {""})}
    given, held_out = frozenset(parts), "val" if "val" in parts else "test"
    name = held_out if wanted is None else split_named(wanted, parts)
    looked_at = parts[name] if name in given else samples  # a split that the data brings needs no look into the others
    roles = None if known is None else _roles(source, looked_at, known)
    if known is not None and roles is not None and name not in given:
        held_out = held_out if given else _held_out_name(provenance)
        parts |= {part: own for part, own in _by_role(samples, roles, held_out).items() if part not in given}
        name = _fairest(source, known, parts, held_out, unseen) if wanted is None and not given else name
    elif not given and (seeded := _seeded(source, provenance)):
        there, held_out = {sample.key for sample in samples}, seeded.held_out_name
        sides = {"train": seeded.train, held_out: seeded.held_out}
        parts = {part: tuple(s for s in side if s.key in there) for part, side in sides.items()}
        name = held_out if wanted is None else name
    if not parts:
        return _everything(source, samples, strange, wanted)
    if wanted is not None:
        name = split_named(wanted, parts)
    if not parts.get(name):
        raise DataError(
            f'There is no split "{name}": {printable(source.name)} has {", ".join(filter(parts.get, parts))}.'
        )
    chosen = parts[name]
    if unseen and wanted is None and roles is not None:
        chosen = tuple(sample for sample in chosen if roles[sample.key] != TRAINED_ON)
        if not chosen:
            raise _all_seen(source, len(parts[name]))
    strange = tuple(sample for sample in strange if name not in given or sample.split == name)
    left_out = _left_out(parts[name] if name in given else samples, chosen, strange, roles)
    flatters = (*_flattered(name, chosen, roles), *_chose(provenance, chosen, roles))
    words = [*_strange(strange, classes or ()), *flatters]
    if wanted is None and known is not None and roles is not None and not given:
        words += [*_besides(source, name, chosen, roles, left_out), *_gone(name, chosen, known, held_out)]
    own_roles = None if roles is None else {sample.key: roles[sample.key] for sample in chosen}
    return Chosen(name, chosen, own_roles, left_out, tuple(words), flatters)


def _of_known_classes(source: Source, classes: Sequence[str] | None) -> tuple[tuple[Sample, ...], tuple[Sample, ...]]:
    """(samples of classes that the model knows, the others). Raises DataError where there are none of the former."""
    if classes is None:
        return source.samples, ()
    index = places(classes)
    known = tuple(sample for sample in source.samples if sample.label in index)
    if not known:
        class_indices(source.samples, classes)  # which says what is wrong
    return known, tuple(sample for sample in source.samples if sample.label not in index)


def _roles(source: Source, samples: Sequence[Sample], known: Known) -> dict[str, str]:
    contents = source.contents_of(samples)
    return {sample.key: known.of_content(contents[sample.key]) for sample in samples}


def _by_role(samples: Sequence[Sample], roles: Mapping[str, str], held_out: str) -> dict[str, tuple[Sample, ...]]:
    """Parts by what the model knows of the images, none of them empty."""
    named = {TRAINED_ON: ("train",), HELD_OUT: (held_out, UNSEEN), NEW: (NEW, UNSEEN)}
    parts: dict[str, list[Sample]] = {}
    for sample in samples:
        for name in named[roles[sample.key]]:
            parts.setdefault(name, []).append(sample)
    return {name: tuple(own) for name, own in parts.items()}


def _fairest(source: Source, known: Known, parts: Mapping[str, Sequence[Sample]], held_out: str, unseen: bool) -> str:
    """The part of class folders that judges where none is wanted."""
    if UNSEEN not in parts:
        raise _all_seen(source, len(parts["train"]))
    if unseen or not (NEW in parts and held_out in parts):
        return UNSEEN if unseen else NEW if NEW in parts else held_out
    contents = source.contents_of(parts[held_out])
    there = {contents[sample.key][: known.size] for sample in parts[held_out]}
    return held_out if 2 * len(there) >= len(set(known.held_out)) else UNSEEN


def _all_seen(source: Source, count: int) -> DataError:
    are = f"The {count:,} images are ones" if count > 1 else "The one image is one"
    return DataError(
        f"{printable(source.name)} has nothing fair to judge with. {are} that the model was trained on: give others "
        "(`resnets evaluate MODEL DATA --split train` judges by them all the same)."
    )


def _everything(source: Source, samples: tuple[Sample, ...], strange: Sequence[Sample], wanted: str | None) -> Chosen:
    """All images, for a model that does not know its training images."""
    shown = printable(source.name)
    if wanted is not None:
        raise DataError(
            f"{shown} has class folders only, and the model was not trained on exactly these files, so there are no "
            "splits: leave `split` out to judge all of them."
        )
    words = (
        f"{shown} has no splits and is not, or no longer, what the model was trained on: all its {len(samples)} files "
        "are judged; any training image among them flatters the model."
    )
    left_out = _left_out(samples, samples, strange, None)
    return Chosen("all", samples, None, left_out, (*_strange(strange, ()), words), (words,))


def _left_out(
    beside: Sequence[Sample], chosen: Sequence[Sample], strange: Sequence[Sample], roles: Mapping[str, str] | None
) -> dict[str, tuple[str, ...]]:
    judged = {sample.key for sample in chosen}
    found: dict[str, list[str]] = {HELD_OUT: [], NEW: [], TRAINED_ON: []}
    for sample in beside:
        if roles is not None and sample.key not in judged:
            found[roles[sample.key]].append(sample.key)
    found[UNKNOWN] = [sample.key for sample in strange]
    return {role: tuple(keys) for role, keys in found.items()}


def _flattered(name: str, chosen: Sequence[Sample], roles: Mapping[str, str] | None) -> list[str]:
    seen = sum(roles[sample.key] == TRAINED_ON for sample in chosen) if roles else 0
    which = f"{seen:,} of the {_images(len(chosen))} that judge it ({name})"
    return [f"The model was trained on {which}, which flatters it."] if seen else []


def _chose(provenance: Provenance, chosen: Sequence[Sample], roles: Mapping[str, str] | None) -> list[str]:
    """Of a network that the held-out images have chosen among its epochs, and that they judge."""
    judge = roles is not None and any(roles[sample.key] == HELD_OUT for sample in chosen)
    if not judge or not str(provenance.other.get("chosen", "")).startswith(BEST):
        return []
    return ["Half of the held-out images chose this epoch, which flatters it; not so the training's own figure."]


def _besides(
    source: Source,
    name: str,
    chosen: Sequence[Sample],
    roles: Mapping[str, str],
    left_out: Mapping[str, Sequence[str]],
) -> list[str]:
    """What has to be said of class folders that are not, or no longer, what the training split."""
    new = sum(roles[sample.key] == NEW for sample in chosen)
    besides = f"; {len(seen):,} that it was trained on are left out" if (seen := left_out[TRAINED_ON]) else ""
    if name == NEW:
        return [
            f"Nothing of {printable(source.name)} was held out: what is new judges the model, {_images(new)}{besides}."
        ]
    if name == UNSEEN and new:
        held_out = _images(len(chosen) - new)
        return [f"What training held out and what is new judge the model, {held_out} and {_images(new)}{besides}."]
    if left := left_out[NEW]:
        return [f"{_images(len(left))} new to the model, left out: `split='new'` judges it by what is new."]
    return []


def _gone(name: str, chosen: Sequence[Sample], known: Known, held_out: str) -> list[str]:
    """What has to be said where most of what training held out is not there any more."""
    if name != held_out or 2 * len(chosen) >= (all_of_it := len(known.held_out)):
        return []
    are = f"{len(chosen):,} {'is' if len(chosen) == 1 else 'are'}"
    return [f"Training held out {_images(all_of_it)}, of which {are} here to judge the model."]


def _images(count: int) -> str:
    return f"{count:,} image{'s' * (count != 1)}"


def _strange(samples: Sequence[Sample], classes: Sequence[str]) -> list[str]:
    """What is said of images of classes that the model does not know."""
    if not samples:
        return []
    names = class_names(samples)
    shown = ", ".join(f'"{printable(name)}"' for name in names[:3]) + (f" and {len(names) - 3} more" * (len(names) > 3))
    which = "a class" if len(names) == 1 else f"{len(names)} classes"
    return [
        f"Left out: {_images(len(samples))} of {which} that the model does not know, {shown}."
        f"{nearest(names[0], classes)}"
    ]


def _held_out_name(provenance: Provenance) -> str:
    name = table((provenance.dataset or {}).get("split")).get("held_out_name")
    return name if name in ("val", "test") else "val"


def _seeded(source: Source, provenance: Provenance) -> Splits | None:
    """The split that the training made of these very files, if it did."""
    dataset = provenance.dataset or {}
    record = table(dataset.get("split"))
    order = record.get("order", KEY)
    fingerprint = source.fingerprint if order == CONTENT else source.fingerprint_before
    if order not in (CONTENT, KEY) or dataset.get("fingerprint") != fingerprint or record.get("origin") != "seeded":
        return None
    seed, fraction = record.get("seed"), record.get("fraction")
    if type(seed) is not int or not 0 <= seed < 2**32 or not isinstance(fraction, float) or not 0 < fraction < 1:
        return None  # a file may say anything
    return divide(source, seed=seed, fraction=fraction, order=order)


def table(value: object) -> dict[str, Any]:
    """A part of a provenance, which may hold anything: itself if it is a dictionary, else an empty one."""
    return value if isinstance(value, dict) else {}


def places(classes: Sequence[str]) -> dict[str, int]:
    """Class name to its place among the logits. A model may write the same name in other bytes than the data."""
    index = {class_name(name): place for place, name in enumerate(classes)}
    return index | {name: place for place, name in enumerate(classes)}


def class_indices(samples: Sequence[Sample], classes: Sequence[str]) -> dict[str, int]:
    """Class name to its place among the logits. Raises DataError for a class that the model does not know."""
    index = places(classes)
    names = class_names(samples)
    if len(names) == len(classes) and not index.keys() & set(names) and all(name.isdecimal() for name in classes):
        raise DataError(
            "The model's classes have no names, only numbers: if they are those of this data in this order "
            f"({some(names)}), say so by `resnets convert MODEL NAMED.safetensors --class-names DATA`, and judge NAMED."
        )
    for name in names:
        if name not in index:
            raise DataError(
                f'The model does not know the class "{printable(name)}" of the data.{nearest(name, classes)} '
                f"It knows {len(classes)} classes: rename or remove that folder."
            )
    return index
