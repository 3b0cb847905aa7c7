"""The tensors of a graph's steps under our state names, with what exporters fold put back where it belongs."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence

import torch

from resnets.weights.formats.stored import Stored
from resnets.weights.worlds.onnx.flow import Constant, Step
from resnets.weights.worlds.topology import PICTURE
from resnets.weights.worlds.torch.layers import EPS, NORM, identity

HEAD = "head.linear"
FIRST = "stage1.unit1.norm1"  # the norm that a network with pre-activation begins with


class Network:
    """Steps with the roles that `topology` finds for them. Raises ValueError for norms where no network has one.

    roles           by role: the number of its step
    pre             whether norms stand before convolutions
    identities      the roles of norms that are missing, since they were folded into the convolutions before them
    eps             of its norms
    rounds          whether tensors had to be computed with, which `tensors` knows
    """

    def __init__(self, steps: Sequence[Step], roles: Mapping[str, int]) -> None:
        self.steps = steps
        after_sums = (s.reads[0] for s in steps if s.kind == "norm" and s.reads[0] != PICTURE)
        self.pre = any(steps[number].kind == "add" for number in after_sums)
        self.roles = dict(roles) if self.pre else self._behind(roles)
        self.convs = [role for role, n in self.roles.items() if steps[n].kind == "conv" and role != HEAD]
        self.identities = [norm for norm in map(self.norm_behind, self.convs) if norm and norm not in self.roles]
        if self.pre and FIRST not in self.roles:  # the stem's convolution has taken it in, where no pool is between
            self.identities.append(FIRST)
        self._check_first()
        eps = Counter(step.settings["eps"] for step in steps if "eps" in step.settings)
        self.eps: float = eps.most_common(1)[0][0] if eps else EPS
        self.rounds = bool(self.identities) or any("eps" not in step.settings for step in steps if step.kind == "norm")

    def _behind(self, roles: Mapping[str, int]) -> dict[str, int]:
        """The roles, of which norms have that of the convolution that they read."""
        found = {role: n for role, n in roles.items() if self.steps[n].kind != "norm"}
        named = {n: role for role, n in found.items()}
        for n, step in enumerate(self.steps):
            if step.kind == "norm":
                role = named.get(step.reads[0], HEAD)
                norm = role.replace("conv", "norm")
                if norm == role or norm in found:
                    raise ValueError(f"{step.said} stands where no residual network has a norm")
                found[norm] = n
        return found

    def _check_first(self) -> None:
        """Norms that no convolution can have taken in must be there."""
        firsts = [role.replace("conv", "norm") for role in self.convs if role.endswith("conv1") and "unit" in role]
        for norm in [*firsts[1:], "head.norm"] if self.pre else []:
            if norm not in self.roles and (norm != "head.norm" or HEAD in self.roles):
                raise ValueError(f"nothing in it is the {norm} of a network whose norms stand before convolutions")

    def norm_behind(self, conv: str) -> str:
        """The role of the norm that stands behind a convolution, "" where none does."""
        if not self.pre:
            return conv.replace("conv", "norm")
        before, _, number = conv.rpartition("conv")
        if before == "stem.":
            return f"stem.norm{number}" if number in ("1", "2") else ""
        behind = f"{before}conv{int(number) + 1}" if number else ""
        return behind.replace("conv", "norm") if behind in self.roles else ""

    def reports(self) -> dict[str, int]:
        """By the roles of a certificate: the number of the step that gives the activation."""
        relus = {step.reads[0]: n for n, step in enumerate(self.steps) if step.kind == "relu"}
        norm = self.roles.get(FIRST) if self.pre else None
        first = self.steps[self.roles["stage1.unit1.conv1"] if norm is None else norm].reads[0]
        if self.pre and norm is None:  # a ReLU
            first = self.steps[first].reads[0]
        found = {"stem": first}
        for role, n in self.roles.items():
            if role.endswith(".add"):
                found[role.removesuffix(".add")] = n if self.pre else relus.get(n, n)
        if HEAD in self.roles:
            found["logits"] = self.roles[HEAD]
        return {role: n for role, n in found.items() if n != PICTURE}

    def tensors(self) -> dict[str, Stored]:
        """Everything that the network has, by our state names.

        A convolution's bias goes into the norm behind it, real or identity, unless all convolutions have both, as Keras
        builds them, or those of the stem; where no norm is behind, it stays, and if one of a unit has one, all have.
        """
        step = {role: self.steps[n] for role, n in self.roles.items()}
        given = {role: step[role].tensors["bias"] for role in self.convs if "bias" in step[role].tensors}
        biases = {role: bias for role, bias in given.items() if bias().any()}  # some exporters write zeros
        stem = [role for role in self.convs if role.startswith("stem")]
        keeps = list(biases) in (self.convs, stem) and not self.identities
        bare = [role for role in self.convs if not self.norm_behind(role)]
        some = any(role in biases for role in bare if role.startswith("stage"))
        found: dict[str, Stored] = {}
        for role in self.convs:
            weight, norm = step[role].tensors["weight"], self.norm_behind(role)
            channels = weight.shape[0]
            bias = biases.get(role, _full(channels, 0.0))
            found |= _named(role, {"weight": weight})
            if (keeps and role in biases) or (role in bare and (some or role in biases)):
                found |= _named(role, {"bias": bias})
            if norm in self.identities:
                found |= {**identity(norm, channels, self.eps), **_named(norm, {"bias": bias})}
            elif norm:
                taken = bias if role in biases and not keeps else None
                self.rounds |= taken is not None
                found |= self._norm(norm, channels, taken)
        if self.pre and FIRST in self.identities:
            found |= identity(FIRST, step["stage1.unit1.conv1"].tensors["weight"].shape[1], self.eps)
        for role in step:
            if step[role].kind == "norm" and f"{role}.weight" not in found:  # no convolution is before it
                found |= self._norm(role, step[role].tensors["weight"].shape[0], None)
        if HEAD in step:
            weight = step[HEAD].tensors["weight"]
            bias = step[HEAD].tensors.get("bias") or _full(weight.shape[0], 0.0)
            found |= _named(HEAD, {"weight": weight, "bias": _spread(bias, weight.shape[0])})
        return found

    def _norm(self, role: str, channels: int, taken: Constant | None) -> dict[str, Stored]:
        """The tensors of a norm, which takes in the bias of the convolution before it."""
        own = self.steps[self.roles[role]].tensors
        if "running_var" in own:
            mean = own["running_mean"]
            return _named(role, {**own, **({"running_mean": Constant(lambda: mean() - taken())} if taken else {})})
        weight, bias = own["weight"], own["bias"]
        moved = Constant(lambda: bias() + weight() * taken()) if taken else bias
        scales = {"weight": _spread(weight, channels), "bias": _spread(moved, channels)}
        return {**identity(role, channels, self.eps), **_named(role, scales)}


def _full(channels: int, value: float) -> Constant:
    return Constant(lambda: torch.full((channels,), value))


def _spread(numbers: Constant, channels: int) -> Constant:
    """A vector, where one number may stand for all channels."""
    return Constant(lambda: numbers().expand(channels)) if numbers.shape == (1,) else numbers


def _named(role: str, tensors: Mapping[str, Constant]) -> dict[str, Stored]:
    return {f"{role}.{leaf}": tensors[leaf].named() for leaf in NORM if leaf in tensors}
