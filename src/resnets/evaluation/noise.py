"""How many labels are wrong, and how likely is each? A classifier's answers beside the labels, and one assumption.

The answers become probabilities by a logistic regression that knows of a third way in which label and answer may
differ: that with a probability, the same for all pictures, a label was put on at random. Where the answers are only
weak, the logistic curve explains every difference; where answers that should be sure are contradicted, mistakes do.
"""

from __future__ import annotations

import numpy as np

SCEPTICAL = 15.0  # the prior of the share of mistakes falls by e for each 1/15: without evidence it is nothing
TIE = 0.5  # weight of the prior that the classes need no offset
MIDDLE, HOLD = 1.0, 0.2  # of the prior of the answers' scale: its logarithm and weight


def mistaken(answers: np.ndarray, target: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """How likely each label is a mistake, (N,), and what the picture is otherwise, (N, classes), from 0 to 1.

    answers     (N, classes), each by a classifier that has not learned from the picture; any scale
    target      the N labels, 0 to classes - 1, each of which occurs

    A small class is not suspected for being small, nor a large one for what a small one attracts: a label is as likely
    a mistake as it is both with the classes as frequent as they are, and with all of them equally frequent.
    """
    classes = answers.shape[1]
    counts = np.bincount(target, minlength=classes)
    answers = answers - answers.mean(axis=1, keepdims=True)
    answers = answers / max(float(np.sqrt((answers**2).mean())), 1e-9)
    probabilities, share = _fitted(answers, target)
    even = probabilities / counts
    even /= even.sum(axis=1, keepdims=True)
    wrong = np.minimum(_wrong(probabilities, target, share), _wrong(even, target, share))
    return wrong, even


def _wrong(probabilities: np.ndarray, target: np.ndarray, share: float) -> np.ndarray:
    own = probabilities[np.arange(len(target)), target]
    by_mistake = share * (1 - own) / (probabilities.shape[1] - 1)
    found: np.ndarray = by_mistake / np.maximum((1 - share) * own + by_mistake, 1e-12)
    return found


def _fitted(answers: np.ndarray, target: np.ndarray) -> tuple[np.ndarray, float]:
    """(N, classes) probabilities and the share of mistakes that together make the labels likeliest."""
    from scipy.optimize import minimize

    number, classes = answers.shape
    row, is_target = np.arange(number), np.eye(classes)[target]

    def parts(at: np.ndarray) -> tuple[np.ndarray, float]:
        logits = np.exp(at[0]) * answers + np.append(0.0, at[1:-1])
        logits -= logits.max(axis=1, keepdims=True)
        shares = np.exp(logits)
        return shares / shares.sum(axis=1, keepdims=True), float(1 / (1 + np.exp(-at[-1])))

    def loss(at: np.ndarray) -> tuple[float, np.ndarray]:
        probabilities, share = parts(at)
        own = probabilities[row, target]
        seen = (1 - share) * own + share * (1 - own) / (classes - 1) + 1e-12
        slope = -((1 - share - share / (classes - 1)) * own / seen)[:, None] * (is_target - probabilities)
        offsets = at[1:-1]
        value = -np.log(seen).sum() + SCEPTICAL * share
        value += HOLD / 2 * (at[0] - MIDDLE) ** 2 + TIE / 2 * (offsets**2).sum()
        by_share = SCEPTICAL - (((1 - own) / (classes - 1) - own) / seen).sum()
        gradient = np.concatenate(
            [
                [(slope * answers).sum() * np.exp(at[0]) + HOLD * (at[0] - MIDDLE)],
                slope.sum(axis=0)[1:] + TIE * offsets,
                [by_share * share * (1 - share)],
            ]
        )
        return float(value), gradient

    start = np.concatenate([[MIDDLE], np.zeros(classes - 1), [-3.5]])
    return parts(minimize(loss, start, jac=True, method="L-BFGS-B", options={"maxiter": 200}).x)
