"""A head on what a trained body sees: like scikit-learn's, judged out of fold, and where every run from it starts."""

import json
import shutil

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file
from sklearn.linear_model import LogisticRegression

import resnets
from resnets.data.preprocess import Preprocessing
from resnets.errors import ModelFileError, RecipeError, TrainingError
from resnets.machine import home
from resnets.network import create
from resnets.training import Observer, finish, probe, resume
from resnets.training.features import seen
from resnets.training.step import Step
from resnets.weights import load
from resnets.weights.run import CHECKPOINT, HEAD, MODEL, RECORD, RunRecord

SPEC = resnets.architecture.ResNetSpec(depths=(1, 1), widths=(8, 16), stem="cifar")
PHOTOS = {"images": 24, "size": (32, 32), "classes": ("cat", "dog", "owl")}


@pytest.fixture(scope="module")
def points():
    """(features, labels) of three clouds that overlap, and as many to judge on."""
    random = np.random.default_rng(0)
    labels = np.repeat(np.arange(3), 80)
    centres = random.normal(size=(3, 20))
    return (7 + 3 * (centres[labels] + 1.4 * random.normal(size=(240, 20)))).astype(np.float32), labels


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    """The run of a small network that has seen digits."""
    out = tmp_path_factory.mktemp("body") / "run"
    resnets.train("digits", model=SPEC, epochs=1, out=out, weights="none")
    return out


@pytest.fixture
def probed(photo_folder, weights, tmp_path):
    """A run that fits a head on that body, and nothing more."""
    out = tmp_path / "probed"
    resnets.train(photo_folder(**PHOTOS), weights=weights, recipe="probe", out=out)
    return out


def test_a_head_is_scikit_learns_regression_on_scaled_features(points):
    features, labels = points
    head = probe.fit(features, labels, 3)
    scaled = (features - features.mean(0)) / features.std()
    wanted = LogisticRegression(C=head.strength, max_iter=1000).fit(scaled, labels).predict_proba(scaled)
    found = torch.softmax(torch.from_numpy(head.logits(features)), 1).numpy()
    assert np.abs(found - wanted).max() < 0.02
    assert head.strength in probe.STRENGTHS


def test_two_classes_are_one_regression(points):
    features, labels = (part[:160] for part in points)
    head = probe.fit(features, labels, 2)
    scaled = (features - features.mean(0)) / features.std()
    wanted = LogisticRegression(C=head.strength, max_iter=1000).fit(scaled, labels).predict_proba(scaled)
    found = torch.softmax(torch.from_numpy(head.logits(features)), 1).numpy()
    assert np.abs(found - wanted).max() < 0.02


def test_answers_out_of_fold_are_of_heads_that_did_not_know_the_image(points):
    """Where labels are dealt at random, a head knows its own images by heart, and is at chance out of fold."""
    features, labels = points
    shuffled = np.random.default_rng(1).permutation(labels)
    wide = np.concatenate([features, np.random.default_rng(2).normal(size=(240, 400))], 1).astype(np.float32)
    head = probe.fit(wide, shuffled, 3)
    weight, bias = probe._regress(wide, shuffled, 3, 1.0, probe._solver(1e-4))
    assert ((wide @ weight.T + bias).argmax(1) == shuffled).mean() > 0.95
    assert (head.out_of_fold.argmax(1) == shuffled).mean() < 0.45
    assert (probe.fit(features, labels, 3).out_of_fold.argmax(1) == labels).mean() > 0.8


def test_the_only_image_of_a_class_is_learned_and_not_judged(points):
    features, labels = points
    labels = np.where(np.arange(240) == 7, 3, labels)
    head = probe.fit(features, labels, 4)
    assert np.isnan(head.out_of_fold[7]).all()
    assert np.isfinite(np.delete(head.out_of_fold, 7, 0)).all()
    assert np.isfinite(head.weight).all()


def test_copies_of_an_image_do_not_answer_for_each_other(points):
    """Noise with labels dealt at random, every image four times: out of fold it stays at chance."""
    random = np.random.default_rng(3)
    noise = np.tile(random.normal(size=(60, 300)), (4, 1)).astype(np.float32)
    labels = np.tile(random.permutation(60) % 2, 4)
    assert (probe.fit(noise, labels, 2).out_of_fold.argmax(1) == labels).mean() < 0.7


@pytest.mark.parametrize("images", [2, 3, 5])
def test_a_handful_of_images(images):
    random = np.random.default_rng(0)
    head = probe.fit(random.normal(size=(images, 8)).astype(np.float32), np.arange(images) % 2, 2)
    assert head.weight.shape == (2, 8)
    assert np.isfinite(head.weight).all()
    assert np.isfinite(head.bias).all()


def test_features_that_are_all_the_same_give_a_head():
    head = probe.fit(np.ones((6, 8), np.float32), np.arange(6) % 2, 2)
    assert np.isfinite(head.logits(np.ones((2, 8), np.float32))).all()


def test_what_is_seen_is_what_the_head_reads(weights, classifier):
    """In the fast engine's precision, of the middle of larger images; and the network is left as it is."""
    pixels = np.random.default_rng(0).integers(0, 255, (70, 12, 12, 3), np.uint8)
    size = classifier.preprocessing.image_size
    edge = (12 - size) // 2
    wanted = classifier.pooled(pixels[:, edge : edge + size, edge : edge + size])
    before = {name: tensor.clone() for name, tensor in classifier.network.state_dict().items()}
    found = seen(classifier.network, classifier.preprocessing, pixels, "cpu", "looking")
    assert np.abs(found - wanted).max() < 0.03 * np.abs(wanted).max()
    assert all(torch.equal(before[name], tensor) for name, tensor in classifier.network.state_dict().items())


def test_what_was_seen_is_kept_and_checked(classifier):
    pixels = np.random.default_rng(1).integers(0, 255, (5, 16, 16, 3), np.uint8)
    there = set((home() / "cache").glob("*.f32"))

    def look(images):
        return seen(classifier.network, classifier.preprocessing, images, "cpu", "looking")

    first = look(pixels)
    (file,) = set((home() / "cache").glob("*.f32")) - there
    assert np.array_equal(look(pixels), first)
    for damage in (bytes(file.stat().st_size), file.read_bytes()[:-40], b"", file.read_bytes() + b"0"):
        file.write_bytes(damage)
        assert np.array_equal(look(pixels), first)
    assert not np.array_equal(look(pixels[::-1].copy()), first)
    assert len(set((home() / "cache").glob("*.f32")) - there) == 2


def test_a_run_of_the_head_alone(probed, weights):
    record = RunRecord.read(probed)
    assert (record.epochs, record.result.epochs) == (0, 0)
    body, found = load(weights).network.state_dict(), load(probed).network.state_dict()
    assert all(torch.equal(body[name], found[name]) for name in body if not name.startswith("head.linear"))
    assert record.head["out_of_fold"]["images"] == record.result.images
    assert record.body["sha256"] == json.loads((weights / "run.json").read_text())["files"][MODEL]["sha256"]
    assert record.result.top1 > 0.9  # a colour for each class
    assert load(probed).provenance.pretrained["sha256"] == record.body["sha256"]


def test_a_finished_head_is_reported_and_made_again(probed, capsys):
    before = (probed / MODEL).read_bytes()
    assert resume(probed).top1 == finish(probed).top1
    (probed / MODEL).unlink()
    (probed / HEAD).unlink()
    resume(probed)
    model = load(probed)
    (probed / MODEL).write_bytes(before)
    assert torch.equal(model.network.head.linear.weight, load(probed).network.head.linear.weight)


@pytest.mark.parametrize("damage", [b"", b"\0" * 400, None], ids=["empty", "zeros", "of another run"])
def test_a_damaged_head_is_named_with_the_mend(probed, tmp_path, photo_folder, weights, damage):
    if damage is None:
        other = photo_folder(**{**PHOTOS, "images": 12}, name="others")
        resnets.train(other, weights=weights, recipe="probe", out=tmp_path / "other")
        damage = (tmp_path / "other" / HEAD).read_bytes()
    (probed / HEAD).write_bytes(damage)
    (probed / MODEL).unlink()
    with pytest.raises(TrainingError, match=r"head\.safetensors .* remove it"):
        resume(probed)


def test_training_starts_from_the_head_and_is_kept_only_if_it_is_better(photo_folder, weights, tmp_path):
    """At a rate that ruins the network, the head alone is what is kept, and run.json says so."""
    out = tmp_path / "ruined"
    ruin = ("pays=0", "learning_rate=0.3", "warmup_epochs=0", "ema=0", "epochs=1", "batch_size=8", "norms=batch")
    resnets.train(photo_folder(**PHOTOS), weights=weights, out=out, overrides=ruin)
    record = RunRecord.read(out)
    assert record.chosen["kept"] == "the head alone"
    assert set(record.chosen["losses"]) == {"the head alone", "all that was trained"}
    body, found = load(weights).network.state_dict(), load(out).network.state_dict()
    assert all(torch.equal(body[name], found[name]) for name in body if not name.startswith("head.linear"))
    assert record.result.top1 > 0.9


@pytest.mark.parametrize(("at", "steps"), [(0, 0), (3, 0), (7, 6)], ids=["at once", "in the first epoch", "later"])
def test_a_training_that_diverges_at_every_rate_ends_with_what_was_good(
    photo_folder, weights, tmp_path, monkeypatch, capsys, at, steps
):
    """There is a head, so there is a model; killed before the record has the end, a resumed run comes to it."""
    original = Step.__call__

    def call(self, *parts):
        loss = original(self, *parts)
        return loss * float("nan") if self.state.step - 1 == at else loss

    monkeypatch.setattr(Step, "__call__", call)
    out, tuned = tmp_path / "run", ("pays=0", "epochs=3", "batch_size=9", "min_steps=0", "norms=frozen")
    result = resnets.train(photo_folder(**PHOTOS), weights=weights, out=out, overrides=tuned)
    said = capsys.readouterr().err
    assert f"The loss is nan at step {at} " in said
    assert f"the training ends with its last good state, after {steps} steps" in said
    assert "on at 0.00098 of the learning rate" not in said
    assert any(f"ended with its last good state, after {steps} steps" in remark for remark in result.remarks)
    record, model = RunRecord.read(out), load(out)
    assert (record.schedule["steps"], result.epochs) == (steps, steps // 6)
    assert resume(out) == result
    if steps == 0:
        assert torch.equal(model.network.head.linear.weight, load_file(out / HEAD)["weight"])
    before = {key: value for key, value in json.loads((out / RECORD).read_text()).items() if key != "files"}
    before["schedule"], before["epochs"] = None, 3
    before.pop("result")
    (out / RECORD).write_text(json.dumps(before))
    (out / MODEL).unlink()
    again = resume(out)
    assert (again.top1, again.fallbacks, again.epochs) == (result.top1, result.fallbacks, result.epochs)
    assert RunRecord.read(out).schedule == record.schedule
    (out / MODEL).unlink()
    assert resume(out).top1 == result.top1


def test_no_epochs_are_the_head_alone_where_a_body_is_at_hand(photo_folder, weights, tmp_path):
    """Which recipe it is hangs on the weights: another one's rules are not asked before that is known."""
    result = resnets.train(photo_folder(**PHOTOS), weights=weights, epochs=0, out=tmp_path / "run")
    assert (result.epochs, RunRecord.read(tmp_path / "run").recipe["probe"]) == (0, True)


def test_frozen_norms_and_stages_stay_to_the_bit(photo_folder, weights, tmp_path):
    out = tmp_path / "frozen"
    tuned = ("pays=0", "norms=frozen", "freeze=1", "epochs=2", "batch_size=8", "learning_rate=0.01", "ema=0")
    resnets.train(photo_folder(**PHOTOS), weights=weights, out=out, overrides=tuned)
    body = load(weights).network.state_dict()
    found = {k[8:]: v for k, v in load_file(out / CHECKPOINT).items() if k.startswith("network.")}
    resting = ("stem.", "stage1.")
    for name, tensor in body.items():
        still = name.startswith(resting) or "running" in name or "num_batches" in name
        if not name.startswith("head.linear"):
            assert torch.equal(tensor, found[name]) is still, name


def test_a_stopped_run_goes_on_from_its_head_to_the_bit(photo_folder, weights, tmp_path):
    """Stopped before its first checkpoint, and in the middle of an epoch: the same network as without a stop."""

    class Stop(Observer):
        def stepped(self, training, step):
            if step.step == 4:
                raise KeyboardInterrupt

    photos = photo_folder(**PHOTOS)
    tuned = ("pays=0", "epochs=2", "batch_size=8", "checkpoint_seconds=0")
    resnets.train(photos, weights=weights, out=tmp_path / "whole", overrides=tuned)
    with pytest.raises(KeyboardInterrupt):
        resnets.train(photos, weights=weights, out=tmp_path / "stopped", overrides=tuned, observers=[Stop()])
    shutil.copytree(tmp_path / "stopped", tmp_path / "early")
    (tmp_path / "early" / CHECKPOINT).unlink()
    (tmp_path / "early" / "log.jsonl").unlink()
    wanted = load(tmp_path / "whole").network.state_dict()
    for name in ("stopped", "early"):
        resume(tmp_path / name)
        found = load(tmp_path / name).network.state_dict()
        assert all(torch.equal(wanted[key], found[key]) for key in wanted), name


def test_more_than_the_head_trains_only_where_that_could_be_shown(photo_folder, weights, tmp_path, capsys):
    """The default on a set that the head knows already: no step, and the record that a resume follows says so."""
    out = tmp_path / "easy"
    result = resnets.train(photo_folder(**PHOTOS), weights=weights, out=out)
    assert "The head alone is kept: of 15 held-out images it would miss about 0" in capsys.readouterr().err
    record = RunRecord.read(out)
    assert (record.schedule["steps"], result.epochs) == (0, 0)
    (out / MODEL).unlink()
    assert resume(out).top1 == result.top1
    capsys.readouterr()
    hard = ("overrides", ("epochs=1", "pays=1")), ("epochs", 1)
    for number, asked in enumerate(hard):
        noise = photo_folder(classes=("a", "b"), images=30, size=(32, 32), name=f"noise{number}")
        for index, path in enumerate(sorted(noise.rglob("*.jpg"))):  # classes that nobody can tell apart
            Image.fromarray(np.random.default_rng(index).integers(0, 255, (32, 32, 3), np.uint8)).save(path)
        assert resnets.train(noise, weights=weights, out=tmp_path / f"hard{number}", **dict([asked])).epochs == 1


def test_recipes_from_a_body_need_one(photo_folder):
    photos = photo_folder()
    with pytest.raises(RecipeError, match="give `weights`"):
        resnets.train(photos, recipe="probe", weights="none")
    with pytest.raises(RecipeError, match="trains nothing"):
        resnets.train(photos, recipe="quick", epochs=0)


def test_a_body_whose_features_are_no_numbers_is_refused(photo_folder, tmp_path):
    network = create(SPEC, 2, seed=0)
    with torch.no_grad():
        network.stage2.unit1.norm2.bias.fill_(float("inf"))
    with pytest.raises(ModelFileError, match="not finite"):
        seen(network, Preprocessing.evaluation(16), np.full((2, 16, 16, 3), 255, np.uint8), "cpu", "looking")


def noise(photo_folder, name, images=24, copies=1):
    """Photos of two classes that nobody can tell apart."""
    folder = photo_folder(classes=("a", "b"), images=images * copies, size=(32, 32), name=name)
    for label in "ab":
        for number, path in enumerate(sorted((folder / label).iterdir())):
            random = np.random.default_rng([ord(label), number % images])
            Image.fromarray(random.integers(0, 255, (32, 32, 3), np.uint8)).save(path, quality=95)
    return folder


def test_a_body_that_was_trained_on_these_images_says_nothing_out_of_fold(photo_folder, weights, tmp_path):
    """It knows them by heart; more than the head trains, as nothing shows that this is useless."""
    photos = noise(photo_folder, "noise")
    by_heart = ("pays=0", "epochs=25", "batch_size=8", "learning_rate=0.05", "norms=batch", "flip=false", "crop=none")
    resnets.train(photos, weights=weights, out=tmp_path / "first", overrides=by_heart)
    resnets.train(photos, weights=tmp_path / "first", recipe="probe", out=tmp_path / "second")
    record = RunRecord.read(tmp_path / "second")
    assert record.head["out_of_fold"]["images"] == 0
    assert record.result.estimate is None
    assert load(tmp_path / "second").calibration.coverage is None


def test_copies_count_once(photo_folder, weights, tmp_path):
    photos = noise(photo_folder, "copies", images=10, copies=3)
    result = resnets.train(photos, weights=weights, recipe="probe", out=tmp_path / "run")
    assert 10 <= result.estimate["images"] <= 20
    assert result.estimate["top1"] < 0.85


def test_where_a_class_has_no_answer_nothing_is_said(photo_folder, weights, tmp_path):
    """One training image of a class: a head that did not know it cannot name it."""
    for split, label, images in (("train", "a", 6), ("train", "b", 1), ("val", "a", 3), ("val", "b", 3)):
        made = photo_folder(classes=(label,), images=images, size=(32, 32), name=f"parts/{split}")
        shutil.copytree(made, tmp_path / "set" / split, dirs_exist_ok=True)
        shutil.rmtree(made)
    result = resnets.train(tmp_path / "set", weights=weights, recipe="probe", out=tmp_path / "run")
    assert result.estimate is None
