"""The tensors that a pickle of torch's describes: views of storages, found by name in nested dictionaries.

A tensor of the pickle is a call of a function that would make a view (offset, shape, strides) of a storage. The few
such functions are known by name; whatever else a checkpoint holds beside its weights is passed over, harmless or not.
Formats: torch/_utils.py and torch/storage.py of torch.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import cast

import torch

from resnets.weights.formats.pickle_data import Made, Name, Value
from resnets.weights.formats.stored import MAX_DIMENSIONS, MAX_TENSOR_BYTES
from resnets.weights.formats.torch_modules import Modules

MAX_DEPTH = 20  # of nested dictionaries and lists
MAX_VALUES = 200_000  # in them
MAX_VIEWS = 20_000  # a pickle of the largest size has no room for more, unless many are one
MAX_NAME = 500  # characters
MAX_WRAPPERS = 4  # around a tensor: a parameter, a subclass

_TYPES = {
    "Float": torch.float32,
    "Half": torch.float16,
    "BFloat16": torch.bfloat16,
    "Double": torch.float64,
    "Long": torch.int64,
    "Int": torch.int32,
    "Short": torch.int16,
    "Char": torch.int8,
    "Byte": torch.uint8,
    "Bool": torch.bool,
    "ComplexFloat": torch.complex64,
    "ComplexDouble": torch.complex128,
    "Untyped": torch.uint8,
}
_AROUND_THE_FIRST = {  # of their arguments
    "torch._utils._rebuild_parameter",
    "torch._utils._rebuild_parameter_with_state",
    "torch.nn.parameter.Parameter",  # before torch 0.4
    "torch.autograd.variable.Variable",
}
_DTYPES = {str(dtype): dtype for dtype in (*_TYPES.values(), torch.uint16, torch.uint32, torch.uint64)}


@dataclass(frozen=True)
class Storage:
    """`count` elements, from element `start` on, of the storage that the file keeps under `key`."""

    key: str
    dtype: torch.dtype
    start: int
    count: int


@dataclass(frozen=True)
class View:
    """A tensor: elements of a storage, counted from its start in elements of the tensor's own type."""

    storage: Storage
    dtype: torch.dtype
    offset: int
    shape: tuple[int, ...]
    strides: tuple[int, ...]


def storage_of(reference: Value) -> Value:
    """What a persistent id stands for: a storage, or a module's class. Raises ValueError."""
    match reference:
        case ("storage", Name(kind), str(key), _, int(), (_, int(start), int(count))):  # a part, before torch 0.4
            return _elements(kind, key, start, count)
        case ("storage", Name(kind), str(key), _, int(count), *_):
            return _elements(kind, key, 0, count)
        case ("module", Name() as name, *_):  # with its source, before torch 1.6
            return name
    raise ValueError("its pickle refers to something that is no storage")


def _elements(kind: str, key: str, start: int, count: int) -> Storage:
    dtype = _TYPES.get(kind.rpartition(".")[2].removesuffix("Storage"))
    if dtype is None or not kind.startswith("torch."):
        raise ValueError(f"it has numbers of the kind {kind[:100]!r}; save them as plain tensors")
    if start < 0 or count < 0:
        raise ValueError("it has a storage of negative size; copy it again")
    return Storage(key, dtype, start, count)


def tensors_of(root: Value, modules: Modules) -> dict[str, View]:
    """All tensors in nested dictionaries and lists, by their keys and positions joined with "/", and those of modules.

    Raises ValueError for tensors of other kinds than plain ones, for impossible ones, and if there are none.
    """
    views: dict[str, View] = {}
    seen = 0

    def add(name: str, value: Value, depth: int) -> None:
        nonlocal seen
        if depth > MAX_DEPTH or len(name) > MAX_NAME:
            raise ValueError("it nests dictionaries deeper, or gives longer names, than any network's checkpoint")
        view = _view(name, value)
        if view is not None:
            if name in views or len(views) == MAX_VIEWS:
                raise ValueError(f"it has more than {MAX_VIEWS:,} tensors, or two of the name {name[:100]!r}")
            views[name] = view
            return
        children: Sequence[tuple[Value, Value]] = ()
        if isinstance(value, list | tuple):
            children = list(enumerate(value))
        elif isinstance(value, Made):
            state = modules.state_of(value)
            children = value.pairs if state is None else state
        seen += len(children)  # one list may stand in many places
        if seen > MAX_VALUES:
            raise ValueError(f"it has more than {MAX_VALUES:,} values, which no network's checkpoint has")
        for key, child in children:
            if isinstance(child, Made | list | tuple) and isinstance(key, str | int):
                add(f"{name}/{key}" if depth else str(key), child, depth + 1)

    add("", root, 0)
    if not views:
        raise ValueError("there are no tensors in it; give a file that torch.save(model.state_dict(), ...) wrote")
    return views


def _view(name: str, value: Value) -> View | None:
    """The tensor that a value would be, or None. Raises ValueError for tensors of other kinds, and impossible ones."""
    kind = _kind(value)
    for _ in range(MAX_WRAPPERS):
        match value:
            case Made(_, (inner, *_)) if kind in _AROUND_THE_FIRST:
                value = inner
            case Made(_, (function, _, args, *_)) if kind == "torch._tensor._rebuild_from_type_v2":
                value = Made(function, args)
            case _:
                break
        kind = _kind(value)
    if not kind.startswith("torch._utils._rebuild_"):
        return None
    match kind.removeprefix("torch._utils._rebuild_"), cast(Made, value).args:
        case "tensor", (Storage() as storage, offset, shape, strides):
            return _checked(name, storage, storage.dtype, offset, shape, strides)
        case "tensor_v2", (Storage() as storage, offset, shape, strides, _, _, *marks) if not _is_marked(marks):
            return _checked(name, storage, storage.dtype, offset, shape, strides)
        case "tensor_v3", (Storage() as storage, offset, shape, strides, _, _, Name(dtype)) if dtype in _DTYPES:
            return _checked(name, storage, _DTYPES[dtype], offset, shape, strides)
    raise ValueError(f"{name[:100]!r} is no plain tensor ({kind[:100]!r}); save its numbers as a plain tensor")


def _kind(value: Value) -> str:
    """The name of what a value would be made by."""
    return value.call.text if isinstance(value, Made) and isinstance(value.call, Name) else ""


def _is_marked(marks: list[Value]) -> bool:
    """Whether a tensor's numbers are to be negated or conjugated."""
    return any(isinstance(mark, Made) and mark.pairs for mark in marks)


def _checked(name: str, storage: Storage, dtype: torch.dtype, offset: Value, shape: Value, strides: Value) -> View:
    """The view of these numbers, if a tensor can be so. Raises ValueError."""
    if not isinstance(shape, tuple) or not isinstance(strides, tuple) or len(shape) != len(strides):
        raise ValueError(f"{name[:100]!r} has no shape and strides")
    if not all(type(number) is int and number >= 0 for number in (offset, *shape, *strides)):
        raise ValueError(f"{name[:100]!r} has a shape, a stride or an offset that is no count")
    if len(shape) > MAX_DIMENSIONS or math.prod(max(size, 1) for size in shape) * dtype.itemsize > MAX_TENSOR_BYTES:
        raise ValueError(f"{name[:100]!r} has a shape that no network's tensor has")
    return View(storage, dtype, cast(int, offset), shape, strides)


def extent(view: View) -> int:
    """How many elements lie between a view's first and its last, both included."""
    if 0 in view.shape:
        return 0
    return 1 + sum((size - 1) * stride for size, stride in zip(view.shape, view.strides, strict=True))
