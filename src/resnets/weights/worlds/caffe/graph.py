"""A tree of Caffe's NetParameter -> its layers, each with all that its type says, defaults filled in.

The graph is the one that Caffe builds in its TEST phase, without what feeds data, computes a loss or measures.
Both forms of a layer (`layer`, and the older V1 `layers`) give the same. Settings of types that residual
networks do not use are not read; such layers keep their place in the graph.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from resnets.weights.formats.prototxt import Message, Word
from resnets.weights.worlds.caffe.layer import CaffeLayer
from resnets.weights.worlds.caffe.schema import MAX_TEXT, PHASE

Pair = tuple[int, int]  # height, width
MAX_LAYERS = 15_000  # three times those of ResNet-1001
MAX_NUMBER = 2**31 - 1

_SPELLED = {"Relu": "ReLU"}  # types whose older name does not show how the newer one is written
_MEASURES = ("Accuracy", "Silence")  # and all that ends in "Loss"


def graph(net: Message, *, trained: bool = False) -> list[CaffeLayer]:
    """The layers of a network in the order in which they run. Raises ValueError, with the reason.

    trained: the network is as it was trained, so that its norms may say `use_global_stats: false`
    """
    if bool(net.get("layer")) == bool(net.get("layers")):
        mixed = "mixes layers of two versions of Caffe" if net.get("layer") else "describes no layers"
        raise ValueError(f"it {mixed}: take the .prototxt that deploys the network")
    layers = []
    for message in messages(net):
        if _in_test_phase(message):
            layer = _layer(_at_rest(message) if trained else message, type_of(message))
            if layer.bottoms and not layer.type.endswith("Loss") and layer.type not in _MEASURES:
                layers.append(layer)
    if len({layer.name for layer in layers}) != len(layers):
        raise ValueError("two of its layers have the same name")
    return layers


def messages(net: Message) -> list[Message]:
    """The messages of all layers, of whichever form. Raises ValueError for the first form (V0), or too many."""
    found = _submessages(net, "layer") + _submessages(net, "layers")
    if any("layer" in message for message in found):
        raise ValueError("its layers are of Caffe's first form (V0): let Caffe's upgrade_net_proto_binary renew it")
    if len(found) > MAX_LAYERS:
        raise ValueError(f"it has more than {MAX_LAYERS:,} layers, which no network has")
    return found


def type_of(message: Message) -> str:
    """A layer's type as the newer form spells it: 'InnerProduct' for INNER_PRODUCT."""
    kind = _last(message, "type", "")
    if not isinstance(kind, str) or not kind.isprintable():
        raise ValueError("a layer's type is no name")
    if not isinstance(kind, Word):
        return kind
    name = "".join(word.capitalize() for word in kind.split("_"))
    return _SPELLED.get(name, name)


def name_of(message: Message) -> str:
    """A layer's name. Raises ValueError."""
    name = _last(message, "name", "")
    if type(name) is not str or not name.isprintable() or len(name) > MAX_TEXT:
        raise ValueError(f"a layer is called {str(name)[:40]!r}")
    return name


def input_shape(net: Message) -> tuple[int, ...]:
    """The dimensions that the network's first input declares, outermost first; empty if it declares none."""
    shapes = _submessages(net, "input_shape")
    for message in messages(net):
        if type_of(message) == "Input":
            shapes += _submessages(_sub(message, "input_param"), "shape")
    if shapes:
        return tuple(_whole(value) for value in shapes[0].get("dim", ()))
    return tuple(_whole(value) for value in net.get("input_dim", ())[:4])


def _in_test_phase(message: Message) -> bool:
    """A layer without an `include` runs in both phases."""
    included = [_choice(rule, "phase", PHASE, "TEST") for rule in _submessages(message, "include")]
    excluded = [_choice(rule, "phase", PHASE, "TEST") for rule in _submessages(message, "exclude")]
    return ("TEST" in included or not included) and "TEST" not in excluded


def trains(net: Message) -> bool:
    """Whether a norm of the network uses each batch's own statistics."""
    norms = (message for message in messages(net) if type_of(message) == "BatchNorm")
    return any(not _truth(_sub(norm, "batch_norm_param"), "use_global_stats", True) for norm in norms)


def _at_rest(message: Message) -> Message:
    """A layer that uses the statistics of its file."""
    params = _submessages(message, "batch_norm_param")
    kept = [{key: values for key, values in param.items() if key != "use_global_stats"} for param in params]
    return {**message, "batch_norm_param": kept} if params else message


def _layer(message: Message, kind: str) -> CaffeLayer:
    name = name_of(message)
    bottoms, tops = tuple(message.get("bottom", ())), tuple(message.get("top", ()))
    if not all(type(blob) is str for blob in bottoms + tops):
        raise ValueError(f"the layer {name!r} has a bottom or a top that is no name")
    try:
        settings = _SETTINGS[kind](message) if kind in _SETTINGS else {}
    except ValueError as problem:
        raise ValueError(f"in the layer {name!r} {problem}") from None
    return CaffeLayer(name, kind, bottoms, tops, settings)


def _convolution(message: Message) -> dict[str, Any]:
    param = _sub(message, "convolution_param")
    _only(param, "axis", 1)
    return {
        "channels": _whole(_last(param, "num_output", 0)),
        "kernel": _pair(param, "kernel_size", "kernel", 0),
        "stride": _pair(param, "stride", "stride", 1),
        "pad": _pair(param, "pad", "pad", 0),
        "dilation": _pair(param, "dilation", "dilation", 1),
        "groups": _whole(_last(param, "group", 1)),
        "bias": _truth(param, "bias_term", True),
    }


def _inner_product(message: Message) -> dict[str, Any]:
    param = _sub(message, "inner_product_param")
    _only(param, "axis", 1)
    _only(param, "transpose", False)
    return {"channels": _whole(_last(param, "num_output", 0)), "bias": _truth(param, "bias_term", True)}


def _batch_norm(message: Message) -> dict[str, Any]:
    param = _sub(message, "batch_norm_param")
    if not _truth(param, "use_global_stats", True):
        raise ValueError("use_global_stats is false, so that results depend on the batch: set it to true")
    return {"eps": _number(param, "eps", 1e-5)}


def _scale(message: Message) -> dict[str, Any]:
    param = _sub(message, "scale_param")
    _only(param, "axis", 1)
    _only(param, "num_axes", 1)
    return {"bias": _truth(param, "bias_term", False)}


def _pooling(message: Message) -> dict[str, Any]:
    param = _sub(message, "pooling_param")
    return {
        "method": _choice(param, "pool", ("MAX", "AVE", "STOCHASTIC")),
        "kernel": _pair(param, "kernel_size", "kernel", 0),
        "stride": _pair(param, "stride", "stride", 1),
        "pad": _pair(param, "pad", "pad", 0),
        "global": _truth(param, "global_pooling", False),
        # the second is how forks of Caffe spell the first
        "ceil": _choice(param, "round_mode", ("CEIL", "FLOOR")) == "CEIL" and _truth(param, "ceil_mode", True),
    }


def _eltwise(message: Message) -> dict[str, Any]:
    param = _sub(message, "eltwise_param")
    numbers = tuple(_number({"coeff": [value]}, "coeff", 1.0) for value in param.get("coeff", ()))
    return {"operation": _choice(param, "operation", ("PROD", "SUM", "MAX"), "SUM"), "coefficients": numbers}


def _relu(message: Message) -> dict[str, Any]:
    return {"slope": _number(_sub(message, "relu_param"), "negative_slope", 0.0)}


def _crop(message: Message) -> dict[str, Any]:
    param = _sub(message, "crop_param")
    return {"axis": _whole(_last(param, "axis", 2)), "offset": tuple(map(_whole, param.get("offset", ())))}


_SETTINGS: dict[str, Callable[[Message], dict[str, Any]]] = {
    "Convolution": _convolution,
    "InnerProduct": _inner_product,
    "BatchNorm": _batch_norm,
    "Scale": _scale,
    "Pooling": _pooling,
    "Eltwise": _eltwise,
    "ReLU": _relu,
    "Crop": _crop,
}


def _submessages(message: Message, name: str) -> list[Message]:
    found = message.get(name, [])
    if not all(isinstance(value, dict) for value in found):
        raise ValueError(f"its {name} should be messages")
    return list(found)


def _sub(message: Message, name: str) -> Message:
    """The message in a field that stands at most once; if it does stand several times, all of them together."""
    together: Message = {}
    for part in _submessages(message, name):
        for key, values in part.items():
            together.setdefault(key, []).extend(values)
    return together


def _last(message: Message, name: str, default: Any) -> Any:
    values = message.get(name)
    return values[-1] if values else default


def _whole(value: Any) -> int:
    if type(value) is not int or not 0 <= value <= MAX_NUMBER:
        raise ValueError(f"{str(value)[:40]!r} should be a whole number")
    return value


def _pair(param: Message, name: str, stem: str, default: int) -> Pair:
    """(height, width) of what Caffe writes as `pad: 1`, as `pad: 1 pad: 2`, or as `pad_h: 1 pad_w: 2`."""
    if f"{stem}_h" in param or f"{stem}_w" in param:
        return _whole(_last(param, f"{stem}_h", 0)), _whole(_last(param, f"{stem}_w", 0))
    numbers = [_whole(value) for value in param.get(name, ())] or [default]
    if len(numbers) > 2:
        raise ValueError(f"{name} has more than two values")
    return numbers[0], numbers[-1]


def _number(param: Message, name: str, default: float) -> float:
    """A number as Caffe keeps it, in single precision, by its shortest spelling: 1e-05, whatever the form."""
    value = _last(param, name, default)
    if isinstance(value, int | float) and abs(value) < 1e30:
        return float(str(np.float32(value)))
    raise ValueError(f"{name} should be a number")


def _truth(param: Message, name: str, default: bool) -> bool:
    value = _last(param, name, default)
    if str(value) in ("True", "true", "t", "1"):
        return True
    if str(value) in ("False", "false", "f", "0"):
        return False
    raise ValueError(f"{name} should be true or false")


def _choice(param: Message, name: str, choices: tuple[str, ...], default: str = "") -> str:
    """A name of an enumeration, which may also be written as its number."""
    value = _last(param, name, default or choices[0])
    if type(value) is int and 0 <= value < len(choices):
        value = Word(choices[value])
    if value not in choices:
        raise ValueError(f"{name} should be one of {', '.join(choices)}")
    return str(value)


def _only(param: Message, name: str, value: Any) -> None:
    if _last(param, name, value) not in (value, Word(str(value).lower())):
        raise ValueError(f"{name} is {str(_last(param, name, value))[:40]!r}, and only {value} is known here")
