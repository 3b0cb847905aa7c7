"""A run folder that somebody has edited: one sentence, or it works; and what it says of another run is refused."""

from __future__ import annotations

import copy
import json
import math
import os
import random
import shutil
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors import safe_open
from safetensors.torch import save_file

import resnets
from resnets.architecture import ResNetSpec
from resnets.errors import ResnetsError, TrainingError
from resnets.training import Observer, finish, resume, train
from resnets.training.recipe import Recipe
from resnets.weights.run import CHECKPOINT, MODEL, RECIPE, RECORD

SPEC = ResNetSpec(depths=(1, 1), widths=(8, 16), stem="cifar", stem_width=8)
RECIPE_TEXT = "epochs = 2\nbatch_size = 8\nema = 0.8\nprecision = 'float32'\nmin_steps = 0\n"


class Stop(Observer):
    def stepped(self, training, step) -> None:
        if step.step == 2:
            raise KeyboardInterrupt


@pytest.fixture(scope="module")
def place(tmp_path_factory) -> Path:
    root, noise = tmp_path_factory.mktemp("hostile"), np.random.default_rng(0)
    (root / "recipe.toml").write_text(RECIPE_TEXT)
    for label in ("cat", "dog"):
        (root / "photos" / label).mkdir(parents=True)
        for number in range(10):
            Image.fromarray(noise.integers(0, 255, (8, 8, 3)).astype(np.uint8)).save(
                root / "photos" / label / f"{number}.png"
            )
    return root


def go(place: Path, out: Path, *observers: Observer) -> Path:
    options: dict[str, Any] = {"model": SPEC, "recipe": place / "recipe.toml", "image_size": 8}
    return Path(train(place / "photos", out=out, observers=observers, **options).run)


@pytest.fixture(scope="module")
def finished(place) -> Path:
    return go(place, place / "finished")


@pytest.fixture(scope="module")
def stopped(place) -> Path:
    with pytest.raises(KeyboardInterrupt):
        go(place, place / "stopped", Stop())
    return place / "stopped"


@pytest.fixture
def copied(tmp_path):
    return lambda folder: Path(shutil.copytree(folder, tmp_path / "run"))


# Edits of one value ---------------------------------------------------------------------------------------

VALUES: list[Any] = [
    *(None, True, 0, -1, 1, 3, 10**18, -(10**18), 10**400, 0.5, -0.5, 1e308, math.nan, math.inf, -math.inf),
    *("", "x", "1", "resnet18", "a\x1b[31m\n", "\0", "\ud800", "../../../etc/passwd", "x" * 10_000),
    *([], [1], [None], [[1]], [{}], ["a", "a"], {}, {"a": 1}, {"path": 1}, {"a": {"b": {"c": []}}}),
]


def paths(value: Any, before: tuple = ()) -> Iterator[tuple]:
    """The way to every value in a document, those in lists included (the first two)."""
    if before:
        yield before
    inner = value.items() if isinstance(value, dict) else enumerate(value[:2]) if isinstance(value, list) else ()
    for key, item in inner:
        yield from paths(item, (*before, key))


def edited(document: Any, path: tuple, value: Any) -> Any:
    """A copy with another value there; `...`: without it."""
    made = copy.deepcopy(document)
    part = made
    for key in path[:-1]:
        part = part[key]
    if value is ...:
        del part[path[-1]]
    else:
        part[path[-1]] = value
    return made


def deep() -> Any:
    value: Any = 1
    for _ in range(200):
        value = {"a": [value]}
    return value


EDITS = [*VALUES, ..., deep()]


def sentence_or_success(call) -> None:
    """Anything but a ResnetsError of one line fails the test."""
    try:
        call()
    except ResnetsError as problem:
        said = str(problem)
        assert said, "an error without words"
        assert "\n" not in said, said
        assert len(said) < 2_000, said
        assert "\x1b" not in said, said


def verbs(place: Path, folder: Path):
    """What reads a run folder. `finish` before `resume`, which may end the run."""
    picture = place / "photos" / "cat" / "0.png"
    yield lambda: finish(folder)
    yield lambda: resume(folder)
    yield lambda: resnets.evaluate(folder, place / "photos")
    yield lambda: resnets.load(folder).predict([picture])


def fuzz(place: Path, run: Path, copied, edits, write) -> None:
    folder = copied(run)
    for edit in edits:
        for call in verbs(place, folder):
            write(folder, edit)
            sentence_or_success(call)
        shutil.rmtree(folder)
        shutil.copytree(run, folder)


def record_edits(run: Path, share: float, seed: int) -> list[tuple]:
    document = json.loads((run / RECORD).read_text())
    every = [(path, value) for path in paths(document) for value in EDITS]
    return [(document, *edit) for edit in random.Random(seed).sample(every, round(share * len(every)))]


def write_record(folder: Path, edit: tuple) -> None:
    (folder / RECORD).write_text(json.dumps(edited(*edit)))


@pytest.mark.parametrize("which", ["stopped", "finished"])
def test_edited_records_are_one_sentence(place, stopped, finished, copied, which):
    run = stopped if which == "stopped" else finished
    fuzz(place, run, copied, record_edits(run, 0.006, 0), write_record)


@pytest.mark.slow
@pytest.mark.parametrize("which", ["stopped", "finished"])
def test_many_edited_records_are_one_sentence(place, stopped, finished, copied, which):
    run = stopped if which == "stopped" else finished
    fuzz(place, run, copied, record_edits(run, 0.25, 1), write_record)


def toml(value: Any) -> str:
    """Of a value, near enough: what TOML does not know becomes what it cannot read."""
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    return json.dumps(value) if value is not None else "null"


@pytest.mark.parametrize("share", [0.02, pytest.param(1.0, marks=pytest.mark.slow)], ids=["few", "all"])
def test_edited_recipes_are_one_sentence(place, stopped, copied, share):
    lines = (stopped / RECIPE).read_text().splitlines()
    keys = [number for number, line in enumerate(lines) if line and not line.startswith("#")]
    every = [(number, value) for number in keys for value in [*VALUES, ["deep"] * 3, ...]]

    def write(folder: Path, edit: tuple) -> None:
        number, value = edit
        key = lines[number].partition(" ")[0]
        new = [] if value is ... else [f"{key} = {toml(value)}"]
        text = "\n".join([*lines[:number], *new, *lines[number + 1 :]])
        (folder / RECIPE).write_bytes(text.encode("utf-8", "replace"))

    chosen = random.Random(0).sample(every, round(share * len(every)))
    fuzz(place, stopped, copied, chosen, write)


@pytest.mark.parametrize(
    "content",
    [b"\xff\xfe", b"", b"[" * 20_000, b"epochs = " + b"9" * 10_000, b"epochs = 1\nepochs = 2\n", b"momentum = 1e999"],
    ids=lambda content: repr(content[:12]),
)
def test_recipes_of_nonsense_are_one_sentence(place, stopped, copied, content, tmp_path):
    folder = copied(stopped)
    (folder / RECIPE).write_bytes(content)
    sentence_or_success(lambda: resume(folder))
    (tmp_path / "own.toml").write_bytes(content)
    sentence_or_success(
        lambda: train(place / "photos", model=SPEC, recipe=tmp_path / "own.toml", image_size=8, out=tmp_path / "new")
    )


# The checkpoint -------------------------------------------------------------------------------------------


def read_checkpoint(folder: Path) -> tuple[dict[str, Any], dict[str, torch.Tensor]]:
    with safe_open(folder / CHECKPOINT, framework="pt") as file:
        tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        return json.loads(file.metadata()["state"]), tensors


def write_checkpoint(folder: Path, edit: tuple[Any, dict[str, torch.Tensor]]) -> None:
    state, tensors = edit
    if isinstance(state, dict):
        state = {key: value for key, value in state.items() if key != "crc32"}  # as of a version that wrote none
    text = state if isinstance(state, str) else json.dumps(state)
    save_file(tensors, folder / CHECKPOINT, {"state": text})


def test_edited_tables_of_a_checkpoint_are_one_sentence(place, stopped, copied):
    state, tensors = read_checkpoint(stopped)
    every = [(edited(state, path, value), tensors) for path in paths(state) for value in EDITS]
    chosen = random.Random(0).sample(every, 15)
    odd = [("{", tensors), ("[]", tensors), ("NaN", tensors), ("[" * 50_000, tensors)]
    fuzz(place, stopped, copied, [*odd, *chosen], write_checkpoint)


@pytest.mark.slow
def test_many_edited_tables_of_a_checkpoint_are_one_sentence(place, stopped, copied):
    state, tensors = read_checkpoint(stopped)
    fuzz(
        place, stopped, copied, [(edited(state, p, v), tensors) for p in paths(state) for v in EDITS], write_checkpoint
    )


@pytest.mark.parametrize("key", ["step", "seconds", "log"])
@pytest.mark.parametrize("value", ["1", True, 1.5, -1, 10**18, math.nan, math.inf, None, [], ...], ids=str)
def test_a_number_of_a_checkpoint_that_makes_no_sense_is_refused(stopped, copied, key, value):
    if (key, value) == ("seconds", 1.5):
        return
    folder = copied(stopped)
    state, tensors = read_checkpoint(folder)
    write_checkpoint(folder, (edited(state, (key,), value), tensors))
    with pytest.raises(TrainingError, match=CHECKPOINT):
        resume(folder)


@pytest.mark.parametrize("part", ["network.stem.conv.weight", "average.stem.conv.weight", "momentum.0"])
@pytest.mark.parametrize(
    "how", ["half", "double", "whole", "short", "one", "wide", "gone", "renamed", "more", "nan", "negative", "far"]
)
def test_a_tensor_of_a_checkpoint_that_is_another_is_refused(stopped, copied, part, how):
    folder = copied(stopped)
    state, tensors = read_checkpoint(folder)
    name = next(key for key in tensors if key.startswith(part.partition(".")[0]) and tensors[key].dim() > 0)
    tensor, group = tensors[name], part.partition(".")[0]
    if how in ("gone", "renamed", "negative", "far"):
        del tensors[name]
    tensors |= {
        "half": {name: tensor.half()},
        "double": {name: tensor.double()},
        "whole": {name: tensor.long()},
        "short": {name: tensor[:-1].contiguous()},
        "one": {name: tensor.flatten()[:1].clone()},
        "wide": {name: tensor[None].contiguous()},
        "gone": {},
        "renamed": {f"{group}.evil": tensor},
        "more": {f"{group}.evil": torch.zeros(1)},
        "nan": {name: torch.full_like(tensor, math.nan)},
        "negative": {f"{group}.-1": tensor},
        "far": {f"{group}.999": tensor},
    }[how]
    write_checkpoint(folder, (state, tensors))
    with pytest.raises(TrainingError, match=CHECKPOINT) as caught:
        resume(folder)
    assert "\n" not in str(caught.value)


def test_one_flipped_bit_of_a_checkpoint_is_seen(stopped, copied):
    folder = copied(stopped)
    content = bytearray((folder / CHECKPOINT).read_bytes())
    content[-100] ^= 1
    (folder / CHECKPOINT).write_bytes(content)
    with pytest.raises(TrainingError, match="its numbers are not what was written"):
        resume(folder)


def test_a_checkpoint_beyond_the_end_is_refused(stopped, copied):
    folder = copied(stopped)
    state, tensors = read_checkpoint(folder)
    write_checkpoint(folder, ({**state, "step": 99}, tensors))
    for verb in (resume, finish):
        with pytest.raises(TrainingError, match="stands at step 99 of 4: start a new run"):
            verb(folder)


# Another run ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("path", "value", "said"),
    [
        (("asked", "seed"), 1, "^seed would be 1 where the run began with 0: put it back"),
        (("asked", "device"), "cpu", "^device would be 'cpu' where the run began with 'auto': put it back"),
        (("asked", "network", "norm_eps"), 0.1, "^asked.network would be .{10,60} where the run began with"),
        (("asked", "network", "norm_momentum"), 0.5, "^asked.network would be"),
    ],
)
def test_a_record_edited_to_another_run_is_refused_by_the_checkpoint(stopped, copied, path, value, said):
    folder = copied(stopped)
    write_record(folder, (json.loads((folder / RECORD).read_text()), path, value))
    with pytest.raises(TrainingError, match=said):
        resume(folder)


def test_recipe_and_record_edited_alike_are_refused_by_the_checkpoint(stopped, copied):
    folder = copied(stopped)
    recipe, record = folder / RECIPE, json.loads((folder / RECORD).read_text())
    recipe.write_text(recipe.read_text().replace("learning_rate = 0.05", "learning_rate = 0.07"))
    write_record(folder, (record, ("recipe", "learning_rate"), 0.07))
    with pytest.raises(TrainingError, match=r"^learning_rate would be 0\.07 where the run began with 0\.05: put it"):
        resume(folder)


def test_only_what_differs_is_named_in_few_words(stopped, copied):
    folder = copied(stopped)
    recipe = folder / RECIPE
    recipe.write_text(recipe.read_text().replace("learning_rate = 0.05", "learning_rate = 0.07").replace("4", "5"))
    with pytest.raises(TrainingError) as caught:
        resume(folder)
    assert str(caught.value) == (
        "learning_rate would be 0.07 where the run began with 0.05; shift would be 5 where the run began with 4: "
        "put it back, or start a new run."
    )


def test_what_changes_no_bit_is_no_other_training(finished, stopped, copied):
    folder = copied(stopped)
    recipe = folder / RECIPE
    text = recipe.read_text().replace("workers = 1", "workers = 2")
    recipe.write_text(text.replace("checkpoint_seconds = 60.0", "checkpoint_seconds = 0.0"))
    assert recipe.read_text().count("workers = 2") == recipe.read_text().count("checkpoint_seconds = 0.0") == 1
    resume(folder)
    assert Recipe.from_table(json.loads((folder / RECORD).read_text())["recipe"], "x").workers == 1
    weights = [resnets.load(run).network.state_dict() for run in (folder, finished)]
    assert all(torch.equal(weights[0][name], weights[1][name]) for name in weights[0])


def test_other_weights_to_start_from_are_refused(place, finished, tmp_path):
    parent = tmp_path / "parent.safetensors"
    shutil.copy(finished / MODEL, parent)
    options: dict[str, Any] = {"recipe": place / "recipe.toml", "image_size": 8, "weights": parent}
    with pytest.raises(KeyboardInterrupt):
        train(place / "photos", out=tmp_path / "run", observers=[Stop()], **options)
    model = resnets.load(parent).model
    with torch.no_grad():
        next(model.network.parameters())[0, 0] += 1
    resnets.save(model, parent)
    with pytest.raises(TrainingError, match=r"^weights would be '.{30,40} where the run began with"):
        resume(tmp_path / "run")


def test_a_checkpoint_of_an_older_version_says_less_and_goes_on(stopped, copied, finished):
    folder = copied(stopped)
    state, tensors = read_checkpoint(folder)
    tensors = {name: tensor for name, tensor in tensors.items() if not name.startswith("good.")}
    write_checkpoint(folder, ({key: state[key] for key in ("step", "seconds", "log")}, tensors))
    assert resume(folder).step is None


# What is no file ------------------------------------------------------------------------------------------


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="there are no pipes that have names")
@pytest.mark.parametrize("name", [RECORD, RECIPE, CHECKPOINT, "log.jsonl", MODEL, ".claim"])
def test_pipes_in_a_run_folder_do_not_wait_for_ever(place, stopped, copied, name):
    folder = copied(stopped)
    (folder / name).unlink(missing_ok=True)
    os.mkfifo(folder / name)
    told: list[str] = []

    def work() -> None:
        for call in verbs(place, folder):
            sentence_or_success(call)
        told.append("done")

    thread = threading.Thread(target=work, daemon=True)
    thread.start()
    thread.join(120)
    assert told == ["done"]
