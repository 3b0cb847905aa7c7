"""What twice as many photos would bring, against what twice as many bring."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from sklearn.datasets import load_digits
from sklearn.linear_model import LogisticRegression

import resnets
from resnets.inference.features import pooled
from resnets.training.learning import learning_curve


@pytest.fixture(scope="module")
def described(trained):
    """(N, 32) pooled features of digits, of a small network that was trained on few of them, and their labels."""
    classifier = resnets.load(trained)
    pictures, labels = load_digits(return_X_y=True)
    pixels = np.repeat(pictures.reshape(-1, 8, 8).repeat(2, 1).repeat(2, 2)[..., None], 3, axis=-1) * 15
    spoilt = pixels + np.random.default_rng(0).normal(0, 90, pixels.shape)  # or a line of heads would be right on all
    with torch.no_grad():
        x = classifier.input(spoilt.clip(0, 255).astype(np.uint8))
        return pooled(classifier.network, x).numpy(), labels


def error(features, labels, learn, judge):
    head = LogisticRegression(max_iter=300).fit(features[learn], labels[learn])
    return 1 - head.score(features[judge], labels[judge])


def test_the_gain_is_that_of_real_features(described):
    """Of heads of another kind, on images that the curve has not seen; the mean over draws, so that chance is small."""
    features, labels = described
    said, true, held = [], [], 0
    for seed in range(6):
        order = np.random.default_rng(seed).permutation(len(labels))
        few, twice, judge = order[:160], order[:320], order[800:]
        true.append(error(features, labels, few, judge) - error(features, labels, twice, judge))
        curve = learning_curve(features[few], labels[few], features[order[320:360]], labels[order[320:360]])
        said.append(curve.gain)
        held += curve.interval[0] - 0.01 <= np.mean(true) <= curve.interval[1] + 0.01
        assert curve.interval[0] <= curve.gain <= curve.interval[1] + 1e-9
    assert abs(np.mean(said) - np.mean(true)) < 0.02
    assert held >= 4


def blobs(images, seed, width=64, classes=4):
    random = np.random.default_rng(seed)
    middles = np.random.default_rng(9).normal(0, 0.32, (classes, width))
    labels = np.arange(images) % classes
    return (middles[labels] + random.normal(0, 1, (images, width))).astype(np.float32), labels


def test_a_curve_that_is_known():
    features, labels = blobs(320, 1)
    curve = learning_curve(features, labels, *blobs(80, 2))
    others = blobs(8000, 3)
    true = {}
    for size in (320, 640):
        draws = [blobs(size, 10 + seed) for seed in range(4)]
        heads = [LogisticRegression(C=0.01, max_iter=300).fit(*draw) for draw in draws]
        true[size] = 1 - np.mean([head.score(*others) for head in heads])
    assert curve.error(320) == pytest.approx(true[320], abs=0.05)
    assert curve.interval[0] <= true[320] - true[640] <= curve.interval[1]
    assert (curve.images, len(curve.sizes), curve.sizes[-1]) == (320, 7, 320)
    assert curve.errors[0] > curve.errors[-1]
    assert curve.document() == {"top1": curve.gain, "interval": list(curve.interval)}


def test_the_same_images_give_the_same_curve():
    assert learning_curve(*blobs(200, 1), *blobs(40, 2)) == learning_curve(*blobs(200, 1), *blobs(40, 2))


@pytest.mark.parametrize("kind", ["labels by chance", "few", "one class", "not finite", "all alike"])
def test_where_nothing_can_be_told_nothing_is_said(kind):
    features, labels = blobs(200, 1)
    held_out, others = blobs(40, 2)
    if kind == "labels by chance":
        labels, others = (np.random.default_rng(0).integers(4, size=len(old)) for old in (labels, others))
    elif kind == "few":
        features, labels, held_out, others = features[:24], labels[:24], held_out[:8], others[:8]
    elif kind == "one class":
        labels, others = labels * 0, others * 0
    elif kind == "not finite":
        features[3, 3] = np.inf
    else:
        features, held_out = features * 0, held_out * 0
    assert learning_curve(features, labels, held_out, others) is None
