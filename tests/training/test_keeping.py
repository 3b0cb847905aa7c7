"""`patience` and `keep = "best"`: what looks at held-out images decide, recorded, exact, and judged by other images."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors import safe_open
from safetensors.torch import save_file
from test_minutes import SPEC, assert_same_bits, place, same_steps_again, steps_of  # noqa: F401  (a fixture)

import resnets
from resnets.errors import TrainingError
from resnets.evaluation.choosing import choose
from resnets.training import Observer, conclude, resume, train
from resnets.training.conclude import TRAINED
from resnets.training.glance import Glance
from resnets.weights.provenance import BEST
from resnets.weights.run import CHECKPOINT, MODEL, RunRecord

STEPS = 4  # of an epoch


def looks(monkeypatch: pytest.MonkeyPatch, *losses: float) -> None:
    """What the looks find, from the first epoch on."""
    monkeypatch.setattr(
        Glance,
        "look",
        lambda self, state: {"top1": 0.5, "held_out_loss": 9.0, "first_half_loss": losses[state.step // STEPS - 1]},
    )


def go(place: Path, out: Path, *overrides: str, **options: Any) -> resnets.TrainResult:  # noqa: F811
    recipe = place / "recipe.toml"
    chosen = ["epochs=6", *overrides]
    return train(
        place / "photos", model=SPEC, recipe=recipe, image_size=16, out=out, weights="none", overrides=chosen, **options
    )


class Stop(Observer):
    """Ctrl-C after a step."""

    def __init__(self, step: int) -> None:
        self.step = step

    def stepped(self, training, step) -> None:
        if step.step == self.step:
            raise KeyboardInterrupt


class Kept(Observer):
    """The weights that were judged after each epoch."""

    def __init__(self) -> None:
        self.weights: list[dict[str, torch.Tensor]] = []

    def epoch_ended(self, training, epoch) -> None:
        network = training.state.trained()
        self.weights.append({name: tensor.clone() for name, tensor in network.state_dict().items()})


def held(path: Path, part: str) -> dict[str, torch.Tensor]:
    with safe_open(path, framework="pt") as file:
        names = [name for name in file.keys() if name.startswith(part)]  # noqa: SIM118
        return {name.removeprefix(part): file.get_tensor(name) for name in names}


@pytest.mark.parametrize("stop", [None, 3 * STEPS + 1, 4 * STEPS - 1])
def test_a_training_ends_when_looks_find_nothing_better(place, tmp_path, monkeypatch, caplog, stop):  # noqa: F811
    """With and without a stop, in the epoch of the last look and before it."""
    looks(monkeypatch, 1.0, 0.5, 0.6, 0.5, 0.4, 0.3)
    observers = [Stop(stop)] if stop else []
    if stop:
        with pytest.raises(KeyboardInterrupt):
            go(place, tmp_path / "run", "patience=2", observers=observers)
        result = resume(tmp_path / "run")
    else:
        result = go(place, tmp_path / "run", "patience=2")
    record = RunRecord.read(tmp_path / "run")
    assert record.schedule is not None
    [cut] = record.schedule["refitted"]
    assert (cut["step"], cut["from"], cut["to"]) == (4 * STEPS, 6 * STEPS, 4 * STEPS)
    assert cut["why"] == "2 looks at the held-out images found none better than that at step 8"
    assert [line["step"] for line in steps_of(tmp_path / "run")] == list(range(4 * STEPS))
    assert (result.step, result.epochs, record.epochs) == (None, 4, 4)
    assert sum("the training ends after 16 of 24 steps" in text for text in caplog.messages) == 1
    rates = [line["rate"] for line in steps_of(tmp_path / "run")]
    go(place, tmp_path / "patient")
    assert rates == [line["rate"] for line in steps_of(tmp_path / "patient")][: 4 * STEPS]
    assert_same_bits(tmp_path / "run", same_steps_again(tmp_path / "run", tmp_path / "again"))
    assert resume(tmp_path / "run") == result


def test_looks_that_get_better_again_are_waited_for(place, tmp_path, monkeypatch):  # noqa: F811
    looks(monkeypatch, 1.0, 1.1, 0.9, 1.1, 0.8, 1.1)
    assert go(place, tmp_path / "run", "patience=2").epochs == 6
    assert RunRecord.read(tmp_path / "run").schedule is None


@pytest.mark.parametrize("stop", [None, 4 * STEPS + 1])
def test_the_best_epoch_is_kept_aside_and_is_one_to_choose_from(place, tmp_path, monkeypatch, stop):  # noqa: F811
    looks(monkeypatch, 1.0, 0.4, 0.6, 0.5, 0.5, 0.4)
    seen, judged = Kept(), []

    def chooses(judgements, *more):
        judged.append(judgements)
        return choose(judgements, *more)

    monkeypatch.setattr(conclude, "choose", chooses)
    whole = tmp_path / "whole"
    result = go(place, whole, "keep=best", observers=[seen])
    aside = held(whole / CHECKPOINT, "best.")
    assert aside.keys() == seen.weights[1].keys()
    assert all(torch.equal(aside[name], seen.weights[1][name]) for name in aside)
    assert list(judged[0]) == [TRAINED, BEST]
    assert not np.array_equal(judged[0][TRAINED].logits, judged[0][BEST].logits)
    chosen = RunRecord.read(whole).chosen
    assert chosen is not None
    assert result.chosen == chosen == resume(whole).chosen
    assert resnets.load(whole).model.provenance.other["chosen"] == f"{chosen['kept']}: {chosen['how']}"
    assert "each half of them judges what the other half chose" in (whole / "report.html").read_text()
    assert chosen["kept"] in chosen["losses"].keys() == {TRAINED, BEST}
    if stop:
        with pytest.raises(KeyboardInterrupt):
            go(place, tmp_path / "run", "keep=best", observers=[Stop(stop)])
        resume(tmp_path / "run")
        assert_same_bits(tmp_path / "run", whole)


def test_where_the_last_epoch_is_the_best_there_is_nothing_to_choose(place, tmp_path, monkeypatch):  # noqa: F811
    looks(monkeypatch, 1.0, 0.4, 0.3, 0.2, 0.15, 0.1)
    go(place, tmp_path / "run", "keep=best")
    assert RunRecord.read(tmp_path / "run").chosen is None


def test_a_recipe_that_asks_for_neither_has_nothing_of_it_in_its_checkpoint(place, tmp_path):  # noqa: F811
    go(place, tmp_path / "run", "epochs=1")
    with safe_open(tmp_path / "run" / CHECKPOINT, framework="pt") as file:
        assert "best" not in json.loads(file.metadata()["state"])
    assert not held(tmp_path / "run" / CHECKPOINT, "best.")


@pytest.mark.parametrize(
    "change",
    [{"loss": float("nan")}, {"loss": "much"}, {"step": -1}, {"since": 0.5}, {"since": None}, "shape", "names"],
)
def test_a_checkpoint_whose_best_cannot_be_is_refused(place, tmp_path, change):  # noqa: F811
    go(place, tmp_path / "run", "epochs=1", "keep=best")
    path = tmp_path / "run" / CHECKPOINT
    tensors = held(path, "")
    with safe_open(path, framework="pt") as file:
        state = json.loads(file.metadata()["state"])
    state.pop("crc32")
    names = [name for name in tensors if name.startswith("best.")]
    if isinstance(change, dict):
        state["best"] |= change
    elif change == "shape":
        tensors[names[0]] = torch.zeros(1, 2, 3)
    else:
        tensors.pop(names[0])
    save_file(tensors, path, {"state": json.dumps(state)})
    (tmp_path / "run" / MODEL).unlink()
    with pytest.raises(TrainingError, match="cannot be read"):
        resume(tmp_path / "run")
