"""Whole modules in a pickle of torch's (`torch.save(model, ...)`), taken as data: their tensors and their settings.

A pickled torch.nn.Module is an object whose attributes hold its parameters, its buffers and the modules in it. No class
is looked up: it is a name, and what the module would compute stays unknown, but a convolution's stride or a norm's
epsilon is an attribute like any other. Format: torch/nn/modules/module.py of torch.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from resnets.weights.formats.pickle_data import Made, Name, Value

MAX_DEPTH = 20  # of modules in modules
MAX_MODULES = 50_000  # of a file; ResNet-1202 has 6,000
SETTINGS = ("stride", "padding", "dilation", "kernel_size", "padding_mode", "eps", "ceil_mode")


class Modules:
    """The modules that a pickle describes, counted over all of it. Raises ValueError beyond `MAX_MODULES`."""

    def __init__(self) -> None:
        self._left = MAX_MODULES

    def state_of(self, value: Value) -> list[tuple[str, Value]] | None:
        """(name, tensor) of all that a module's `state_dict()` would have, in its order; None for what is no module.

        Buffers count where a module has parameters, or is a norm: others are often left out of a state dict.
        """
        if not is_module(value):
            return None
        found: list[tuple[str, Value]] = []
        for name, module in self._walk(value, "", 0):
            own = [(key, tensor) for key, tensor in _table(module, "_parameters") if isinstance(tensor, Made)]
            if own or "BatchNorm" in _class(module):
                own += [(key, tensor) for key, tensor in _table(module, "_buffers") if isinstance(tensor, Made)]
            found += [(f"{name}{key}", tensor) for key, tensor in own]
        return found

    def settings_of(self, root: Value) -> dict[str, dict[str, Any]]:
        """Those of `SETTINGS` and the "class" of the modules without others in them, by their tensors' beginning."""
        tops = [("", root)]
        if isinstance(root, Made) and not is_module(root):
            tops = [(f"{key}/", child) for key, child in root.pairs if isinstance(key, str)]
        found = {}
        for top, value in tops:
            for name, module in self._walk(value, "", 0) if is_module(value) else ():
                if not _table(module, "_modules"):
                    found[top + name] = {"class": _class(module), **_settings(module)}
        return found

    def _walk(self, value: Value, name: str, depth: int) -> Iterator[tuple[str, Made]]:
        """A module and those in it, each with the beginning of its tensors' names."""
        if not isinstance(value, Made) or not is_module(value):
            return
        self._left -= 1
        if self._left < 0 or depth > MAX_DEPTH:
            raise ValueError("it nests modules deeper, or has more of them, than any network")
        yield name, value
        for key, child in _table(value, "_modules"):
            yield from self._walk(child, f"{name}{key}.", depth + 1)


def is_module(value: Value) -> bool:
    """Whether a value would be a torch.nn.Module."""
    state = value.state if isinstance(value, Made) and isinstance(value.call, Name) else None
    return isinstance(state, Made) and state.get("_parameters") is not None and state.get("_modules") is not None


def _class(module: Made) -> str:
    return module.call.text if isinstance(module.call, Name) else ""


def _settings(module: Made) -> dict[str, Any]:
    state = module.state
    found = {key: state.get(key) for key in SETTINGS} if isinstance(state, Made) else {}
    plain = {key: list(value) if isinstance(value, tuple) else value for key, value in found.items()}
    return {key: value for key, value in plain.items() if _is_plain(value)}


def _is_plain(value: Any) -> bool:
    if isinstance(value, list):
        return len(value) <= 2 and all(map(_is_plain, value))
    return isinstance(value, int | float | str)


def _table(module: Made, kind: str) -> list[tuple[str, Value]]:
    state = module.state
    table = state.get(kind) if isinstance(state, Made) else None
    return [(key, child) for key, child in (table.pairs if isinstance(table, Made) else ()) if isinstance(key, str)]
