"""The model file: one .safetensors that holds everything a prediction depends on, and proves it.

Tensors: the network's state (float32, or float16 where the document says "stored": "float16"; row-major) and, if
there is one, `preprocessing.mean_image` in float32. The document beside them (JSON) says format, spec, classes,
preprocessing, calibration, provenance and a self-test (its key is "probe"): the logits of a fixed input. Loading checks
the file's hash, then runs it. Nothing is unpickled.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from resnets.architecture import Plan, ResNetSpec, plan
from resnets.data.preprocess import Preprocessing
from resnets.data.titles import LONGEST, clean
from resnets.errors import ModelFileError, ResnetsError
from resnets.network import ResNet
from resnets.text import brief
from resnets.weights import calibration, container
from resnets.weights.calibration import Calibration
from resnets.weights.halved import halved
from resnets.weights.model import Model
from resnets.weights.provenance import Provenance

FORMAT = 1  # a reader refuses what is higher

# How far the self-test's logits may lie from the recorded ones, as a share of the logits' spread (zero included).
# Another processor, thread count or memory layout adds float32 numbers in another order. Measured on twelve
# networks of the catalog, fresh and with running statistics: below 2e-5 for most, at most 2.4e-4 (resnet152
# with statistics of a few tiny batches). The hash is what finds damage; the self-test is for a computation that
# differs, which shows by far more than a hundredth, and must never refuse a good file.
SELF_TEST_TOLERANCE = 1e-2
SELF_TEST_LARGEST = 64  # pixels: its side is the model's image size, but no more, so that loading is quick

_MEAN_IMAGE = "preprocessing.mean_image"
_PARTS = (
    *("spec", "num_classes", "in_channels", "output_stride"),
    *("classes", "preprocessing", "calibration", "provenance", "probe"),
)


def save(path: str | Path, model: Model, *, half: bool = False) -> None:
    """Write a model file: whole, or not at all; what stood there before stays until the new one is safe.

    half    store the weights in float16, rounded (`halved`): half the bytes. Who loads the file computes in float32

    The network is left as it is (mode, device, gradients), and no random number is drawn.
    Raises ModelFileError for weights that are not finite or not float32 or, halved, too large for float16; for class
    names that do not fit the head, and when the file cannot be written.
    """
    state = {name: tensor.detach().cpu().contiguous() for name, tensor in model.network.state_dict().items()}
    try:
        if half:
            state = halved(model.network.plan, state)
        document = _document(model, _widened(state) if half else state) | ({"stored": "float16"} if half else {})
        text = json.dumps(document, sort_keys=True, allow_nan=False, separators=(",", ":"))
    except (KeyError, TypeError, ValueError, ResnetsError) as problem:
        raise ModelFileError(f"{path} was not written: {_clause(problem)}.") from problem
    if model.preprocessing.mean_image is not None:
        state[_MEAN_IMAGE] = torch.from_numpy(np.array(model.preprocessing.mean_image, dtype=np.float32))
    container.write(Path(path), text, state)


def load(path: str | Path) -> Model:
    """Read a model file and verify it; the network comes in evaluation mode, float32, on the CPU.

    Raises ModelFileError, in one sentence with the mend, for a file that is missing, empty, cut off, damaged
    in any byte, foreign, newer than this version, or whose self-test disagrees.
    """
    path = Path(path)
    text, tensors, intact = container.read(path)
    try:
        document = json.loads(text)
        newer = document["format"] > FORMAT
    except (ValueError, KeyError, TypeError, RecursionError) as problem:
        raise container.damaged(path) from problem
    if newer:  # said first: a later format may hash in another way
        version = document["format"]
        raise ModelFileError(f"{path} was written by a newer resnets (format {version}): pip install -U resnets.")
    if not intact:
        raise container.damaged(path)
    try:
        return _model(document, tensors)
    except (KeyError, TypeError, ValueError, AttributeError, ArithmeticError, RuntimeError, ResnetsError) as problem:
        raise ModelFileError(
            f"{path} is whole but cannot be used: {_clause(problem)}; "
            "update resnets and torch, or save the model again."
        ) from problem


def _widened(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {name: tensor.float() if tensor.dtype == torch.float16 else tensor for name, tensor in state.items()}


def self_test_input(in_channels: int, side: int) -> Tensor:
    """(i * 2654435761 mod 2^32) / 2^31 - 1 for element i of (2, channels, side, side), as float32."""
    # Integer arithmetic, because it is the same on every machine; the last digit of a sine is not.
    count = np.arange(2 * in_channels * side * side, dtype=np.uint64)
    values = (count * np.uint64(2654435761) % np.uint64(2**32)).astype(np.float64) / 2**31 - 1
    return torch.from_numpy(values.astype(np.float32)).reshape(2, in_channels, side, side)


def _self_test(network: ResNet, image_size: int) -> Tensor:
    # A caller may hold an autocast open: it must not reach in here.
    with torch.no_grad(), torch.autocast("cpu", enabled=False):
        images = self_test_input(network.plan.in_channels, min(image_size, SELF_TEST_LARGEST))
        return network(images)  # type: ignore[no-any-return]


def _build(p: Plan, state: Mapping[str, Tensor]) -> ResNet:
    """The plan's network with these very tensors, in evaluation mode, after all shapes are found to agree."""
    with torch.device("meta"):
        network = ResNet(p)
    wanted, found = _kinds(network.state_dict()), _kinds(state)
    for name in sorted(wanted.keys() | found.keys()):
        if wanted.get(name) != found.get(name):
            here, there = wanted.get(name, "none"), found.get(name, "none")
            raise ModelFileError(f"the network as planned has for {name} {here}, but there is {there}")
    network.load_state_dict(dict(state), assign=True)
    return network.eval()


def _kinds(state: Mapping[str, Tensor]) -> dict[str, str]:
    return {name: f"{tensor.dtype} {tuple(tensor.shape)}" for name, tensor in state.items()}


def _document(model: Model, state: Mapping[str, Tensor]) -> dict[str, Any]:
    p = model.network.plan
    for name, tensor in state.items():
        if not torch.isfinite(tensor).all():
            raise ValueError(f"{name} has values that are not finite; train with a lower learning rate")
    logits = _self_test(_build(p, state), model.preprocessing.image_size)
    if not torch.isfinite(logits).all():
        raise ValueError("the network's logits overflow; train it a little before you save it")
    document = {
        "format": FORMAT,
        "spec": p.spec.to_dict(),
        "num_classes": p.num_classes,
        "in_channels": p.in_channels,
        "output_stride": p.output_stride,
        "classes": list(model.classes),
        "preprocessing": model.preprocessing.to_dict(),
        "calibration": model.calibration.to_dict(),
        "provenance": model.provenance.to_dict(),
        "probe": {"input": self_test_input.__doc__, "logits": logits.tolist()},
        **({"titles": dict(model.titles)} if model.titles else {}),  # a file without any is as it always was
    }
    _check(document)
    return document


def _model(document: dict[str, Any], tensors: dict[str, Tensor]) -> Model:
    """The verified model of a document and its tensors, neither of which is trusted."""
    _check(document)
    mean_image = tensors.pop(_MEAN_IMAGE, None)
    preprocessing = Preprocessing.from_dict(
        document["preprocessing"], mean_image=None if mean_image is None else mean_image.numpy().copy()
    )
    p = plan(
        ResNetSpec.from_dict(document["spec"]),
        num_classes=document["num_classes"],
        in_channels=document["in_channels"],
        output_stride=document["output_stride"],
        image_size=preprocessing.image_size,
    )
    if p.parameters > sum(tensor.numel() for tensor in tensors.values()):
        raise ValueError(f"the network has {p.parameters} parameters, more than the file holds")
    if (stored := document.get("stored", "float32")) not in ("float16", "float32"):
        raise ValueError(f"its weights are stored as {brief(str(stored))}")
    if stored == "float16":
        tensors = _widened(tensors)
    # In memory of its own: the file may be replaced while the network lives.
    network = _build(p, {name: tensor.clone() for name, tensor in tensors.items()})
    recorded = torch.tensor(document["probe"]["logits"], dtype=torch.float32)
    logits = _self_test(network, preprocessing.image_size)
    if recorded.shape != logits.shape or not torch.isfinite(recorded).all():
        raise ValueError(f"the probe's logits are not {' x '.join(map(str, logits.shape))} finite numbers")
    spread = max(float(recorded.max()), 0.0) - min(float(recorded.min()), 0.0)
    worst = float((logits - recorded).abs().max())
    if not worst <= SELF_TEST_TOLERANCE * spread:
        raise ValueError(
            f"its logits for the recorded probe are off by {worst:.2g} where {SELF_TEST_TOLERANCE * spread:.2g} "
            "is allowed, so other weights or another computation made them"
        )
    return Model(
        network,
        tuple(document["classes"]),
        preprocessing,
        Calibration.from_dict(document["calibration"]),
        Provenance.from_dict(document["provenance"]),
        document.get("titles", {}),
    )


def _check(document: dict[str, Any]) -> None:
    """Raise ValueError unless the parts that no other class checks are what they should be."""
    if missing := [part for part in _PARTS if part not in document]:
        raise ValueError(f"it has no {missing[0]}")
    classes = document["classes"]
    if not isinstance(classes, list) or not all(isinstance(name, str) for name in classes):
        raise ValueError("the classes are not a list of names")
    if len(set(classes)) != len(classes) or len(classes) != document["num_classes"]:
        raise ValueError(f"there are {len(set(classes))} class names for {document['num_classes']} outputs")
    titles = document.get("titles", {})
    if not isinstance(titles, dict) or not all(isinstance(one, str) for one in titles.values()):
        raise ValueError("the titles are not a table of names")
    if any(one != clean(one) or not one for one in titles.values()):
        raise ValueError(f"a title is empty, longer than {LONGEST} characters, or no plain line")
    if unknown := titles.keys() - set(classes):
        raise ValueError(f"there is a title for {brief(min(unknown))}, which is no class")
    calibration.check(document["calibration"])
    if not isinstance(document["provenance"], dict):
        raise ValueError("the provenance is not a dictionary")


def _clause(problem: Exception) -> str:
    """An error's message as a part of another sentence."""
    return f"{problem} is missing" if isinstance(problem, KeyError) else str(problem).rstrip(".")
