"""A framework's torch module, given the tensors of a file and watched while it runs in float64."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from resnets.weights.formats.stored import Foreign


def fill(module: nn.Module, file: Foreign) -> None:
    """Give a module (made on the meta device) the file's tensors in float64. Raises RuntimeError if one is amiss."""

    def wide(tensor: Tensor) -> Tensor:
        return tensor.double() if tensor.is_floating_point() else tensor

    state = {name: wide(stored.read()) for name, stored in file.tensors.items()}
    module.load_state_dict(state, strict=True, assign=True)
    module.eval()


def watched(module: nn.Module, roles: Mapping[str, str]) -> Callable[[Tensor], Mapping[str, Tensor]]:
    """A `Reference.run`: the module's logits, and what its submodules give. roles: our role by their name."""
    found: dict[str, Tensor] = {}

    def watch(role: str) -> Callable[..., None]:
        def hook(_module: nn.Module, _inputs: Any, output: Tensor) -> None:
            found[role] = output.clone()  # the next module may work in place

        return hook

    for name, role in roles.items():
        module.get_submodule(name).register_forward_hook(watch(role))

    def run(x: Tensor) -> Mapping[str, Tensor]:
        with torch.no_grad():
            output = module(x)
        return {**found, "logits": getattr(output, "logits", output)}

    return run


def unit_roles(module: nn.Module, stages: list[str]) -> dict[str, str]:
    """The roles of the units in these stages, each a module whose children are its units."""
    return {
        f"{stage}.{unit}": f"stage{s}.unit{u}"
        for s, stage in enumerate(stages, start=1)
        for u, (unit, _) in enumerate(module.get_submodule(stage).named_children(), start=1)
    }
