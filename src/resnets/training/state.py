"""The state of a training, which is what a checkpoint holds: weights, momentum, average, and how far it has come.

Everything else (order, augmentation, rate, image size) is a function of the step, and no random number is drawn that
would have to be saved: see `data/batches.py`. That is what makes a resume exact.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from resnets.architecture import Plan
from resnets.errors import ModelFileError, TrainingError
from resnets.network import ResNet
from resnets.text import printable
from resnets.training import checkpoint
from resnets.training.best import Best
from resnets.training.memory import Memory
from resnets.training.optim import Average, optimiser
from resnets.training.recipe import Recipe
from resnets.weights.run import CHECKPOINT


def memory_format(plan: Plan) -> torch.memory_format:
    """channels_last, which is 1.2 to 1.4 times as fast on a processor, except where it is not safe.

    Measured with torch 2.13.0 on AVX-512, float32: the backward pass of a strided 1x1 convolution from fewer than 16
    channels writes outside its memory when the batch is odd. No network of the catalog has one.
    """
    narrow = any(r.kind == "conv" and r.kernel == 1 and r.stride > 1 and r.in_channels < 16 for r in plan.rows)
    return torch.contiguous_format if narrow else torch.channels_last


FALLBACKS = 4  # at most, of one run, after which it goes on


@dataclass(frozen=True)
class Good:
    """A state of between two epochs to go back to: its step, what was watched by then, and weights and average.

    The momentum is left out: it points to where the training went wrong.
    """

    step: int
    watch: Mapping[str, Any]
    tensors: Mapping[str, Tensor]


class State:
    """What a step of training changes.

    network     trained in place, on `device`
    optimiser   with its momentum
    average     of the weights, which is what is judged and saved; None where the recipe has none
    step        the steps made, which is the number of the next one
    seconds     of training so far, earlier parts of a resumed run included, as of the last checkpoint
    log         bytes of the run's log that belong to these steps
    identity    of the run that it belongs to, see `identity`; None: of a version that did not write it down
    rate_share  of the recipe's learning rate; it falls where the training went wrong, see `divergence`
    fallbacks   what was said of each time that it did
    frozen      what the names of weights begin with that never change
    watch       what the watch over the losses knows, see `divergence.Watch`
    good        the last good state; None: none yet
    best        the best look at the held-out images; None: none yet, or the recipe does not ask
    layout      the memory layout that training uses
    memory      what a step does to take less of it
    """

    def __init__(
        self,
        network: ResNet,
        recipe: Recipe,
        device: str = "cpu",
        precision: str = "float32",
        memory: Memory | None = None,
    ) -> None:
        self.layout = memory_format(network.plan)
        self.device = device
        self.network = network.to(device, memory_format=self.layout)  # type: ignore[call-overload]
        self.frozen = {f"{part}." for part in ["stem", *network.stage_names[: recipe.freeze]] if recipe.freeze}
        self.norms_frozen = recipe.norms == "frozen"
        self.optimiser = optimiser(network, recipe, precision)
        self.average = Average(network, recipe.ema) if recipe.ema else None
        self.step, self.seconds, self.log, self.rate_share = 0, 0.0, 0, 1.0
        self.identity: dict[str, Any] | None = None
        self.fallbacks: list[dict[str, Any]] = []
        self.watch: Mapping[str, Any] = {}
        self.good: Good | None = None
        self.best: Best | None = None
        self._judge: ResNet | None = None
        self.memory = memory or Memory.of(recipe)

    @property
    def gave_up(self) -> bool:
        """Whether the training ended where it went back to the last time: no fallback was left, or none helps."""
        return len(self.fallbacks) > FALLBACKS or any(one["back_to"] == one["step"] for one in self.fallbacks[-1:])

    def train(self, head_alone: bool) -> None:
        """Let the head train alone, or everything that the recipe does not freeze.

        Norms of what does not train keep their statistics, too; with frozen norms all of them do.
        """
        resting = self.frozen if not head_alone else {"stem.", *(f"{name}." for name in self.network.stage_names)}
        for name, module in self.network.named_modules():
            normed = self.norms_frozen and isinstance(module, nn.BatchNorm2d)
            module.training = not normed and not f"{name}.".startswith(tuple(resting))
        for name, parameter in self.network.named_parameters():
            parameter.requires_grad_(not name.startswith(tuple(resting)))

    def trained(self) -> ResNet:
        """The network as it stands, to be judged or saved: the average where there is one, in evaluation mode.

        It is a copy, made anew at each call in the same place; the training goes on undisturbed.
        """
        if self._judge is None:
            self._judge = copy.deepcopy(self.network)
        self._judge.load_state_dict(self.network.state_dict() if self.average is None else self.average.state)
        return self._judge.eval()

    def snapshot(self, watch: Mapping[str, Any]) -> Good:
        """A copy of this state, to go back to."""
        tensors = {
            name: tensor.detach().to("cpu", copy=True, memory_format=torch.contiguous_format)
            for name, tensor in self._tensors().items()
            if not name.startswith("momentum.")
        }
        return Good(self.step, watch, tensors)

    def go_back(self, good: Good, share: float) -> None:
        """Stand where that state stood, and go on at a share of the rate."""
        self._put_back(_parts(good.tensors))
        self.step, self.watch, self.good = good.step, good.watch, good
        self.rate_share *= share

    def save(self, folder: Path) -> None:
        """Write the checkpoint of a run: whole, or the one before it stays.

        Raises WriteError (an OSError) when the system does not take it.
        """
        checkpoint.write(folder / CHECKPOINT, *self.contents())

    def contents(self) -> tuple[dict[str, Any], dict[str, Tensor]]:
        """What a checkpoint holds: what is fit for JSON, and tensors."""
        # Row-major copies: the file does not depend on the memory layout that training happens to use.
        plain = {name: tensor.detach().cpu().contiguous() for name, tensor in self._tensors().items()}
        state: dict[str, Any] = {"step": self.step, "seconds": self.seconds, "log": self.log}
        state |= {"identity": self.identity, "rate_share": self.rate_share}
        state |= {"fallbacks": self.fallbacks, "watch": self.watch, "memory": self.memory.document()}
        if self.best is not None:
            state["best"] = self.best.document()
            plain |= {f"best.{name}": tensor for name, tensor in self.best.weights.items()}
        if self.good is not None:
            state["good"] = {"step": self.good.step, "watch": self.good.watch}
            plain |= {f"good.{name}": tensor for name, tensor in self.good.tensors.items()}
        return state, plain

    def load(self, folder: Path) -> None:
        """Put the checkpoint of a run back, in place.

        Raises TrainingError for one that cannot be read, or that is of another network or recipe.
        """
        path = folder / CHECKPOINT
        state, tensors = checkpoint.read(path)
        try:
            step, log = checkpoint.number(state, "step"), checkpoint.number(state, "log")
            seconds = float(checkpoint.number(state, "seconds", float))
            share = float(checkpoint.number({"rate_share": 1.0, **state}, "rate_share", float))
            if not 0 < share <= 1:
                raise ValueError("its rate_share makes no sense")
            fallbacks = [_fallback(one) for one in state.get("fallbacks", [])]
            kept, aside = _taken(tensors, "good."), _taken(tensors, "best.")
            looks = state.get("best")
            best = Best.of(looks, aside, self.network.state_dict()) if looks is not None else None
            known = state.get("good") or {}
            good = Good(checkpoint.number(known, "step"), _watched(known["watch"]), kept) if kept else None
            watch, parts = _watched(state.get("watch", {})), _parts(tensors)
            memory = Memory.read(state["memory"]) if "memory" in state else self.memory
            own = state.get("identity")  # None: of an older version
            if not isinstance(own, dict | None):
                raise ValueError("its identity makes no sense")
            if good is not None and good.step > step:
                raise ValueError("its numbers make no sense")
        except (KeyError, TypeError, ValueError, AttributeError, OverflowError, ModelFileError) as problem:
            why = printable(str(problem))[:200]
            raise TrainingError(
                f"{printable(str(path))} cannot be read ({why}): start the run anew in another folder."
            ) from problem
        try:
            if good is not None:  # it is of this network and recipe, too
                self._put_back(_parts(good.tensors))
            self._put_back(parts)
            self._check_momentum(step)
        except (RuntimeError, KeyError, IndexError, ValueError) as problem:
            raise TrainingError(
                f"{printable(str(path))} is of another network or recipe than the run: start the run anew."
            ) from problem
        self.step, self.seconds, self.log, self.rate_share = step, seconds, log, share
        self.fallbacks, self.watch, self.good = fallbacks, watch, good
        self.identity, self.best, self.memory = own, best, memory

    def _tensors(self) -> dict[str, Tensor]:
        """Everything that a checkpoint holds, under its names there."""
        tensors = {f"network.{name}": tensor for name, tensor in self.network.state_dict().items()}
        if self.average is not None:
            tensors |= {f"average.{name}": tensor for name, tensor in self.average.state.items()}
        for index, values in self.optimiser.state_dict()["state"].items():
            if values.get("momentum_buffer") is not None:
                tensors[f"momentum.{index}"] = values["momentum_buffer"]
        return tensors

    def _put_back(self, parts: dict[str, dict[str, Tensor]]) -> None:
        live = self.network.state_dict()
        for name, tensor in parts["network"].items():
            checkpoint.check(name, tensor, live[name])
        self.network.load_state_dict(parts["network"])
        average = self.average.state if self.average is not None else {}
        if average.keys() != parts["average"].keys():
            raise ValueError("it has an average, or none")
        for name, tensor in average.items():
            tensor.copy_(checkpoint.check(name, parts["average"][name], tensor))
        self.optimiser.state.clear()
        parameters = dict(enumerate(p for group in self.optimiser.param_groups for p in group["params"]))
        for index, buffer in parts["momentum"].items():
            parameter = parameters[int(index)]
            checkpoint.check(index, buffer, parameter)
            self.optimiser.state[parameter]["momentum_buffer"] = torch.empty_like(parameter).copy_(buffer)

    def _check_momentum(self, step: int) -> None:
        """The momentum is that of no parameter yet, of the head alone, or of all."""
        have = {id(parameter) for parameter, values in self.optimiser.state.items() if values}
        named = self.network.named_parameters()
        everything = {id(parameter) for name, parameter in named if not name.startswith(tuple(self.frozen))}
        head = {id(parameter) for parameter in self.network.head.parameters()}
        moving = step > 0 and any(group["momentum"] for group in self.optimiser.param_groups)
        if have not in ([set(), head, everything] if moving else [set()]):
            raise ValueError("it lacks the momentum of some weights")


def _taken(tensors: dict[str, Tensor], prefix: str) -> dict[str, Tensor]:
    """Those whose names begin like this, under the rest of their names, and no longer among the others."""
    return {key.removeprefix(prefix): tensors.pop(key) for key in [one for one in tensors if one.startswith(prefix)]}


def _parts(tensors: Mapping[str, Tensor]) -> dict[str, dict[str, Tensor]]:
    """Tensors by what they are a part of. Raises KeyError for a part that there is not."""
    parts: dict[str, dict[str, Tensor]] = {"network": {}, "average": {}, "momentum": {}}
    for key, tensor in tensors.items():
        part, _, name = key.partition(".")
        parts[part][name] = tensor
    return parts


def _fallback(kept: Mapping[str, Any]) -> dict[str, Any]:
    """What a checkpoint says of a fallback. Raises ValueError, TypeError or KeyError for what it cannot be."""
    share = float(checkpoint.number(kept, "rate_share", float))
    if not 0 < share <= 1 or checkpoint.number(kept, "back_to") > checkpoint.number(kept, "step"):
        raise ValueError("its fallbacks make no sense")
    return dict(kept)


def _watched(kept: Any) -> dict[str, Any]:
    """What a checkpoint says of the losses. Raises ValueError, TypeError or KeyError for what they cannot be."""
    if not kept:  # of an older version
        return {}
    recent = [float(loss) for loss in kept["recent"]]
    levels = {name: None if kept[name] is None else float(kept[name]) for name in ("first", "best", "known")}
    if not all(map(math.isfinite, [*recent, *(level for level in levels.values() if level is not None)])):
        raise ValueError("its losses are no numbers")
    return {**levels, "recent": recent}
