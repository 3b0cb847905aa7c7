"""Judgements made of numbers, for what reports on them."""

import numpy as np

from resnets.architecture import ResNetSpec
from resnets.data.preprocess import Preprocessing
from resnets.data.sample import Sample
from resnets.evaluation import Evaluation, Judgement
from resnets.inference import Classifier
from resnets.network import create
from resnets.weights import Calibration, Model

SPEC = ResNetSpec(depths=(1,), widths=(8,), stem="cifar", stem_width=8)


def judgement(classes, images=20, right=0.7, seed=0, keys=None, side=16, strength=4.0):
    """`images` of each class, of which about `right` are answered rightly, the others with the next class mostly."""
    random = np.random.default_rng(seed)
    count = len(classes)
    labels = np.repeat(np.arange(count), images)
    answers = np.where(
        random.random(len(labels)) < right, labels, (labels + random.choice([1, 1, 2], len(labels))) % count
    )
    logits = random.normal(0, 0.3, (len(labels), count)).astype(np.float32)
    logits[np.arange(len(labels)), answers] += strength * random.random(len(labels)) + 1
    keys = keys or [f"val/{number}/{row}.jpg" for row, number in enumerate(labels)]
    return Judgement(
        classes=tuple(classes),
        samples=tuple(Sample(key, classes[label], "val", 1) for key, label in zip(keys, labels, strict=True)),
        pixels=random.integers(0, 255, (len(labels), side, side, 3), dtype=np.uint8),
        labels=labels,
        logits=logits,
        calibration=Calibration(),
        temperatures=np.ones(len(labels)),
        thresholds=None,
        unlikeness=None,
    )


def classifier(classes, **fields):
    return Classifier(
        Model(create(SPEC, num_classes=len(classes), seed=0), tuple(classes), Preprocessing.evaluation(16), **fields)
    )


def evaluation(judgement, split="val", skipped=()):
    return Evaluation.of(judgement, split, skipped, 1.0)
