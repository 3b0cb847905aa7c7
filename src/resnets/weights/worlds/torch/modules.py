"""What the settings of a whole pickled module say of its graph: strides, padding, epsilon, the pool and activations.

How its layers are joined is in the code of its classes, which is never looked up, and stays an assumption.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from resnets.architecture import Plan
from resnets.text import printable
from resnets.weights.formats.stored import Foreign, unusable

KEPT = ("strides", "dilation", "pool", "activation", "epsilon")  # facts that settings show
# Classes without tensors that a residual network may have; in another one something else is computed.
KNOWN = {
    *(
        "ReLU",
        "MaxPool2d",
        "AdaptiveAvgPool2d",
        "AvgPool2d",
        "Identity",
        "Dropout",
        "Dropout2d",
        "Flatten",
        "Sequential",
    ),
    *("Softmax", "LogSoftmax", "CrossEntropyLoss", "SelectAdaptivePool2d", "FastAdaptiveAvgPool2d", "DropPath"),
    *("Conv2d", "Linear", "BatchNorm2d", "FrozenBatchNorm2d", "SyncBatchNorm"),
}
_FIRST = re.compile(r"layer\d+\.\d+\.conv1\.weight")


def fields_of(file: Foreign) -> dict[str, Any]:
    """Fields of the spec that the settings show and no tensor does; the usual ones are left out."""
    fields: dict[str, Any] = {}
    settings = {name: stored.module for name, stored in file.tensors.items() if stored.module}
    bottleneck = any(name.endswith("conv3.weight") for name in settings)
    if bottleneck and any(_FIRST.fullmatch(name) and one.get("stride") == [2, 2] for name, one in settings.items()):
        fields["stride_conv"] = "first"
    eps = {one["eps"] for one in settings.values() if isinstance(one.get("eps"), float)}
    if len(eps) == 1 and eps != {1e-5}:
        fields["norm_eps"] = eps.pop()
    if any(_pools(one) == (3, 2, 0, True) for one in _every(file)):
        fields["pool_padding"] = "ceil"
    return fields


def check(file: Foreign, plan: Plan, names: Mapping[str, str]) -> None:
    """Raise ModelFileError where the settings are not those of the plan."""
    every = _every(file)
    if not every:
        return
    for row in plan.rows:
        stored = file.tensors.get(names.get(f"{row.role}.weight", ""))
        if row.kind != "conv" or stored is None or not stored.module:
            continue
        wanted = {"stride": row.stride, "dilation": row.dilation, "padding": row.padding}
        for key, value in wanted.items():
            if stored.module.get(key) not in ([value, value], value) and isinstance(value, int):
                shown = printable(repr(stored.module.get(key)))[:40]
                raise unusable(
                    file.path,
                    f"its module at {names[f'{row.role}.weight'].removesuffix('.weight')} has the {key} {shown}, where "
                    f"{row.role} has {value}",
                )
    for one in every:
        if (kind := str(one.get("class")).rpartition(".")[2]) not in KNOWN:
            raise unusable(file.path, f"it has a module {printable(kind)[:50]!r}, which no residual network here has")
    pools = {found for one in every if (found := _pools(one))}
    wanted_pools = set() if plan.spec.stem == "cifar" else {(3, 2, 0, True) if _is_ceil(plan) else (3, 2, 1, False)}
    if pools != wanted_pools and (pools or _without_pool(file)):  # a pool may be a function, which no module shows
        raise unusable(file.path, f"its pools are {sorted(pools)}, and those of this network {sorted(wanted_pools)}")
    eps = {one["eps"] for one in every if isinstance(one.get("eps"), float)}
    if eps - {plan.spec.norm_eps}:
        raise unusable(file.path, f"its norms have the epsilons {sorted(eps)}, and one network has one")


def _without_pool(file: Foreign) -> bool:
    """Whether an identity stands in the place of a pool."""
    places = ((name, str(one.get("class"))) for name, one in file.documents["modules"].items())
    return any("maxpool" in name and kind.endswith(".Identity") for name, kind in places)


def _is_ceil(plan: Plan) -> bool:
    return plan.spec.pool_padding == "ceil"


def _every(file: Foreign) -> list[Mapping[str, Any]]:
    return list(file.documents.get("modules", {}).values())


def _pools(settings: Mapping[str, Any]) -> tuple[int, int, int, bool] | None:
    """(kernel, stride, padding, whether it rounds up) of a max pool."""
    if str(settings.get("class")).rpartition(".")[2] != "MaxPool2d":
        return None
    sizes = (settings.get(key) for key in ("kernel_size", "stride", "padding"))
    kernel, stride, padding = (size[0] if isinstance(size, list) and size else size for size in sizes)
    if not all(isinstance(size, int) for size in (kernel, stride, padding)):
        return (0, 0, 0, False)
    return kernel, stride, padding, bool(settings.get("ceil_mode"))  # type: ignore[return-value]
