"""Intervals beside every share, and what answers out of fold are worth."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy.stats import binomtest

from resnets.errors import ParameterError
from resnets.evaluation.estimate import out_of_fold, told
from resnets.evaluation.significance import interval, shown
from resnets.weights.result import TrainResult

RESULT = TrainResult(run="r", model="m", report=None, top1=14 / 15, seconds=1.0, images=250, epochs=1)


@pytest.mark.parametrize("images", [1, 2, 7, 45, 153, 3925])
@pytest.mark.parametrize("share", [0, 0.3, 0.915, 1])
def test_the_interval_is_wilsons(images, share):
    right = round(share * images)
    known = binomtest(right, images).proportion_ci(method="wilson")
    assert interval(right / images, images) == pytest.approx((known.low, known.high), abs=1e-6)


def test_the_ends_are_exact_and_no_image_tells_nothing():
    assert interval(0.0, 9)[0] == 0.0
    assert interval(1.0, 9)[1] == 1.0
    assert all(math.isnan(end) for end in interval(math.nan, 0))


@pytest.mark.parametrize(
    ("right", "images", "text"),
    [
        (140, 153, "91.5 % (86 to 95)"),
        (3, 3, "100.0 % (44 to 100)"),
        (0, 5, "0.0 % (0 to 43)"),
        (3500, 3925, "89.2 % (88.2 to 90.1)"),
        (38057, 50000, "76.1 % (75.7 to 76.5)"),
        (9999, 10000, "99.99 % (99.94 to 100.00)"),
    ],
)
def test_a_share_is_shown_in_as_many_digits_as_the_images_can_tell(right, images, text):
    assert shown(right / images, interval(right / images, images)) == text


def test_a_share_without_images_or_without_an_interval():
    assert (shown(None, None), shown(math.nan, (math.nan, math.nan)), shown(0.5, None)) == ("-", "-", "50.0 %")


def answers(images, right, classes=3):
    labels = np.arange(images) % classes
    logits = np.random.default_rng(0).normal(0, 0.1, (images, classes))
    said = np.where(np.arange(images) < right, labels, (labels + 1) % classes)
    logits[np.arange(images), said] += 3
    return logits.astype(np.float32), labels


def test_answers_out_of_fold_give_an_estimate():
    logits, labels = answers(250, 230)
    found = out_of_fold(logits, labels, ("a", "b", "c"))
    known = binomtest(230, 250).proportion_ci(method="wilson")
    assert found.document() == {
        "top1": 230 / 250,
        "interval": pytest.approx([known.low, known.high], abs=1e-6),
        "images": 250,
        "how": "out of fold",
    }


@pytest.mark.parametrize("spoil", ["shape", "nan", "none"])
def test_answers_that_can_be_none_are_refused(spoil):
    logits, labels = answers(30, 20)
    if spoil == "nan":
        logits[3, 1] = np.nan
    wrong = {"shape": (logits[:, :2], labels), "nan": (logits, labels), "none": (logits[:0], labels[:0])}[spoil]
    with pytest.raises(ParameterError, match="Out-of-fold answers are finite"):
        out_of_fold(*wrong, ("a", "b", "c"))


def test_what_a_run_came_to_is_one_line():
    assert told(RESULT) == "top-1 93.3 % on the held-out images"  # a run of an older version
    told_of = {"top1_interval": interval(14 / 15, 45), "held_out_images": 45}
    result = TrainResult.from_dict({**RESULT.document(), **told_of, "top1_interval": list(told_of["top1_interval"])})
    assert told(result) == "top-1 93.3 % (82 to 98) on 45 held-out images"
    logits, labels = answers(250, 230)
    both = {**result.document(), "estimate": out_of_fold(logits, labels, ("a", "b", "c")).document()}
    line = "top-1 93.3 % (82 to 98) on 45 held-out images; 92.0 % (88 to 95) out of fold on 250"
    assert told(TrainResult.from_dict(both)) == line
    assert TrainResult.from_dict(both).document() == both
