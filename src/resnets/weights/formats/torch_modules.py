"""Whole modules in a pickle of torch's (`torch.save(model, ...)`), taken as data: their tensors and their settings.

A pickled torch.nn.Module is an object whose attributes hold its parameters, its buffers and the modules in it. No class
is looked up: it is a name, and what the module would compute stays unknown, but a convolution's stride or a norm's
epsilon is an attribute like any other. Format: torch/nn/modules/module.py of torch.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from resnets.weights.formats.pickle_data import Made, Name, Value
from resnets.weights.formats.torch_facts import facts_of

MAX_DEPTH = 20  # of modules in modules
MAX_MODULES = 50_000  # with tensors; ResNet-1202's have 4,000


def state_of(value: Value) -> list[tuple[str, Value]] | None:
    """(name, tensor) of all that a module's `state_dict()` would have, in its order; None for what is no module.

    Raises ValueError for modules that are nested without an end, or beyond count.
    """
    if not is_module(value):
        return None
    found: list[tuple[str, Value]] = []
    for name, module in _modules(value, "", 0, [MAX_MODULES]):
        for kind in ("_parameters", "_buffers"):
            found += [(f"{name}{key}", tensor) for key, tensor in _table(module, kind) if isinstance(tensor, Made)]
    return found


def settings_of(root: Value) -> dict[str, dict[str, Any]]:
    """The plain settings of the modules in a pickle, and their "class", by the names that their tensors begin with."""
    tops = [("", root)]
    if isinstance(root, Made) and not is_module(root):
        tops = [(f"{key}/", child) for key, child in root.pairs if isinstance(key, str)]
    found = {}
    for top, value in tops:
        if is_module(value):
            for name, module in _modules(value, "", 0, [MAX_MODULES]):
                if not _table(module, "_modules"):
                    assert isinstance(module.call, Name)
                    plain = {key: fact for key, fact in facts_of(module).items() if not key.startswith("_")}
                    found[top + name] = {"class": module.call.text, **plain}
    return found


def is_module(value: Value) -> bool:
    """Whether a value would be a torch.nn.Module."""
    state = value.state if isinstance(value, Made) and isinstance(value.call, Name) else None
    return isinstance(state, Made) and state.get("_parameters") is not None and state.get("_modules") is not None


def _modules(value: Value, name: str, depth: int, left: list[int]) -> Iterator[tuple[str, Made]]:
    """A module and those in it, each with the beginning of its tensors' names."""
    if not isinstance(value, Made) or not is_module(value):
        return
    left[0] -= 1
    if left[0] < 0 or depth > MAX_DEPTH:
        raise ValueError("it nests modules deeper, or has more of them, than any network")
    yield name, value
    for key, child in _table(value, "_modules"):
        yield from _modules(child, f"{name}{key}.", depth + 1, left)


def _table(module: Made, kind: str) -> list[tuple[str, Value]]:
    state = module.state
    table = state.get(kind) if isinstance(state, Made) else None
    return [(key, child) for key, child in (table.pairs if isinstance(table, Made) else ()) if isinstance(key, str)]
