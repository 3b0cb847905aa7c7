"""A residual network under names of no known kind, found by the order and the shapes of its tensors alone.

A state dict keeps the order in which its layers were defined: whoever writes a network defines it from the stem to the
head, unit by unit. The channels say where a unit begins and which convolution is its shortcut. What fits one network
gets the names that a known world gives it; everything that no tensor shows stays an assumption. Where a norm is missing
behind convolutions (it was folded into them, or never was there), an identity stands in.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise

from resnets.architecture.spec import EXPANSION, MAX_UNITS
from resnets.text import printable
from resnets.weights.formats.stored import Foreign, Stored
from resnets.weights.worlds.torch.layers import Layer, NoMatchError, come_second, identity, layers_of, said

SMALL = 3  # side of a kernel in a deep stem, and of the stem for small pictures
LARGE = 7
FEWEST = 10  # tensors of a network
PLACES = ("last", "first")  # of a unit's projection among its convolutions


@dataclass(frozen=True)
class Unit:
    """The convolutions of a unit, in the order in which they run, and that of its shortcut, if it has one."""

    branch: tuple[Layer, ...]
    projection: Layer | None

    @property
    def convolutions(self) -> tuple[Layer, ...]:
        """All of them."""
        return self.branch + ((self.projection,) if self.projection else ())


def by_structure(file: Foreign, averaged: bool = False) -> Foreign:
    """The file under names that torchvision or timm gives the same layers.

    averaged: whether the user says that shortcuts average where they stride

    Raises NoMatchError for what is no residual network, or could be more than one.
    """
    if file.container != "torch":
        raise NoMatchError(f"{file.container} keeps no order of tensors, which would tell under whatever names")
    folders: dict[str, dict[str, Stored]] = {}
    for name, stored in file.tensors.items():
        folders.setdefault(name[: name.rfind("/") + 1], {})[name] = stored
    found, reasons = {}, []
    for folder, tensors in folders.items():
        if len(tensors) >= FEWEST:
            try:
                found[folder] = _renamed(_only(file, folder, tensors), averaged)
            except NoMatchError as problem:
                reasons.append(str(problem))
    if len(found) > 1:
        raise NoMatchError(f"{len(found)} networks are in it: {printable(', '.join(found))}")
    if not found:
        raise NoMatchError(reasons[0] if reasons else "it has too few tensors")
    return next(iter(found.values()))


def _only(file: Foreign, folder: str, tensors: Mapping[str, Stored]) -> Foreign:
    """The file with what is in one dictionary alone."""
    own = {name: one for name, one in file.documents.get("modules", {}).items() if name.startswith(folder)}
    return replace(file, tensors=tensors, documents={**file.documents, "modules": own})


def _renamed(file: Foreign, averaged: bool) -> Foreign:
    """The same of a file that holds nothing but a network."""
    layers = layers_of(file.tensors)
    norms = [layer for layer in layers if layer.kind == "norm"]
    linear = [layer for layer in layers if layer.kind == "linear"]
    if len(linear) > 1:
        raise NoMatchError(f"it has {len(linear)} linear layers, and one is its head")
    stem, stages = _network([layer for layer in layers if layer.kind == "conv"])
    units = [unit for stage in stages for unit in stage]
    projections = [unit.projection.names[0] for unit in units if unit.projection]
    averaged = averaged or come_second(projections[1:], file.tensors)  # a pool is before those that stride
    shortcut = ("downsample.1", "downsample.2") if averaged else ("downsample.0", "downsample.1")
    named: dict[str, Layer | None]
    if _is_pre(layers, stem, units):
        named = {**_stem(stem, norms, "norm"), **_pre(norms[len(stem) - 1 :], stages)}
    else:
        named = {**_stem(stem, norms, "bn"), **_post(layers, stages, shortcut)}
    if linear:
        named["head.fc" if "norm" in named else "fc"] = linear[0]
        _fits(linear[0], linear[0].shape[1], units[-1].branch[-1].shape[0])
    placed = {layer.names for layer in named.values() if layer}
    if left := [layer for layer in layers if layer.names not in placed]:
        raise NoMatchError(f"{said(left[0])} has no place in it")
    tensors: dict[str, Stored] = {}
    for name, layer in named.items():
        tensors |= layer.under(name, file.tensors) if layer else {}
    identities = [name for name, layer in named.items() if layer is None]
    if identities and norms and len(identities) != sum(shortcut[1] in name for name in named):
        raise NoMatchError("some of its convolutions have a norm and some have none")
    for name in identities:
        tensors |= identity(name, tensors[_conv_of(name)].shape[0])
    documents = {**file.documents, "structure": True, **({"identities": identities} if identities else {})}
    return replace(file, tensors=tensors, documents=documents)


def _conv_of(norm: str) -> str:
    """The weight of the convolution that a norm of these names stands behind."""
    before, _, last = norm.rpartition(".")
    if last.isdigit():  # of a shortcut, or a deep stem
        return f"{before}.{int(last) - 1}.weight"
    return norm.replace("bn", "conv") + ".weight"


def _network(convolutions: Sequence[Layer]) -> tuple[list[Layer], list[list[Unit]]]:
    """(the convolutions of the stem, units by stage). Raises NoMatchError."""
    if not convolutions:
        raise NoMatchError("it has no convolutions")
    sides = [layer.shape[2:] for layer in convolutions]
    deep = len(sides) > 3 and sides[:3] == [(SMALL, SMALL)] * 3 and _is_deep(convolutions)
    if sides[0] not in ((LARGE, LARGE), (SMALL, SMALL)):
        raise NoMatchError(f"its first convolution {said(convolutions[0])} is neither 7 x 7 nor 3 x 3")
    found, reasons = [], []
    for stem in [3, 1] if deep else [1]:
        for place in PLACES:
            try:
                units = _units(convolutions[stem:], convolutions[stem - 1].shape[0], place)
                found.append((list(convolutions[:stem]), _stages(units)))
            except NoMatchError as problem:
                reasons.append(str(problem))
    found = [one for one in found if any(unit.projection for stage in one[1] for unit in stage)]
    different = [one for i, one in enumerate(found) if one not in found[:i]]
    if len(different) > 1:
        raise NoMatchError(f"its shapes fit {len(different)} networks")
    if not found:
        raise NoMatchError(reasons[0] if reasons else "it has no projections, and shortcuts do not show at all")
    return found[0]


def _is_deep(convolutions: Sequence[Layer]) -> bool:
    """Whether the first three convolutions are those of a deep stem: w/2, w/2 and w channels."""
    first, second, third = (layer.shape[0] for layer in convolutions[:3])
    return first == second == third / 2


def _units(convolutions: Sequence[Layer], channels: int, place: str) -> list[Unit]:
    """Units as the channels say them, each with its projection at one place."""
    left, found = list(convolutions), list[Unit]()
    sides = [layer.shape[2:] for layer in left]
    basic = any(one == other == (SMALL, SMALL) for one, other in pairwise(sides))  # a bottleneck has one 3x3
    size = 2 if basic else 3
    while left:
        projects = place == "first" and left[0].shape[2:] == (1, 1) and _leads(left[1:], left[0].shape, channels, basic)
        projection = left.pop(0) if projects else None
        branch, left = tuple(left[:size]), left[size:]
        if not branch:
            raise NoMatchError("it ends with a projection")
        _check_branch(branch, channels, size)
        out = branch[-1].shape[0]
        if place == "last" and left and left[0].shape == (out, channels, 1, 1) and (basic or not _begins(left, out)):
            projection = left.pop(0)
        if projection is None and out != channels:
            raise NoMatchError(
                f"behind {said(branch[-1])} there is no projection from {channels} channels: that there are shortcuts "
                "does not show"
            )
        found.append(Unit(branch, projection))
        channels = out
        if len(found) > MAX_UNITS:
            raise NoMatchError(f"it has more than {MAX_UNITS:,} units")
    if not found:
        raise NoMatchError("it has no units")
    return found


def _begins(left: Sequence[Layer], channels: int) -> bool:
    """Whether the next convolution begins a bottleneck of these channels, and is no projection."""
    return len(left) > 2 and left[0].shape[1] == channels and left[1].shape[2:] == (SMALL, SMALL)


def _leads(left: Sequence[Layer], shape: tuple[int, ...], channels: int, basic: bool) -> bool:
    """Whether a 1x1 convolution of this shape projects, since a whole unit of the same channels is behind it."""
    if not left or shape[1] != channels or left[0].shape[1] != channels:
        return False
    last = left[1 if basic else 2 : 3]
    return bool(last) and last[0].shape[0] == shape[0]


def _check_branch(branch: tuple[Layer, ...], channels: int, size: int) -> None:
    kernels = [(SMALL, SMALL)] * 2 if size == 2 else [(1, 1), (SMALL, SMALL), (1, 1)]
    for layer, kernel in zip(branch, kernels, strict=False):
        if layer.shape[2:] != kernel:
            raise NoMatchError(f"{said(layer)} is where a convolution of {kernel[0]} x {kernel[1]} would be")
        grouped = size == 3 and kernel == (SMALL, SMALL)
        if layer.shape[1] != channels and not (grouped and channels % layer.shape[1] == 0):
            raise NoMatchError(f"{said(layer)} takes {layer.shape[1]} channels, and {channels} come in")
        channels = layer.shape[0]
    if len(branch) < size:
        raise NoMatchError(f"it ends within a unit, behind {said(branch[-1])}")
    if size == 2 and branch[0].shape[0] != branch[1].shape[0]:
        raise NoMatchError(f"{said(branch[1])} does not keep the channels of the convolution before it")
    if size == 3 and branch[-1].shape[0] % EXPANSION["bottleneck"]:
        raise NoMatchError(f"{said(branch[-1])} gives no four times as many channels as a width")


def _stages(units: Sequence[Unit]) -> list[list[Unit]]:
    """A stage begins with the first unit, and with every projection behind it."""
    stages: list[list[Unit]] = []
    for unit in units:
        if not stages or unit.projection:
            stages.append([])
        stages[-1].append(unit)
    return stages


def _stem(stem: Sequence[Layer], norms: Sequence[Layer], kind: str) -> dict[str, Layer | None]:
    """Names of a stem: those of torchvision and timm ("bn"), or of timm's pre-activated networks ("norm")."""
    if kind == "norm":
        convolutions = ["stem.conv"] if len(stem) == 1 else [f"stem.conv{n}" for n in (1, 2, 3)]
        behind = ["stem.norm1", "stem.norm2"] if len(stem) > 1 else []
    else:
        convolutions = ["conv1"] if len(stem) == 1 else ["conv1.0", "conv1.3", "conv1.6"]
        behind = ["bn1"] if len(stem) == 1 else ["conv1.1", "conv1.4", "bn1"]
    own: list[Layer | None] = [*norms[: len(behind)]] or [None] * len(behind)
    for conv, norm in zip(stem, own, strict=False):
        if norm:
            _fits(norm, norm.shape[0], conv.shape[0])
    return {**dict(zip(convolutions, stem, strict=True)), **dict(zip(behind, own, strict=True))}


def _is_pre(layers: Sequence[Layer], stem: Sequence[Layer], units: Sequence[Unit]) -> bool:
    """Whether norms stand before convolutions: one for each of the branches, and one before the head.

    As many has a network whose projections have none, but there a convolution stands right behind another one.
    """
    branches = [conv for unit in units for conv in unit.branch]
    if sum(layer.kind == "norm" for layer in layers) != len(branches) + len(stem):  # a deep stem has two more
        return False
    if [layer for layer in layers if layer.kind != "linear"][-1].kind != "norm":
        return False
    at = {layer.names[0]: place for place, layer in enumerate(layers)}
    return all(layers[at[conv.names[0]] - 1].kind == "norm" for conv in branches)


def _post(
    layers: Sequence[Layer], stages: Sequence[Sequence[Unit]], shortcut: tuple[str, str]
) -> dict[str, Layer | None]:
    """A norm behind each convolution: the n-th of a unit's is that of its n-th convolution, as they are defined.

    None stands for a norm that is not there: behind all projections, or anywhere.
    """
    at = {layer.names[0]: place for place, layer in enumerate(layers)}
    starts = [min(at[conv.names[0]] for conv in unit.convolutions) for stage in stages for unit in stage]
    named: dict[str, Layer | None] = {}
    places = ((f"layer{s}.{u}", unit) for s, stage in enumerate(stages, start=1) for u, unit in enumerate(stage))
    for (name, unit), start, end in zip(places, starts, [*starts[1:], len(layers)], strict=True):
        within = [layer for layer in layers[start:end] if layer.kind != "linear"]
        norms = [layer for layer in within if layer.kind == "norm"]
        if len(norms) == len(unit.branch):  # and the projection's is missing, if there is one
            within = [layer for layer in within if layer != unit.projection]
        convs = [layer for layer in within if layer.kind == "conv"]
        kinds = "".join(layer.kind[0] for layer in within)
        apart = "" if unit.projection in within else "c" * len(convs) + "n" * len(convs)  # whose norm is the first?
        if norms and kinds not in ("cn" * len(convs), apart):
            raise NoMatchError(f"behind {said(within[0])} the norms do not follow the convolutions of a unit")
        labels = {conv.names[0]: (f"conv{n}", f"bn{n}") for n, conv in enumerate(unit.branch, start=1)}
        if unit.projection:
            labels[unit.projection.names[0]] = shortcut
        behind = dict(zip((conv.names[0] for conv in convs), norms, strict=False))
        for conv in unit.convolutions:
            norm = behind.get(conv.names[0])
            if norm:
                _fits(norm, norm.shape[0], conv.shape[0])
            named |= {f"{name}.{label}": one for label, one in zip(labels[conv.names[0]], (conv, norm), strict=True)}
    return named


def _pre(norms: Sequence[Layer], stages: Sequence[Sequence[Unit]]) -> dict[str, Layer | None]:
    """A norm before each convolution of a branch, in their order, and one before the head."""
    named, waiting = dict[str, Layer | None](), list(norms)
    for s, stage in enumerate(stages):
        for u, unit in enumerate(stage):
            name = f"stages.{s}.blocks.{u}"
            if unit.projection:
                named[f"{name}.downsample.conv"] = unit.projection
            for n, conv in enumerate(unit.branch, start=1):
                norm = waiting.pop(0)
                _fits(norm, norm.shape[0], unit.branch[n - 2].shape[0] if n > 1 else conv.shape[1])
                named |= {f"{name}.conv{n}": conv, f"{name}.norm{n}": norm}
    (last,) = waiting
    named["norm"] = last
    _fits(last, last.shape[0], stages[-1][-1].branch[-1].shape[0])
    return named


def _fits(layer: Layer, has: int, wanted: int) -> None:
    if has != wanted:
        raise NoMatchError(f"{said(layer)} has {has} channels, where {wanted} are needed")
