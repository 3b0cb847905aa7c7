"""The table of engines: what can run a network here, in which precisions, and how one is made.

Every engine starts from the same steps (`inference.lower`) or from the network itself, so that they differ in speed
and in rounding and in nothing else. Which of them is the fastest, `inference.choice` finds out.
"""

from __future__ import annotations

from collections.abc import Iterable
from importlib.util import find_spec
from typing import NamedTuple

from resnets.errors import ParameterError, ResnetsError, nearest
from resnets.inference.engine import Engine
from resnets.inference.lower import lower
from resnets.inference.quantize import Quantisation
from resnets.inference.runtime_engines import OnnxRuntimeEngine, OpenVinoEngine
from resnets.inference.torch_engines import CapturedEngine, CompiledEngine, TorchEngine, compiler
from resnets.network import ResNet

PRECISIONS = ("float32", "bfloat16", "int8")


class _Kind(NamedTuple):
    precisions: tuple[str, ...]
    modules: tuple[str, ...] = ()  # packages that the base install does not have


KINDS = {
    "torch": _Kind(PRECISIONS),
    "compiled": _Kind(("float32", "bfloat16")),
    "onnxruntime": _Kind(("float32", "int8"), ("onnx", "onnxruntime")),
    "openvino": _Kind(PRECISIONS, ("onnx", "openvino")),
}


def installed() -> list[str]:
    """The engines that can be used here: their packages are there, and the compiler that "compiled" needs."""
    there = [name for name, kind in KINDS.items() if all(find_spec(module) for module in kind.modules)]
    return [name for name in there if name != "compiled" or compiler()]


def supported(name: str, precision: str) -> bool:
    """Whether an engine has a precision."""
    return name in KINDS and precision in KINDS[name].precisions


def usual(precision: str) -> str:
    """The engine where none was asked for: torch's own, and in int8 OpenVINO where it is installed.

    In int8 OpenVINO is 1.1 to 2.3 times as fast as torch's operators (docs/concepts/dependencies.md).
    """
    return "openvino" if precision == "int8" and "openvino" in installed() else "torch"


def check(name: str, precision: str) -> None:
    """Raises ParameterError for an engine or a precision that there is not, or that the other does not have."""
    if name not in KINDS:
        raise ParameterError(f"There is no engine {name!r}.{nearest(name, KINDS) or f' There are {_list(KINDS)}.'}")
    if precision not in PRECISIONS:
        hint = nearest(precision, PRECISIONS) or f" There are {_list(PRECISIONS)}."
        raise ParameterError(f"There is no precision {precision!r}.{hint}")
    if not supported(name, precision):
        able = [other for other, kind in KINDS.items() if precision in kind.precisions]
        raise ParameterError(f"The engine {name} does not compute in {precision}: {_list(able)} do.")


def make(
    name: str,
    network: ResNet,
    precision: str = "float32",
    *,
    image_size: int | None = None,
    batch: int = 8,
    quantisation: Quantisation | None = None,
    threads: int | None = None,
) -> Engine:
    """The engine `name` for a network as it stands; what becomes of the network afterwards does not matter to it.

    precision     "float32", "bfloat16" or "int8"; the last needs its `quantisation` (see `inference.quantize`)
    image_size    side of the images that will usually come. Default: the network's own
    batch         how many images usually come at once; any other number works too
    threads       for other runtimes: how many they work with. torch's own are the process's: see `inference.session`

    Raises ParameterError: there is no such engine, or it does not have the precision; ResnetsError: something that it
    needs is missing.
    """
    check(name, precision)
    if precision == "int8" and quantisation is None:
        raise ResnetsError("int8 needs a calibration: measure the ranges with resnets.inference.quantize first.")
    if name == "compiled":
        return CompiledEngine(network, precision, batch)
    if name == "torch" and precision != "int8" and next(network.parameters()).is_cuda:
        return CapturedEngine(network, precision)
    graph = lower(network, image_size)
    if name == "onnxruntime":
        return OnnxRuntimeEngine(graph, precision, quantisation, threads)
    if name == "openvino":
        return OpenVinoEngine(graph, precision, quantisation, batch, threads)
    return TorchEngine(graph, precision, batch, quantisation)


def _list(names: Iterable[str]) -> str:
    *first, last = names
    return f"{', '.join(first)} and {last}" if first else last
