"""The network within a checkpoint of torch's: in which dictionary, behind which prefix, under which name its head.

A training script saves more than a network: optimisers, averages of the weights, a teacher, a loss. A network shows by
the first convolution of its first unit, whose name ends alike in all of a world's files; what stands before that end is
the network's prefix, dictionaries ("state_dict/") and prefixes ("module.backbone.") alike.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Any

import torch

from resnets.errors import ModelFileError, nearest
from resnets.progress import say
from resnets.text import printable
from resnets.weights.formats.stored import Foreign, Stored, unusable

CONTAINERS = ("torch", "safetensors")
# How the name of the first unit's first convolution ends, the longer first, and what else must stand behind a prefix.
UNITS = {
    "resnet.encoder.stages.0.layers.0.layer.0.convolution.weight": (),
    "encoder.stages.0.layers.0.layer.0.convolution.weight": (),
    "stages.0.blocks.0.conv1.weight": (),
    "bigblock1.0.conv1.weight": (),
    "layer1.0.conv1.weight": (),
    "4.0.conv1.weight": ("0.weight", "1.running_mean"),  # the children of a torch.nn.Sequential
}
_AVERAGED = re.compile(r"(^|[./_])(ema|swa|avg|averaged?|shadow)([./_]|$)")
MOST_NAMED = 8  # of several networks, or of what is left aside


def within(file: Foreign, prefix: str | None = None) -> Foreign:
    """The file as if it held nothing but its network, under the names that the network's own code gives.

    prefix      what the names of the one that is meant begin with

    Where there are averaged weights too, they are taken, which is said, as is what is left aside beside a network. A
    head beside a body stays, under its own name. Raises ModelFileError for several networks, unless the prefix says
    which, and for a prefix that there is not.
    """
    if file.container not in CONTAINERS:
        if prefix is None:
            return file
        raise unusable(file.path, f"its container, {file.container}, has no prefixes; leave `prefix` out")
    starts = _starts(file.tensors)
    if prefix is not None:
        starts = [start for start in starts if start.startswith(prefix)] or [prefix]
        if not any(name.startswith(prefix) for name in file.tensors):
            raise _no_such(file, prefix)
    if not starts:
        return file
    start = _chosen(file, _different(file, starts))
    inside = {name.removeprefix(start): t for name, t in file.tensors.items() if name.startswith(start)}
    beside = {name: t for name, t in file.tensors.items() if _near(name, start)}
    twice = next((name for name in beside if name.removeprefix(_folder(start)) in inside), None)
    if twice and prefix is None:
        raise unusable(
            file.path, f"{printable(twice)} and {printable(start + twice)} are both in it: say which with `prefix`"
        )
    head = _head_beside(inside, beside)
    _say_aside(file, [name for name in beside if name not in head])
    head = {name.removeprefix(_folder(start)): t for name, t in head.items()}
    return replace(file, tensors={**inside, **head}, documents=_of_network(file, start))


def _of_network(file: Foreign, start: str) -> dict[str, Any]:
    """The documents, with the settings of the network's own modules alone."""
    modules = file.documents.get("modules", {})
    own = {name.removeprefix(start): one for name, one in modules.items() if name.startswith(start)}
    return {**file.documents, **({"modules": own} if modules else {})}


def _starts(names: Iterable[str]) -> list[str]:
    """What the names of each network begin with."""
    known, found = set(names), dict[str, str]()
    for end, others in UNITS.items():
        for name in known:
            start = name.removesuffix(end)
            if start == name or start[-1:] not in ("", ".", "/") or name in found:
                continue
            if all(start + other in known for other in others):
                found[name] = start
    return sorted(dict.fromkeys(found.values()))


def _different(file: Foreign, starts: list[str]) -> list[str]:
    """Without networks that are another one's very numbers: an attacker holds its victim, a wrapper what it wraps."""
    if not 1 < len(starts) <= MOST_NAMED:
        return starts
    kept: list[str] = []
    for start in sorted(starts, key=len):
        own = {name.removeprefix(start): t for name, t in file.tensors.items() if name.startswith(start)}
        if not any(
            _equal(own, {n.removeprefix(k): t for n, t in file.tensors.items() if n.startswith(k)}) for k in kept
        ):
            kept.append(start)
    return [start for start in starts if start in kept]


def _equal(one: Mapping[str, Stored], other: Mapping[str, Stored]) -> bool:
    shared = [name for name in one if "num_batches" not in name]
    return all(
        name in other and one[name].shape == other[name].shape and torch.equal(one[name].read(), other[name].read())
        for name in shared
    )


def _chosen(file: Foreign, starts: list[str]) -> str:
    """The one network, or the averaged one of two. Raises ModelFileError where that does not decide."""
    averaged = [start for start in starts if _AVERAGED.search(start)]
    plain = [start for start in starts if start not in averaged]
    if len(averaged) == 1 and len(plain) <= 1:
        if not plain:
            return averaged[0]
        means = [sum(n.startswith(s) and n.endswith("running_mean") for n in file.tensors) for s in (*averaged, *plain)]
        if means[0] < means[1]:
            say(f"{file.path.name} holds averaged weights without norms' statistics, and others: these are taken.")
            return plain[0]
        say(f"{file.path.name} holds averaged weights ({printable(averaged[0])}) and others: the averaged are taken.")
        return averaged[0]
    if len(starts) > 1:
        named = ", ".join(repr(start) for start in starts[:MOST_NAMED])
        raise ModelFileError(
            f"{file.path} holds {len(starts)} networks, whose names begin with {printable(named)}: choose one with "
            "`prefix`, as in `resnets convert SRC DST --prefix P`."
        )
    return starts[0]


def _folder(name: str) -> str:
    """The dictionaries in which a name stands."""
    return name[: name.rfind("/") + 1]


def _near(name: str, start: str) -> bool:
    """Whether a tensor stands beside a network, in the same dictionary, and is no part of it."""
    return not name.startswith(start) and _folder(name) == _folder(start)


def features(tensors: Mapping[str, Stored]) -> int:
    """The most channels that a convolution gives: what a head of this network takes in."""
    return max((stored.shape[0] for stored in tensors.values() if len(stored.shape) == 4), default=0)


def linears(tensors: Mapping[str, Stored], inputs: int) -> list[str]:
    """Layers that take so many features, by their names without ".weight"."""
    return [
        name.removesuffix(".weight")
        for name, stored in tensors.items()
        if name.endswith(".weight") and stored.shape[1:] in ((inputs,), (inputs, 1, 1)) and "conv" not in name
    ]


def _head_beside(inside: Mapping[str, Stored], beside: Mapping[str, Stored]) -> dict[str, Stored]:
    """The tensors of the one linear layer beside a body that takes its features; of none or several, nothing."""
    inputs = features(inside)
    if linears({name: t for name, t in inside.items() if len(t.shape) == 2}, inputs):
        return {}
    flat = [name for name, stored in beside.items() if len(stored.shape) == 2]
    found = linears(beside, inputs)
    if len(found) != 1 or len(flat) > 1:
        return {}
    return {name: t for name, t in beside.items() if name in (f"{found[0]}.weight", f"{found[0]}.bias")}


def _say_aside(file: Foreign, names: list[str]) -> None:
    if names:
        some = ", ".join(names[:MOST_NAMED]) + (", ..." if len(names) > MOST_NAMED else "")
        say(f"{file.path.name} holds {len(names)} tensors beside its network, which are left aside: {printable(some)}.")


def _no_such(file: Foreign, prefix: str) -> ModelFileError:
    begins = sorted({re.split(r"(?<=[./])", name)[0] for name in file.tensors})
    return ModelFileError(
        f"No tensor's name in {file.path} begins with {printable(prefix)!r}.{nearest(prefix, begins)} They begin with "
        f"{printable(', '.join(begins[:MOST_NAMED]))}."
    )
