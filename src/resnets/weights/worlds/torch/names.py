"""Names as torch.nn's modules give them."""

from __future__ import annotations

from collections.abc import Mapping

from resnets.weights.worlds.base import Naming, Part


def torch_naming(parts: Mapping[str, str], unit: str) -> Naming:
    """A naming of a torch world, whose leaves are torch's own.

    parts: 'stem.conv' -> 'conv1', 'conv1' -> 'conv1', 'shortcut.conv' -> 'downsample.0', ...
    unit: what stands before a unit's part, with {stage} and {unit} counted from one, {s} and {u} from zero.
    """

    def name(state_name: str) -> str:
        p = Part.of(state_name)
        if p.part not in parts:
            return ""
        before = unit.format(stage=p.stage, unit=p.unit, s=p.stage - 1, u=p.unit - 1) if p.stage else ""
        return f"{before}{parts[p.part]}.{p.leaf}"

    return name
