"""Whole trainings in this process, with a tiny network: what a run leaves behind, and what it refuses."""

from __future__ import annotations

import json
import os
import random
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors import safe_open

import resnets
from data import odd_files
from resnets.architecture import ResNetSpec
from resnets.cli.main import main
from resnets.data.open import open_source
from resnets.data.preprocess import Preprocessing
from resnets.data.split import split
from resnets.errors import DataError, RecipeError, ResnetsError, SpecError, TrainingError
from resnets.evaluation.significance import interval
from resnets.inference import Prediction, load
from resnets.network import create
from resnets.training import TrainResult, train
from resnets.training.setup import data_size
from resnets.training.state import State
from resnets.training.step import Inputs, Step
from resnets.weights import Model
from resnets.weights import load as load_model
from resnets.weights import save as save_model
from resnets.weights.runlog import read_log

TINY = ResNetSpec(depths=(1, 1), widths=(8, 16), stem="cifar", stem_width=8)
CLASSES = ("cat", "dog", "eel")
RECIPE = "epochs = 2\nbatch_size = 8\nlearning_rate = 0.1\nprecision = 'float32'\n"


@pytest.fixture
def go(tmp_path):
    """A short training of the tiny network; `changes` are values of the recipe."""
    (tmp_path / "tiny.toml").write_text(RECIPE)

    def run(data: Path | str, out: str = "run", *, overrides: tuple[str, ...] = (), **options) -> TrainResult:
        options = {"model": TINY, "image_size": 16, "recipe": tmp_path / "tiny.toml"} | options
        return train(data, out=tmp_path / out, overrides=overrides, **options)

    return run


@pytest.fixture(scope="module")
def done(tmp_path_factory) -> tuple[Path, Path, TrainResult]:
    """(photos, run folder, result) of a run with an average, on class folders alone; many tests look at it."""
    root = tmp_path_factory.mktemp("done")
    random_pixels = np.random.default_rng(0)
    for index, label in enumerate(CLASSES):
        (root / "photos" / label).mkdir(parents=True)
        for number in range(15):
            pixels = random_pixels.integers(0, 120, (16, 24, 3))
            pixels[..., index] += 25
            Image.fromarray(pixels.astype(np.uint8)).save(root / "photos" / label / f"{number}.png")
    (root / "tiny.toml").write_text(RECIPE)
    result = train(
        root / "photos",
        model=TINY,
        recipe=root / "tiny.toml",
        image_size=16,
        out=root / "run",
        seed=7,
        overrides=["ema=0.8", "epochs=3"],
    )
    return root / "photos", root / "run", result


def tensors(path: Path, part: str = "") -> dict[str, torch.Tensor]:
    with safe_open(path, framework="pt") as file:
        return {
            name.removeprefix(part): file.get_tensor(name)
            for name in file.keys()  # noqa: SIM118
            if name.startswith(part)
        }


def equal(first: dict[str, torch.Tensor], second: dict[str, torch.Tensor]) -> bool:
    return first.keys() == second.keys() and all(torch.equal(first[name], second[name]) for name in first)


# What a run leaves behind --------------------------------------------------------------------------------


def test_a_run_leaves_its_folder(done):
    _, folder, _ = done
    files = {path.name for path in folder.iterdir()} - {"tensorboard"}
    wanted = {"model.safetensors", "report.html", "log.jsonl", "recipe.toml", "run.json", "curves.png", "curves.svg"}
    assert files == wanted | {"checkpoint.safetensors"}
    assert f"{json.loads((folder / 'run.json').read_text())['result']['top1']:.1%}"[:-1] in (
        (folder / "report.html").read_text(encoding="utf-8")
    )
    with Image.open(folder / "curves.png") as curves:
        curves.load()
        assert curves.width > curves.height > 300
        assert len(curves.getcolors(2**24)) > 20
    assert "<svg" in (folder / "curves.svg").read_text()


def test_the_result_is_the_contract(done):
    photos, folder, result = done
    document = result.document()
    known = {"run", "model", "report", "top1", "seconds", "images", "epochs", "skipped_files"}
    of_its_worth = {"baseline", "better_than_guessing", "unrecognised", "fallbacks", "remarks"}
    of_its_worth |= {"top1_interval", "held_out_images", "estimate", "learnt", "next", "chosen", "weights"}
    assert set(document) == known | of_its_worth
    assert (document["held_out_images"], document["estimate"]) == (9, None)
    assert document["top1_interval"] == pytest.approx(interval(result.top1, 9))
    assert (result.run, result.model) == (str(folder), str(folder / "model.safetensors"))
    assert (result.images, result.epochs, document["skipped_files"]) == (36, 3, [])
    assert 0 < result.seconds < 600
    assert json.loads((folder / "run.json").read_text())["result"] == document
    assert len(open_source(photos).samples) == 45


def test_a_leak_between_the_splits_is_told_in_one_line(go, photo_folder, capsys):
    photos = photo_folder(images=6, splits=["train", "val"])
    shutil.copy(photos / "train" / "cat" / "0.jpg", photos / "val" / "cat" / "again.jpg")
    go(photos)
    (line,) = (line for line in capsys.readouterr().err.splitlines() if line.startswith("doctor: "))
    assert "train" in line
    assert "val" in line
    assert f"resnets doctor {os.path.relpath(photos)}" in line


def test_top1_is_what_evaluate_says_of_the_model_file(done):
    photos, folder, result = done
    judged = resnets.evaluate(resnets.load(folder), photos).document()
    assert judged["top1"] == result.top1
    assert (judged["images"], judged["split"]) == (9, "val")
    # and so says whoever asks the model about each file that the seeded split holds out
    classifier = load(folder)
    held_out = split(open_source(photos), seed=7).held_out
    named = classifier.predict([photos / sample.key for sample in held_out], top=1)
    right = [p.top[0][0] == sample.label for p, sample in zip(named, held_out, strict=True)]
    assert sum(right) / 9 == result.top1
    assert split(open_source(photos), seed=0).held_out != held_out


def test_the_log_has_every_step_and_every_epoch(done):
    _, folder, _ = done
    lines = read_log(folder)
    assert [(line["kind"], line["step"]) for line in lines] == [
        *(("step", 0), ("step", 1), ("step", 2), ("step", 3), ("epoch", 4)),
        *(("step", 4), ("step", 5), ("step", 6), ("step", 7), ("epoch", 8)),
        *(("step", 8), ("step", 9), ("step", 10), ("step", 11), ("epoch", 12)),
    ]
    steps, epochs = ([line for line in lines if line["kind"] == kind] for kind in ("step", "epoch"))
    assert all(set(line) == {"kind", "step", "epoch", "loss", "rate", "seconds", "waited"} for line in steps)
    for number, line in enumerate(epochs, start=1):
        assert line["epoch"] == number
        own = [step["loss"] for step in steps if step["epoch"] == number]
        assert line["loss"] == pytest.approx(np.mean(own))
        assert 0 <= line["waiting"] <= 1
        assert line["images_per_second"] > 0
        assert 0 <= line["top1"] <= 1
        assert line["held_out_loss"] > 0
        assert line["image_size"] == 16


def test_the_record_says_what_was_asked_and_on_what(done):
    photos, folder, _ = done
    record = json.loads((folder / "run.json").read_text())
    source = open_source(photos)
    assert record["asked"]["seed"] == 7
    assert record["asked"]["data"] == str(photos)
    assert record["classes"] == list(CLASSES)
    assert record["dataset"]["fingerprint"] == source.fingerprint
    assert record["dataset"]["split"]["held_out_keys"] == [s.key for s in split(source, seed=7).held_out]
    assert {"processor", "cores", "python", "torch"} <= set(record["machine"])
    assert record["precision"] == "float32"
    recipe = resnets.training.load_recipe(folder / "recipe.toml")
    assert (recipe.epochs, recipe.ema, recipe.image_size, recipe.batch_size) == (3, 0.8, 16, 8)


def test_the_model_file_knows_where_it_comes_from(done):
    photos, folder, result = done
    model = load_model(folder / "model.safetensors")
    assert model.classes == CLASSES
    assert model.preprocessing == Preprocessing.evaluation(16)
    assert model.network.plan.spec == TINY
    told = model.provenance.to_dict()
    assert told["dataset"]["fingerprint"] == open_source(photos).fingerprint
    assert told["dataset"]["split"]["seed"] == 7
    assert "held_out_keys" not in told["dataset"]["split"]
    assert told["metrics"]["top1"] == result.top1
    assert (told["seed"], told["recipe"]["ema"], told["network"]) == (7, 0.8, "custom")


def test_what_is_saved_is_the_average(done):
    _, folder, _ = done
    saved = tensors(folder / "model.safetensors")
    assert equal(saved, tensors(folder / "checkpoint.safetensors", "average."))
    live = tensors(folder / "checkpoint.safetensors", "network.")
    assert live.keys() == saved.keys()
    assert not torch.equal(live["head.linear.weight"], saved["head.linear.weight"])


def test_without_an_average_the_network_itself_is_saved(go, photo_folder):
    folder = Path(go(photo_folder(images=8)).run)
    checkpoint = tensors(folder / "checkpoint.safetensors")
    assert not [name for name in checkpoint if name.startswith("average.")]
    assert equal(tensors(folder / "model.safetensors"), tensors(folder / "checkpoint.safetensors", "network."))


def test_the_seed_decides_everything(go, photo_folder):
    photos = photo_folder(CLASSES, images=8)
    files = {}
    for out, seed, workers in (("a", 3, 1), ("b", 3, 2), ("c", 4, 1)):
        run = go(photos, out, seed=seed, overrides=("trivial_augment=true", "mixup=0.2", f"workers={workers}"))
        files[out] = tensors(Path(run.model))
    assert equal(files["a"], files["b"])
    assert not equal(files["a"], files["c"])


def test_a_tiny_network_learns_colours(go, photo_folder):
    result = go(photo_folder(CLASSES, images=20), overrides=("epochs=6", "flip=false"))
    assert result.top1 == 1.0


@pytest.mark.parametrize("splits", [("train", "val"), ("train", "test"), ("train", "val", "test")])
def test_splits_that_the_data_brings_are_taken(go, photo_folder, splits):
    photos = photo_folder(images=9, splits=splits)
    result = go(photos)
    assert result.images == 18
    record = json.loads((Path(result.run) / "run.json").read_text())["dataset"]["split"]
    assert (record["origin"], record["held_out_name"]) == ("folders", splits[1])
    assert resnets.evaluate(resnets.load(result.model), photos).top1 == result.top1


def test_the_curves_take_any_name(go, photo_folder):
    """A title is no formula, and a folder may be called as its owner likes."""
    for name in ("a$^$_b", "fünf €", "_x"):
        result = go(photo_folder(images=5, name=name), out=f"run of {name}", overrides=("epochs=1",))
        assert (Path(result.run) / "curves.svg").exists()


def test_a_mean_image_travels_with_the_model(go, photo_folder):
    photos = photo_folder(images=8, splits=("train", "val"))
    result = go(photos, overrides=("mean=pixel", "crop=shift"))
    classifier = load(result.model)
    plain = Preprocessing.evaluation(16)
    train_files = sorted((photos / "train").rglob("*.jpg"))
    wanted = np.mean([plain.read(path.read_bytes()) for path in train_files], axis=0) / 255
    np.testing.assert_allclose(classifier.preprocessing.mean_image, wanted.transpose(2, 0, 1), atol=1e-6)
    assert classifier.preprocessing.std == (1.0, 1.0, 1.0)
    (prediction,) = classifier.predict(train_files[0], top=2)
    assert isinstance(prediction, Prediction)
    assert {name for name, _ in prediction.top} == {"cat", "dog"}
    assert resnets.evaluate(classifier, photos).top1 == result.top1


# Which size, and how it grows ----------------------------------------------------------------------------


@pytest.mark.parametrize(("side", "size"), [(8, 16), (16, 16), (28, 32), (32, 32), (60, 64), (65, 128), (200, 128)])
def test_the_size_suits_the_data(photo_folder, side, size):
    source = open_source(photo_folder(size=(side + 30, side)))
    assert data_size(source, source.samples, "cpu") == size
    assert data_size(source, source.samples, "cuda") == (224 if side > 64 else size)


def test_the_size_is_that_of_the_median_and_of_files_that_can_be_read(photo_folder):
    photos = photo_folder(images=5, size=(40, 28))
    Image.new("RGB", (3000, 2000)).save(photos / "cat" / "0.jpg")
    for name in ("1.jpg", "2.jpg"):
        (photos / "dog" / name).write_bytes(b"broken")
    source = open_source(photos)
    assert data_size(source, source.samples, "cpu") == 32


def test_the_images_grow_with_the_training(go, photo_folder, monkeypatch):
    seen = []
    one = Inputs.__call__

    def spy(self, batch, size):
        seen.append(size)
        return one(self, batch, size)

    monkeypatch.setattr(Inputs, "__call__", spy)
    result = go(photo_folder(images=10), overrides=("start_size=0.5", "epochs=10"), image_size=32)
    sizes = [line["image_size"] for line in read_log(Path(result.run)) if line["kind"] == "epoch"]
    assert sizes == seen[::2] == seen[1::2]
    # From a half to the whole over seven tenths of ten epochs, in steps of four pixels.
    assert sizes == [16, 20, 20, 24, 24, 28, 28, 32, 32, 32]
    assert load(result.model).preprocessing.image_size == 32


# What goes wrong -----------------------------------------------------------------------------------------


def test_a_loss_that_is_not_finite_stops_with_step_files_and_advice(go, photo_folder, tmp_path):
    photos = photo_folder(images=10)
    with pytest.raises(TrainingError) as caught:
        go(photos, overrides=("learning_rate=1000", "weight_decay=1", "epochs=200", "warmup_epochs=0"))
    said = str(caught.value)
    files = (tmp_path / "run" / "not-finite.txt").read_text().splitlines()
    lines = [line for line in read_log(tmp_path / "run") if line["kind"] == "step"]
    step = lines[-1]["step"] + 1
    assert f"at step {step} (epoch {step // 2 + 1})" in said
    assert f"a batch of 8 files from {files[0]} to {files[-1]}" in said
    assert "`overrides=['learning_rate=0.05']`" in said  # a quarter of what was tried last is above it
    assert "not-finite.txt" in said
    assert len(files) == len(set(files)) == 8
    keys = {sample.key for sample in split(open_source(photos)).train}
    assert set(files) <= keys
    assert not (tmp_path / "run" / "model.safetensors").exists()
    assert all(np.isfinite(line["loss"]) for line in lines)


def test_the_files_named_are_those_of_the_batch(go, photo_folder, tmp_path, monkeypatch):
    seen = []
    inputs, step = Inputs.__call__, Step.__call__

    def see(self, batch, size):
        seen.append(batch)
        return inputs(self, batch, size)

    def poison(self, *parts):
        number = self.state.step
        loss = step(self, *parts)
        return loss * float("nan") if number == 3 else loss

    monkeypatch.setattr(Inputs, "__call__", see)
    monkeypatch.setattr(Step, "__call__", poison)
    photos = photo_folder(images=10)
    with pytest.raises(TrainingError, match=r"The loss is nan at step 3 \(epoch 2\)"):
        go(photos)
    keys = [sample.key for sample in split(open_source(photos)).train]
    poisoned = [keys[i] for i in seen[3].indices]
    assert (tmp_path / "run" / "not-finite.txt").read_text().splitlines() == poisoned


def test_on_the_command_line_it_is_exit_status_1(photo_folder, tmp_path, capsys):
    (tmp_path / "tiny.toml").write_text(RECIPE)
    wrong = ["--set", "learning_rate=1000", "--set", "weight_decay=1", "--set", "epochs=200"]
    command = ["train", str(photo_folder(images=10)), "--model", "resnet20", "--image-size", "8"]
    assert main([*command, "--recipe", str(tmp_path / "tiny.toml"), "--out", str(tmp_path / "run"), *wrong]) == 1
    out, said = capsys.readouterr()
    assert out == ""
    assert "error: The loss is" in said
    assert "Traceback" not in said


def test_a_checkpoint_that_cannot_be_written_is_a_warning(go, photo_folder, tmp_path, monkeypatch, capsys):
    """The disk is full for a while: the work goes on, and the last checkpoint stays until there is room."""
    save, calls = State.save, []

    def sometimes(self, folder):
        calls.append((folder / "checkpoint.safetensors").exists())
        if len(calls) == 2:
            raise OSError(28, "No space left on device")
        save(self, folder)

    monkeypatch.setattr(State, "save", sometimes)
    result = go(photo_folder(images=10))
    assert calls == [False, True, True]
    assert "warning: no checkpoint at step 2" in capsys.readouterr().err
    assert Path(result.model).exists()


def test_a_folder_that_is_not_empty_is_refused_and_left_alone(go, photo_folder, tmp_path):
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "thesis.tex").write_text("x")
    with pytest.raises(ResnetsError, match=r"not empty: give another `out`\.$"):
        go(photo_folder())
    assert [path.name for path in (tmp_path / "run").iterdir()] == ["thesis.tex"]
    (tmp_path / "file").write_text("x")
    with pytest.raises(ResnetsError, match="not empty"):
        go(photo_folder(name="others"), out="file")


def test_without_out_every_run_has_a_folder_of_its_own(go, photo_folder, tmp_path, monkeypatch):
    photos = photo_folder(images=5)
    monkeypatch.chdir(tmp_path)
    settings = {"model": "resnet20", "recipe": tmp_path / "tiny.toml", "image_size": 8, "epochs": 1}
    runs = [train("photos", **settings).run for _ in range(2)]
    assert runs == ["runs/photos-resnet20", "runs/photos-resnet20-2"]
    assert all(Path(run, "model.safetensors").exists() for run in runs)
    assert json.loads(Path(runs[0], "run.json").read_text())["asked"]["data"] == str(photos)


def test_data_that_is_not_there_leaves_no_folder_behind(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(DataError, match="There is no folder, archive, table or data set 'phtos'"):
        train("phtos")
    assert list(tmp_path.iterdir()) == []


def test_a_named_set_wins_over_a_folder_of_that_name(tmp_path, monkeypatch):
    """As `open_source` promises: the folder is reached as ./cifar10."""
    from resnets.training import moved

    monkeypatch.chdir(tmp_path)
    for name in ("cifar10", "digits"):
        (tmp_path / name).mkdir()
        assert moved.absolute(name) == name
        assert moved.absolute(f"./{name}") == str(tmp_path / name)


@pytest.mark.parametrize(
    ("options", "error", "why"),
    [
        ({"overrides": ("head_epochs=1",)}, RecipeError, "give `weights`"),
        ({"model": "resnet19"}, SpecError, 'There is no network .*"resnet18"'),
        ({"recipe": "quik"}, RecipeError, "There is no recipe"),
        ({"device": "tpu"}, ResnetsError, "`device` is auto, cuda, mps, cpu, not 'tpu'"),
        ({"weights": "nowhere.safetensors"}, ResnetsError, "nowhere"),
        ({"seed": -1}, ResnetsError, "seed"),
        ({"seed": 2**64}, ResnetsError, "seed"),
        ({"image_size": 80, "overrides": ("mean=pixel",)}, ResnetsError, "crop"),
    ],
    ids=["head", "model", "recipe", "device", "weights", "seed", "huge seed", "mean"],
)
@pytest.mark.parametrize("splits", [(), ("train", "val")], ids=["seeded", "given"])
def test_what_cannot_be_is_refused_in_a_sentence(go, photo_folder, splits, options, error, why):
    with pytest.raises(error, match=why):
        go(photo_folder(splits=splits), **options)


# Damaged files -------------------------------------------------------------------------------------------


def test_two_hundred_odd_files_neither_stop_a_training_nor_pass_silently(go, photo_folder, tmp_path, capfd):
    photos = photo_folder(images=20)
    odd = odd_files.make(tmp_path / "odd")
    assert len(odd) >= 200
    rng = random.Random(0)
    placed = {}
    for file in odd:
        key = f"{rng.choice(['cat', 'dog'])}/{file.path.name}"
        shutil.copy(file.path, photos / key)
        placed[key] = file.usable
    result = go(photos, overrides=("epochs=1",))
    unusable = {key for key, usable in placed.items() if not usable}
    record = json.loads((Path(result.run) / "run.json").read_text())
    assert {entry["path"] for entry in record["skipped_files"]} == unusable
    assert len(record["skipped_files"]) == len(unusable) >= 80
    assert all(len(entry["why"]) > 5 for entry in record["skipped_files"])
    assert list(result.skipped_files) == record["skipped_files"]
    parts = split(open_source(photos))
    assert result.images == len([sample for sample in parts.train if sample.key not in unusable])
    assert f"left out: {len(unusable) - 10} more, all named in run.json" in capfd.readouterr().err
    assert Path(result.model).exists()


def test_strict_stops_at_the_first_and_names_it(go, photo_folder, tmp_path):
    photos = photo_folder(images=5)
    (photos / "dog" / "3.jpg").write_bytes(b"This photo has moved.")
    with pytest.raises(DataError, match=r"1 files? cannot be used.*dog/3\.jpg"):
        go(photos, strict=True)
    assert not (tmp_path / "run" / "model.safetensors").exists()
    result = go(photos, out="lenient")
    assert [entry["path"] for entry in result.skipped_files] == ["dog/3.jpg"]


@pytest.mark.parametrize("splits", [(), ("train", "val")], ids=["seeded", "given"])
def test_a_class_without_a_usable_file_is_named(go, photo_folder, splits):
    photos = photo_folder(CLASSES, images=5, splits=splits)
    for path in photos.rglob("eel/*.jpg"):
        path.write_bytes(b"broken")
    with pytest.raises(DataError, match="eel"):
        go(photos)


def test_a_class_that_lost_all_files_of_one_split_is_named(go, photo_folder):
    photos = photo_folder(CLASSES, images=5, splits=("train", "val"))
    for path in (photos / "val" / "dog").iterdir():
        path.write_bytes(b"")
    with pytest.raises(DataError, match=r'Class "dog" .* missing in val/'):
        go(photos)


def test_data_without_any_usable_file_is_refused(go, photo_folder):
    photos = photo_folder(images=5)
    for path in photos.rglob("*.jpg"):
        path.write_bytes(b"broken " + path.as_posix().encode())
    with pytest.raises(DataError, match="usable image"):
        go(photos)


# Weights to start from -----------------------------------------------------------------------------------


@pytest.fixture
def parent(tmp_path) -> Model:
    """An untrained model with statistics of its own, saved as parent.safetensors."""
    network = create(TINY, 2, seed=99)
    network.train()(torch.randn(16, 3, 16, 16, generator=torch.Generator().manual_seed(1)))
    model = Model(network.eval(), ("cat", "dog"), Preprocessing.evaluation(16, mean=(0.1, 0.2, 0.3)))
    save_model(tmp_path / "parent.safetensors", model)
    return model


def body(state: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    return {name: tensor for name, tensor in state.items() if not name.startswith("head.")}


@pytest.fixture
def states(monkeypatch) -> dict[int, dict[str, torch.Tensor]]:
    """Step -> the live network's state at each checkpoint of the runs that follow."""
    found = {}
    save = State.save

    def spy(self, folder):
        found[self.step] = {name: tensor.clone() for name, tensor in self.network.state_dict().items()}
        save(self, folder)

    monkeypatch.setattr(State, "save", spy)
    return found


def test_other_classes_get_a_new_head_and_the_same_body(go, photo_folder, parent, states, tmp_path, capsys):
    result = go(photo_folder(CLASSES, images=8), model=None, image_size=None, weights=tmp_path / "parent.safetensors")
    assert "head (2 classes) is replaced by a new one for 3 classes" in capsys.readouterr().err
    assert equal(body(states[0]), body(parent.network.state_dict()))
    assert states[0]["head.linear.weight"].shape == (3, 16)
    model = load_model(result.model)
    assert model.classes == CLASSES
    assert model.preprocessing == parent.preprocessing
    assert model.provenance.weights == "parent.safetensors"
    assert not equal(body(model.network.state_dict()), body(parent.network.state_dict()))


def test_the_same_classes_keep_their_head(go, photo_folder, parent, states, tmp_path, capsys):
    go(photo_folder(images=8), model=None, weights=tmp_path / "parent.safetensors")
    assert "their head is kept" in capsys.readouterr().err
    assert equal(states[0], dict(parent.network.state_dict()))


def test_as_many_but_other_classes_are_not_the_same(go, photo_folder, parent, states, tmp_path):
    go(photo_folder(("ant", "bee"), images=8), model=None, weights=tmp_path / "parent.safetensors")
    assert equal(body(states[0]), body(parent.network.state_dict()))
    assert not torch.equal(states[0]["head.linear.weight"], parent.network.head.linear.weight)


@pytest.mark.parametrize("ema", [0.0, 0.9])
def test_while_the_head_trains_the_body_rests(go, photo_folder, parent, states, tmp_path, ema):
    """To the bit, the norms' statistics and counters too; evaluations in between must not wake them."""
    settings = ("head_epochs=2", "epochs=3", f"ema={ema}", "weight_decay=0.1", "decay_everything=true")
    photos = photo_folder(CLASSES, images=10)
    go(photos, model=None, weights=tmp_path / "parent.safetensors", overrides=settings)
    start, one, two, end = (states[step] for step in (0, 3, 6, 9))
    assert equal(body(start), body(one))
    assert equal(body(start), body(two))
    assert not torch.equal(start["head.linear.weight"], one["head.linear.weight"])
    assert not torch.equal(one["head.linear.weight"], two["head.linear.weight"])
    changed = [name for name in body(two) if not torch.equal(two[name], end[name])]
    assert len(changed) == len(body(two))


def test_another_size_than_the_weights_had(go, photo_folder, parent, tmp_path):
    result = go(photo_folder(images=8), model=None, image_size=24, weights=tmp_path / "parent.safetensors")
    found = load_model(result.model).preprocessing
    assert (found.image_size, found.resize_to, found.mean) == (24, 24, (0.1, 0.2, 0.3))


@pytest.mark.parametrize("overrides", [(), ("start_size=0.5",), ("crop=resized",)], ids=str)
@pytest.mark.parametrize("image_size", [16, 24])
def test_weights_with_a_mean_image(go, photo_folder, tmp_path, overrides, image_size):
    """A model that subtracts a mean image of its size: go on with it, or say in a sentence what is in the way."""
    mean = np.full((3, 16, 16), 0.4, np.float32)
    model = Model(create(TINY, 2, seed=0), ("cat", "dog"), Preprocessing.evaluation(16, mean_image=mean))
    save_model(tmp_path / "parent.safetensors", model)
    options = {"model": None, "weights": tmp_path / "parent.safetensors", "image_size": image_size}
    problem = result = None
    try:
        result = go(photo_folder(images=8), overrides=overrides, **options)
    except ResnetsError as caught:
        problem = str(caught)
    if image_size == 16 and overrides != ("start_size=0.5",):
        assert result is not None, problem
    if problem is not None:
        assert "mean" in problem
        assert "(3, " not in problem, "a shape is no advice"


def test_a_model_that_is_not_the_weights_is_refused(go, photo_folder, parent, tmp_path):
    with pytest.raises(SpecError, match="differs from the network in `weights`"):
        go(photo_folder(images=8), model="resnet20", weights=tmp_path / "parent.safetensors")
    assert go(photo_folder(images=8, name="others"), out="own", weights=tmp_path / "parent.safetensors").epochs == 2
