"""Reads an ONNX model without the package: its nodes, and where the numbers of its tensors lie.

A model is one protocol buffer (onnx.proto of the standard, whose numbers of fields have not changed since 2017). Nodes
are read as they stand; what they compute is not this file's business. Nothing is executed, and no tensor is read before
it is asked for. Large ones may lie in another file beside the model, of which the model gives the name.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from resnets.weights.formats.onnx_tensor import Tensors, integers, reals, signed, text
from resnets.weights.formats.protobuf import BYTES, FIXED32, VARINT, fields, message
from resnets.weights.formats.stored import MAX_TENSORS, Foreign, Stored, mapped, unusable

MAX_NODES = 100_000  # eight times those of ResNet-1001, written as its exporter does without folding anything
MAX_NUMBERS = 100_000  # of an attribute

# What the standard says of the attributes that networks have, by their names; others are of any type.
_INTEGERS = ("axes", "dilations", "ends", "kernel_shape", "pads", "perm", "starts", "strides", "value_ints")
_INTEGER = (
    *("allowzero", "axis", "ceil_mode", "count_include_pad", "end", "group", "keepdims", "start", "to"),
    *("training_mode", "transA", "transB"),
)
_TYPES: Mapping[str, tuple[type, ...]] = {
    **dict.fromkeys(_INTEGERS, (tuple,)),
    **dict.fromkeys(_INTEGER, (int,)),
    **dict.fromkeys(("alpha", "beta", "epsilon", "max", "min"), (float,)),
    **dict.fromkeys(("auto_pad", "mode"), (str,)),
    "value": (Stored, float),
}
MAX_METADATA = 4 * 2**20  # bytes of a text that a model says of itself


@dataclass(frozen=True)
class OnnxNode:
    """One node of a graph. attributes: numbers, texts, lists of them, and tensors as `Stored`."""

    op: str
    name: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    attributes: Mapping[str, Any]
    domain: str = ""

    @property
    def said(self) -> str:
        """As errors call it."""
        kind = self.op[:40] if self.op.isidentifier() else repr(self.op[:40])
        return f"the node {(self.name or ', '.join(self.outputs))[:80]!r} ({kind})"


@dataclass
class OnnxGraph:
    """What a model says of itself.

    inputs      by name: the dimensions that each declares, 0 where one is left open; without initializers
    outputs     the names of what it gives
    metadata    key to text
    """

    nodes: list[OnnxNode] = field(default_factory=list)
    tensors: dict[str, Stored] = field(default_factory=dict)
    inputs: dict[str, tuple[int, ...]] = field(default_factory=dict)
    outputs: list[str] = field(default_factory=list)
    producer: str = ""
    metadata: dict[str, str] = field(default_factory=dict)

    @property
    def needed(self) -> list[OnnxNode]:
        """The nodes that an output depends on, in their order."""
        wanted, found = set(self.outputs), list[OnnxNode]()
        for node in reversed(self.nodes):
            if wanted.intersection(node.outputs):
                wanted.update(node.inputs)
                found.append(node)
        return found[::-1]


def open_onnx(path: Path) -> Foreign:
    """Open an .onnx file. documents["onnx"] is its `OnnxGraph`; the tensors are its initializers.

    Raises ModelFileError for what is damaged, or holds what no residual network needs.
    """
    try:
        read = _Reader(path)
        read.model(mapped(path))
        read.found.inputs = {name: s for name, s in read.found.inputs.items() if name not in read.found.tensors}
    except ValueError as problem:
        raise unusable(path, str(problem)) from problem
    except OSError as problem:
        raise unusable(path, f"it cannot be read ({problem.strerror}); check its permissions") from problem
    return Foreign(path, "onnx", read.found.tensors, {"onnx": read.found}, (path, *read.tensors.files))


class _Reader:
    """Reads messages into `found`."""

    def __init__(self, path: Path) -> None:
        self.found = OnnxGraph()
        self.tensors = Tensors(path)

    def model(self, data: memoryview) -> None:
        """ModelProto."""
        graphs = []
        for number, wire, value in fields(data):
            if number == 7 and wire == BYTES:
                graphs.append(value)
            elif number == 2 and wire == BYTES:
                self.found.producer = text(value)
            elif number == 14 and wire == BYTES:
                parts = {n: v for n, w, v in fields(message(value)) if w == BYTES}
                self.found.metadata[text(parts.get(1, b""))] = text(parts.get(2, b""), MAX_METADATA)
            elif number == 25:
                raise ValueError("it defines functions of its own; export it without them")
        if len(graphs) != 1:
            raise ValueError(
                "it holds no graph: it is no ONNX model, or cut off" if not graphs else "it has two graphs"
            )
        self._graph(message(graphs[0]))

    def _graph(self, data: memoryview) -> None:
        found = self.found
        for number, wire, value in fields(data):
            if number not in (1, 5, 11, 12, 15):
                continue
            if wire != BYTES:
                raise ValueError("its graph is damaged")
            if number == 1:
                found.nodes.append(self._node(message(value)))
            elif number == 5:
                name, stored = self.tensors.read(message(value))
                found.tensors[name] = stored
            elif number == 15:
                raise ValueError("it holds sparse tensors, which no residual network has")
            else:
                name, shape = _declared(message(value))
                if number == 11:
                    found.inputs[name] = shape
                else:
                    found.outputs.append(name)
            if len(found.nodes) > MAX_NODES or len(found.tensors) > MAX_TENSORS or len(found.outputs) > MAX_NODES:
                raise ValueError(f"it has more than {MAX_NODES:,} nodes or tensors, which no network has")

    def _node(self, data: memoryview) -> OnnxNode:
        texts: dict[int, list[str]] = {}
        attributes = {}
        for number, wire, value in fields(data):
            if number in (1, 2, 3, 4, 7) and wire == BYTES:
                texts.setdefault(number, []).append(text(value))
            elif number == 5 and wire == BYTES:
                name, attribute = self._attribute(message(value))
                attributes[name] = attribute
        last = {number: values[-1] for number, values in texts.items()}
        ends = tuple(texts.get(1, ())), tuple(texts.get(2, ()))
        return OnnxNode(last.get(4, ""), last.get(3, ""), *ends, attributes, last.get(7, ""))

    def _attribute(self, data: memoryview) -> tuple[str, Any]:
        name, lists = "", dict[int, list[Any]]()
        value: Any = None
        for number, wire, part in fields(data):
            if number == 1:
                name = text(part)
            elif number == 2 and wire == FIXED32:
                value = float(str(reals(wire, part)[0]))  # by its shortest spelling: 1e-05
            elif number == 3 and wire == VARINT:
                value = signed(part)
            elif number == 4:
                value = text(part)
            elif number == 5:
                value = self.tensors.read(message(part))[1]
            elif number in (6, 11):
                raise ValueError("it has graphs within its graph (If, Loop, Scan), which no residual network has")
            elif number in _LISTS:
                lists.setdefault(number, []).extend(_LISTS[number](wire, part))
                if len(lists[number]) > MAX_NUMBERS:
                    raise ValueError(f"the attribute {name[:40]!r} has more than {MAX_NUMBERS:,} numbers")
        if len(lists) > 1 or (lists and value is not None):
            raise ValueError(f"the attribute {name[:40]!r} has values of two types")
        for listed in lists.values():
            value = tuple(listed)
        fits = name not in _TYPES or isinstance(value, _TYPES[name])
        if not fits or (name in _INTEGERS and not all(isinstance(one, int) for one in value)):
            raise ValueError(f"the attribute {name[:40]!r} is of another type than the standard says")
        return name, value


def _declared(data: memoryview) -> tuple[str, tuple[int, ...]]:
    """ValueInfoProto: a name, and the dimensions that are declared for it, 0 for open ones."""
    name, shape = "", list[int]()
    for number, wire, value in fields(data):
        if number == 1:
            name = text(value)
        elif number == 2 and wire == BYTES:
            tensor = {n: v for n, w, v in fields(message(value)) if w == BYTES}.get(1, b"")
            declared = {n: v for n, w, v in fields(message(tensor)) if w == BYTES}.get(2, b"")
            for n, w, dimension in fields(message(declared)):
                if n == 1 and w == BYTES:
                    size = {k: v for k, _, v in fields(message(dimension))}.get(1, 0)
                    shape.append(size if isinstance(size, int) and size < 2**31 else 0)
    return name, tuple(shape)


_LISTS: Mapping[int, Callable[[int, int | memoryview], list[Any]]] = {
    7: lambda wire, value: reals(wire, value).tolist(),
    8: integers,
    9: lambda wire, value: [text(value)],
}
