"""Observers are told of every step and epoch, whoever gives the batches."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
import torch

from resnets.architecture import ResNetSpec
from resnets.data.preprocess import Preprocessing
from resnets.training import Observer, Recipe, Training, loop, resume, train
from resnets.training.glance import LOSS_ROWS, loss
from resnets.training.schedule import Schedule
from resnets.weights.runlog import read_log

SPEC = ResNetSpec(depths=(1, 1), widths=(8, 16), stem="cifar", stem_width=8)
RECIPE = "epochs = 2\nbatch_size = 8\nprecision = 'float32'\n"


class Notes(Observer):
    """Writes down what it is told."""

    def __init__(self, stop_at: int = -1) -> None:
        self.told: list[tuple] = []
        self.stop_at = stop_at

    def started(self, training) -> None:
        self.told.append(("started", training.state.step))

    def stepped(self, training, step) -> None:
        self.told.append(("step", step.step, step.epoch, step.loss))
        if step.step == self.stop_at:
            raise KeyboardInterrupt

    def epoch_ended(self, training, epoch) -> None:
        self.told.append(("epoch", epoch.step, epoch.epoch, epoch.figures["top1"]))
        epoch.figures["mine"] = 0.25
        epoch.figures["loss"] = 99.0

    def ended(self, training) -> None:
        self.told.append(("ended", training.state.step))


@pytest.fixture
def go(photo_folder, tmp_path):
    photos = photo_folder(images=10)
    (tmp_path / "tiny.toml").write_text(RECIPE)
    return lambda *observers: train(
        photos, model=SPEC, recipe=tmp_path / "tiny.toml", image_size=16, out=tmp_path / "run", observers=observers
    )


def test_a_users_observer_sees_every_step_and_epoch(go, tmp_path):
    notes = Notes()
    go(notes)
    lines = read_log(tmp_path / "run")
    logged = [("step", x["step"], x["epoch"], x["loss"]) for x in lines if x["kind"] == "step"]
    epochs = [("epoch", x["step"], x["epoch"], x["top1"]) for x in lines if x["kind"] == "epoch"]
    assert notes.told == [("started", 0), *logged[:2], epochs[0], *logged[2:], epochs[1], ("ended", 4)]
    assert [step for _, step, *_ in logged] == [0, 1, 2, 3]
    assert all(x["mine"] == 0.25 and x["loss"] < 99 for x in lines if x["kind"] == "epoch")


def test_it_hears_of_a_stop_and_of_the_rest_after_the_resume(go, tmp_path):
    first, second = Notes(stop_at=2), Notes()
    with pytest.raises(KeyboardInterrupt):
        go(first)
    assert first.told[-2][:3] == ("step", 2, 2)
    assert first.told[-1] == ("ended", 3)
    resume(tmp_path / "run", observers=[second])
    assert [told[:2] for told in second.told] == [("started", 2), ("step", 2), ("step", 3), ("epoch", 4), ("ended", 4)]
    assert second.told[1] == first.told[-2]  # the same loss, to the bit


class Numbers:
    """Batches that hold nothing but their number: what the loop asks for, and no more."""

    steps, batch_size = 50, 3

    def epoch(self, epoch, start=0):
        return (SimpleNamespace(step=step, waited=0.0) for step in range(start, self.steps))

    def names(self, epoch, step):
        return [f"{epoch}-{step}"] * self.batch_size


@pytest.mark.parametrize(
    ("device", "seconds", "bunches"),
    [
        ("cpu", 60.0, [*range(1, 101)]),
        ("cuda", 60.0, [20, 40, 50, 70, 90, 100]),  # every READ_BACK steps, and at the end of an epoch
        ("cuda", 0.0, [*range(1, 101)]),  # a checkpoint after every step looks at every loss
    ],
)
def test_on_a_gpu_the_losses_are_looked_at_in_bunches(device, seconds, bunches):
    """A device that is no device: only the loop's own policy is looked at, with batches of nobody in particular."""
    state = SimpleNamespace(step=0, device=device, rate_share=1.0, train=lambda head_alone: None)
    recipe = Recipe(epochs=2, checkpoint_seconds=seconds)
    preprocessing = Preprocessing.evaluation(8)
    schedule, batches = Schedule(100, 50), Numbers()
    training = Training(recipe=recipe, schedule=schedule, preprocessing=preprocessing, batches=batches, state=state)

    def step(*_):
        state.step += 1
        return torch.tensor(float(state.step))

    seen, ends = [], []

    class Watch(Observer):
        def stepped(self, training, step) -> None:
            seen.append(step)
            if step.step + 1 == training.state.step:
                ends.append(training.state.step)

    loop.run(training, lambda batch, size: (), step, [Watch()])
    assert [(record.step, record.loss) for record in seen] == [(n, n + 1.0) for n in range(100)]
    assert {record.epoch for record in seen[:50]} == {1}
    assert ends == bunches


def test_the_loss_of_the_glance_is_the_mean_over_all_images():
    random = np.random.default_rng(0)
    count = 2 * LOSS_ROWS + 7
    logits, labels = random.normal(size=(count, 5)).astype(np.float32), random.integers(0, 5, count)
    shifted = logits - np.log(np.exp(logits.astype(np.float64)).sum(axis=1, keepdims=True))
    assert loss(logits, labels) == pytest.approx(-shifted[np.arange(count), labels].mean(), rel=1e-6)


class Careless(Observer):
    """Fails when it is told of the end."""

    def ended(self, training) -> None:
        raise ValueError("its own")


def test_an_observer_that_fails_at_the_end_does_not_hide_why_it_ended(go, capsys):
    with pytest.raises(KeyboardInterrupt):
        go(Careless(), Notes(stop_at=1))
    assert "warning: Careless.ended failed, too: ValueError: its own" in capsys.readouterr().err


def test_alone_it_is_what_ended_the_training_and_all_others_hear_of_the_end(go):
    notes = Notes()
    with pytest.raises(ValueError, match="its own"):
        go(notes, Careless())
    assert notes.told[-1] == ("ended", 4)
