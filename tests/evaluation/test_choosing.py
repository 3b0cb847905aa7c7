"""Choosing among networks on the held-out images: what is chosen with an image's help never answers for it."""

import numpy as np
import pytest

from resnets.data.sample import Sample
from resnets.evaluation.calibration import halves
from resnets.evaluation.choosing import choose
from resnets.evaluation.judging import Judgement
from resnets.weights import Calibration

IMAGES = 240


@pytest.fixture
def pixels():
    return np.random.default_rng(0).integers(0, 255, (IMAGES, 8, 8, 3), np.uint8)


def judgement(pixels, right, labels=None, scale=3.0):
    """Of a network with two classes that is right where `right` says so."""
    labels = np.arange(IMAGES) % 2 if labels is None else labels
    logits = np.zeros((IMAGES, 2), np.float32)
    logits[np.arange(IMAGES), np.where(right, labels, 1 - labels)] = scale
    samples = tuple(Sample(str(i), "ab"[labels[i]], "val", 1) for i in range(IMAGES))
    nothing = np.ones(IMAGES)
    return Judgement(("a", "b"), samples, pixels, labels, logits, Calibration(), nothing, None, None)


def test_the_best_is_kept_and_judged(pixels):
    good, bad = np.arange(IMAGES) % 10 > 0, np.arange(IMAGES) % 10 > 3
    choice = choose({"bad": judgement(pixels, bad), "good": judgement(pixels, good)})
    assert (choice.kept, choice.by_halves) == ("good", ("good", "good"))
    assert choice.judgement.correct.mean() == good.mean()
    assert choice.judgement.calibration == choice.calibration
    assert choice.losses["good"] < choice.losses["bad"]


def test_no_image_is_judged_by_what_it_has_helped_to_choose(pixels):
    """Each of two networks knows one half by heart, and little of the other: chosen on one, it is judged on the other.

    Judged where it was chosen, it would seem to be always right.
    """
    half = halves(pixels)
    little = np.arange(IMAGES) % 5 > 1
    choice = choose({name: judgement(pixels, (half == number) | little) for number, name in enumerate("xy")})
    assert choice.by_halves == ("x", "y")
    assert np.array_equal(choice.judgement.correct, little)


def test_logits_on_another_scale_lose_nothing(pixels):
    """A network that is right more often wins, however sure or unsure its logits look."""
    good, bad = np.arange(IMAGES) % 10 > 0, np.arange(IMAGES) % 10 > 3
    for scale in (0.01, 500.0):
        assert choose({"bad": judgement(pixels, bad), "good": judgement(pixels, good, scale=scale)}).kept == "good"


def test_a_few_images_more_are_chance_and_the_first_is_kept(pixels):
    """Two of 240 images more are no reason; twenty are."""
    right = np.arange(IMAGES) % 10 > 0
    for more, kept in ((2, "first"), (20, "second")):
        second = right | (np.cumsum(~right) <= more)
        choice = choose({"first": judgement(pixels, right), "second": judgement(pixels, second)})
        assert choice.losses["second"] < choice.losses["first"]
        assert choice.kept == kept


def test_of_equals_the_first_is_kept(pixels):
    right = np.arange(IMAGES) % 10 > 0
    assert choose({name: judgement(pixels, right) for name in ("first", "second")}).kept == "first"


def test_images_that_are_there_twice_lie_in_one_half(pixels):
    pixels[1::2] = pixels[::2]
    half = halves(pixels)
    assert np.array_equal(half[1::2], half[::2])
    assert 0.3 < half.mean() < 0.7


def test_one_image_is_enough_to_go_on(pixels):
    one = judgement(pixels, np.ones(IMAGES, bool))
    alone = Judgement(one.classes, one.samples[:1], pixels[:1], one.labels[:1], one.logits[:1], Calibration(),
                      np.ones(1), None, None)  # fmt: skip
    assert choose({"x": alone, "y": alone}).kept == "x"


def test_what_one_half_has_chosen_among_many_is_judged_by_the_other_alone(pixels):
    """Of sixty networks that are equally good, the one that the first half likes best is no better, and not called so.

    Judged on the images that chose it, it would seem some points better.
    """
    half, kept, seemed, said = halves(pixels), 0, [], []
    for draw in range(20):
        random = np.random.default_rng(draw)
        epochs = random.random((60, IMAGES)) < 0.8
        best = epochs[int(epochs[:, half == 0].mean(1).argmax())]
        choice = choose({"last": judgement(pixels, epochs[-1]), "best": judgement(pixels, best)}, "best")
        kept += choice.kept == "best"
        seemed.append(best[half == 0].mean())
        said.append(choice.judgement.correct.mean())
    assert kept <= 4
    assert np.mean(seemed) > 0.86
    assert abs(np.mean(said) - 0.8) < 0.02


def test_what_a_half_has_chosen_is_read_at_its_own_temperature(pixels):
    """Two networks on scales a hundredfold apart, one chosen by either half: the loss is that of neither scale."""
    half, number = halves(pixels), np.arange(IMAGES)
    often, mostly = number % 20 > 0, number % 5 > 0
    x, y = (np.where(half == own, often, mostly) for own in (0, 1))
    choice = choose({"x": judgement(pixels, x, scale=2), "y": judgement(pixels, y, scale=200)})
    assert choice.by_halves == ("x", "y")
    assert choice.judgement.figures["loss"] < 0.8  # sure of 95 %, and right on 80 %: 0.64


def test_another_calibration_of_what_is_kept_leaves_the_answers_of_others_alone(pixels):
    half, number = halves(pixels), np.arange(IMAGES)
    often, mostly = number % 20 > 0, number % 5 > 0
    x, y = (np.where(half == own, often, mostly) for own in (0, 1))
    choice = choose({"x": judgement(pixels, x, scale=2), "y": judgement(pixels, y, scale=200)})
    assert choice.foreign.sum() in ((half == 0).sum(), (half == 1).sum())
    before, after = choice.judgement, choice.calibrated(Calibration(temperature=50.0))
    assert after.temperature == 50
    assert after.probabilities[choice.foreign] == pytest.approx(before.probabilities[choice.foreign], abs=1e-6)
    assert not np.allclose(after.probabilities[~choice.foreign], before.probabilities[~choice.foreign], atol=1e-3)
