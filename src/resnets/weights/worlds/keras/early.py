"""The names of Keras' first ResNet-50 (2015 to 2018), which are He's, as those that its networks have since 2019.

Copies of its code are in many repositories. Its norms have the epsilon 1e-3, and its pool was padded from Keras 2.2 on
only: of weights alone that is assumed, a configuration shows it. Files of Keras 1 call variables otherwise, too.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import replace
from string import ascii_lowercase
from typing import Any

from resnets.weights.formats.stored import Foreign, Stored

PADDED, BARE = "zero", "valid"  # rules of its pool
EPSILON = 1e-3  # Keras's default
STEM = {"conv1": "conv1_conv", "bn_conv1": "conv1_bn"}
KINDS = {"res": "conv", "bn": "bn"}
BRANCHES = {"1": "0", "2a": "1", "2b": "2", "2c": "3"}
VARIABLES = {  # of Keras 1; what it calls a deviation is the variance
    "W": "kernel",
    "b": "bias",
    "running_mean": "moving_mean",
    "running_std": "moving_variance",
}
_LAYER = re.compile(r"(res|bn)(\d)([a-z])_branch(1|2[abc])")


def renamed(file: Foreign) -> Foreign:
    """A file under the names of today, with documents["early"]; a file of today as it is."""
    owners = {name.partition("/")[0] for name in file.tensors}
    if not {"conv1", "res2a_branch2a", "bn2a_branch2a"} <= owners:
        return file
    new = {owner: layer_of(owner) for owner in owners}
    tensors: dict[str, Stored] = {}
    for name, stored in file.tensors.items():
        owner, _, variable = name.partition("/")
        variable = variable.removeprefix(f"{owner}_")
        tensors[f"{new[owner]}/{VARIABLES.get(variable, variable)}"] = stored
    documents: dict[str, Any] = {**file.documents, "early": PADDED}
    if "keras" in documents:
        documents["keras"] = _with(documents["keras"], new)
    return replace(file, tensors=tensors, documents=documents)


def layer_of(name: str) -> str:
    """Today's name of a layer; the same for one that has a name of its own."""
    if name in STEM:
        return STEM[name]
    if not (match := _LAYER.fullmatch(name)):
        return name
    kind, stage, unit, branch = match.groups()
    return f"conv{stage}_block{ascii_lowercase.index(unit) + 1}_{BRANCHES[branch]}_{KINDS[kind]}"


def _with(value: Any, new: Mapping[str, str]) -> Any:
    """A configuration whose layers have their new names, wherever these stand."""
    if isinstance(value, dict):
        return {key: _with(one, new) for key, one in value.items()}
    if isinstance(value, list):
        return [_with(one, new) for one in value]
    return new.get(value, value) if isinstance(value, str) else value
