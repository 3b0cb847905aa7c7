"""A network's state in float16. What a norm divides out again is brought into float16's range first, by powers of two.

The weights of a convolution that nothing but a norm reads may have any length, since nothing depends on it, and some
optimisers let them grow. They and a bias are divided by a power of two, which is exact, and so are the norm's
statistics; that the norm's eps weighs a little more then lies below the rounding.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

import torch
from torch import Tensor

from resnets.architecture import Plan
from resnets.architecture.rows import normed_alone

LARGE = 2.0**10  # up to here nothing is touched


def halved(plan: Plan, state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The state with its floats in float16. Raises ValueError for what is not float32, or too large all the same."""
    for name, tensor in state.items():
        if tensor.is_floating_point() and tensor.dtype != torch.float32:
            raise ValueError(f"{name} is {tensor.dtype}, and a network is saved from torch.float32")
    found = {}
    for name, tensor in _in_range(plan, state).items():
        found[name] = tensor.half() if tensor.is_floating_point() else tensor
        if found[name].isinf().any() and not tensor.isinf().any():
            raise ValueError(f"{name} has values too large for float16; save it in float32")
    return found


def _in_range(plan: Plan, state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    found, convolutions = dict(state), normed_alone(plan.rows)
    for row in plan.rows:
        if row.kind != "norm" or row.reads[0] not in convolutions:
            continue
        conv, norm = row.reads[0], row.role
        scaled = [name for name in (f"{conv}.weight", f"{conv}.bias", f"{norm}.running_mean") if name in state]
        variance = f"{norm}.running_var"
        length = max(float(state[name].abs().max()) for name in (*scaled, variance))
        if LARGE < length < math.inf:
            by = max(float(state[scaled[0]].abs().max()), float(state[variance].max()) ** 0.5)
            by = 2.0 ** -math.ceil(math.log2(by))
            found |= {name: state[name] * by for name in scaled}
            found[variance] = state[variance] * by**2
    return found
