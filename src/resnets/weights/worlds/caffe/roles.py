"""Caffe's networks under He's names, whatever their layers are called: the graph decides.

The graph that comes out is in one form: every layer has a blob of its own name, copies are gone, what reads stands
behind what it reads, and a head that is a 1x1 convolution is the fully connected layer that it is.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

from resnets.weights.formats.stored import Foreign, unusable
from resnets.weights.worlds import topology
from resnets.weights.worlds.caffe import he
from resnets.weights.worlds.caffe.layer import CaffeLayer
from resnets.weights.worlds.topology import PICTURE, Node

COPIES = ("Split", "Dropout", "Flatten")  # what they give is what they read
_KINDS = {
    "Convolution": "conv",
    "BatchNorm": "norm",
    "ReLU": "relu",
    "Pooling": "pool",
    "Crop": "pool",
    "Eltwise": "add",
    "InnerProduct": "linear",
}
_HIS = re.compile(r"(res|bn|scale)\d")  # what a head is not called
_POINT = {"kernel": (1, 1), "stride": (1, 1), "pad": (0, 0), "groups": 1}  # of a head that is a convolution


def under_known_names(file: Foreign) -> Foreign:
    """An opened file with layers and tensors under He's names. Its documents have three more:

    wired      the graph with every layer as the file has it, but for its name
    originals  the file's names of the layers, by their new ones
    logits     the (new) name of the layer that gives the logits, "" if it has no head

    A graph that is no residual network is handed back as it is if its layers have He's names, so that what is said
    of it names them. Raises ModelFileError for any other.
    """
    layers: Sequence[CaffeLayer] = file.documents["graph"]
    wired = _Wired(layers)
    try:
        found = topology.roles(wired.nodes)
    except ValueError as problem:
        if any(he.UNIT.match(layer.name) for layer in layers):
            return file
        raise unusable(file.path, f"its graph is that of no residual network: {problem}") from problem
    new = _names(wired, found)
    graph, logits = _in_one_form(wired, found.get("head.linear"), file.documents.get("input", ()))
    tensors = {}
    for name, stored in file.tensors.items():
        layer, _, index = name.rpartition("/")
        tensors[f"{new.get(layer, layer)}/{index}"] = stored
    documents = {
        **file.documents,
        "graph": [_renamed(layer, new, blobs=True) for layer in graph],
        "wired": [_renamed(layer, new, blobs=False) for layer in layers],
        "originals": {theirs: ours for ours, theirs in new.items()},
        "logits": new.get(logits, ""),
    }
    return replace(file, tensors=tensors, documents=documents)


@dataclass
class _Wired:
    """Layers as nodes: what each reads, whatever blobs are called and which layers work in place.

    nodes   as `topology` wants them; a norm is one node of two layers
    layers  those of each node
    reads   by a layer's name: the layers that give what it reads, "" for the network's input
    """

    given: Sequence[CaffeLayer]
    nodes: list[Node] = field(default_factory=list)
    layers: list[list[CaffeLayer]] = field(default_factory=list)
    reads: dict[str, list[str]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        holds: dict[str, tuple[int, str]] = {}  # by blob: the node and the layer whose result it holds now
        relus: dict[tuple[str, float], tuple[int, str]] = {}  # a file may have one for each reader
        for layer in self.given:
            read = [holds.get(blob, (PICTURE, "")) for blob in layer.bottoms]
            number, giver = read[0]
            twin = (giver, layer.settings["slope"]) if layer.type == "ReLU" else None
            if layer.type in COPIES:
                value = read[0]
            elif twin in relus:
                value = relus[twin]
            else:
                self.reads[layer.name] = [name for _, name in read]
                if layer.type == "Scale" and len(read) == 1 and number != PICTURE and self._lacks_scale(number, giver):
                    self.layers[number].append(layer)
                else:
                    number = len(self.nodes)
                    self.layers.append([layer])
                    reads = tuple(node for node, _ in (read[:1] if layer.type == "Crop" else read))
                    self.nodes.append(Node(f"the layer {layer.name!r} ({layer.type})", _kind(layer), reads))
                value = (number, layer.name)
                if twin:
                    relus[twin] = value
            holds |= dict.fromkeys(layer.tops, value)

    def _lacks_scale(self, number: int, giver: str) -> bool:
        return [layer.name for layer in self.layers[number] if layer.type == "BatchNorm"] == [giver]


def _kind(layer: CaffeLayer) -> str:
    if layer.type == "Eltwise" and layer.settings["operation"] != "SUM":
        return layer.type
    return _KINDS.get(layer.type, layer.type)


def _names(wired: _Wired, roles: Mapping[str, int]) -> dict[str, str]:
    """By the file's names: He's for all that has a role, and for others what nobody takes for one of his.

    Where the file has He's names for all that has a role, all names stay.
    """
    head = wired.layers[roles["head.linear"]][0] if "head.linear" in roles else None
    if head is None or not _HIS.match(head.name):
        new = _by_role(wired, roles, _units(wired, roles), head.name if head else "")
        if all(name == layer for layer, name in new.items()):
            return {layer.name: layer.name for layer in wired.given}
    depths = Counter(role.partition(".")[0] for role in roles if role.endswith(".add"))
    new = _by_role(wired, roles, he.letters(list(depths.values())), f"fc{head.settings['channels']}" if head else "")
    for i, layer in enumerate(wired.given):
        new.setdefault(layer.name, f"layer{i}_{layer.type.lower()}")
    return new


def _units(wired: _Wired, roles: Mapping[str, int]) -> dict[int, list[str]]:
    """The units' letters as the file has them, by stage; none where it does not name units as He does."""
    found: dict[int, list[str]] = {}
    for role, number in roles.items():
        if role.startswith("stage") and role.endswith(".conv1"):
            stage = int(role[5:].partition(".")[0])
            match = he.UNIT.match(wired.layers[number][0].name)
            found.setdefault(stage, []).append(match[2] if match else "")
    return found


def _by_role(wired: _Wired, roles: Mapping[str, int], units: Mapping[int, Sequence[str]], head: str) -> dict[str, str]:
    """He's names of the layers that have a role, by the file's; he has none for the head."""
    naming = he.naming(units, "")
    new: dict[str, str] = {}
    sums: dict[int, str] = {}
    for role, number in roles.items():
        layers = wired.layers[number]
        if role == "head.linear":
            new[layers[0].name] = head
        elif role.endswith(".add"):
            conv = he.layer_of(naming, f"{role.removesuffix('.add')}.conv1.weight")
            new[layers[0].name] = sums[number] = conv.partition("_branch")[0]
        else:
            leaves = ("weight",) if wired.nodes[number].kind == "conv" else ("running_mean", "weight")
            for layer, leaf in zip(layers, leaves, strict=False):
                new[layer.name] = he.layer_of(naming, f"{role}.{leaf}")
    for number, node in enumerate(wired.nodes):
        if node.kind == "relu" and node.reads[0] in sums:
            new[wired.layers[number][0].name] = f"{sums[node.reads[0]]}_relu"
    return new


def _in_one_form(wired: _Wired, head: int | None, shape: Sequence[int]) -> tuple[list[CaffeLayer], str]:
    """(the layers with the layers that they read as their bottoms, in one order; which of them gives the logits)."""
    by_name = {layer.name: layer for layers in wired.layers for layer in layers}
    reads, logits = dict(wired.reads), "" if head is None else wired.layers[head][0].name
    if logits and (pool := _pool_of_point(by_name, reads, logits, shape)):
        point = by_name[logits]
        settings = {name: point.settings[name] for name in ("channels", "bias")}
        by_name[logits] = replace(point, type="InnerProduct", settings=settings)
        if logits in reads[pool]:  # of a mean over all places and a sum over channels, either may come first
            before = reads[logits]
            reads = {name: [logits if one == pool else one for one in read] for name, read in reads.items()}
            reads |= {pool: before, logits: [pool]}
            logits = pool
    if head is None:  # what a body gives out is what its last unit gives
        while ends := [name for name in reads if _idle(by_name[name]) and not any(name in r for r in reads.values())]:
            for name in ends:
                del reads[name]
    return [replace(by_name[name], bottoms=tuple(reads[name]), tops=(name,)) for name in _ordered(reads)], logits


def _idle(layer: CaffeLayer) -> bool:
    """Whether a layer at the end of a body is no part of it."""
    return layer.type == "Pooling" and layer.settings["method"] == "AVE"


def _ordered(reads: Mapping[str, Sequence[str]]) -> list[str]:
    """The layers, each behind what it reads; the same for every order in which a file may have them."""
    read = {name for names in reads.values() for name in names}
    todo = [name for name in reversed([*reads]) if name not in read]
    done: dict[str, None] = {"": None}
    while todo:
        waiting = [name for name in reads[todo[-1]] if name not in done] if todo[-1] not in done else []
        if waiting:
            todo.extend(reversed(waiting))
        else:
            done[todo.pop()] = None
    return list(done)[1:]


def _pool_of_point(
    by_name: Mapping[str, CaffeLayer], reads: Mapping[str, Sequence[str]], head: str, shape: Sequence[int]
) -> str:
    """The mean over all of the picture that stands before a 1x1 convolution or alone behind it, "" if there is none."""
    layer = by_name[head]
    if layer.type != "Convolution" or any(layer.settings[name] != value for name, value in _POINT.items()):
        return ""
    behind = [name for name, read in reads.items() if head in read]
    for pool in (reads[head][0], *(behind if len(behind) == 1 else ())):
        if pool and by_name[pool].type == "Pooling" and by_name[pool].settings["method"] == "AVE":
            settings = by_name[pool].settings
            whole = settings["pad"] == (0, 0) and settings["kernel"] == _side(by_name, reads, reads[pool][0], shape)
            return pool if settings["global"] or whole else ""
    return ""


def _side(
    by_name: Mapping[str, CaffeLayer], reads: Mapping[str, Sequence[str]], of: str, shape: Sequence[int]
) -> tuple[int, ...]:
    """Height and width of what a layer gives for the input that the file declares; () where it declares none."""
    if len(shape) != 4:
        return ()
    sides: dict[str, tuple[int, ...]] = {"": tuple(shape[2:])}
    for name in _ordered(reads):
        s, side = by_name[name].settings, sides[reads[name][-1 if by_name[name].type == "Crop" else 0]]
        if "kernel" in s:
            spans = zip(side, s["kernel"], s["stride"], s["pad"], s.get("dilation", (1, 1)), strict=True)
            rests = [(n + 2 * pad - (kernel - 1) * apart - 1, step or 1) for n, kernel, step, pad, apart in spans]
            side = tuple((-(-rest // step) if s.get("ceil") else rest // step) + 1 for rest, step in rests)
        sides[name] = (1, 1) if s.get("global") else side
    return sides[of]


def _renamed(layer: CaffeLayer, new: Mapping[str, str], blobs: bool) -> CaffeLayer:
    """A layer under its new name; with blobs, these are named by layers and are renamed, too."""
    if not blobs:
        return replace(layer, name=new[layer.name])
    return replace(
        layer, name=new[layer.name], bottoms=tuple(new.get(one, one) for one in layer.bottoms), tops=(new[layer.name],)
    )
