"""The looks of a picture: what they tell apart, and that they do not depend on how the pictures come."""

import numpy as np
import pytest
from PIL import Image
from sklearn.datasets import load_digits
from sklearn.metrics import roc_auc_score

from resnets.data.cache import cached
from resnets.data.open import open_source
from resnets.data.preprocess import Preprocessing
from resnets.inference import novelty


def photos(shared_data, name, count, side):
    source = open_source(shared_data / name)
    samples = source.samples[:: len(source.samples) // count][:count]
    return cached(source, samples, Preprocessing.evaluation(side)).images


def noise(count, side):
    return np.random.default_rng(0).integers(0, 256, (count, side, side, 3)).astype(np.uint8)


def as_seen(pictures, side):
    preprocessing = Preprocessing.evaluation(side)
    return np.stack([preprocessing.pixels(Image.fromarray(picture).convert("RGB")) for picture in pictures])


def drawn(count, side):
    return as_seen((load_digits().images[:count] * 255 / 16).astype(np.uint8), side)


def test_photos_are_told_from_digits_and_from_noise(shared_data):
    known = photos(shared_data, "cifar10.zip", 1000, 32)
    fitted = novelty.fit(known[::2])
    judged = novelty.score(known[1::2], fitted)
    assert (judged > 1).mean() < 0.04, "one in a hundred, but for chance"
    for strange in (drawn(300, 32), noise(300, 32)):
        scores = novelty.score(strange, fitted)
        assert roc_auc_score(np.r_[np.zeros(len(judged)), np.ones(300)], np.r_[judged, scores]) >= 0.95
        assert (scores > 1).mean() > 0.7


def test_digits_are_told_from_noise():
    known = drawn(400, 16)
    fitted = novelty.fit(known[:200])
    assert (novelty.score(known[200:], fitted) > 1).mean() < 0.06
    assert (novelty.score(noise(50, 16), fitted) > 1).all()


def test_an_image_has_the_same_looks_alone_and_among_others():
    images = noise(130, 32)
    together = novelty.describe(images)
    assert together.shape == (130, 20)
    assert np.allclose(together[65], novelty.describe(images[65:66])[0], atol=1e-5)
    assert np.allclose(together, novelty.describe(np.ascontiguousarray(images[::-1])[::-1]), atol=1e-5)


@pytest.mark.parametrize(("side", "count"), [(8, 12), (9, 12), (16, 16), (33, 20), (64, 24), (128, 26), (224, 26)])
def test_every_scale_counts(side, count):
    assert novelty.describe(noise(2, side)).shape == (2, count)
    assert novelty.dimensions(side) == count


def test_images_that_are_too_small_have_no_looks():
    assert novelty.fit(noise(30, 7)) is None


def test_images_that_are_all_alike_can_be_fitted():
    fitted = novelty.fit(np.full((60, 16, 16, 3), 7, np.uint8))
    assert novelty.score(np.full((1, 16, 16, 3), 7, np.uint8), fitted) <= 1
    assert novelty.score(noise(1, 16), fitted) > 1


def test_the_number_of_looks_is_known_beforehand():
    for side in range(8, 260):
        assert novelty.describe(noise(1, side)).shape[1] == novelty.dimensions(side), side
