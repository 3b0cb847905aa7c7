"""Facts and warnings of a training that ended; what to do next is in test_next.py."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np

from resnets.evaluation.guessing import against_guessing
from resnets.evaluation.metrics import measure
from resnets.training import Recipe
from resnets.training.advice import advice
from resnets.weights.run import TrainResult

CLASSES = ("ant", "bee")


def said(predicted, fallbacks=0, **recipe):
    """What is said of forty images of two classes."""
    labels, predicted = np.repeat([0, 1], 20), np.array(predicted)
    figures = {**measure(np.eye(2)[predicted], labels, CLASSES), **against_guessing(labels, predicted, CLASSES)}
    prepared = SimpleNamespace(recipe=Recipe(**recipe), flattering=0)
    state = SimpleNamespace(rate_share=0.25**fallbacks, fallbacks=[{}] * fallbacks, gave_up=False)
    return advice(prepared, state, figures)


def test_one_answer_for_all_is_a_warning():
    assert said([0] * 40) == [
        'Every answer is "ant".',
        'Not recognised, or less often than by chance: "bee" (0 of 20).',
    ]


def test_a_good_end_needs_no_remark_but_the_rate_that_it_found():
    right = [0] * 20 + [1] * 20
    assert said(right) == []
    once, twice = (said(right, times, learning_rate=8.0) for times in (1, 2))
    assert once == ["The learning rate was too high and fell back once, from 8 to 2."]
    assert twice == ["The learning rate was too high and fell back 2 times, from 8 to 0.5."]


def test_a_result_by_an_older_version_knows_nothing_of_it():
    old = {"run": "r", "model": "m", "top1": 0.5, "seconds": 1.0, "images": 4, "epochs": 1, "skipped_files": []}
    result = TrainResult.from_dict(old)
    assert (result.baseline, result.better_than_guessing) == (None, None)
    assert (result.unrecognised, result.fallbacks, result.remarks) == ((), (), ())
    assert (result.top1_interval, result.held_out_images, result.estimate, result.next) == (None, None, None, None)
