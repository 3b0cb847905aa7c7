"""Names as torch.nn's modules give them, and the checkpoints that training scripts wrap around them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from resnets.weights.formats.stored import Foreign
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


PREFIXES = ("module.", "model.", "_orig_mod.", "module.", "backbone.", "encoder.")  # DataParallel, torch.compile, ...
WRAPPERS = ("state_dict_ema", "model_ema", "state_dict", "model", "net", "params")  # averaged weights first


def unwrapped(file: Foreign) -> Foreign:
    """A checkpoint's network alone: out of the dictionary that a training script saved, without prefixes.

    Where a checkpoint holds averaged weights too, they are taken, as they are what is evaluated (as in timm).
    """
    tensors = dict(file.tensors)
    for wrapper in WRAPPERS:
        inner = {name.partition("/")[2]: t for name, t in tensors.items() if name.startswith(wrapper + "/")}
        if any(name.endswith("weight") for name in inner):
            tensors = inner
            break
    for prefix in PREFIXES:
        stripped = {name.removeprefix(prefix): t for name, t in tensors.items()}
        many = sum(name.startswith(prefix) for name in tensors) * 2 > len(tensors)
        if many and len(stripped) == len(tensors):  # where two names would become one, none is changed
            tensors = stripped
    return replace(file, tensors=tensors)
