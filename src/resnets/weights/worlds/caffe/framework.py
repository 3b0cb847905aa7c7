"""OpenCV's dnn module, which runs Caffe's files where Caffe itself cannot be installed. It computes in float32."""

from __future__ import annotations

import re
from collections.abc import Mapping
from importlib import import_module

import torch
from torch import Tensor

from resnets.weights.formats.stored import Foreign
from resnets.weights.worlds.reference import SINGLE, Reference, UnfitError

UNIT = re.compile(r"res(\d+)([a-z]\d*)(?:_relu)?")  # a unit's sum, and then its relu; stages are counted from 2
BELONGS = re.compile(r"(?:res|bn|scale)\d+[a-z]")  # what begins the names of a unit's layers


def reference(file: Foreign) -> Reference:
    """The network of a .prototxt and a .caffemodel. Raises UnfitError for names other than the published ones."""
    text, weights = (
        next((str(path) for path in file.files if path.suffix == suffix), "") for suffix in (".prototxt", ".caffemodel")
    )
    if not text or not weights:
        raise UnfitError("OpenCV needs a .prototxt and a .caffemodel")
    roles, originals = _roles(file), file.documents.get("originals", {})
    cv2 = import_module("cv2")
    net = cv2.dnn.readNetFromCaffe(text, weights)

    def run(x: Tensor) -> Mapping[str, Tensor]:
        net.setInput(x.float().numpy())
        outputs = net.forward([originals.get(name, name) for name in roles.values()])
        found = {role: torch.from_numpy(y.copy()).double() for role, y in zip(roles, outputs, strict=True)}
        return {**found, "logits": found["logits"].flatten(1)}

    return Reference(f"OpenCV {cv2.__version__}", run, {"opencv": cv2.__version__}, SINGLE)


def _roles(file: Foreign) -> dict[str, str]:
    """The layer that gives a role's activation."""
    found: dict[str, str] = {}
    units: dict[str, list[str]] = {}  # the letters of each stage
    gives: dict[str, str] = {}  # the layer that gave a blob last
    for layer in file.documents["graph"]:
        if "stem" not in found and BELONGS.match(layer.name):
            found["stem"] = gives[layer.bottoms[0]]
        if unit := UNIT.fullmatch(layer.name):
            letters = units.setdefault(unit[1], [])
            if unit[2] not in letters:
                letters.append(unit[2])
            found[f"stage{int(unit[1]) - 1}.unit{len(letters)}"] = layer.name
        if layer.type == "InnerProduct":
            found["logits"] = layer.name
        gives |= dict.fromkeys(layer.tops, layer.name)
    if not units or "logits" not in found:
        raise UnfitError("its layers do not have the published names")
    if file.documents.get("logits"):
        found["logits"] = file.documents["logits"]
    return found
