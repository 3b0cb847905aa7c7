"""What the settings of a whole pickled module say of its graph: strides, padding, epsilon, the pool and activations.

How its layers are joined is in the code of its classes, which is never looked up, and stays an assumption.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

from resnets.architecture import Plan
from resnets.text import printable
from resnets.weights.formats.stored import Foreign, unusable

TORCH = "torch.nn.modules."
# Classes of torch without tensors that change what is computed, where a residual network here has them not.
OTHERS = re.compile(r"torch\.nn\.modules\.(activation|pooling|padding|upsampling|normalization|instancenorm)\.(\w+)")
USUAL = {"ReLU", "MaxPool2d", "AdaptiveAvgPool2d", "AvgPool2d", "Softmax", "LogSoftmax"}
_FIRST = re.compile(r"layer\d+\.\d+\.conv1\.weight")

# What a pool of torch is called with: kernel, stride, padding, whether it rounds up.
POOLS = {"torch": (3, 2, 1, False), "ceil": (3, 2, 0, True), "valid": (3, 2, 0, False)}

Settings = Mapping[str, Any]


def fields_of(file: Foreign) -> dict[str, Any]:
    """Fields of the spec that the settings show and no tensor does; the usual ones are left out."""
    fields: dict[str, Any] = {}
    settings = {name: stored.module for name, stored in file.tensors.items() if stored.module}
    bottleneck = any(name.endswith("conv3.weight") for name in settings)
    if bottleneck and any(_FIRST.fullmatch(name) and one.get("stride") == [2, 2] for name, one in settings.items()):
        fields["stride_conv"] = "first"
    if len(eps := _epsilons(file)) == 1 and eps != {1e-5}:
        fields["norm_eps"] = eps.pop()
    pools = [_pool(one) for one in _bare(file, "MaxPool2d")]
    if rule := next((rule for rule, pool in POOLS.items() if rule != "torch" and pools == [pool]), ""):
        fields["pool_padding"] = rule
    return fields


def shown(file: Foreign) -> tuple[str, ...]:
    """The facts that the settings show."""
    if not any(stored.module for stored in file.tensors.values()):
        return ()
    pool = ("pool",) if list(_bare(file, "MaxPool2d")) else ()
    relu = ("activation",) if list(_bare(file, "ReLU")) and not _own_classes(file) else ()
    return ("strides", "dilation", *pool, *relu, "epsilon")


def check(file: Foreign, plan: Plan, names: Mapping[str, str]) -> None:
    """Raise ModelFileError where the settings are not those of the plan."""
    if not any(stored.module for stored in file.tensors.values()):
        return
    for row in plan.rows:
        theirs = names.get(f"{row.role}.weight", "")
        stored = file.tensors.get(theirs)
        if row.kind == "conv" and stored is not None and stored.module:
            _check_conv(
                file, theirs.removesuffix(".weight"), stored.module, row.role, row.stride, row.dilation, row.padding
            )
    for kind in _others(file):
        if kind != "Sigmoid" or plan.num_classes != 1:
            raise unusable(file.path, f"it has a module {printable(kind)[:50]!r}, which no residual network here has")
    _check_pools(file, plan)
    if len(eps := _epsilons(file)) > 1 or eps - {plan.spec.norm_eps}:
        raise unusable(file.path, f"its norms have the epsilons {sorted(eps)}, and one network has one")


def _check_conv(file: Foreign, name: str, has: Settings, role: str, stride: int, dilation: int, padding: Any) -> None:
    if not str(has.get("class")).startswith(TORCH):
        raise unusable(file.path, f"its {name} is of a class {printable(str(has.get('class')))[:80]}, which is unknown")
    wanted = {"stride": stride, "dilation": dilation, "padding": padding, "padding_mode": "zeros"}
    for key, value in wanted.items():
        same = (value, [value, value], *(("same",) if key == "padding" and stride == 1 else ()))
        if isinstance(value, int | str) and has.get(key, value) not in same and value not in ("same", "ceil"):
            raise unusable(
                file.path,
                f"its module at {name} has the {key} {printable(repr(has.get(key)))[:40]}, where {role} has {value}",
            )


def _check_pools(file: Foreign, plan: Plan) -> None:
    pools = [_pool(one) for one in _bare(file, "MaxPool2d")]
    wanted = [] if plan.spec.stem == "cifar" else [POOLS.get(plan.spec.pool_padding, POOLS["torch"])]
    instead = [
        str(one.get("class")).rpartition(".")[2]
        for name, one in _modules(file)
        if "maxpool" in name.lower() and not str(one.get("class")).endswith(".MaxPool2d")
    ]
    if (pools and pools != wanted) or (wanted and instead):  # a pool may be a function, which no module shows
        raise unusable(file.path, f"its pools are {[*pools, *instead]}, and those of this network {wanted}")
    for one in _bare(file, "AvgPool2d"):
        if one.get("kernel_size") in (3, [3, 3]):
            raise unusable(file.path, "it averages over 3 x 3 pixels, which no residual network here does")


def _modules(file: Foreign) -> Iterator[tuple[str, Settings]]:
    yield from file.documents.get("modules", {}).items()


def _bare(file: Foreign, kind: str) -> Iterator[Settings]:
    return (
        one for _, one in _modules(file) if re.fullmatch(rf"torch\.nn\.modules\.\w+\.{kind}", str(one.get("class")))
    )


def _others(file: Foreign) -> list[str]:
    found = (OTHERS.fullmatch(str(one.get("class"))) for _, one in _modules(file))
    return [match[2] for match in found if match and match[2] not in USUAL]


def _own_classes(file: Foreign) -> bool:
    """Whether there is a module without modules in it whose class is not torch's."""
    return any(not str(one.get("class")).startswith(TORCH) for _, one in _modules(file))


def _epsilons(file: Foreign) -> set[float]:
    owners = (stored.module for stored in file.tensors.values() if stored.module)
    return {one["eps"] for one in owners if isinstance(one.get("eps"), float)}


def _pool(settings: Settings) -> tuple[Any, ...]:
    """(kernel, stride, padding, whether it rounds up) of a max pool; one that is dilated or no square has its lists."""
    sizes = []
    for key in ("kernel_size", "stride", "padding", "dilation"):
        size = settings.get(key)
        sizes.append(size[0] if isinstance(size, list) and size == size[:1] * 2 else size)
    *own, dilation = sizes
    return (*own, bool(settings.get("ceil_mode")), *(() if dilation in (1, None) else (f"dilation {dilation}",)))
