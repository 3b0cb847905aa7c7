"""Classes of unequal size: what their images weigh, how often they are drawn, and what that does to the rare ones."""

from __future__ import annotations

import shutil
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from PIL import Image

import resnets
from resnets.architecture import ResNetSpec
from resnets.data.batches import CachedBatches
from resnets.errors import RecipeError, TrainingError
from resnets.training import Observer, probe, resume, train
from resnets.training.recipe import Recipe
from resnets.training.weighing import Targets, Weighing, said

SPEC = ResNetSpec(depths=(1, 1), widths=(8, 16), stem="cifar", stem_width=8)
WAYS = {"class_weights": "balanced", "sampler": "balanced", "logit_adjustment": 1.0}


# The loss -------------------------------------------------------------------------------------------------


@pytest.fixture
def answers() -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    return torch.randn(12, 3, generator=generator), torch.randint(0, 3, (12,), generator=generator)


def test_an_image_weighs_by_its_class_and_one_on_average():
    counts = np.array([30, 6, 4])
    weights = Weighing.of(Recipe(class_weights="balanced"), counts).weights
    assert weights is not None
    assert weights.numpy() * counts == pytest.approx([40 / 3] * 3)


def test_the_weighted_loss_is_that_of_torch(answers):
    logits, labels = answers
    weighing = Weighing.of(Recipe(class_weights="balanced"), np.array([30, 6, 4]))
    theirs = F.cross_entropy(logits, labels, weight=weighing.weights)
    assert weighing.loss(logits, Targets(labels)) == pytest.approx(float(theirs), rel=1e-6)


def test_the_adjusted_loss_is_that_of_logits_with_the_prior_added(answers):
    logits, labels = answers
    counts = np.array([30, 6, 4])
    weighing = Weighing.of(Recipe(logit_adjustment=0.5), counts)
    prior = torch.tensor(counts / 40, dtype=torch.float32)
    theirs = F.cross_entropy(logits + 0.5 * prior.log(), labels)
    assert weighing.loss(logits, Targets(labels)) == pytest.approx(float(theirs), rel=1e-6)


@pytest.mark.parametrize(("counts", "strength"), [((600, 20), 1.0), ((3000, 300, 300, 20), 1.0), ((600, 60), 2.0)])
def test_smoothed_and_adjusted_the_best_logits_still_name_the_right_class(counts, strength):
    """Smoothed towards all classes alike, a rare class would win on images of the common one, beyond 19 : 1."""
    labels = torch.arange(len(counts))
    logits = torch.zeros(len(counts), len(counts), requires_grad=True)
    weighing = Weighing.of(Recipe(logit_adjustment=strength), np.array(counts))
    optimiser = torch.optim.LBFGS([logits], max_iter=500, line_search_fn="strong_wolfe")

    def closure() -> torch.Tensor:
        optimiser.zero_grad()
        loss = weighing.loss(logits, Targets(labels), smoothing=0.1)
        loss.backward()
        return loss

    for _ in range(10):
        optimiser.step(closure)
    assert logits.detach().argmax(1).tolist() == labels.tolist()


def test_one_rare_image_does_not_blow_a_batch_up():
    """2,400 : 1, a batch of eight: without its weights in the mean, its loss would be a hundred times the usual."""
    weighing = Weighing.of(Recipe(class_weights="balanced"), np.array([2400, 1]))
    labels = torch.tensor([0] * 7 + [1])
    logits = torch.tensor([[4.0, -4.0]]).repeat(8, 1)
    assert float(weighing.loss(logits, Targets(labels))) <= 8.01


def test_blended_images_weigh_by_both_of_their_classes(answers):
    logits, labels = answers
    weighing = Weighing.of(Recipe(class_weights="balanced"), np.array([30, 6, 4]))
    share, weights = torch.full((12,), 0.25), weighing.weights
    assert weights is not None
    each = [weights[y] * F.cross_entropy(logits, y, reduction="none") for y in (labels, labels.roll(1))]
    total = 0.25 * weights[labels] + 0.75 * weights[labels.roll(1)]
    theirs = (0.25 * each[0] + 0.75 * each[1]).sum() / total.sum()
    assert weighing.loss(logits, Targets.of(labels, share)) == pytest.approx(float(theirs), rel=1e-6)


def test_classes_of_equal_size_weigh_what_they_always_did(answers):
    logits, labels = answers
    plain = Weighing.of(Recipe(), np.array([5, 5, 5])).loss(logits, Targets(labels), smoothing=0.1)
    assert plain == F.cross_entropy(logits, labels, label_smoothing=0.1)
    for key, value in (("class_weights", "balanced"), ("logit_adjustment", 1.0)):
        made: dict[str, Any] = {key: value}
        found = Weighing.of(Recipe(**made), np.array([5, 5, 5])).loss(logits, Targets(labels), smoothing=0.1)
        assert found == pytest.approx(float(plain), rel=1e-6)


# The order ------------------------------------------------------------------------------------------------

LABELS = np.array([0] * 40 + [1] * 15 + [2] * 4)


def drawn(seed: int = 0, batch_size: int = 8, workers: int = 1) -> CachedBatches:
    images = np.zeros((len(LABELS), 2, 2, 3), np.uint8)
    return CachedBatches(images, LABELS, [str(n) for n in range(59)], batch_size, seed, workers, balanced=True)


@pytest.mark.parametrize("epoch", [0, 1, 7])
def test_every_class_is_drawn_equally_often_and_its_images_as_often_as_each_other(epoch):
    order = drawn().order(epoch)
    assert len(order) == 59
    assert sorted(Counter(LABELS[order]).values()) == [19, 20, 20]
    for label in range(3):
        times = [Counter(order.tolist())[int(index)] for index in np.flatnonzero(np.equal(LABELS, label))]
        assert max(times) - min(times) <= 1


def test_the_large_class_is_seen_whole_after_some_epochs():
    seen = {int(index) for epoch in range(12) for index in drawn().order(epoch)}
    assert seen == set(range(59))


def test_an_image_that_comes_twice_is_not_augmented_alike():
    dice = [tuple(row) for batch in drawn().epoch(3) for row in batch.dice.tolist()]
    assert len(set(dice)) == len(dice)


@pytest.mark.parametrize("workers", [1, 3])
def test_a_balanced_epoch_that_is_begun_in_the_middle_goes_on_as_it_was(workers):
    whole = list(drawn().epoch(2))
    rest = list(drawn(workers=workers).epoch(2, start=3))
    for one, other in zip(whole[3:], rest, strict=True):
        assert np.array_equal(one.indices, other.indices)
        assert torch.equal(one.dice, other.dice)
    assert not np.array_equal(drawn().order(2), drawn(seed=1).order(2))


# The head alone -------------------------------------------------------------------------------------------


def overlapping(sizes: tuple[int, ...], seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Two classes in eight dimensions that lie two deviations apart."""
    random, labels = np.random.default_rng(seed), np.repeat(np.arange(len(sizes)), sizes)
    features = random.normal(size=(len(labels), 8)).astype(np.float32)
    features[:, 0] += 2 * labels
    return features, labels


def test_a_head_that_weighs_classes_alike_finds_the_rare_one():
    features, labels = overlapping((400, 20), 0)
    others, truth = overlapping((1000, 1000), 1)
    recalls = []
    for even in (False, True):
        said = probe.fit(features, labels, 2, even=even).logits(others).argmax(1)
        recalls.append([(said == truth)[truth == label].mean() for label in (0, 1)])
    (_, plain), (often, rare) = recalls
    assert rare > plain + 0.3
    assert (often + rare) / 2 > sum(recalls[0]) / 2 + 0.1


# A whole training -----------------------------------------------------------------------------------------


class Stop(Observer):
    def stepped(self, training, step) -> None:
        if step.step == 3:
            raise KeyboardInterrupt


@pytest.fixture(scope="module")
def photos(tmp_path_factory) -> Path:
    root, noise = tmp_path_factory.mktemp("uneven"), np.random.default_rng(0)
    for label, count, light in (("often", 40, 110), ("rare", 8, 140)):
        (root / label).mkdir()
        for number in range(count):
            pixels = noise.normal(light, 40, (8, 8, 3)).clip(0, 255).astype(np.uint8)
            Image.fromarray(pixels).save(root / label / f"{number}.png")
    return root


def options(key: str, value: Any) -> dict[str, Any]:
    common = ["epochs=3", "batch_size=8", "min_steps=0", "precision=float32", "checkpoint_seconds=0"]
    return {"model": SPEC, "image_size": 8, "weights": "none", "overrides": [*common, f"{key}={value}"]}


@pytest.mark.parametrize("key", WAYS)
def test_a_run_that_was_stopped_goes_on_to_the_bit_and_says_what_it_weighs(photos, tmp_path, capsys, key):
    train(photos, out=tmp_path / "whole", **options(key, WAYS[key]))
    assert f"({key}); the held-out loss and top-1 count every image once." in capsys.readouterr().err
    with pytest.raises(KeyboardInterrupt):
        train(photos, out=tmp_path / "cut", observers=[Stop()], **options(key, WAYS[key]))
    resume(tmp_path / "cut")
    one, other = (resnets.load(tmp_path / name).network.state_dict() for name in ("whole", "cut"))
    assert all(torch.equal(one[name], other[name]) for name in one)


def test_each_of_them_is_another_training(photos, tmp_path):
    plain = resnets.load(train(photos, out=tmp_path / "plain", **options("flip", "true")).run).network.state_dict()
    for key, value in WAYS.items():
        other = resnets.load(train(photos, out=tmp_path / key, **options(key, value)).run).network.state_dict()
        assert any(not torch.equal(plain[name], other[name]) for name in plain)


def test_a_run_does_not_go_on_with_another_sampler(photos, tmp_path):
    with pytest.raises(KeyboardInterrupt):
        train(photos, out=tmp_path / "cut", observers=[Stop()], **options("sampler", "balanced"))
    recipe = tmp_path / "cut" / "recipe.toml"
    recipe.write_text(recipe.read_text().replace('sampler = "balanced"', 'sampler = "shuffled"'))
    with pytest.raises(TrainingError, match=r"^sampler would be 'shuffled' where the run began with 'balanced'"):
        resume(tmp_path / "cut")


@pytest.mark.parametrize("key", WAYS)
def test_a_run_of_an_older_version_does_not_take_one_up(tmp_path, key):
    """Its record knows no such key, which had what is the default now."""
    run = shutil.copytree(Path(__file__).parents[1] / "data_before" / "stopped", tmp_path / "run")
    value = f'"{WAYS[key]}"' if isinstance(WAYS[key], str) else WAYS[key]
    with (run / "recipe.toml").open("a") as file:
        file.write(f"{key} = {value}\n")
    with pytest.raises(TrainingError, match=f"^{key} would be .* where the run began with"):
        resume(run)


def test_two_of_them_at_once_are_refused():
    for one in WAYS:
        for other in WAYS:
            if one != other:
                both: dict[str, Any] = {one: WAYS[one], other: WAYS[other]}
                with pytest.raises(RecipeError, match="two of them for more than there is: set one"):
                    Recipe(**both)


def test_nothing_is_said_where_every_image_weighs_alike():
    assert said(Recipe()) == ""
