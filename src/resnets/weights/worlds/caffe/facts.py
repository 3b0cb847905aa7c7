"""Two graphs of Caffe compared: what every layer is and what it reads, whatever its blobs are called.

Layers with weights go by their names; sums, pools and crops by their number, as their names mean nothing. What
lies between them (relu, dropout, the copies that Caffe puts in) is part of what a layer reads.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping

from resnets.weights.worlds.caffe.layer import CaffeLayer

Facts = dict[str, dict[str, str]]  # layer -> what about it -> how it is

WHOLE = "all of the picture"  # the window of a global pool

_COUNTED = {"Eltwise": "sum", "Pooling": "pool", "Crop": "crop"}


def facts(graph: Iterable[CaffeLayer]) -> Facts:
    """What is worth comparing of a graph. A layer of an unknown type counts by its name."""
    known: Facts = {}
    count: Counter[str] = Counter()
    values: dict[str, str] = {}  # by blob: what it holds now
    for layer in graph:
        reads = [values.get(name, "the picture") for name in layer.bottoms]
        match layer.type:
            case "Split" | "Dropout":
                value = reads[0]
            case "Softmax":
                value = "softmax"
            case "ReLU" if layer.settings["slope"] == 0:
                value = "relu of " + reads[0].removeprefix("relu of ")
            case "Crop" if reads[1:] == [f"pool {count['pool']}"] and _cuts_to_floor(known, *reads):
                value = reads[0]
                known[value]["ceil"] = "no"
                del known[reads[1]]
                count["pool"] -= 1
            case _:
                value = layer.name
                if kind := _COUNTED.get(layer.type):
                    count[kind] += 1
                    value = f"{kind} {count[kind]}"
                known[value] = {"type": layer.type, **_settings(layer), "reads": " and ".join(sorted(reads))}
                if layer.type == "InnerProduct" and known.get(reads[0], {}).get("method") == "AVE":
                    _widen(known[reads[0]])
        values |= dict.fromkeys(layer.tops, value)
    return known


def differences(file: Facts, network: Facts) -> Iterator[tuple[str, str, str]]:
    """(layer, what the file says, what the network says) wherever they do not say the same."""
    for name in [*network, *(name for name in file if name not in network)]:
        if name not in file:
            yield name, "no such layer", network[name]["type"]
        elif name not in network:
            yield name, file[name]["type"], "no such layer"
        else:
            for what in {**network[name], **file[name]}:
                there, here = file[name].get(what, "no"), network[name].get(what, "no")
                if there != here:
                    yield name, f"{what} {there}", f"{what} {here}"


def _settings(layer: CaffeLayer) -> Mapping[str, str]:
    settings = dict(layer.settings)
    if layer.type == "Scale":
        settings.pop("bias")  # without one it is zero
    if set(settings.get("coefficients", ())) <= {1.0}:
        settings.pop("coefficients", None)
    if settings.get("global"):
        settings = {"method": settings["method"], "kernel": WHOLE}
    return {what: _said(value) for what, value in settings.items()}


def _said(value: object) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    return "x".join(map(str, value)) if isinstance(value, tuple) else str(value)


def _widen(pool: dict[str, str]) -> None:
    """An average that a fully connected layer reads is one number a channel, so its window is all of the picture."""
    if pool.get("pad", "0x0") == "0x0":
        reads = pool["reads"]
        pool.clear()
        pool |= {"type": "Pooling", "method": "AVE", "kernel": WHOLE, "reads": reads}


def _cuts_to_floor(known: Facts, cut: str, like: str) -> bool:
    """Whether a crop takes off what a pool has too many because it rounds up, as `net` writes it.

    A pool with the kernel 2 pad + 1 has ceil(size / stride) windows when it rounds down, which is what a pool
    has whose kernel is its stride, when it rounds up.
    """
    pool, size = (known.get(name, {}) for name in (cut, like))
    window = (pool.get("kernel"), pool.get("pad"), pool.get("ceil"))
    step = (size.get("kernel"), size.get("pad"), size.get("ceil"))
    return (
        window == ("3x3", "1x1", "yes")
        and step == (pool.get("stride"), "0x0", "yes")
        and (size.get("stride"), size.get("reads")) == (pool.get("stride"), pool.get("reads"))
    )
