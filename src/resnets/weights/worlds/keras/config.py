"""The graph of keras.applications' ResNets, and whether the configuration in a file describes it.

A layer of a configuration is known by what it does to what, so that layers without weights may have any name: it
must have the class, the settings and the inputs of a layer of the graph, which it then stands for to the layers
that read it. What the output stands for has thereby been compared down to the picture.
"""

from __future__ import annotations

import reprlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from resnets.architecture import Plan, Row
from resnets.architecture.rows import INPUT
from resnets.weights.formats.stored import unusable

MAX_DEPTH = 16  # of models within models
MODELS = ("Functional", "Model", "Sequential")
# They give in evaluation what they were given. (A Flatten can only stand behind the pooling, where it does nothing.)
# RandomCrop is none of them: it takes the centre then.
NOTHING = {
    *("Flatten", "Dropout", "SpatialDropout2D", "GaussianDropout", "GaussianNoise"),
    *("RandomBrightness", "RandomColorDegeneration", "RandomColorJitter", "RandomContrast", "RandomElasticTransform"),
    *("RandomErasing", "RandomFlip", "RandomGaussianBlur", "RandomGrayscale", "RandomHeight", "RandomHue"),
    *("RandomInvert", "RandomPerspective", "RandomPosterization", "RandomRotation", "RandomSaturation"),
    *("RandomSharpness", "RandomShear", "RandomTranslation", "RandomWidth", "RandomZoom"),
}
# What settings matter to what a layer computes, and what Keras takes where a configuration does not say.
# Epsilon and momentum are read elsewhere; numbers of channels, and whether there is a bias, are seen in the weights.
DEFAULTS: dict[str, dict[str, Any]] = {
    "ZeroPadding2D": {"padding": 1, "data_format": "channels_last"},
    "Conv2D": {
        "kernel_size": None,
        "strides": 1,
        "padding": "valid",
        "data_format": "channels_last",
        "dilation_rate": 1,
        "groups": 1,
        "activation": "linear",
    },
    "BatchNormalization": {"axis": -1, "center": True, "scale": True, "renorm": False},
    "Activation": {"activation": "linear"},
    "ReLU": {"max_value": None, "negative_slope": 0, "threshold": 0},
    "MaxPooling2D": {"pool_size": 2, "strides": None, "padding": "valid", "data_format": "channels_last"},
    "Add": {},
    "AveragePooling2D": {"pool_size": 2, "strides": None, "padding": "valid", "data_format": "channels_last"},
    "GlobalAveragePooling2D": {"data_format": "channels_last", "keepdims": False},
    "Dense": {"activation": "linear"},
    "Softmax": {"axis": -1},
}
PROBABLE = ("predictions", "probabilities")  # what classifiers give
NAMED = ("Conv2D", "BatchNormalization")  # by their weights
KINDS = {  # the classes of rows' layers
    "conv": "Conv2D",
    "norm": "BatchNormalization",
    "relu": "Activation",
    "max_pool": "MaxPooling2D",
    "subsample": "MaxPooling2D",  # of one pixel
    "add": "Add",
    "global_pool": "GlobalAveragePooling2D",
    "linear": "Dense",
}

LayerOf = Callable[[str], str]  # role -> the name of its layer; ROLE.pad: of that of zeros before it, "" for none


@dataclass(frozen=True)
class KerasLayer:
    """A layer of keras.applications' graph: what it reads, and its settings where they are not Keras's defaults."""

    kind: str
    name: str
    reads: tuple[str, ...] = ()
    settings: Mapping[str, Any] = field(default_factory=dict)

    @property
    def values(self) -> dict[str, Any]:
        """All settings that matter."""
        return {**DEFAULTS[self.kind], **self.settings}


_Wanted = Mapping[tuple[str, tuple[str, ...]], list[KerasLayer]]  # by class and what is read, sorted


def layers(p: Plan, layer_of: LayerOf) -> list[KerasLayer]:
    """The network of a plan in the order of `model.layers`: by their way to the output, the longest first."""
    # Reversed, as rows have a unit's shortcut behind its branch, and Keras has it first where their ways are equal.
    reverse = list(made(p, layer_of))[::-1]
    below: dict[str, int] = {}  # how many layers follow on the longest way to the output
    for layer in reverse:
        for read in layer.reads:
            below[read] = max(below.get(read, 0), below.get(layer.name, 0) + 1)
    return sorted(reverse, key=lambda layer: -below.get(layer.name, 0))


def made(p: Plan, layer_of: LayerOf) -> Iterator[KerasLayer]:
    """What the rows become, each behind what it reads: a layer, and another before it where zeros have their own."""
    yield KerasLayer("InputLayer", "input_layer")
    gives = {INPUT: "input_layer"}  # the layer that gives what a role stands for
    unnamed = 0
    for row in p.rows:
        reads = tuple(gives[role] for role in reversed(row.reads))  # an addition reads the shortcut first
        around = layer_of(f"{row.role}.pad") if row.padding else ""
        if around:
            yield KerasLayer("ZeroPadding2D", around, reads, {"padding": 1 if row.padding == "zero" else row.padding})
            reads = (around,)
        if row.kind == "subsample":  # the one layer without a name of its own
            name = f"max_pooling2d_{unnamed}" if unnamed else "max_pooling2d"
            unnamed += 1
        else:
            name = layer_of(row.role)
        yield KerasLayer(KINDS[row.kind], name, reads, _settings(row, bool(around)))
        gives[row.role] = name


def _settings(row: Row, padded: bool) -> dict[str, Any]:
    """The settings of a row's layer, before which there is a layer of zeros or not."""
    match row.kind:
        case "conv":
            padding = "same" if row.padding and not padded else "valid"
            spread = {"dilation_rate": row.dilation} if row.dilation > 1 else {}
            return {"kernel_size": row.kernel, "strides": row.stride, "padding": padding, **spread}
        case "max_pool" | "subsample":
            return {"pool_size": row.kernel, "strides": row.stride}
        case "relu":
            return {"activation": "relu"}
    return {}  # a norm's epsilon is compared elsewhere


def compare(
    path: Path, config: Any, graph: Iterable[KerasLayer], outputs: Sequence[str] = PROBABLE, binary: bool = False
) -> None:
    """Raises ModelFileError where the configuration in the file at `path` is not of the network of these layers.

    outputs   the layers that may give what the model gives
    binary    whether it says yes or no, by a sigmoid
    """
    wanted: dict[tuple[str, tuple[str, ...]], list[KerasLayer]] = {}
    for layer in _variants(graph, "sigmoid" if binary else "softmax"):
        wanted.setdefault((layer.kind, tuple(sorted(layer.reads))), []).append(layer)
    try:
        output = _traced(config, "input_layer", wanted)
        if output not in outputs:
            raise _Differs(f"its output at {output!r}")
    except _Differs as problem:
        raise unusable(
            path,
            f"its configuration has {problem}, which keras.applications' ResNets have not; if that does not "
            "matter, save the weights alone (model.save_weights)",
        ) from problem
    except (AttributeError, LookupError, TypeError, ValueError, RecursionError) as problem:
        raise unusable(
            path,
            "its configuration does not say what each layer reads, as that of a functional or sequential model does; "
            "if it is one of keras.applications' ResNets, save the weights alone (model.save_weights)",
        ) from problem


class _Differs(Exception):
    """What a configuration has that the graph has not."""


def _variants(graph: Iterable[KerasLayer], answers: str) -> Iterator[KerasLayer]:
    """The layers that a configuration may hold: a relu may be of either class, and probabilities may be the output."""
    for layer in graph:
        yield layer
        if layer.kind == "Activation":
            yield KerasLayer("ReLU", layer.name, layer.reads)
        if layer.kind == "GlobalAveragePooling2D":  # as the model of 2017 has it, behind which a head reads one number
            for strides in (None, 7):
                yield KerasLayer("AveragePooling2D", layer.name, layer.reads, {"pool_size": 7, "strides": strides})
    activation = {"activation": answers}
    yield KerasLayer("Dense", "probabilities", ("avg_pool",), activation)
    yield KerasLayer("Activation", "probabilities", ("predictions",), activation)
    if answers == "softmax":
        yield KerasLayer("Softmax", "probabilities", ("predictions",))


def _traced(model: Mapping[str, Any], given: str, wanted: _Wanted, depth: int = 0) -> str:
    """Which layer of the graph the output of a model stands for, if its input stands for `given`."""
    if model["class_name"] not in MODELS or depth > MAX_DEPTH:
        raise _Differs(f"a layer {reprlib.repr(model['class_name'])}")
    stands: dict[str, str] = {}  # for which layer of the graph a layer here does
    x, chain = given, model["class_name"] == "Sequential"
    for layer in model["config"]["layers"]:
        kind, settings = layer["class_name"], layer["config"]
        if kind == "InputLayer":
            x = given
        else:
            reads = [x] if chain else [stands[name] for name in _inbound(layer)]
            x = _known(layer, reads, wanted, depth)
        stands[settings["name"]] = x
    if chain:
        return x
    outputs = model["config"]["output_layers"]  # one [name, 0, 0], or a list of such
    (output,) = [outputs] if isinstance(outputs[0], str) else outputs
    return stands[output[0]]


def _known(layer: Mapping[str, Any], reads: list[str], wanted: _Wanted, depth: int) -> str:
    """Which layer of the graph a layer stands for that reads `reads`. Raises _Differs where there is none."""
    kind, settings = layer["class_name"], layer["config"]
    if kind in MODELS:
        (x,) = reads
        return _traced(layer, x, wanted, depth + 1)
    if kind in NOTHING or (kind == "Activation" and settings.get("activation") in (None, "linear")):
        (x,) = reads
        return x
    if kind not in DEFAULTS:
        raise _Differs(f"a layer {reprlib.repr(kind)}")
    name, shown = settings["name"], reprlib.repr(settings["name"])
    values = {key: _value(key, settings.get(key, default)) for key, default in DEFAULTS[kind].items()}
    for one in wanted.get((kind, tuple(sorted(reads))), ()):
        if values == one.values and (kind not in NAMED or name == one.name):
            return one.name
    alike = [one for those in wanted.values() for one in those if one.kind == kind]
    nearest = max(alike, key=lambda one: (one.name == name, sorted(one.reads) == sorted(reads)))
    for key, value in values.items():
        if value != nearest.values[key]:
            raise _Differs(f"the {key} {reprlib.repr(settings.get(key, value))} in {shown}")
    raise _Differs(f"the layer {shown} on top of {' and '.join(map(repr, reads))}")


def _inbound(layer: Mapping[str, Any]) -> list[str]:
    """The names of the layers that a layer reads, in the one place where it is called."""
    match layer["inbound_nodes"]:
        case [{"args": [[*tensors]] | [*tensors]}]:  # Keras 3
            return [tensor["config"]["keras_history"][0] for tensor in tensors]
        case [[*tensors]]:  # Keras 2: [name, 0, 0, what else it is called with]
            if any(tensor[3].get("training") for tensor in tensors):
                raise _Differs(f"the layer {reprlib.repr(layer['config']['name'])} in training at all times")
            return [tensor[0] for tensor in tensors]
    raise ValueError("not called once")


def _value(key: str, value: Any) -> Any:
    """A setting as Keras understands it: numbers for both directions as one."""
    if isinstance(value, list):
        numbers = [n for part in value for n in (part if isinstance(part, list) else [part])]
        if all(isinstance(n, int) for n in numbers) and len(set(numbers)) == 1:
            value = numbers[0]
    if key == "axis" and value == 3:
        return -1
    return "linear" if key == "activation" and value is None else value
