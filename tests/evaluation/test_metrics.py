from __future__ import annotations

import numpy as np
import pytest
from sklearn import metrics as reference

from resnets.evaluation.metrics import ece, measure, top_k

NAMES = tuple("abcdefgh")


@pytest.fixture(scope="module")
def case() -> tuple[np.ndarray, np.ndarray]:
    random = np.random.default_rng(0)
    labels = random.integers(0, 8, 300)
    logits = random.normal(size=(300, 8)).astype(np.float32)
    logits[np.arange(300), labels] += 1
    return logits, labels


def test_figures_agree_with_scikit_learn(case):
    logits, labels = case
    result = measure(logits, labels, NAMES)
    probabilities = np.exp(logits.astype(float))
    probabilities /= probabilities.sum(axis=1, keepdims=True)
    predicted = logits.argmax(axis=1)
    assert result["images"] == 300
    assert result["top1"] == pytest.approx(reference.accuracy_score(labels, predicted))
    assert result["top5"] == pytest.approx(reference.top_k_accuracy_score(labels, logits, k=5))
    assert result["macro_f1"] == pytest.approx(reference.f1_score(labels, predicted, average="macro"))
    assert result["balanced_accuracy"] == pytest.approx(reference.balanced_accuracy_score(labels, predicted))
    assert result["loss"] == pytest.approx(reference.log_loss(labels, probabilities))
    for place, row in enumerate(result["per_class"]):
        assert row["name"] == NAMES[place]
        assert row["images"] == (labels == place).sum()
        assert row["precision"] == pytest.approx((labels == place)[predicted == place].mean())
        assert row["recall"] == pytest.approx((predicted == place)[labels == place].mean())


def test_a_case_by_hand():
    logits = np.log(np.array([[0.8, 0.1, 0.1], [0.6, 0.3, 0.1], [0.2, 0.7, 0.1], [0.5, 0.4, 0.1]]))
    result = measure(logits, np.array([0, 1, 1, 0]), ("a", "b", "c"))
    assert result["top1"] == 0.75
    assert result["top5"] == 1
    assert result["loss"] == pytest.approx(-np.log([0.8, 0.3, 0.7, 0.5]).mean())
    # a: 2 of 3 predicted are right, 2 of 2 found: F1 0.8. b: 1 of 1, 1 of 2: F1 2/3. c has no images.
    assert result["macro_f1"] == pytest.approx((0.8 + 2 / 3) / 2)
    assert result["balanced_accuracy"] == pytest.approx((1 + 0.5) / 2)
    assert result["per_class"] == [
        {"name": "a", "images": 2, "precision": pytest.approx(2 / 3), "recall": 1},
        {"name": "b", "images": 2, "precision": 1, "recall": 0.5},
        {"name": "c", "images": 0, "precision": None, "recall": None},
    ]
    # Bins of 1/15: 0.8 and 0.6 and 0.7 and 0.5 all fall into bins of their own.
    assert result["ece"] == pytest.approx((0.2 + 0.6 + 0.3 + 0.5) / 4)


def test_a_class_that_is_never_right_counts_as_zero():
    logits = np.array([[2.0, 1, 0], [2, 1, 0], [0, 1, 2]])
    result = measure(logits, np.array([0, 1, 1]), ("a", "b", "c"))
    assert [row["precision"] for row in result["per_class"]] == [0.5, None, 0.0]
    assert [row["recall"] for row in result["per_class"]] == [1.0, 0.0, None]
    assert result["macro_f1"] == pytest.approx((2 / 3 + 0) / 2)


def test_temperature_moves_confidence_and_no_rank(case):
    logits, labels = case
    cold, warm = measure(logits, labels, NAMES), measure(logits, labels, NAMES, temperature=3.0)
    assert warm["loss"] != pytest.approx(cold["loss"])
    assert warm["ece"] != pytest.approx(cold["ece"])
    assert warm["loss"] == pytest.approx(measure(logits / 3, labels, NAMES)["loss"])
    for key in ("top1", "top5", "macro_f1", "per_class"):
        assert warm[key] == cold[key]


def test_large_logits_do_not_overflow():
    result = measure(np.array([[1e4, -1e4], [1e4, -1e4]], np.float32), np.array([0, 1]), ("a", "b"))
    assert result["loss"] == pytest.approx(1e4)
    assert result["ece"] == pytest.approx(0.5)


def test_of_equal_logits_the_first_class_wins():
    logits = np.zeros((3, 8))
    labels = np.array([0, 1, 5])
    assert top_k(logits, labels, 1) == pytest.approx(1 / 3)
    assert top_k(logits, labels, 5) == pytest.approx(2 / 3)
    assert top_k(logits, labels, 8) == 1


def test_few_classes_have_a_top5_of_one():
    assert measure(np.array([[1.0, 0.0]]), np.array([1]), ("a", "b"))["top5"] == 1


def test_calibration_error_by_hand():
    confidence = np.array([0.91, 0.92, 0.39, 0.99])
    correct = np.array([True, False, True, True])
    # (13/15, 14/15] holds the first two: |0.5 - 0.915|; the others are alone: 0.61 and 0.01.
    assert ece(confidence, correct) == pytest.approx((2 * 0.415 + 0.61 + 0.01) / 4)
    assert ece(confidence, correct, bins=1) == pytest.approx(abs(0.75 - confidence.mean()))
    # A bin holds its upper edge, and no confidence is outside.
    assert ece(np.array([0.5, 0.4, 1.0, 0.0]), np.array([True, False, True, False]), bins=2) == pytest.approx(
        (abs(1 - 0.9) + 0) / 4
    )


def test_a_perfectly_calibrated_classifier_has_no_error():
    random = np.random.default_rng(0)
    confidence = random.uniform(0.3, 1, 200_000)
    assert ece(confidence, random.random(200_000) < confidence) < 0.01
