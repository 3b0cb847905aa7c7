"""Our sides of a benchmark, as the verbs run them: their engines, their settings, their memory."""

from __future__ import annotations

from pathlib import Path

import torch

from resnets.benchmark.job import Job, Maker, Work, noise
from resnets.benchmark.plain import open_model
from resnets.data.preprocess import Preprocessing
from resnets.inference import Classifier, engines
from resnets.inference.engine import Engine
from resnets.inference.lower import lower
from resnets.inference.quantize import measure_ranges
from resnets.machine import keep_memory
from resnets.weights import Model

MOST_STEPS = 10**6  # of a training of which a benchmark is the beginning
CALIBRATION = 16  # images: what the ranges are does not matter to the speed


def maker(job: Job) -> Maker:
    """How our side works."""
    keep_memory()
    makers = {"infer": _infer, "backward": _train, "train": _train, "files": _files, "input": _input}
    return makers[job.task](job)


def _infer(job: Job) -> Maker:
    model = open_model(job.model, job.image_size)

    def make(batch: int) -> Work:
        engine = _engine(job, model, batch)
        # Each side gets its input as it likes it best; ONNX Runtime wants channels outermost.
        ours = torch.contiguous_format if engine.name == "onnxruntime" else torch.channels_last
        x = noise(batch, job.image_size).contiguous(memory_format=ours)
        return lambda: engine(x)

    return make


def _engine(job: Job, model: Model, batch: int) -> Engine:
    quantisation = None
    if job.precision == "int8":
        quantisation = measure_ranges(lower(model.network, job.image_size), [noise(CALIBRATION, job.image_size)])
    name = job.who.removeprefix("resnets ")
    return engines.make(
        name, model.network, job.precision, image_size=job.image_size, batch=batch, quantisation=quantisation
    )


def _files(job: Job) -> Maker:
    model = open_model(job.model, job.image_size)

    def make(batch: int) -> Work:
        classifier = Classifier(model)
        classifier.use(_engine(job, model, batch))
        return lambda: [result for _, result in classifier.predict_each(job.files, 1, batch)]

    return make


def _train(job: Job) -> Maker:
    """The step of `resnets train` itself, or its gradients alone, on a batch that is augmented already."""
    from resnets.training.recipe import load_recipe
    from resnets.training.schedule import Schedule
    from resnets.training.state import State
    from resnets.training.step import Step

    recipe = load_recipe("standard")
    state = State(open_model(job.model).network, recipe, precision=job.precision)
    state.train(head_alone=False)
    step = Step(state, recipe, Schedule(MOST_STEPS, MOST_STEPS), precision=job.precision)

    def make(batch: int) -> Work:
        x = noise(batch, job.image_size).contiguous(memory_format=state.layout)
        labels = torch.arange(batch) % job.classes
        if job.task == "train":
            return lambda: step(x, labels)

        def backward() -> None:
            state.optimiser.zero_grad(set_to_none=True)
            step.backward(x, labels)

        return backward

    return make


def _input(job: Job) -> Maker:
    preprocessing = Preprocessing.evaluation(job.image_size)
    data = [Path(file).read_bytes() for file in job.files]
    return lambda batch: lambda: [preprocessing.read(data[i % len(data)]) for i in range(batch)]
