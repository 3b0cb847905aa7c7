"""Networks as anybody runs them: the baseline where there is no torchvision, and the eager half of the peers."""

from __future__ import annotations

import os

import torch
from torch import Tensor, nn

from resnets.benchmark.job import Job, Maker, UnableError, Work, noise
from resnets.data.preprocess import Preprocessing
from resnets.network import create
from resnets.weights import Model, load
from resnets.weights.registry import is_tag

WHO = "plain torch"  # what this side is called
TRAINING = ("backward", "train")  # the tasks of a network in training mode


def open_model(model: str, image_size: int | None = None) -> Model:
    """A name of the catalog with random weights, or what `resnets.weights.load` takes.

    Raises SpecError for what is neither, and ModelFileError.
    """
    if os.path.exists(model) or is_tag(model):
        return load(model)
    network = create(model, seed=0).eval()
    preprocessing = Preprocessing.evaluation(image_size or network.plan.image_size)
    return Model(network, tuple(map(str, range(network.plan.num_classes))), preprocessing)


def maker(job: Job) -> Maker:
    """Our network without any of our settings: where there is no torchvision, this is what it would do."""
    if job.task not in ("infer", *TRAINING):
        raise UnableError("it reads no files")
    network = open_model(job.model, job.image_size).network
    return training(network, job) if job.task in TRAINING else eager(network, job)


def eager(network: nn.Module, job: Job) -> Maker:
    """A module called as it is."""
    network.eval()

    def make(batch: int) -> Work:
        x = noise(batch, job.image_size)

        def run() -> Tensor:
            with torch.inference_mode(), torch.autocast("cpu", torch.bfloat16, enabled=job.precision == "bfloat16"):
                return network(x)  # type: ignore[no-any-return]

        return run

    return make


def training(network: nn.Module, job: Job) -> Maker:
    """A step as tutorials have it: forward, backward, SGD with momentum; or forward and backward alone."""
    network.train()
    optimiser = torch.optim.SGD(network.parameters(), 0.1, 0.9, weight_decay=1e-4)

    def make(batch: int) -> Work:
        x, labels = noise(batch, job.image_size), torch.arange(batch) % job.classes

        def step() -> None:
            with torch.autocast("cpu", torch.bfloat16, enabled=job.precision == "bfloat16"):
                loss = nn.functional.cross_entropy(network(x), labels)
            optimiser.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            if job.task == "train":
                optimiser.step()

        return step

    return make
