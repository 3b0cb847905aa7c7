"""He 2015 and 2016: how large the gradient is, layer by layer, with and without shortcuts, at first and in training."""

from __future__ import annotations

import copy
import dataclasses
import math
import statistics
from collections.abc import Mapping

import torch
import torch.nn.functional as F
from torch import Tensor

from resnets.architecture import CATALOG
from resnets.data.cache import middle
from resnets.network import ResNet, create
from resnets.pages.plot import Line, Plot
from resnets.studies.design import CIFAR, DIGITS, Member
from resnets.studies.drawn import over_epochs
from resnets.studies.experiment import Holds, Study
from resnets.studies.found import Found
from resnets.studies.taught import examples
from resnets.training import EpochRecord, Observer, Training

IMAGES = 128  # that the gradient is taken of, always the same
APART = math.log10(2)  # of the ratios of two networks, below which nothing is said of them
FIRST, LATER = "first gradient ", "gradient "  # figures of the log: at initialisation, and after an epoch; with a unit


class Gradients(Observer):
    """The root of the mean square of the loss's gradient with respect to what each unit gives.

    Of a copy, in training mode, so that norms take the batch's own statistics; the training goes on undisturbed. The
    network of the start is made again from its seed, so that a run that was killed has the same figures.
    """

    def epoch_ended(self, training: Training, epoch: EpochRecord) -> None:
        """Measure."""
        network = training.state.network
        epoch.figures.update({f"{LATER}{unit}": size for unit, size in _sizes(network, training).items()})
        if epoch.epoch == 1:
            seed = training.batches.seed  # type: ignore[attr-defined]
            start = create(network.plan.spec, network.plan.num_classes, seed=seed)
            epoch.figures.update({f"{FIRST}{unit}": size for unit, size in _sizes(start, training).items()})


def _sizes(network: ResNet, training: Training) -> dict[str, float]:
    images, labels = examples(training, IMAGES)
    network = copy.deepcopy(network).to(training.state.device).train()
    seen = torch.from_numpy(middle(images, training.image_size).copy())
    x = training.preprocessing.normalise(seen.to(training.state.device))
    given: dict[str, Tensor] = {}

    def keep(name: str) -> None:
        def hook(module: torch.nn.Module, inputs: object, output: Tensor) -> None:
            output.retain_grad()
            given[name] = output

        network.get_submodule(name).register_forward_hook(hook)

    for stage in network.plan.stages:
        for unit in stage:
            keep(unit.role)
    with torch.enable_grad():
        loss = F.cross_entropy(network(x), torch.from_numpy(labels).to(training.state.device))
        loss.backward()  # type: ignore[no-untyped-call]
    found = {name: float(one.grad.pow(2).mean().sqrt()) for name, one in given.items() if one.grad is not None}
    return {name: size for name, size in found.items() if math.isfinite(size)}


def _members(quick: bool) -> list[Member]:
    depths = (20, 56)
    kinds = ("plain", "resnet")
    return [Member(name=f"{kind}{d}", spec=CATALOG[f"{kind}{d}"], series=kind, at=d) for kind in kinds for d in depths]


def _profile(found: Found, member: str, key: str) -> list[tuple[float, float]]:
    """(place in the network, 0 to 1, log10 of the gradient), at initialisation (FIRST) or at the end (LATER)."""
    runs = found.of(member)
    roles = [unit.role for stage in found.plans[member].stages for unit in stage]
    place = 0 if key == FIRST else -1
    points = []
    for number, role in enumerate(roles, 1):
        sizes = [run.course[place].get(f"{key}{role}") for run in runs]
        known = [float(size) for size in sizes if isinstance(size, int | float) and size > 0]
        if known:
            points.append((number / len(roles), math.log10(statistics.geometric_mean(known))))
    return points


def ratio(found: Found, member: str, key: str) -> float:
    """How many times as large the gradient is behind the first unit as before the last one."""
    points = _profile(found, member, key)
    return 10.0 ** (points[0][1] - points[-2][1]) if len(points) > 1 else math.nan


def _listed(ratios: Mapping[str, float]) -> str:
    shown = {name: f"{value:,.0f}" if value >= 10 else f"{value:.2g}" for name, value in ratios.items()}
    return ", ".join(f"{value} ({name})" for name, value in shown.items())


def _says(found: Found) -> tuple[str, Holds]:
    names = [member.name for member in found.members]
    first, last = ({name: ratio(found, name, key) for name in names} for key in (FIRST, LATER))
    sentences = [
        f"At initialisation the gradient behind the first unit is {_listed(first)} times that behind the last but one.",
        f"At the end of the training: {_listed(last)} times.",
    ]
    sizes = [abs(math.log10(first[name])) if first[name] > 0 else math.nan for name in ("plain56", "resnet56")]
    if not all(map(math.isfinite, sizes)):
        return " ".join(sentences), None
    plain, residual = sizes
    if plain - residual > APART:
        sentences.append(
            "With shortcuts the gradient of a sum goes on unchanged beside the branch, so that it changes less with "
            "depth; without, it goes through every convolution, and its size is a product of as many factors as there "
            "are layers."
        )
    return " ".join(sentences), plain > residual if abs(plain - residual) > APART else None


def _draws(found: Found) -> list[Plot]:
    names = [member.name for member in found.members if found.of(member.name)]

    def profile(key: str, title: str) -> Plot:
        lines = [Line(name=name, points=_profile(found, name, key), colour=colour) for colour, name in enumerate(names)]
        says = "Root mean square of the gradient behind each unit."
        return Plot(
            title=title, x_label="place in the network", y_label="gradient", lines=lines, form="power", says=says
        )

    return [
        profile(FIRST, "gradient at initialisation"),
        profile(LATER, "gradient at the end"),
        over_epochs(found, names, "errors", top=1.0),
    ]


STUDY = Study(
    name="gradients",
    title="Where the gradient goes",
    source="He et al. 2015, section 4.1, and He et al. 2016, section 2",
    asks="Do the gradients of plain networks vanish? With norms they do not have to; what do they do, and what does a "
    "shortcut change?",
    axis="layers",
    members=_members,
    quick=dataclasses.replace(DIGITS, epochs=6),
    full=dataclasses.replace(CIFAR, seeds=1),
    says=_says,
    draws=_draws,
    observer=Gradients,
    measures=(FIRST, LATER),
)
